package panels

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// KeepVisit requests a page so that the portal has the browser's visit in its cache.
func KeepVisit(t *testing.T, p *portal.Portal, b *portal.Browser, page string) {
	t.Helper()
	testkit.Until(t, "the cache to be current", func() bool { return p.DB.Current(p.Clock.Now()) })
	Received(t, Navigate(b, page))
}

// Guarded starts a portal whose gateway serves the panel at the origin [Radio]. settings are
// more lines of its configuration: indented ones belong to the panel, others to the top level.
func Guarded(t *testing.T, panel http.Handler, settings ...string) *portal.Portal {
	t.Helper()
	s := httptest.NewServer(panel)
	t.Cleanup(s.Close)
	return GuardedAt(t, s.URL, settings...)
}

// GuardedAt is like [Guarded], for a panel that listens already; upstream is its origin.
func GuardedAt(t *testing.T, upstream string, settings ...string) *portal.Portal {
	t.Helper()
	whole, own := "", ""
	for _, line := range settings {
		if strings.HasPrefix(line, " ") {
			own += line + "\n"
		} else {
			whole += line + "\n"
		}
	}
	return portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+WriteConfig(t, fmt.Sprintf("public_url: %s\n%spanels:\n  - url: %s\n    upstream: %s\n%s", PortalAt, whole, Radio, upstream, own)))
}

// AnswerWithRequest answers with the request as a [Seen], without its body.
func AnswerWithRequest(w http.ResponseWriter, r *http.Request) {
	json.NewEncoder(w).Encode(Seen{"radio", r.Method, r.RequestURI, r.Host, "", r.Header})
}

// The origins of the portal and of two panels. The hosts share no parent domain.
const (
	PortalAt = "http://auth.test"
	Radio    = "http://radio.example"
	Video    = "http://video.test"
)

// Seen is a request as a panel got it.
type Seen struct {
	Panel, Method, URI, Host, Body string
	Header                         http.Header
}

// StartPanel starts a panel that answers with the request as a [Seen]. /echo accepts a
// WebSocket, /events sends server-sent events, /slow doesn't answer, and /plants also sets
// cookies with Sallyport's names.
func StartPanel(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/echo") && r.Header.Get("Upgrade") != "":
			ServeEcho(w, r)
			return
		case r.URL.Path == "/events":
			ServeEvents(w, r)
			return
		case r.URL.Path == "/slow":
			<-r.Context().Done()
			return
		case r.URL.Path == "/plants":
			for _, name := range []string{"sallyport", "sallyport-visit", "__Host-sallyport-visit", "Sallyport-State", "own"} {
				http.SetCookie(w, &http.Cookie{Name: name, Value: "planted", Path: "/"})
			}
			// Browsers send a cookie without a name back as its value alone.
			w.Header().Add("Set-Cookie", "=sallyport-visit=planted; Path=/")
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(Seen{name, r.Method, r.RequestURI, r.Host, string(body), r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

// ServeEcho accepts an upgrade and sends back every byte that it receives.
func ServeEcho(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	// HAProxy requires Sec-WebSocket-Accept (RFC 6455, section 4.2.2).
	proof := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		r.Header.Get("Upgrade"), base64.StdEncoding.EncodeToString(proof[:]))
	io.Copy(conn, buffered)
}

// ServeEvents sends server-sent events until the client disconnects.
func ServeEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; r.Context().Err() == nil; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// WriteConfig writes a configuration to a new file and returns its path.
func WriteConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
