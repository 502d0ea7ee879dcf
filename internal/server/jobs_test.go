package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/throttle"
)

// openNodes opens n portals on one PostgreSQL, with one clock and one log.
func openNodes(t *testing.T, n int) ([]*Portal, *testkit.Clock, *strings.Builder) {
	t.Helper()
	cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + t.TempDir(), "SALLYPORT_DATABASE=" + testkit.DatabaseURL(t, "postgres")})
	if err != nil {
		t.Fatal(err)
	}
	clock, logs := testkit.NewClock(), &strings.Builder{} // slog's handler writes one line at a time
	log := slog.New(slog.NewTextHandler(logs, nil))
	var nodes []*Portal
	for range n {
		p, err := Open(t.Context(), cfg, clock.Now, log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		p.Login.Mark.Reference = func(context.Context) (time.Time, error) { return clock.Now(), nil }
		nodes = append(nodes, p)
	}
	return nodes, clock, logs
}

// On PostgreSQL the database's clock is the reference; SQLite has no clock.
func TestClockIsHeldAgainstPostgres(t *testing.T) {
	t.Parallel()
	for engine, want := range map[string]time.Duration{"sqlite": 0, "postgres": time.Hour} {
		environ := []string{"SALLYPORT_DATA_DIR=" + t.TempDir()}
		if engine == "postgres" {
			environ = append(environ, "SALLYPORT_DATABASE="+testkit.DatabaseURL(t, engine))
		}
		cfg, err := config.Load("", environ)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Open(t.Context(), cfg, func() time.Time { return time.Now().Add(time.Hour) }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		if err := p.WatchClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := p.Login.Watch.Ahead(); (got - want).Abs() > time.Minute {
			t.Errorf("%s: %v ahead, want about %v", engine, got, want)
		}
	}
}

// One node counts the wrong codes of all accounts, and every node knows the result, even
// after any one of the nodes has died.
func TestVerdictOnTheInstanceReachesEveryNode(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	nodes, clock, logs := openNodes(t, 3)
	for i := range 30 {
		try := throttle.Try{Key: throttle.Key{Account: fmt.Sprint("account ", i), Bucket: throttle.CodeUnknownDevice}, Units: 1}
		if _, v, err := nodes[0].Login.Ledger.Reserve(ctx, try); err != nil || v.Answer != throttle.Allow {
			t.Fatalf("wrong code %d: %+v, %v; want Allow", i, v, err)
		}
	}
	measure := func(want bool, nodes ...*Portal) {
		t.Helper()
		// The second time, each node reads the result that one of them stored the first time.
		for range 2 {
			testkit.Race(len(nodes), func(i int) string {
				if err := nodes[i].Measure(ctx); err != nil {
					t.Error(err)
				}
				return ""
			})
		}
		for i, p := range nodes {
			if got := p.Login.Ledger.IsHot(); got != want {
				t.Errorf("node %d: hot is %v, want %v", i, got, want)
			}
		}
	}
	measure(true, nodes...)
	if n := strings.Count(logs.String(), "wrong codes after right passwords on many accounts"); n != 1 {
		t.Errorf("operators were told %d times, want once", n)
	}
	var holder string
	if err := db.One(ctx, nodes[0].DB.Reader(), `SELECT holder FROM leases WHERE name = 'measure'`, nil, &holder); err != nil {
		t.Fatal(err)
	}
	var others []*Portal
	for _, p := range nodes {
		if p.cluster.Self != holder {
			others = append(others, p)
		}
	}
	if len(others) != 2 {
		t.Fatalf("%d nodes don't hold the lease, want 2", len(others))
	}
	// A day later the node that counted is dead.
	clock.Move(24 * time.Hour)
	measure(false, others...)
}
