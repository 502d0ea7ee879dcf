package sessions

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// operatorChanges are changes that remove rows which a request may be about to read.
var operatorChanges = map[string]func(p *portal.Portal, a account.Account) error{
	"removal": func(p *portal.Portal, a account.Account) error {
		return p.Manage.Accounts.Remove(context.Background(), manage.CommandLine(), a)
	},
	"reset": func(p *portal.Portal, a account.Account) error {
		_, err := p.Manage.Authenticators.ResetTwoFactor(context.Background(), manage.CommandLine(), a, time.Hour)
		return err
	},
}

// checkNoFault repeats the requests of an account's owner. Each time an operator removes or resets
// the account before a different statement of the request. No answer may be an internal error or
// say that the database is unavailable, and only a change may be answered with [login.ErrGone].
func checkNoFault(t *testing.T, settings []string, owner string, doors func(t *testing.T, p *portal.Portal) map[string]door) {
	t.Helper()
	t.Parallel()
	operator := portal.Start(t, "postgres", settings...)
	p, between := interrupted(t, operator, settings...)
	all := doors(t, p)
	restore, a := saveAccounts(t, operator), portal.MustAccount(t, operator, owner)
	for name, d := range all {
		for what, change := range operatorChanges {
			interruptEach(t, operator, between, restore, func() {
				if err := change(operator, a); err != nil {
					t.Errorf("%s during %s: %v", what, name, err)
				}
			}, func() portal.Answer { return d.open(t, p) }, func(message int, a portal.Answer) {
				if a.Status >= http.StatusInternalServerError || a.Status == http.StatusNotFound && !d.gone {
					t.Errorf("%s, with the %s of the account before message %d to the database: %s, want no server error", name, what, message, portal.Summary(a))
				}
			})
		}
	}
}

func TestAttemptsThatEndBetweenTwoReads(t *testing.T) {
	checkNoFault(t, nil, "ada", func(t *testing.T, p *portal.Portal) map[string]door {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		wizard := b.BeginEnroll()
		held, pending := cookiesOf(b), cookiesOf(portal.PendingSignIn(t, p, "ada"))
		for range 2 { // the third wrong code writes a notice
			portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone))
		}
		p.AddAccount(t, "bob")
		bob := p.Browser(t)
		bob.SignIn("bob")
		return map[string]door{
			"the password, in a browser of another account": {path: "/login", cookies: cookiesOf(bob), form: []string{"username", "ada", "password", portal.Password}},
			"the form for a code":                           {path: "/login/code", cookies: pending},
			"a code":                                        {path: "/login/code", cookies: pending, form: []string{"code", phone.Code(0)}},
			"a wrong code":                                  {path: "/login/code", cookies: pending, form: []string{"code", portal.WrongCode(phone)}},
			"a backup code":                                 {path: "/login/backup-code", cookies: pending, form: []string{"backup_code", phone.Codes[0]}},
			"reauthentication":                              {path: "/reauthenticate", cookies: held, form: []string{"password", portal.Password, "code", phone.Code(0), "return", "/"}},
			"a wrong code of a new authenticator": {path: "/settings/security/authenticators/" + wizard.ID + "/confirm", cookies: held,
				form: []string{"code", portal.WrongCode(wizard), "name", "Tablet"}},
		}
	})
}

func TestNewPasswordOfAnAccountThatEndsBetweenTwoReads(t *testing.T) {
	checkNoFault(t, nil, "ada", func(t *testing.T, p *portal.Portal) map[string]door {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = changed_at`)
		b := portal.PendingSignIn(t, p, "ada")
		if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
			t.Fatalf("a code after a suspect password: %s, want the form for a new one", portal.Summary(a))
		}
		return map[string]door{"a new password": {path: "/login/new-password", cookies: cookiesOf(b), form: []string{"new_password", "seven lamps on a sill"}}}
	})
}

// On a shared host the portal reads the session that a form just opened or renewed.
func TestSessionOnASharedHostThatEndsBetweenTwoReads(t *testing.T) {
	const host = "http://video.test"
	file := panels.WriteConfig(t, "public_url: "+host+"\nshared_host: true\npanels: [{url: "+host+", upstream: 'http://127.0.0.1:9'}]\n")
	checkNoFault(t, []string{"SALLYPORT_CONFIG=" + file}, "ada", func(t *testing.T, p *portal.Portal) map[string]door {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.Header.Set("Accept", "text/html")
		b.SignIn("ada")
		begun := b.Post("/settings/security/authenticators", "password", portal.Password)
		if !strings.HasPrefix(begun.Location, "/settings/security/authenticators/") {
			t.Fatalf("the wizard doesn't open: %s", portal.Summary(begun))
		}
		p.Clock.Move(totp.Period)
		return map[string]door{
			"the password": {path: "/login", form: []string{"username", "ada", "password", portal.Password}},
			"a change":     {path: "/settings/security/authenticators", cookies: cookiesOf(b), form: []string{"password", portal.Password}, gone: true},
		}
	})
}

// TestCommandsForAnAccountThatIsGone calls the operator's functions with an account that another
// command removed after the test had read it. Each must return ErrNotFound.
func TestCommandsForAnAccountThatIsGone(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by, a := context.Background(), manage.CommandLine(), p.AddAccount(t, "ada")
		testkit.Check(t, p.Manage.Groups.Add(ctx, by, "ops"))
		testkit.Check(t, p.Manage.Accounts.Remove(ctx, by, a))
		for what, change := range map[string]func() error{
			"remove":        func() error { return p.Manage.Accounts.Remove(ctx, by, a) },
			"disable":       func() error { return p.Manage.Accounts.Disable(ctx, by, a) },
			"enable":        func() error { return p.Manage.Accounts.Enable(ctx, by, a) },
			"email":         func() error { return p.Manage.Accounts.SetEmail(ctx, by, a, "ada@example.com") },
			"password":      func() error { return p.Manage.Passwords.Set(ctx, by, a, "seven lamps on a sill") },
			"reset":         func() error { _, err := p.Manage.Authenticators.ResetTwoFactor(ctx, by, a, time.Hour); return err },
			"let-in link":   func() error { _, err := p.Manage.Links.LetIn(ctx, by, a); return err },
			"pass":          func() error { _, err := p.Manage.Passes.Create(ctx, by, a, pass.Pass{Name: "x"}); return err },
			"pass's end":    func() error { return p.Manage.Passes.Revoke(ctx, by, a, "x") },
			"join a group":  func() error { return p.Manage.Groups.Join(ctx, by, a, "ops") },
			"leave a group": func() error { return p.Manage.Groups.Leave(ctx, by, a, "ops") },
		} {
			if err := change(); !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s for an account that is removed: got %v, want ErrNotFound", what, err)
			}
		}
	})
}
