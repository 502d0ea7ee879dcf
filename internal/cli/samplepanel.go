package cli

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// sampleHeaderTime is how long the sample panel's only client, the gateway, may take to send
// headers.
const sampleHeaderTime = 10 * time.Second

//go:embed samplepanel.html
var samplePage string

// samplePanel returns the demo's panel: the control panel of a streaming server, which has
// no sign-in of its own. It trusts the identity headers of the gateway, like a real panel
// that only the gateway can reach. portal is the URL to which its page links.
func samplePanel(portal string) http.Handler {
	page := template.Must(template.New("").Parse(samplePage)) // a test covers it
	start := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, struct {
			Name, User, Portal string
			Servers            []sampleServer
		}{r.Header.Get(access.NameHeader), r.Header.Get(access.UserHeader), portal, sampleServers(time.Since(start))})
	})
	// The numbers of viewers, as server-sent events.
	mux.HandleFunc("GET /viewers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			for i, s := range sampleServers(time.Since(start)) {
				fmt.Fprintf(w, "data: %d %d\n\n", i, s.Viewers)
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	})
	return mux
}

type sampleServer struct {
	Name, Place, Stream string
	Viewers             int
}

// sampleServers returns invented servers. Their numbers of viewers depend on running, the time
// that the panel has run.
func sampleServers(running time.Duration) []sampleServer {
	n := int(running / (2 * time.Second))
	return []sampleServer{
		{"harbour-1", "Rotterdam", "Harbour cam", 412 + n*7%31},
		{"harbour-2", "Rotterdam", "Night shift radio", 96 + n*5%17},
		{"lighthouse", "Valencia", "Regatta live", 1873 + n*11%83},
		{"anchor", "Gdynia", "Port news", 240 + n*3%23},
	}
}
