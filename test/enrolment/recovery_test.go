package enrolment

// Recovery never accepts a suspect password, and it ends the links that a thief may have created.

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// withSuspectPassword adds an account with two-factor authentication whose password is suspect:
// after the right password, five wrong codes were entered.
func withSuspectPassword(t *testing.T, p *portal.Portal, name string) (*portal.Browser, *portal.Phone) {
	t.Helper()
	owner, phone := portal.WithTwoFactor(t, p, name)
	for range 5 {
		portal.TryCode(portal.PendingSignIn(t, p, name), "/login/code", "code", portal.WrongCode(phone))
	}
	if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM passwords WHERE suspect_at IS NOT NULL`); n != 1 {
		t.Fatalf("after five wrong codes, %d passwords are suspect, want 1", n)
	}
	return owner, phone
}

func TestAResetEndsTheSuspectPassword(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		withSuspectPassword(t, p, "ada")
		token, err := p.Manage.Authenticators.ResetTwoFactor(context.Background(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), ticket.MaxLife)
		testkit.Check(t, err)
		thief := p.Browser(t)
		if a := thief.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusUnprocessableEntity || thief.SignedIn() {
			t.Errorf("sign-in with the suspect password after the reset: %s, want 422", portal.Summary(a))
		}
		p.Clock.Move(7*24*time.Hour - time.Minute)
		link, fields := "/setup?ticket="+token.Reveal(), []string{"ticket", token.Reveal(), "username", "ada", "email", "", "new_password"}
		owner := p.Browser(t)
		if a := owner.Get(link); a.Status != http.StatusOK || !strings.Contains(portal.VisibleText(a.Body), "Choose a new password") {
			t.Fatalf("open the link a minute before it expires: %s, want the form for a new password", portal.Summary(a))
		}
		if a := owner.Post("/setup", append(fields, portal.Password)...); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("choose the suspect password as the new one: %s, want 422", portal.Summary(a))
		}
		const chosen = "seven lamps on a sill"
		// If many browsers use the link at the same time, one sets the password.
		browsers := make([]*portal.Browser, 8)
		for i := range browsers {
			browsers[i] = p.Browser(t)
		}
		got := testkit.Race(len(browsers), func(i int) string {
			return portal.Summary(browsers[i].Post("/setup", append(fields, chosen)...))
		})
		const next = "/login?notice=password_set&return=%2Fsettings%2Fsecurity%2Fauthenticators%2Fnew"
		if got["303 "+next] != 1 {
			t.Errorf("eight browsers use the link at once: %v, want one that sets the password", got)
		}
		if a := owner.Post("/setup", append(fields, "and one more password")...); a.Status != http.StatusNotFound {
			t.Errorf("set another password with the same link: %s, want 404", portal.Summary(a))
		}
		for _, b := range browsers {
			if b.Last.Location == next {
				owner = b
			}
		}
		if a := owner.Post("/login", "username", "ada", "password", chosen, "return", "/settings/security"); a.Location != "/settings/security" {
			t.Fatalf("sign in with the new password: %s, want /settings/security", portal.Summary(a))
		}
		phone := owner.Enroll("New phone")
		if len(phone.Codes) != 10 {
			t.Errorf("the enrolment after the link gave %d backup codes, want 10", len(phone.Codes))
		}
		if a := p.Browser(t).Get(link); a.Status != http.StatusNotFound {
			t.Errorf("open the link after the enrolment: %s, want 404", portal.Summary(a))
		}
	})
}

// TestASuspectPasswordIsChangedBeforeTwoFactorAuthenticationEnds checks that two-factor
// authentication can't be disabled while the password is suspect. Otherwise the thief could sign
// in with the password alone.
func TestASuspectPasswordIsChangedBeforeTwoFactorAuthenticationEnds(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := withSuspectPassword(t, p, "ada")
		for _, path := range []string{"/settings/security/disable", "/settings/security/authenticators/" + phone.ID + "/remove"} {
			if a := owner.Post(path); a.Location != "/settings/security?notice=suspect" {
				t.Errorf("%s with a suspect password: %s, want the notice suspect", path, portal.Summary(a))
			}
		}
		if a := portal.PendingSignIn(t, p, "ada").Last; a.Location != "/login/code" {
			t.Errorf("sign-in with the suspect password: %s, want /login/code", portal.Summary(a))
		}
		owner.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill")
		if a := owner.Post("/settings/security/disable"); a.Location != "/settings/security?notice=disabled" {
			t.Errorf("disable two-factor authentication after a new password: %s, want the notice disabled", portal.Summary(a))
		}
	})
}

func TestALinkOfAResetLivesAsLongAsTheOperatorSays(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, ada := context.Background(), p.AddAccount(t, "ada")
		for life, want := range map[time.Duration]error{
			0: ticket.ErrLife, 15*time.Minute - 1: ticket.ErrLife, 15 * time.Minute: nil,
			7 * 24 * time.Hour: nil, 7*24*time.Hour + 1: ticket.ErrLife,
		} {
			token, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), ada, life)
			if err != want {
				t.Errorf("reset with a link for %v: got %v, want %v", life, err, want)
			}
			if err != nil {
				continue
			}
			link := "/setup?ticket=" + token.Reveal()
			p.Clock.Move(life - time.Second)
			if a := p.Browser(t).Get(link); a.Location != "/settings/security/authenticators/new" {
				t.Errorf("link for %v, a second before it expires: %s, want the wizard", life, portal.Summary(a))
			}
			p.Clock.Move(time.Second)
			if a := p.Browser(t).Get(link); a.Status != http.StatusNotFound {
				t.Errorf("link for %v after that time: %s, want 404", life, portal.Summary(a))
			}
		}
	})
}

// TestLetInLinksEndWithTheSessionThatMadeThem checks that a let-in link that a thief created in a
// stolen session is useless once the owner or the operator has ended that session.
func TestLetInLinksEndWithTheSessionThatMadeThem(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		for what, end := range map[string]func(b *portal.Browser, phone *portal.Phone, a account.Account) error{
			"change the password": func(b *portal.Browser, _ *portal.Phone, _ account.Account) error {
				b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill")
				return nil
			},
			"disable two-factor": func(b *portal.Browser, _ *portal.Phone, _ account.Account) error {
				b.Post("/settings/security/disable")
				return nil
			},
			"remove an authenticator": func(b *portal.Browser, phone *portal.Phone, _ account.Account) error {
				b.Post("/settings/security/authenticators/" + phone.ID + "/remove")
				return nil
			},
			"enroll an authenticator": func(b *portal.Browser, _ *portal.Phone, _ account.Account) error {
				b.Enroll("Tablet")
				return nil
			},
			"forget all browsers": func(b *portal.Browser, _ *portal.Phone, _ account.Account) error {
				b.Post("/settings/devices/forget-all")
				return nil
			},
			"operator's password": func(_ *portal.Browser, _ *portal.Phone, a account.Account) error {
				return p.Manage.Passwords.Set(ctx, manage.CommandLine(), a, "set by the operator")
			},
			"operator's reset": func(_ *portal.Browser, _ *portal.Phone, a account.Account) error {
				_, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), a, time.Hour)
				return err
			},
			"operator's disable": func(_ *portal.Browser, _ *portal.Phone, a account.Account) error {
				if err := p.Manage.Accounts.Disable(ctx, manage.CommandLine(), a); err != nil {
					return err
				}
				return p.Manage.Accounts.Enable(ctx, manage.CommandLine(), a)
			},
		} {
			name := strings.NewReplacer(" ", "-", "'", "").Replace(what)
			b, phone := portal.WithTwoFactor(t, p, name)
			ticket := portal.LetInTicket(t, b)
			testkit.Check(t, end(b, phone, portal.MustAccount(t, p, name)))
			if b.Last.Status >= http.StatusBadRequest {
				t.Fatalf("%s: %s, want success", what, portal.Summary(b.Last))
			}
			if a := p.Browser(t).Post("/setup", "ticket", ticket); a.Status != http.StatusNotFound {
				t.Errorf("%s, then open an earlier let-in link: %s, want 404", what, portal.Summary(a))
			}
		}
	})
}
