package recovery

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestARobotOpensTheLinkThatLetsABrowserIn lets a robot open the link and submit every form before the
// owner. The robot isn't let in, and the owner still is.
func TestARobotOpensTheLinkThatLetsABrowserIn(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		laptop := p.Browser(t)
		ticket := portal.MailedUnlock(t, p, laptop, "ada")
		robot := p.Browser(t)
		for _, method := range []string{"HEAD", "GET", "OPTIONS", "GET"} {
			robot.Do(method, "/unlock?ticket="+ticket, nil, nil)
		}
		isForResetsOnly(t, robot, ticket)
		if a := reset(robot, ticket, chosen); a.Status != http.StatusNotFound {
			t.Errorf("set a password with the ticket of a link that lets a browser in: %s, want 404", portal.Summary(a))
		}
		code := portal.UnlockCode(t, robot, ticket)
		for range 4 {
			robot.Post("/unlock", "ticket", ticket)
			robot.Post("/unlock?ticket=" + ticket)
			typeCode(robot, code)
		}
		if mayTry(t, robot, "ada", portal.Password) {
			t.Error("the robot may try passwords, want 429")
		}
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE bucket = 'password'`)
		if a := typeCode(laptop, code); !isLetIn(a) {
			t.Errorf("the owner types the code after the robot did: %s, want the notice let_in", portal.Summary(a))
		}
		portal.CheckSignedIn(t, laptop, "let in", false)
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE bucket = 'password'`); after != before {
			t.Errorf("the bucket of wrong passwords has %d rows, want %d as before the browser was let in", after, before)
		}
		if mayTry(t, p.Browser(t), "ada", portal.Password) {
			t.Error("another browser may try passwords after the owner's browser was let in, want 429")
		}
	}, portal.BehindProxy)
}

// TestABrowserThatMailLetIn lets a browser in with a mailed link. The browser is known only after
// its first sign-in, and may try passwords for a day.
func TestABrowserThatMailLetIn(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		p.AddAccount(t, "bob")
		p.Clock.Move(time.Hour)
		letIn := func(b *portal.Browser, name string) {
			t.Helper()
			if a := b.Post("/unlock", "ticket", portal.MailedUnlock(t, p, b, name)); !isLetIn(a) {
				t.Fatalf("%s isn't let in: %s", name, portal.Summary(a))
			}
		}
		// Two accounts are let in to one browser; neither ends the other's right to try passwords.
		b, late := p.Browser(t), p.Browser(t)
		letIn(late, "ada")
		letIn(b, "ada")
		letIn(b, "bob")
		if mayTry(t, late, "ada", portal.Password) {
			t.Error("the first of two browsers that were let in to one account may still try passwords, want only the last")
		}
		if body := owner.Get("/settings/sessions").Body; strings.Count(body, "/forget\"") != 1 {
			t.Error("the Sessions tab doesn't list the owner's known browser alone")
		}
		portal.Mails(t, p)
		if a := b.SignIn("bob"); a.Location != "/" || !b.SignedIn() {
			t.Errorf("bob signs in: %s, want / and a session", portal.Summary(a))
		}
		b.Post("/logout")
		if a := b.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("ada's right password: %s, want /login/code", portal.Summary(a))
		}
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "ada", true)
		told := 0
		for _, m := range portal.Mails(t, p) {
			if m.To == "ada@example.com" && strings.Contains(m.Subject, "ew browser") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("ada got %d mails about a new browser, want one", told)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0`); n != 0 {
			t.Errorf("after the sign-ins, %d browsers are let in but haven't signed in, want none", n)
		}
		b.Post("/logout")
		if a := b.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("ada's right password in the browser that is known now: %s, want /login/code", portal.Summary(a))
		}

		letIn(late, "ada")
		p.Clock.Move(23 * time.Hour)
		testkit.Check(t, p.Sweep(context.Background()))
		portal.Shield(t, p, "ada")
		if !mayTry(t, late, "ada", "wrong") {
			t.Error("23 hours after it was let in, the browser may not try passwords, want that it may")
		}
		p.Clock.Move(2 * time.Hour)
		portal.Shield(t, p, "ada")
		if mayTry(t, late, "ada", portal.Password) {
			t.Error("25 hours after it was let in, the browser may still try passwords, want 429")
		}
		testkit.Check(t, p.Sweep(context.Background()))
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0`); n != 0 {
			t.Errorf("after the sweep, %d rows of browsers that were let in remain, want none", n)
		}
	}, portal.BehindProxy)
}
