package gateway

import (
	"errors"
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

// publicGate returns the URL of a gateway for a panel that needs no sign-in.
func publicGate(t *testing.T, panel http.HandlerFunc) string {
	t.Helper()
	upstream := httptest.NewServer(panel)
	t.Cleanup(upstream.Close)
	to, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	gate := httptest.NewServer(New(Options{
		Entry: &entry.Service{DB: &db.DB{}, Clock: func() time.Time { return testkit.Start }}, Upstream: to, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Public}},
	}))
	t.Cleanup(gate.Close)
	return gate.URL
}

// TestAnswersArriveWhileThePanelWrites: the client gets what the panel has written before the
// panel writes the rest, even if the length of the whole answer is known.
func TestAnswersArriveWhileThePanelWrites(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"known length": "2", "unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := make(chan struct{})
			gate := publicGate(t, func(w http.ResponseWriter, _ *http.Request) {
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
			})
			resp, err := http.Get(gate)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var first [1]byte
			if _, err := io.ReadFull(resp.Body, first[:]); err != nil || first[0] != 'a' {
				t.Fatalf("the first piece is %q: %v; want a", first, err)
			}
			close(read)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "b" {
				t.Errorf("the rest is %q: %v; want b", rest, err)
			}
		})
	}
}

// TestHeadArrivesBeforeTheBody: the client gets the head of an answer of known length before the
// panel writes any of the body.
func TestHeadArrivesBeforeTheBody(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	gate := publicGate(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		http.NewResponseController(w).Flush()
		select {
		case <-arrived:
			io.WriteString(w, "a")
		case <-time.After(10 * time.Second):
			t.Error("the head didn't reach the client")
		}
	})
	resp, err := http.Get(gate)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	close(arrived)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "a" {
		t.Errorf("the body is %q: %v; want a", body, err)
	}
}

// TestBrokenAnswerArrives: if the panel's answer breaks off, the client gets the head and the part
// of the body that the panel sent. Browsers repeat a request, even a POST, whose connection ended
// without a byte of an answer.
func TestBrokenAnswerArrives(t *testing.T) {
	t.Parallel()
	gate := publicGate(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "part")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	resp, err := http.Post(gate, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "part" {
		t.Errorf("the body is %q: %v; want part, and ErrUnexpectedEOF", body, err)
	}
}
