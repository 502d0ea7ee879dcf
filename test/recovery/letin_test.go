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

// TestARobotOpensTheLinkThatLetsABrowserIn opens the link and submits every form before the person.
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
			t.Errorf("the link sets a password: %s", portal.Summary(a))
		}
		code := portal.UnlockCode(t, robot, ticket)
		for range 4 {
			robot.Post("/unlock", "ticket", ticket)
			robot.Post("/unlock?ticket=" + ticket)
			typeCode(robot, code)
		}
		if mayTry(t, robot, "ada", portal.Password) {
			t.Error("the robot may try passwords")
		}
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE bucket = 'password'`)
		if a := typeCode(laptop, code); !isLetIn(a) {
			t.Errorf("the person after the robot: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, laptop, "let in", false)
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE bucket = 'password'`); after != before {
			t.Error("letting the browser in changed the buckets")
		}
		if mayTry(t, p.Browser(t), "ada", portal.Password) {
			t.Error("letting one browser in emptied the bucket of the others")
		}
	}, portal.BehindProxy)
}

// TestABrowserThatMailLetIn follows such a browser to its first sign-in, and past its time.
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
		// Two people of a family are let in to one browser; neither ends the other's.
		b, late := p.Browser(t), p.Browser(t)
		letIn(late, "ada")
		letIn(b, "ada")
		letIn(b, "bob")
		if mayTry(t, late, "ada", portal.Password) {
			t.Error("two browsers of one account are let in")
		}
		if body := owner.Get("/settings/sessions").Body; strings.Count(body, "/forget\"") != 1 {
			t.Error("the Sessions tab shows the browser as known")
		}
		portal.Mails(t, p)
		if a := b.SignIn("bob"); a.Location != "/" || !b.SignedIn() {
			t.Errorf("bob: %s", portal.Summary(a))
		}
		b.Post("/logout")
		if a := b.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("ada: %s, want the code", portal.Summary(a))
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
			t.Errorf("ada was told of %d new browsers, want one", told)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0`); n != 0 {
			t.Errorf("after the sign-ins %d browsers are let in", n)
		}
		b.Post("/logout")
		if a := b.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("ada in the browser that is known now: %s", portal.Summary(a))
		}

		letIn(late, "ada")
		p.Clock.Move(23 * time.Hour)
		testkit.Check(t, p.Sweep(context.Background()))
		portal.Shield(t, p, "ada")
		if !mayTry(t, late, "ada", "wrong") {
			t.Error("after 23 hours the browser isn't let in any more")
		}
		p.Clock.Move(2 * time.Hour)
		portal.Shield(t, p, "ada")
		if mayTry(t, late, "ada", portal.Password) {
			t.Error("after 25 hours the browser is still let in")
		}
		testkit.Check(t, p.Sweep(context.Background()))
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0`); n != 0 {
			t.Errorf("after the sweep %d browsers are let in", n)
		}
	}, portal.BehindProxy)
}
