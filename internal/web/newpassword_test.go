package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestSuspectPasswordMustBeChangedAfterTheCode(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			owner := p.Browser(t)
			owner.SignIn("ada")
			phone := owner.Enroll("Phone")
			err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
				_, err := db.Exec(context.Background(), tx, `UPDATE passwords SET suspect_at = $2 WHERE account_id = $1`, ada.ID, db.At{Time: p.Clock.Now()})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}

			b := p.Browser(t)
			b.SignIn("ada")
			// The stage can't be reached before the code, nor skipped after it.
			if a := b.Get("/login/new-password"); a.Location != "/login/code" {
				t.Errorf("the page for a new password before the code: status %d, redirect to %q, want /login/code", a.Status, a.Location)
			}
			if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
				t.Fatalf("after the code: status %d, redirect to %q, want /login/new-password", a.Status, a.Location)
			}
			if a := b.Get("/login/code"); a.Location != "/login/new-password" {
				t.Errorf("the page for the code after the code: status %d, redirect to %q, want /login/new-password", a.Status, a.Location)
			}
			if b.SignedIn() {
				t.Fatal("the browser is signed in before the password was changed")
			}
			for typed, want := range map[string]string{
				"short":         "at least 15 characters",
				portal.Password: "your current password. Choose a different one",
			} {
				if a := b.Post("/login/new-password", "new_password", typed); a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, want) {
					t.Errorf("new password %q: status %d, want 422 with %q", typed, a.Status, want)
				}
			}
			if a := b.Post("/login/new-password", "new_password", "a fresh long pass phrase"); a.Location != "/?notice=password_set" {
				t.Fatalf("valid new password: status %d, redirect to %q, want the start page with a notice", a.Status, a.Location)
			}
			if !b.SignedIn() {
				t.Error("the browser isn't signed in after the change")
			}
			if owner.SignedIn() {
				t.Error("the account's other session didn't end with the change")
			}
			later := p.Browser(t)
			if a := later.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("sign-in with the old password: status %d, want 422", a.Status)
			}
			p.Clock.Move(30e9)
			later.Post("/login", "username", "ada", "password", "a fresh long pass phrase")
			if a := later.Post("/login/code", "code", phone.Code(0)); a.Location != "/" {
				t.Errorf("next sign-in: status %d, redirect to %q, want / without another change", a.Status, a.Location)
			}
		})
	}
}
