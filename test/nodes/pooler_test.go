package nodes

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// behindPooler returns the settings of a portal behind a real PgBouncer in transaction mode, with
// and without the direct URL of the database.
func behindPooler(t *testing.T) (all, pooled []string) {
	t.Helper()
	direct := testkit.DatabaseURL(t, "postgres")
	pooled = []string{"SALLYPORT_DATABASE=" + testkit.Pooler(t, direct), "SALLYPORT_POOLER=true"}
	return append(pooled, "SALLYPORT_DATABASE_DIRECT="+direct), pooled[:2:2]
}

func TestPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	settings, _ := behindPooler(t)
	one := panels.StartPanel(t, "radio")
	settings = append(settings, "SALLYPORT_CONFIG="+panels.WriteConfig(t, "public_url: "+panels.PortalAt+"\npanels:\n  - url: "+panels.Radio+"\n    upstream: "+one.URL+"\n"))
	p := portal.StartIn(t, t.TempDir(), testkit.NewClock(), settings...)
	settings = append(settings, "SALLYPORT_DATA_DIR="+p.Config.DataDir)
	other := portal.StartIn(t, p.Config.DataDir, p.Clock, settings...)

	_, phone := portal.WithTwoFactor(t, p, "ada")
	b := portal.PendingSignIn(t, other, "ada")
	b.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, b, "code", true)
	b = portal.PendingSignIn(t, p, "ada")
	b.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, b, "the same code on another node", false)
	b.Post("/login/backup-code", "backup_code", phone.Codes[0])
	portal.CheckSignedIn(t, b, "backup code", true)

	for name, job := range map[string]func(context.Context) error{
		"sweep": p.Sweep, "seal": p.Seal, "measure": p.Measure, "clock": p.WatchClock, "prune": p.Prune,
	} {
		if err := job(t.Context()); err != nil {
			t.Errorf("job %s: %v", name, err)
		}
	}
	if a := b.Get("/readyz"); a.Status != http.StatusOK {
		t.Errorf("readyz: %d, want 200:\n%s", a.Status, a.Body)
	}

	p.AddAccount(t, "bob")
	visitor := panels.Visit(t, p, "bob", panels.Radio+"/page")
	there := other.Browser(t)
	there.SetCookieAt(panels.Radio, "sallyport-visit", visitor.CookieAt(panels.Radio, "sallyport-visit"))
	panels.KeepVisit(t, other, there, panels.Radio+"/page")
	visitor.Post("/logout")
	testkit.Until(t, "refusal", func() bool {
		return there.Do(http.MethodGet, panels.Radio+"/page", nil, nil).Status == http.StatusUnauthorized
	})

	keys, err := p.OpenKeys(t.Context())
	testkit.Check(t, err)
	t.Cleanup(func() { keys.Close() })
	_, err = keys.Add(t.Context())
	testkit.Check(t, err)
	if n, err := keys.Rotate(t.Context()); n == 0 || err != nil {
		t.Errorf("key rotate: %d secrets, %v; want some and no error", n, err)
	}
	p.Clock.Move(totp.Period)
	b = portal.PendingSignIn(t, other, "ada")
	b.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, b, "code under a new key", true)
}

// TestPoolerWithoutADirectURL checks a portal without a direct connection to the database. It
// can't listen for changes of other nodes, so it has no cache, and it refuses to migrate.
func TestPoolerWithoutADirectURL(t *testing.T) {
	t.Parallel()
	settings, pooled := behindPooler(t)
	cfg, err := config.Load("", append(pooled, "SALLYPORT_DATA_DIR="+t.TempDir()))
	testkit.Check(t, err)
	if _, err := server.Open(t.Context(), cfg, testkit.NewClock().Now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "database_direct") {
		t.Fatalf("open an empty database: got %v, want an error that names database_direct", err)
	}
	dir := t.TempDir()
	portal.StartIn(t, dir, testkit.NewClock(), settings...).Stop()
	p := portal.StartIn(t, dir, testkit.NewClock(), pooled...)
	b, _ := portal.WithTwoFactor(t, p, "ada")
	if !b.SignedIn() {
		t.Error("the browser isn't signed in after the enrolment")
	}
	testkit.Until(t, "the log", func() bool { return strings.Contains(p.Logs.String(), "database_direct isn't set") })
	if p.DB.Current(p.Clock.Now()) {
		t.Error("the portal uses cached rows although it can't listen for changes")
	}
}
