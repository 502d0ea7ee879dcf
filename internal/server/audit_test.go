package server_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestEventsOlderThanAuditKeepArePruned(t *testing.T) {
	for _, test := range []struct {
		keep   string
		pruned int64
	}{{"2d", 2}, {"0", 0}} {
		for _, engine := range testkit.Engines {
			t.Run(test.keep+"/"+engine, func(t *testing.T) {
				t.Parallel()
				p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP="+test.keep)
				seal := func() {
					if err := p.Seal(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				p.AddAccount(t, "ada")
				p.AddAccount(t, "bob")
				seal()
				p.Clock.Move(47 * time.Hour)
				p.AddAccount(t, "eve")
				seal()
				p.Clock.Move(2 * time.Hour)
				if err := p.Prune(t.Context()); err != nil {
					t.Fatal(err)
				}
				report, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{})
				if err != nil || report.Pruned.Seq != test.pruned || report.Events != 3-test.pruned {
					t.Errorf("verify: %+v, %v; want the events that aren't pruned", report, err)
				}
				if !strings.Contains(p.Logs.String(), report.Head.String()) {
					t.Error("the server's log lacks the head of the chain")
				}
			})
		}
	}
}

func TestEventsAreSealedBeforeTheServerStops(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			p := portal.Start(t, engine)
			// A node that died a moment ago still holds the lease.
			if held, err := cluster.Lease(ctx, p.DB, "audit2", "a dead node", 15*time.Second, p.Clock.Now()); err != nil || !held {
				t.Fatalf("lease: %v, %v; want it held", held, err)
			}
			p.AddAccount(t, "ada")
			if err := p.Seal(ctx); err != nil || strings.Contains(p.Logs.String(), "audit sealed") {
				t.Fatalf("sealed although another node holds the lease, or the error %v; want neither", err)
			}
			p.Stop()
			d, err := db.Open(ctx, p.Config.DatabaseURL())
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			report, err := audit.Verify(ctx, d.Reader(), p.Login.Ring, audit.Head{})
			if err != nil || report.Events != 1 || !strings.Contains(p.Logs.String(), report.Head.String()) {
				t.Errorf("verify: %+v, %v; want one event, and its head in the log\n%s", report, err, p.Logs)
			}
			if oldest, err := audit.Waiting(ctx, d.Reader()); err != nil || !oldest.IsZero() {
				t.Errorf("an event of %v is unsealed, %v; want none", oldest, err)
			}
		})
	}
}

// Events that stay unsealed show in a metric and on /readyz.
func TestUnsealedEventsAreReported(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			wantReported := func(metric, ready string) {
				t.Helper()
				page := httptest.NewRecorder()
				p.Metrics.ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
				if got := page.Body.String(); !strings.Contains(got, "\nsallyport_audit_unsealed_seconds "+metric+"\n") {
					t.Errorf("no sallyport_audit_unsealed_seconds %s", metric)
				}
				if got := p.Browser(t).Get("/readyz"); got.Status != 200 || !strings.HasSuffix(got.Body, "\naudit: "+ready+"\n") {
					t.Errorf("readyz: %d %s, want audit: %s", got.Status, got.Body, ready)
				}
			}
			wantReported("0", "ok")
			// The node that holds the lease doesn't seal.
			if held, err := cluster.Lease(t.Context(), p.DB, "audit2", "a sick node", 24*time.Hour, p.Clock.Now()); err != nil || !held {
				t.Fatalf("lease: %v, %v; want it held", held, err)
			}
			p.AddAccount(t, "ada")
			p.Clock.Move(time.Minute)
			wantReported("60", "ok")
			p.Clock.Move(30 * time.Second)
			p.AddAccount(t, "bob")
			wantReported("90", "some events have been unsealed for 1m30s")
		})
	}
}

// A node of version 12 that still runs keeps its lease, but can't seal every event.
func TestOlderNodesLeaseDoesNotKeepThisVersionFromSealing(t *testing.T) {
	p := portal.Start(t, "sqlite")
	if held, err := cluster.Lease(t.Context(), p.DB, "audit", "an older node", 15*time.Second, p.Clock.Now()); err != nil || !held {
		t.Fatalf("lease: %v, %v; want it held", held, err)
	}
	p.AddAccount(t, "ada")
	testkit.Check(t, p.Seal(t.Context()))
	if report, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{}); err != nil || report.Events != 1 {
		t.Errorf("verify: %+v, %v; want one sealed event", report, err)
	}
}
