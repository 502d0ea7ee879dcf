package sessions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// meOf returns the session and the account that a request of the browser would read now.
func meOf(t *testing.T, p *portal.Portal, b *portal.Browser) login.Me {
	t.Helper()
	token := b.Cookie(portal.SessionCookie)
	held, owner, err := session.ByToken(context.Background(), p.DB.Reader(), token, p.Login.Life, p.Clock.Now())
	testkit.Check(t, err)
	return login.Me{Session: held, Account: owner, From: login.Browser{Session: token, Device: b.Cookie(portal.DeviceCookie)}}
}

// TestARequestOfAnOlderTokenChangesNothing makes every change with a session that was read before
// the owner changed the password. A request is in this state if it waited for a hash or for the
// lock on the account's row meanwhile.
func TestARequestOfAnOlderTokenChangesNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		b, phone := portal.WithTwoFactor(t, p, "ada")
		wizard, device := b.BeginEnroll(), ""
		testkit.Check(t, p.DB.Reader().QueryRowContext(ctx, `SELECT id FROM devices`).Scan(&device))
		stale := meOf(t, p, b)
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill"); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("change of the password by the owner: %s, want the notice password_changed", portal.Summary(a))
		}
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		scope, err := access.NewScope("https://radio.example", "/", "GET", "")
		testkit.Check(t, err)
		for what, change := range map[string]func() error{
			"password": func() error {
				_, err := p.Manage.Passwords.Change(ctx, stale, "seven lamps on a sill", "chosen by a thief")
				return err
			},
			"rename":       func() error { return p.Manage.Authenticators.Rename(ctx, stale, phone.ID, "Mine") },
			"removal":      func() error { _, err := p.Manage.Authenticators.Remove(ctx, stale, phone.ID); return err },
			"disable":      func() error { _, err := p.Manage.Authenticators.DisableTwoFactor(ctx, stale); return err },
			"backup codes": func() error { _, err := p.Manage.Authenticators.IssueBackupCodes(ctx, stale, ""); return err },
			"display name": func() error { return p.Manage.Accounts.SetDisplayName(ctx, stale, "Eve") },
			"sign-out":     func() error { return p.Manage.Sessions.SignOut(ctx, stale) },
			"session":      func() error { return p.Manage.Sessions.Revoke(ctx, stale, stale.Session.ID) },
			"sessions":     func() error { _, err := p.Manage.Sessions.RevokeOthers(ctx, stale); return err },
			"let-in":       func() error { _, err := p.Manage.Links.LetIn(ctx, manage.Owner(stale), stale.Account); return err },
			"browser":      func() error { return p.Manage.Devices.Remove(ctx, stale, device) },
			"browsers":     func() error { return p.Manage.Devices.RemoveAll(ctx, stale) },
			"wizard":       func() error { _, err := p.Manage.Authenticators.BeginEnrollment(ctx, stale, ""); return err },
			"confirm": func() error {
				_, err := p.Manage.Authenticators.ConfirmEnrollment(ctx, stale, manage.Confirmation{ID: wizard.ID, Code: wizard.Code(0), Name: "Tablet"})
				return err
			},
			"cancel": func() error { return p.Manage.Authenticators.CancelEnrollment(ctx, stale, wizard.ID) },
			"pass": func() error {
				_, err := p.Manage.Passes.Create(ctx, manage.Owner(stale), stale.Account, pass.Pass{Name: "x", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
				return err
			},
		} {
			if err := change(); !errors.Is(err, login.ErrGone) {
				t.Errorf("%s with an older token: got %v, want ErrGone", what, err)
			}
			if !b.SignedIn() {
				t.Fatalf("%s with an older token signed the owner out", what)
			}
		}
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`); after != before {
			t.Errorf("refused changes left %d events, want none", after-before)
		}
	})
}

// TestOfConcurrentChangesOneSucceeds makes changes with one token at the same time. The first one
// gives the session a new token, so the others have an older one.
func TestOfConcurrentChangesOneSucceeds(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		b, _ := portal.WithTwoFactor(t, p, "ada")
		wizards := make([]*portal.Phone, 4)
		for i := range wizards {
			wizards[i] = b.BeginEnroll()
		}
		me, tokens := meOf(t, p, b), make([]string, len(wizards))
		got := testkit.Race(len(wizards), func(i int) string {
			done, err := p.Manage.Authenticators.ConfirmEnrollment(ctx, me, manage.Confirmation{ID: wizards[i].ID, Code: wizards[i].Code(0), Name: fmt.Sprint("Phone ", i)})
			tokens[i] = done.Session.Reveal()
			return testkit.Outcome(err)
		})
		if got["ok"] != 1 || got[login.ErrGone.Error()] != len(wizards)-1 {
			t.Errorf("confirm four wizards at once: %v, want one success and ErrGone for the others", got)
		}
		for _, token := range tokens {
			if token == "" {
				continue
			}
			b.SetCookie(portal.SessionCookie, token)
			if a := b.Get("/settings/security"); a.Status != http.StatusOK {
				t.Errorf("security page with the token of the successful change: %s, want 200", portal.Summary(a))
			}
		}
	})
}
