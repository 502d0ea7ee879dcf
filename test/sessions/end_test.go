package sessions

// How sessions end.

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack80SignOut(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b, tab, other := p.Browser(t), p.Browser(t), p.Browser(t)
		b.SignIn("ada")
		other.SignIn("ada")
		tab.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			if a := b.Do(method, "/logout", nil, nil); !portal.OneOf(a.Status, http.StatusNotFound, http.StatusMethodNotAllowed) {
				t.Errorf("%s /logout: %s, want 404 or 405", method, portal.Summary(a))
			}
		}
		if !tab.SignedIn() {
			t.Fatal("a request other than POST ended the session")
		}
		if a := b.Post("/logout"); a.Location != "/login?notice=signed_out" || b.Cookie(portal.SessionCookie) != "" {
			t.Errorf("sign-out: %s, want the notice signed_out and no session cookie", portal.Summary(a))
		}
		if tab.SignedIn() {
			t.Error("after the sign-out, a copy of the session cookie still works")
		}
		if !other.SignedIn() {
			t.Error("the sign-out ended another session")
		}
	})
}

// TestAttack80And81OnAnotherNode checks that a session that ends on one node has ended on the
// other node too.
func TestAttack80And81OnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 2)
	nodes[0].AddAccount(t, "ada")
	there := func(b *portal.Browser) *portal.Browser {
		copied := nodes[1].Browser(t)
		copied.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
		if !copied.SignedIn() {
			t.Fatal("the other node doesn't accept the session")
		}
		return copied
	}
	ctx := context.Background()
	for what, end := range map[string]func(b *portal.Browser){
		"sign-out": func(b *portal.Browser) { b.Post("/logout") },
		"password": func(*portal.Browser) {
			elsewhere := nodes[0].Browser(t)
			elsewhere.SignIn("ada")
			elsewhere.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
			elsewhere.Post("/settings/security/password", "password", "another long password", "new_password", portal.Password)
		},
		"revoke others": func(*portal.Browser) {
			elsewhere := nodes[0].Browser(t)
			elsewhere.SignIn("ada")
			elsewhere.Post("/settings/sessions/revoke-others")
		},
		"disable": func(*portal.Browser) {
			ada := portal.MustAccount(t, nodes[0], "ada")
			if err := nodes[0].Manage.Accounts.Disable(ctx, manage.CommandLine(), ada); err != nil {
				t.Fatal(err)
			}
			if err := nodes[0].Manage.Accounts.Enable(ctx, manage.CommandLine(), ada); err != nil {
				t.Fatal(err)
			}
		},
	} {
		b := nodes[0].Browser(t)
		b.SignIn("ada")
		copied := there(b)
		end(b)
		if copied.SignedIn() {
			t.Errorf("after %s, the other node still accepts the session", what)
		}
	}
}

// TestAttack81WhatEnds checks for each change which sessions, visits, attempts and passes it ends.
func TestAttack81WhatEnds(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		for what, c := range map[string]struct {
			own, others bool // whether these sessions stay open
			attempts    bool // whether attempts stay valid
			passes      bool // whether machine passes stay valid
			do          func(b *portal.Browser, phone *portal.Phone, name string)
		}{
			"rename": {true, true, true, true, func(b *portal.Browser, phone *portal.Phone, _ string) {
				b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine")
			}},
			"new backup codes": {true, true, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/security/backup-codes") }},
			"display name":     {true, true, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/profile", "display_name", "A") }},
			"password": {true, false, false, false, func(b *portal.Browser, _ *portal.Phone, _ string) {
				b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill")
			}},
			"enrolment": {true, false, false, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Enroll("Tablet") }},
			"removal": {true, false, false, false, func(b *portal.Browser, phone *portal.Phone, _ string) {
				b.Post("/settings/security/authenticators/" + phone.ID + "/remove")
			}},
			"disable": {true, false, false, false, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/security/disable") }},
			"operator's password": {false, false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				testkit.Check(t, p.Manage.Passwords.Set(ctx, manage.CommandLine(), portal.MustAccount(t, p, name), "set by the operator"))
			}},
			"operator's reset": {false, false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				_, err := p.Manage.Authenticators.ResetTwoFactor(ctx, manage.CommandLine(), portal.MustAccount(t, p, name), time.Hour)
				testkit.Check(t, err)
			}},
			"operator's disable": {false, false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				testkit.Check(t, p.Manage.Accounts.Disable(ctx, manage.CommandLine(), portal.MustAccount(t, p, name)))
			}},
			"operator's remove": {false, false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				testkit.Check(t, p.Manage.Accounts.Remove(ctx, manage.CommandLine(), portal.MustAccount(t, p, name)))
			}},
			"sign-out":      {false, true, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/logout") }},
			"revoke others": {true, false, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/sessions/revoke-others") }},
		} {
			name := strings.NewReplacer(" ", "-", "'", "").Replace(what)
			b, phone := portal.WithTwoFactor(t, p, name)
			others := []*portal.Browser{p.Browser(t), p.Browser(t)}
			for i, other := range others {
				other.SignIn(name)
				other.Post("/login/backup-code", "backup_code", phone.Codes[i])
				portal.CheckSignedIn(t, other, what+": another browser", true)
			}
			copied := p.Browser(t)
			copied.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
			pending := portal.PendingSignIn(t, p, name)
			account := portal.MustAccount(t, p, name)
			panels.OperatorsPass(t, p, account, panels.Radio, "/", "", "")
			c.do(b, phone, name)
			if b.Last.Status >= 400 {
				t.Fatalf("%s: %s, want success", what, portal.Summary(b.Last))
			}
			if got := b.SignedIn(); got != c.own {
				t.Errorf("after %q, the session that made the change is open: %v, want %v", what, got, c.own)
			}
			for _, other := range others {
				if got := other.SignedIn(); got != c.others {
					t.Errorf("after %q, another session is open: %v, want %v", what, got, c.others)
				}
			}
			// If the change ends other sessions, its own session gets a new token.
			if got := copied.SignedIn(); got != (c.own && c.others) && what != "revoke others" {
				t.Errorf("after %q, a copy of the session cookie works: %v, want %v", what, got, !got)
			}
			if got := pending.Get("/login/code").Status == http.StatusOK; got != c.attempts {
				t.Errorf("after %q, an earlier attempt is valid: %v, want %v", what, got, c.attempts)
			}
			left, err := pass.List(ctx, p.DB.Reader(), account.ID)
			testkit.Check(t, err)
			if got := len(left) > 0; got != c.passes {
				t.Errorf("after %q, a machine pass is valid: %v, want %v", what, got, c.passes)
			}
		}
	})
}

// TestAttackR17Stamp checks that sessions and attempts with another security stamp than the
// account's are refused, even while their rows exist.
func TestAttackR17Stamp(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		pending := portal.PendingSignIn(t, p, "ada")
		var stamp string
		testkit.Check(t, p.DB.Reader().QueryRowContext(context.Background(), `SELECT security_stamp FROM accounts`).Scan(&stamp))
		portal.ChangeRows(t, p, `UPDATE accounts SET security_stamp = 'another'`)
		if b.SignedIn() {
			t.Error("a session with another stamp is accepted")
		}
		for _, r := range portal.Routes(t) {
			if r.Needs == "Public" {
				continue
			}
			a := b.Do(r.Method, r.At(phone.ID), nil, http.Header{"Sec-Fetch-Site": {"same-origin"}})
			if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/login?return=") {
				t.Errorf("%s %s in a session with another stamp: %s, want 303 to /login", r.Method, r.Path, portal.Summary(a))
			}
		}
		for _, form := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			one := p.Browser(t)
			one.SetCookie(portal.AttemptCookie, pending.Cookie(portal.AttemptCookie))
			a := one.Post(form, "code", phone.Code(0), "backup_code", phone.Codes[0], "new_password", "another long password")
			if a.Location != "/login?notice=expired" {
				t.Errorf("POST %s in an attempt with another stamp: %s, want the notice expired", form, portal.Summary(a))
			}
		}
		portal.ChangeRows(t, p, `UPDATE accounts SET security_stamp = $1`, stamp)
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "code in the attempt once the stamp is its own again", true)
	})
}

func TestAttack82IdleAndAbsoluteEnd(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		idle, steady := p.Browser(t), p.Browser(t)
		idle.SignIn("ada")
		steady.SignIn("ada")
		// Pages that need no session don't keep one alive.
		p.Clock.Move(11 * time.Hour)
		idle.Get("/login")
		if !steady.SignedIn() {
			t.Fatal("a session ended after eleven hours")
		}
		p.Clock.Move(time.Hour)
		if idle.SignedIn() {
			t.Error("after twelve hours without requests, a session is still open")
		}
		if !steady.SignedIn() {
			t.Fatal("a session in use ended after twelve hours")
		}
		for hours := 12; hours+11 < 7*24; hours += 11 {
			p.Clock.Move(11 * time.Hour)
			if !steady.SignedIn() {
				t.Fatalf("a session in use ended after %d hours", hours+11)
			}
			// A reauthentication doesn't postpone the end.
			if a := steady.Post("/reauthenticate", "password", portal.Password, "return", "/"); a.Status != http.StatusSeeOther {
				t.Fatalf("reauthenticate: %s, want 303", portal.Summary(a))
			}
		}
		for p.Clock.Now().Sub(testkit.Start) < 7*24*time.Hour-time.Second {
			p.Clock.Move(min(time.Hour, 7*24*time.Hour-time.Second-p.Clock.Now().Sub(testkit.Start)))
			if !steady.SignedIn() {
				t.Fatal("a session in use ended before seven days")
			}
		}
		p.Clock.Move(time.Second)
		if steady.SignedIn() {
			t.Error("after seven days, a session is still open")
		}
		testkit.Check(t, p.Sweep(context.Background()))
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`); n != 0 {
			t.Errorf("after the sweep, %d rows of ended sessions are left, want none", n)
		}
	})
}

// TestSweepsFailByThemselves checks that the sweep deletes expired rows of all other tables if it can't
// delete those of one table.
func TestSweepsFailByThemselves(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.Browser(t).SignIn("ada")
		statements := []string{`CREATE TRIGGER stuck BEFORE DELETE ON devices BEGIN SELECT RAISE(ABORT, 'stuck'); END`}
		if _, err := p.DB.Path(); err != nil { // PostgreSQL
			statements = []string{
				`CREATE FUNCTION stuck() RETURNS trigger AS $$ BEGIN RAISE 'stuck'; END $$ LANGUAGE plpgsql`,
				`CREATE TRIGGER stuck BEFORE DELETE ON devices FOR EACH ROW EXECUTE FUNCTION stuck()`,
			}
		}
		for _, statement := range statements {
			testkit.Check(t, p.DB.Write(context.Background(), func(tx *db.Tx) error {
				_, err := db.Exec(context.Background(), tx, statement)
				return err
			}))
		}
		swept := []string{"sessions", "ledger"} // tables before and after devices in the sweep
		for _, table := range swept {
			if portal.CountRows(t, p, `SELECT COUNT(*) FROM `+table) == 0 {
				t.Fatalf("table %s has no rows to sweep", table)
			}
		}
		p.Clock.Move(10 * 365 * 24 * time.Hour)
		if err := p.Sweep(context.Background()); err == nil || !strings.Contains(err.Error(), "stuck") {
			t.Errorf("sweep with a table that fails: got %v, want its error", err)
		}
		for _, table := range swept {
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM `+table); n != 0 {
				t.Errorf("after the sweep, table %[2]s has %[1]d rows, want none", n, table)
			}
		}
	})
}

// TestWhatCannotBeReadCanBeEnded checks that an owner can remove authenticators of a kind that this
// version doesn't know, and revoke a pass whose proofs can't be read.
func TestWhatCannotBeReadCanBeEnded(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		b, phone := portal.WithTwoFactor(t, p, "ada")
		b.Enroll("Tablet")
		b.Enroll("Watch")
		scope, err := access.NewScope("https://radio.example", "/", "GET", "")
		testkit.Check(t, err)
		me := meOf(t, p, b)
		_, err = p.Manage.Passes.Create(ctx, manage.CommandLine(), me.Account, pass.Pass{Name: "script", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
		testkit.Check(t, err)
		all, err := pass.List(ctx, p.DB.Reader(), me.Account.ID)
		testkit.Check(t, err)
		portal.ChangeRows(t, p, `UPDATE passes SET proofs = 'smartcard::1'`)
		portal.ChangeRows(t, p, `UPDATE authenticators SET kind = 'smartcard'`)
		if err := p.Manage.Passes.Revoke(ctx, manage.Owner(me), me.Account, all[0].ID); err != nil {
			t.Errorf("revoke a pass that can't be read: got %v, want no error", err)
		}
		token, err := p.Manage.Authenticators.Remove(ctx, me, phone.ID)
		if err != nil {
			t.Fatalf("remove an authenticator of an unknown kind: got %v, want no error", err)
		}
		b.SetCookie(portal.SessionCookie, token.Reveal())
		if _, err := p.Manage.Authenticators.DisableTwoFactor(ctx, meOf(t, p, b)); err != nil {
			t.Errorf("disable two-factor authentication with authenticators of an unknown kind: got %v, want no error", err)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM passes`); n != 0 {
			t.Errorf("%d authenticators and passes are left, want none", n)
		}
	})
}
