package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

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
		t.Fatalf("healthz: %d", a.Status)
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
					t.Fatalf("%+v, %v", v, err)
				}
			}
			if err := p.Measure(ctx); err != nil || !p.Login.Ledger.IsHot() {
				t.Fatalf("hot is %v, %v", p.Login.Ledger.IsHot(), err)
			}
			p = restart(t, p)
			if !p.Login.Ledger.IsHot() {
				t.Error("not hot after a restart")
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
