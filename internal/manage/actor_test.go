package manage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// An owner's request can name any account, but it changes only the owner's own.
func TestOwnerChangesNoOtherAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		p.AddAccount(t, "ada")
		bob := p.AddAccount(t, "bob")
		b := p.Browser(t)
		b.SignIn("ada")
		token := b.Cookie(portal.SessionCookie)
		held, ada, err := session.ByToken(ctx, p.DB.Reader(), token, p.Login.Life, p.Clock.Now())
		testkit.Check(t, err)
		scope, err := access.NewScope("https://radio.example.com", "/", "", "")
		testkit.Check(t, err)
		machine := pass.Pass{Name: "machine", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)}
		_, err = p.Manage.Passes.Create(ctx, manage.CommandLine(), bob, machine)
		testkit.Check(t, err)
		ofBob, err := pass.List(ctx, p.DB.Reader(), bob.ID)
		testkit.Check(t, err)

		owner := manage.Owner(login.Me{Session: held, Account: ada, From: login.Browser{Session: token}})
		changes := map[string]func(account.Account) error{
			"let-in link": func(a account.Account) error { _, err := p.Manage.Links.LetIn(ctx, owner, a); return err },
			"new pass":    func(a account.Account) error { _, err := p.Manage.Passes.Create(ctx, owner, a, machine); return err },
			"revocation":  func(a account.Account) error { return p.Manage.Passes.Revoke(ctx, owner, a, ofBob[0].ID) },
		}
		for name, change := range changes {
			if err := change(bob); !errors.Is(err, login.ErrGone) {
				t.Errorf("%s of another account: %v, want ErrGone", name, err)
			}
		}
		if err := changes["revocation"](ada); !errors.Is(err, login.ErrGone) {
			t.Errorf("revoking another account's pass as one's own: %v, want ErrGone", err)
		}
		left, err := pass.List(ctx, p.DB.Reader(), bob.ID)
		if err != nil || len(left) != 1 {
			t.Errorf("bob has %d passes, %v; want 1", len(left), err)
		}
		for _, name := range []string{"let-in link", "new pass"} {
			if err := changes[name](ada); err != nil {
				t.Errorf("%s of ada's own account: %v, want no error", name, err)
			}
		}
	})
}
