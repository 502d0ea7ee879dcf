package guessing

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestARightPasswordCountsAsNoWrongOne checks that right passwords aren't counted as wrong ones, even
// in requests that fail for another reason.
func TestARightPasswordCountsAsNoWrongOne(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		from := login.Browser{Address: netip.MustParseAddr("192.0.2.1")}
		const tries = 12
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		token := b.Cookie(portal.SessionCookie)
		held, owner, err := session.ByToken(ctx, p.DB.Reader(), token, p.Login.Life, p.Clock.Now())
		testkit.Check(t, err)
		b.Post("/logout")
		for range tries {
			_, err := p.Manage.Passwords.Change(ctx, login.Me{Session: held, Account: owner, From: login.Browser{Address: from.Address, Session: token}}, portal.Password, "seven lamps on a sill")
			if !errors.Is(err, login.ErrGone) {
				t.Fatalf("change the password in a session that has ended: got %v, want %v", err, login.ErrGone)
			}
		}
		testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
			_, err := db.Exec(ctx, tx, `UPDATE passwords SET suspect_at = changed_at`)
			return err
		}))
		for range tries {
			if _, err := p.Login.SubmitPassword(ctx, login.Credentials{Username: "ada", Password: portal.Password, ReturnURL: "/"}, from); !errors.Is(err, login.ErrPasswordEnded) {
				t.Fatalf("submit a suspect password: got %v, want %v", err, login.ErrPasswordEnded)
			}
		}
	})
}
