package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/testkit"
)

// TestAnswersArriveWhileThePanelWrites: the client gets what the panel has written before the
// panel writes the rest, also if the length of the whole answer is known.
func TestAnswersArriveWhileThePanelWrites(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"known length": "2", "unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := make(chan struct{})
			panel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				io.WriteString(w, "a")
				http.NewResponseController(w).Flush()
				select {
				case <-read:
					io.WriteString(w, "b")
				case <-time.After(10 * time.Second):
					t.Error("the first piece didn't reach the client")
				}
			}))
			t.Cleanup(panel.Close)
			to, err := url.Parse(panel.URL)
			if err != nil {
				t.Fatal(err)
			}
			gate := httptest.NewServer(New(Options{
				Entry: &entry.Service{DB: &db.DB{}, Clock: func() time.Time { return testkit.Start }}, Upstream: to, Log: slog.New(slog.DiscardHandler), Now: time.Now,
				Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Public}},
			}))
			t.Cleanup(gate.Close)
			resp, err := http.Get(gate.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var first [1]byte
			if _, err := io.ReadFull(resp.Body, first[:]); err != nil || first[0] != 'a' {
				t.Fatalf("the first piece is %q: %v", first, err)
			}
			close(read)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "b" {
				t.Errorf("the rest is %q: %v; want b", rest, err)
			}
		})
	}
}
