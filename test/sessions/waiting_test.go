package sessions

// Requests that wait for the lock on an account's row while a change holds it: what they read
// before they waited may no longer be true.

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// inOrder runs change and request, both of which lock the account's row. request begins before
// change has committed, and gets the lock after it. inOrder returns request's error. SQLite has one
// writer at a time, so the portal must use PostgreSQL.
func inOrder(t *testing.T, p *portal.Portal, accountID string, change, request func() error) error {
	t.Helper()
	changed, requested := make(chan error, 1), make(chan error, 1)
	waiting := func(n int) {
		testkit.Until(t, fmt.Sprint(n, " transactions wait for the lock"), func() bool {
			return portal.CountRows(t, p, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == n
		})
	}
	testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
		// Don't use account.Lock, which makes a new version of the row: only while the row's
		// version stays does PostgreSQL serve those that wait for it in order.
		var id string
		if err := db.One(t.Context(), tx, `SELECT id FROM accounts WHERE id = $1 FOR UPDATE`, []any{accountID}, &id); err != nil {
			return err
		}
		go func() { changed <- change() }()
		waiting(1)
		go func() { requested <- request() }()
		waiting(2)
		return nil
	}))
	testkit.Check(t, <-changed)
	return <-requested
}

// markSuspect marks the account's password as suspect.
func markSuspect(t *testing.T, p *portal.Portal, a account.Account) {
	t.Helper()
	testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
		_, err := password.MarkSuspect(t.Context(), tx, a.ID, p.Clock.Now())
		return err
	}))
}

// TestALinkThatIsRevokedWhileItsRedemptionWaitsDoesNothing redeems a link of each kind while a
// change that revokes it holds the account's lock.
func TestALinkThatIsRevokedWhileItsRedemptionWaitsDoesNothing(t *testing.T) {
	t.Parallel()
	p, operator := portal.Start(t, "postgres"), manage.CommandLine()
	links := map[ticket.Kind]func(a account.Account) (link string, err error){
		ticket.Enroll: func(a account.Account) (string, error) {
			testkit.Check(t, p.Manage.Passwords.Set(t.Context(), operator, a, portal.Password))
			markSuspect(t, p, a)
			link, err := p.Manage.Authenticators.ResetTwoFactor(t.Context(), operator, a, ticket.MaxLife)
			return link.Reveal(), err
		},
		ticket.LetIn: func(a account.Account) (string, error) {
			link, err := p.Manage.Links.LetIn(t.Context(), operator, a)
			return link.Reveal(), err
		},
		ticket.Invitation: func(a account.Account) (string, error) {
			link, _, err := p.Manage.Accounts.Invite(t.Context(), operator, a)
			return link.Reveal(), err
		},
	}
	changes := map[string]func(a account.Account) error{
		"disable": func(a account.Account) error { return p.Manage.Accounts.Disable(t.Context(), operator, a) },
		"remove":  func(a account.Account) error { return p.Manage.Accounts.Remove(t.Context(), operator, a) },
		"password": func(a account.Account) error {
			return p.Manage.Passwords.Set(t.Context(), operator, a, "chosen by the operator 4")
		},
		"again": func(a account.Account) error { // a newer link of either kind
			if since, err := password.ChangedAt(t.Context(), p.DB.Reader(), a.ID); err != nil || since.IsZero() {
				_, _, err = p.Manage.Accounts.Invite(t.Context(), operator, a)
				return err
			}
			_, err := p.Manage.Authenticators.ResetTwoFactor(t.Context(), operator, a, ticket.MaxLife)
			return err
		},
	}
	for kind, issue := range links {
		for what, change := range changes {
			if kind == ticket.LetIn && what == "again" {
				continue // for an account without a password that is an invitation
			}
			name := string(kind) + "." + what
			_, _, err := p.Manage.Accounts.Invite(t.Context(), operator, account.Account{Name: name})
			testkit.Check(t, err)
			a := portal.MustAccount(t, p, name)
			link, err := issue(a)
			testkit.Check(t, err)
			err = inOrder(t, p, a.ID, func() error { return change(a) }, func() error {
				if kind == ticket.LetIn {
					_, err := p.Manage.Links.RedeemLetIn(t.Context(), link, "", login.Browser{})
					return err
				}
				_, err := p.Manage.Links.Redeem(t.Context(), link, manage.NewOwner{Password: "chosen by the thief 77"}, login.Browser{})
				return err
			})
			if !errors.Is(err, ticket.ErrInvalid) {
				t.Errorf("link of kind %s that waited for the change %q: got %v, want ErrInvalid", kind, what, err)
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE account_id = $1`, a.ID); n != 0 {
				t.Errorf("link of kind %s that waited for the change %q made a browser known", kind, what)
			}
		}
	}
}

// TestAMailedLinkWaitsForAnotherAddressInVain redeems a mailed link while a change of the account's
// address holds the account's lock. The link must be refused, since the former address may be another
// person's.
func TestAMailedLinkWaitsForAnotherAddressInVain(t *testing.T) {
	t.Parallel()
	p, operator := portal.Start(t, "postgres", portal.WithMail...), manage.CommandLine()
	link := func(to string) string {
		_, _, token := portal.LastMail(t, p, to).Link()
		return token
	}
	_, _, err := p.Manage.Accounts.InviteByMail(t.Context(), operator, account.Account{Name: "ada", Email: "ada@example.com"})
	testkit.Check(t, err)
	p.AddAccount(t, "bob")
	portal.VerifyEmail(t, p, "bob")
	_, err = p.Manage.Links.LetInByMail(t.Context(), operator, portal.MustAccount(t, p, "bob"))
	testkit.Check(t, err)
	for name, redeem := range map[string]func(token string) error{
		"ada": func(token string) error {
			_, err := p.Manage.Links.Redeem(t.Context(), token, manage.NewOwner{Password: "chosen by the thief 77"}, login.Browser{})
			return err
		},
		"bob": func(token string) error {
			_, err := p.Manage.Links.RedeemLetIn(t.Context(), token, "bob", login.Browser{})
			return err
		},
	} {
		a, token := portal.MustAccount(t, p, name), link(name+"@example.com")
		err := inOrder(t, p, a.ID, func() error { return p.Manage.Accounts.SetEmail(t.Context(), operator, a, name+"@example.org") }, func() error { return redeem(token) })
		if !errors.Is(err, ticket.ErrInvalid) {
			t.Errorf("redeem a link to %s while the address changes: got %v, want ErrInvalid", name, err)
		}
	}
}

// TestLinksDoNothingWhileTheirAccountIsDisabled checks that a link that was issued after the
// disabling works only once the account is enabled.
func TestLinksDoNothingWhileTheirAccountIsDisabled(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, operator, ada := t.Context(), manage.CommandLine(), p.AddAccount(t, "ada")
		markSuspect(t, p, ada)
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, operator, ada))
		reset, err := p.Manage.Authenticators.ResetTwoFactor(ctx, operator, ada, ticket.MaxLife)
		testkit.Check(t, err)
		letIn, err := p.Manage.Links.LetIn(ctx, operator, ada)
		testkit.Check(t, err)
		use := func(want error) {
			t.Helper()
			for what, redeem := range map[string]func() error{
				"open": func() error { _, err := p.Manage.Links.Open(ctx, reset.Reveal()); return err },
				"let in": func() error {
					_, err := p.Manage.Links.RedeemLetIn(ctx, letIn.Reveal(), "", login.Browser{})
					return err
				},
			} {
				if err := redeem(); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", what, err, want)
				}
			}
		}
		use(ticket.ErrInvalid)
		testkit.Check(t, p.Manage.Accounts.Enable(ctx, operator, ada))
		use(nil)
	})
}

// TestASignInThatWaitsDoesNotBringBackTheOldPassword checks that a sign-in or a reauthentication, which
// stores a stronger hash of its password, doesn't overwrite a password that an operator has set
// meanwhile.
func TestASignInThatWaitsDoesNotBringBackTheOldPassword(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	const chosen = "chosen by the operator 4"
	for name, request := range map[string]func(me login.Me) error{
		"ada": func(me login.Me) error {
			_, err := p.Login.SubmitPassword(t.Context(), login.Credentials{Username: "ada", Password: portal.Password}, login.Browser{})
			return err
		},
		"bob": func(me login.Me) error {
			_, err := p.Login.Reauthenticate(t.Context(), me, login.Proofs{Password: portal.Password}, "/")
			if !errors.Is(err, login.ErrNoTOTP) && !errors.Is(err, login.ErrRejected) {
				return err
			}
			return nil // the code is missing
		},
	} {
		p.Login.Passwords = testkit.Quick
		b, _ := portal.WithTwoFactor(t, p, name)
		me := meOf(t, p, b)
		p.Login.Passwords.MemoryKiB *= 2
		err := inOrder(t, p, me.Account.ID, func() error {
			return p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), me.Account, chosen)
		}, func() error { return request(me) })
		if err != nil && !errors.Is(err, login.ErrNoAttempt) {
			t.Errorf("request of %s with the old password, while an operator sets another: got %v, want no error or ErrNoAttempt", name, err)
		}
		for typed, want := range map[string]bool{portal.Password: false, chosen: true} {
			got, err := password.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, p.Login.Passwords, me.Account.ID, typed)
			if err != nil || got.Match != want {
				t.Errorf("%s, after the operator set another password: %q matches: %v (%v), want %v", name, typed, got.Match, err, want)
			}
		}
	}
}

// TestWrongCodesThatWaitDoNotSuspectANewPassword enters the fifth wrong code, which makes the
// password suspect, while another password is being set.
func TestWrongCodesThatWaitDoNotSuspectANewPassword(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	_, phone := portal.WithTwoFactor(t, p, "ada")
	for range 4 {
		portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone))
	}
	last, ada := portal.PendingSignIn(t, p, "ada"), portal.MustAccount(t, p, "ada")
	p.Clock.Move(time.Second)
	testkit.Check(t, inOrder(t, p, ada.ID, func() error {
		return p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, "chosen by the operator 4")
	}, func() error {
		portal.TryCode(last, "/login/code", "code", portal.WrongCode(phone))
		return nil
	}))
	if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM passwords WHERE suspect_at IS NOT NULL`); n != 0 {
		t.Error("wrong codes from before made the new password suspect")
	}
}

// TestASignOutThatWaitsSparesARenewedSession checks that a sign-out at a panel with a copied token
// doesn't end the session if the owner's change of the password replaces the token first.
func TestASignOutThatWaitsSparesARenewedSession(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	me := meOf(t, p, b)
	var renewed secret.Text
	testkit.Check(t, inOrder(t, p, me.Account.ID, func() (err error) {
		renewed, err = p.Manage.Passwords.Change(t.Context(), me, portal.Password, "seven lamps on a sill")
		return err
	}, func() error {
		return p.Manage.Sessions.SignOutAtPanel(t.Context(), &access.Panel{Shared: true}, me.From.Session, login.Browser{})
	}))
	b.SetCookie(portal.SessionCookie, renewed.Reveal())
	portal.CheckSignedIn(t, b, "after a sign-out with the earlier token", true)
}
