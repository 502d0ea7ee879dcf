package guessing

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// TestAResetLeavesNoBrowserKnown redeems let-in links, finishes sign-ins, opens the wizard and
// adds an authenticator while an operator resets the account. The reset must end every earlier known
// browser, session, authenticator and machine pass, and no transaction may run into a deadlock.
func TestAResetLeavesNoBrowserKnown(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		ctx := context.Background()
		for round := range 15 {
			ada := portal.MustAccount(t, p, "ada")
			open, confirm := pendingEnrollment(t, p, ada)
			link, err := p.Manage.Links.LetIn(ctx, manage.CommandLine(), ada)
			testkit.Check(t, err)
			from := login.Browser{UserAgent: "racer"}
			testkit.Race(6, func(i int) string {
				switch i {
				case 0:
					_, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), ada, time.Hour)
					testkit.Check(t, err)
				case 1:
					if _, err := p.Manage.Links.RedeemLetIn(ctx, link.Reveal(), "", from); err != nil && !errors.Is(err, ticket.ErrInvalid) {
						t.Errorf("redeem a let-in link during the reset: %v, want nil or ErrInvalid", err)
					}
				case 2:
					if err := confirm(); err != nil && !errors.Is(err, login.ErrGone) {
						t.Errorf("add an authenticator during the reset: %v, want nil or ErrGone", err)
					}
				case 3:
					if err := open(); err != nil && !errors.Is(err, login.ErrGone) {
						t.Errorf("open the wizard during the reset: %v, want nil or ErrGone", err)
					}
				default:
					if _, err := p.Login.SubmitPassword(ctx, login.Credentials{Username: "ada", Password: portal.Password, ReturnURL: "/"}, from); err != nil && !errors.Is(err, login.ErrNoAttempt) {
						t.Errorf("submit the password during the reset: %v, want nil or ErrNoAttempt", err)
					}
				}
				return ""
			})
			// Sessions that began after the reset stay; they have the account's new stamp.
			stamp := portal.MustAccount(t, p, "ada").Stamp
			sessions := portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions WHERE security_stamp = '`+stamp+`'`)
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices`); n > sessions {
				t.Fatalf("round %d: %d browsers are known after the reset, want at most the %d that signed in since", round, n, sessions)
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`); n > sessions {
				t.Fatalf("round %d: %d sessions after the reset, want only the %d that began since", round, n, sessions)
			}
			for _, table := range []string{"authenticators", "backup_codes", "passes"} {
				if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM `+table); n > 0 {
					t.Fatalf("round %d: %d rows of %s after the reset, want none", round, n, table)
				}
			}
			if after := portal.MustAccount(t, p, "ada"); !after.TwoFactorAt.IsZero() || !after.EnrollLocked {
				t.Fatalf("round %d: after the reset two-factor authentication is on: %v, enrolment is locked: %v; want off and locked", round, !after.TwoFactorAt.IsZero(), after.EnrollLocked)
			}
			testkit.Check(t, p.Manage.Accounts.Disable(ctx, manage.CommandLine(), portal.MustAccount(t, p, "ada")))
			testkit.Check(t, p.Manage.Accounts.Enable(ctx, manage.CommandLine(), portal.MustAccount(t, p, "ada")))
		}
	})
}

// pendingEnrollment signs in, makes a strong machine pass and begins an enrolment with a link of
// an operator. It returns the functions that read the enrolment and complete it.
func pendingEnrollment(t *testing.T, p *portal.Portal, a account.Account) (open, confirm func() error) {
	t.Helper()
	ctx := context.Background()
	link, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), a, time.Hour)
	testkit.Check(t, err)
	opened, err := p.Login.SubmitPassword(ctx, login.Credentials{Username: a.Name, Password: portal.Password, ReturnURL: "/"}, login.Browser{})
	testkit.Check(t, err)
	from := login.Browser{Session: opened.Session.Reveal(), Device: opened.Device.Reveal()}
	held, owner, err := session.ByToken(ctx, p.DB.Reader(), from.Session, p.Login.Life, p.Clock.Now())
	testkit.Check(t, err)
	me := login.Me{Session: held, Account: owner, From: from}
	scope, err := access.NewScope("https://radio.example", "/", "GET", "")
	testkit.Check(t, err)
	_, err = p.Manage.Passes.Create(ctx, manage.CommandLine(), owner, pass.Pass{Name: "script", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
	testkit.Check(t, err)
	id, err := p.Manage.Authenticators.BeginEnrollment(ctx, me, link.Reveal())
	testkit.Check(t, err)
	pending, err := p.Manage.Authenticators.Enrollment(ctx, me, id)
	testkit.Check(t, err)
	key, err := totp.ParseBase32(pending.Key.Reveal())
	testkit.Check(t, err)
	code := totp.Standard().CodeAt(key, p.Clock.Now())
	open = func() error {
		_, err := p.Manage.Authenticators.Enrollment(ctx, me, id)
		return err
	}
	confirm = func() error {
		_, err := p.Manage.Authenticators.ConfirmEnrollment(ctx, me, manage.Confirmation{ID: id, Code: code, Name: "Phone", Ticket: link.Reveal()})
		return err
	}
	return open, confirm
}

// TestBrowsersThatSwapAccountsDontDeadlock signs browsers in to each other's accounts at the
// same time. Each sign-in also ends the browser's session of the other account.
func TestBrowsersThatSwapAccountsDontDeadlock(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		names := []string{"ada", "bob"}
		browsers := make([]*portal.Browser, 4)
		for i := range browsers {
			if i < len(names) {
				p.AddAccount(t, names[i])
			}
			browsers[i] = p.Browser(t)
			browsers[i].SignIn(names[i%2])
		}
		for round := range 6 {
			got := testkit.Race(len(browsers), func(i int) string {
				a := browsers[i].Post("/login", "username", names[(i+round+1)%2], "password", portal.Password)
				if a.Status != http.StatusSeeOther {
					return portal.Summary(a)
				}
				return "in"
			})
			if got["in"] != len(browsers) {
				t.Fatalf("round %d: answers %v, want %d sign-ins", round, got, len(browsers))
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`); n != len(browsers) {
				t.Fatalf("round %d: %d sessions, want one for each of %d browsers", round, n, len(browsers))
			}
		}
	})
}
