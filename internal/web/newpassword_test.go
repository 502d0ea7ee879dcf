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
			// The stage can't be had before the code, nor skipped after it.
			if a := b.Get("/login/new-password"); a.Location != "/login/code" {
				t.Errorf("new password before the code: %d %s", a.Status, a.Location)
			}
			if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
				t.Fatalf("after the code: %d %s", a.Status, a.Location)
			}
			if a := b.Get("/login/code"); a.Location != "/login/new-password" {
				t.Errorf("code after the code: %d %s", a.Status, a.Location)
			}
			if b.SignedIn() {
				t.Fatal("signed in before the password was changed")
			}
			for typed, want := range map[string]string{
				"short":         "at least 15 characters",
				portal.Password: "your current password. Choose a different one",
			} {
				if a := b.Post("/login/new-password", "new_password", typed); a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, want) {
					t.Errorf("%q: %d, want 422 with %q", typed, a.Status, want)
				}
			}
			if a := b.Post("/login/new-password", "new_password", "a fresh long pass phrase"); a.Location != "/?notice=password_set" {
				t.Fatalf("new password: %d %s", a.Status, a.Location)
			}
			if !b.SignedIn() {
				t.Error("not signed in after the change")
			}
			if owner.SignedIn() {
				t.Error("another session outlived the change")
			}
			later := p.Browser(t)
			if a := later.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("old password: %d, want 422", a.Status)
			}
			p.Clock.Move(30e9)
			later.Post("/login", "username", "ada", "password", "a fresh long pass phrase")
			if a := later.Post("/login/code", "code", phone.Code(0)); a.Location != "/" {
				t.Errorf("next sign-in: %d %s, want no further change", a.Status, a.Location)
			}
		})
	}
}
