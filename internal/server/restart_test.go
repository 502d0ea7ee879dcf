package server_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

// restart stops a portal and starts another on its database.
func restart(t *testing.T, p *portal.Portal, settings ...string) *portal.Portal {
	t.Helper()
	p.Stop()
	if url := p.Config.Database.Reveal(); url != "" {
		settings = append(settings, "SALLYPORT_DATABASE="+url)
	}
	next := portal.StartIn(t, p.Dir, p.Clock, settings...)
	if a := next.Browser(t).Get("/healthz"); a.Status != 200 {
		t.Fatalf("healthz: %d, want 200", a.Status)
	}
	return next
}

// A restart doesn't relax the throttle: unknown browsers still need two codes in a row (R4).
func TestInstanceThrottleSurvivesARestart(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			p := portal.Start(t, engine)
			for i := range 30 {
				try := throttle.Try{Key: throttle.Key{Account: fmt.Sprint("account ", i), Bucket: throttle.CodeUnknownDevice}, Units: 1}
				if _, v, err := p.Login.Ledger.Reserve(ctx, try); err != nil || v.Answer != throttle.Allow {
					t.Fatalf("wrong code %d: %+v, %v; want Allow", i, v, err)
				}
			}
			if err := p.Measure(ctx); err != nil || !p.Login.Ledger.IsHot() {
				t.Fatalf("after 30 wrong codes: hot is %v, %v; want true", p.Login.Ledger.IsHot(), err)
			}
			p = restart(t, p)
			if !p.Login.Ledger.IsHot() {
				t.Error("the instance isn't hot after a restart")
			}
		})
	}
}

// A server that stops writes the last uses that it holds in memory.
func TestLastUseSurvivesARestart(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			p.Clock.Move(time.Hour)
			b.Get("/settings/profile")
			p = restart(t, p)
			var seen db.At
			if err := db.One(t.Context(), p.DB.Reader(), `SELECT seen_at FROM sessions`, nil, &seen); err != nil || !seen.Equal(p.Clock.Now()) {
				t.Errorf("last used at %v, %v; want %v", seen, err, p.Clock.Now())
			}
		})
	}
}

// Other nodes needn't wait until the leases of a stopped node end, and a rotation of keys needn't
// wait for its report.
func TestAServerThatStopsLeavesNoLeaseAndNoReport(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, ctx := portal.Start(t, engine), t.Context()
			testkit.Check(t, p.Report(ctx))
			testkit.Check(t, p.Measure(ctx)) // takes a lease
			nodes, err := cluster.Nodes(ctx, p.DB, p.Clock.Now())
			if host, _ := os.Hostname(); err != nil || len(nodes) != 1 || nodes[0].Name != host+" at "+p.At {
				t.Errorf("the running nodes: %+v, %v; want this one, by its host and address", nodes, err)
			}
			count := func(d *db.DB, table string) (n int) {
				t.Helper()
				testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM `+table, nil, &n))
				return n
			}
			if n := count(p.DB, "leases"); n == 0 {
				t.Error("the running server has no lease")
			}
			p.Stop()
			d := testkit.Open(t, p.Config.DatabaseURL())
			for _, table := range []string{"leases", "nodes"} {
				if n := count(d, table); n != 0 {
					t.Errorf("the stopped server left %d rows in %s, want none", n, table)
				}
			}
		})
	}
}
