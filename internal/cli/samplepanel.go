package cli

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// sampleHeaderTime: only the gateway comes here.
const sampleHeaderTime = 10 * time.Second

//go:embed samplepanel.html
var samplePage string

// samplePanel is what stands behind the gate in the demo: a streaming server's
// control panel that knows nobody's password. It believes the gateway's
// headers, as a real one would that can be reached through the gate only. Its page links to
// the portal at that URL.
func samplePanel(portal string) http.Handler {
	page := template.Must(template.New("").Parse(samplePage)) // a test opens it
	begun := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, struct {
			Name, User, Portal string
			Servers            []sampleServer
		}{r.Header.Get(access.NameHeader), r.Header.Get(access.UserHeader), portal, sampleServers(time.Since(begun))})
	})
	// Numbers that move, as server-sent events.
	mux.HandleFunc("GET /viewers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			for i, s := range sampleServers(time.Since(begun)) {
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

// sampleServers are made up; so many people watch after so long.
func sampleServers(running time.Duration) []sampleServer {
	n := int(running / (2 * time.Second))
	return []sampleServer{
		{"harbour-1", "Rotterdam", "Harbour cam", 412 + n*7%31},
		{"harbour-2", "Rotterdam", "Night shift radio", 96 + n*5%17},
		{"lighthouse", "Valencia", "Regatta live", 1873 + n*11%83},
		{"anchor", "Gdynia", "Port news", 240 + n*3%23},
	}
}
