package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// outdate makes the database one that only a newer program can use.
func outdate(t *testing.T, d *db.DB) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := db.Exec(t.Context(), tx, `UPDATE schema SET version = version + 1, usable_since = version + 1`)
		return err
	})
	testkit.Check(t, err)
}

// openAt opens a portal on a database of the given engine, and a listener for the portal.
func openAt(t *testing.T, engine string) (*Portal, net.Listener, *testkit.Clock, *strings.Builder) {
	t.Helper()
	environ := []string{"SALLYPORT_DATA_DIR=" + t.TempDir(), "SALLYPORT_LISTEN=" + testkit.FreeAddress(t), "SALLYPORT_DRAIN=2s"}
	if engine == "postgres" {
		environ = append(environ, "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, engine))
	}
	cfg, err := config.Load("", environ)
	testkit.Check(t, err)
	clock, logs := testkit.NewClock(), &strings.Builder{} // slog's handler writes one line at a time
	p, err := Open(t.Context(), cfg, time.Now, slog.New(slog.NewTextHandler(logs, nil)))
	testkit.Check(t, err)
	t.Cleanup(func() { p.Close() })
	p.reporter.Now = clock.Now
	listener, err := p.Listen(t.Context())
	testkit.Check(t, err)
	return p, listener, clock, logs
}

// A node stops if the other nodes were upgraded while it was frozen and have stored data that it
// can't read.
func TestServerThatIsTooOldStops(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, listener, clock, logs := openAt(t, engine)
			ready := make(chan struct{})
			p.OnReady = func() error { close(ready); return nil }
			served := make(chan error, 1)
			go func() { served <- p.Serve(context.WithoutCancel(t.Context()), listener) }()
			<-ready
			outdate(t, p.DB)
			clock.Move(time.Hour) // the next report is due
			var status int
			var body string
			testkit.Until(t, "/readyz says why the server stops", func() bool {
				resp, err := http.Get("http://" + listener.Addr().String() + "/readyz")
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				status, body = resp.StatusCode, string(text)
				return err == nil && strings.Contains(body, "version: too old for the database")
			})
			if status != http.StatusServiceUnavailable {
				t.Errorf("/readyz: status %d, want 503\n%s", status, body)
			}
			if err := <-served; !errors.Is(err, db.ErrTooOld) {
				t.Errorf("the server ends with %v, want ErrTooOld", err)
			}
			if !strings.Contains(logs.String(), "this server stops") || !strings.Contains(logs.String(), "install that version here") {
				t.Errorf("the log doesn't say that the server stops, or what to install:\n%s", logs)
			}
			if nodes, err := cluster.Nodes(t.Context(), p.DB, time.Now()); err != nil || len(nodes) != 0 {
				t.Errorf("live nodes: %v, %v; want none", nodes, err)
			}
		})
	}
}

// Another node stores data that this version can't read, after this server has opened the database.
func TestServerThatIsTooOldDoesNotStart(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, listener, _, _ := openAt(t, engine)
			p.OnReady = func() error { t.Error("the server began to serve"); return errors.New("it mustn't") }
			outdate(t, p.DB)
			if err := p.Serve(t.Context(), listener); !errors.Is(err, db.ErrTooOld) {
				t.Errorf("the server ends with %v, want ErrTooOld", err)
			}
			if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
				t.Error("the server's address is still open")
			}
		})
	}
}
