package enrolment

// The removal of authenticators, and the operator's reset.

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

func TestAttack64LastAuthenticatorRemoved(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := portal.WithTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		elsewhere := portal.PendingSignIn(t, p, "ada")
		elsewhere.Post("/login/code", "code", second.Code(0))
		portal.CheckSignedIn(t, elsewhere, "the second authenticator in another browser", true)
		if a := b.Post("/settings/security/authenticators/" + first.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
			t.Fatalf("remove the first authenticator: %s, want the notice removed", portal.Summary(a))
		}
		if elsewhere.SignedIn() {
			t.Error("after the removal, another session is still open")
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != 10 {
			t.Errorf("with one authenticator left, %d backup codes are left, want 10", n)
		}
		// The session's proof ended with the first authenticator, so a code of the other one may be
		// needed.
		if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" && !strings.HasPrefix(a.Location, "/reauthenticate") {
			t.Fatalf("remove the last authenticator: %s, want the notice removed or /reauthenticate", portal.Summary(a))
		}
		if portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`) > 0 {
			p.Clock.Move(totp.Period)
			if a := b.Post("/reauthenticate", "password", portal.Password, "code", second.Code(0), "return", "/settings/security"); a.Status != http.StatusSeeOther {
				t.Fatalf("reauthenticate: %s, want 303", portal.Summary(a))
			}
			if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
				t.Fatalf("remove the last authenticator after a reauthentication: %s, want the notice removed", portal.Summary(a))
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM backup_codes`); n != 0 {
			t.Errorf("after the removal of the last authenticator, %d backup codes are left, want none", n)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM totp`); n != 0 {
			t.Errorf("after the removal of the last authenticator, %d secrets are left, want none", n)
		}
		if page := portal.VisibleText(b.Get("/settings/security").Body); !strings.Contains(page, "Enable two-factor authentication") || strings.Contains(page, "Disable two-factor") {
			t.Error("the Security tab doesn't show two-factor authentication as disabled")
		}
		again := p.Browser(t)
		if a := again.SignIn("ada"); a.Location != "/" || !again.SignedIn() {
			t.Errorf("sign-in without two-factor authentication: %s, want /", portal.Summary(a))
		}
	})
}

func TestAttack65OperatorReset(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		wizard := b.BeginEnroll()
		pending := portal.PendingSignIn(t, p, "ada")
		p.AddAccount(t, "eve")
		eve := p.Browser(t)
		eve.SignIn("eve")
		ada, err := account.ByName(context.Background(), p.DB.Reader(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		token, err := p.Manage.Authenticators.ResetTwoFactor(context.Background(), manage.CommandLine(), ada, ticket.MinLife)
		if err != nil {
			t.Fatal(err)
		}
		link := strings.TrimPrefix(p.TicketLink(token), p.Base)

		if b.SignedIn() {
			t.Error("after the reset, a session is still open")
		}
		for what, a := range map[string]portal.Answer{
			"code":        pending.Post("/login/code", "code", phone.Code(0)),
			"backup code": pending.Post("/login/backup-code", "backup_code", phone.Codes[0]),
		} {
			if a.Location != "/login?notice=expired" {
				t.Errorf("%s in an attempt from before the reset: %s, want the notice expired", what, portal.Summary(a))
			}
		}
		for _, table := range []string{"authenticators", "totp", "backup_codes", "attempts"} {
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM `+table); n != 0 {
				t.Errorf("after the reset, table %s has %d rows, want none", table, n)
			}
		}
		// The password alone is enough to sign in, but not to enroll.
		again := p.Browser(t)
		again.SignIn("ada")
		portal.CheckSignedIn(t, again, "password after the reset", true)
		if a := again.Post("/settings/security/authenticators"); a.Location != "/settings/security?notice=locked" {
			t.Errorf("open a wizard without the link: %s, want the notice locked", portal.Summary(a))
		}
		if a := again.Post("/settings/security/authenticators/"+wizard.ID+"/confirm", "code", wizard.Code(0), "name", "x"); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("confirm in a wizard from before the reset: %s, want the notice wizard_expired", portal.Summary(a))
		}
		// The link has no effect for another account, and opening it doesn't use it up.
		eve.Get(link)
		evesWizard := eve.BeginEnroll()
		if a := eve.Post("/settings/security/authenticators/"+evesWizard.ID+"/confirm", "code", evesWizard.Code(0), "name", "Phone"); len(portal.ShownCodes(a.Body)) != 10 {
			t.Errorf("confirm in eve's wizard: %s, want backup codes", portal.Summary(a))
		}
		for range 3 {
			p.Browser(t).Do(http.MethodHead, link, nil, nil)
			p.Browser(t).Get(link)
		}
		if a := again.Get(link); a.Location != "/settings/security/authenticators/new" {
			t.Fatalf("open the link in ada's session: %s, want the wizard", portal.Summary(a))
		}
		again.Enroll("New phone")
		// The link works once.
		third := p.Browser(t)
		if a := third.Get(link); a.Status != http.StatusNotFound {
			t.Errorf("open the used link: %s, want 404", portal.Summary(a))
		}
		third.SetCookie("sallyport-ticket", token.Reveal())
		portal.PendingSignIn(t, p, "ada")
		if n := portal.EventCounts(t, p)["two_factor_reset:done"]; n != 1 {
			t.Errorf("%d events two_factor_reset, want one", n)
		}
		if strings.Contains(p.Logs.String(), token.Reveal()) {
			t.Error("the log contains the link's ticket")
		}
	})
}

// TestAttack68InvitationEndsWithAnotherPassword checks that an invitation is useless once the
// account has got a password in another way.
func TestAttack68InvitationEndsWithAnotherPassword(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		token, _, err := p.Manage.Accounts.Invite(ctx, manage.CommandLine(), account.Account{Name: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		ada, err := account.ByName(ctx, p.DB.Reader(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		link := strings.TrimPrefix(p.TicketLink(token), p.Base)
		b := p.Browser(t)
		if a := b.Get(link); a.Status != http.StatusOK {
			t.Fatalf("open the invitation: %s, want 200", portal.Summary(a))
		}
		if err := p.Manage.Passwords.Set(ctx, manage.CommandLine(), ada, portal.Password); err != nil {
			t.Fatal(err)
		}
		b.SignIn("ada")
		p.Clock.Move(time.Hour)
		stranger := p.Browser(t)
		if a := stranger.Post("/setup", "ticket", token.Reveal(), "username", "ada", "email", "", "new_password", "chosen by a stranger"); a.Status != http.StatusNotFound {
			t.Errorf("invitation from before the password was set: %s, want 404", portal.Summary(a))
		}
		if !b.SignedIn() {
			t.Error("the earlier invitation ended the owner's session")
		}
	})
}
