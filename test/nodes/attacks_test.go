package nodes

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// TestAttacksOnThreeNodes runs attacks 2, 30, 44 and 80 in docs/attacks.md against nodes behind a
// load balancer that sends each request to the next node.
func TestAttacksOnThreeNodes(t *testing.T) {
	t.Parallel()
	const rounds = 12
	c := startCluster(t, 2*rounds+4)
	p := c.portalAt(t, c.Base)
	pending := func(o *sallyport.Owner) []*portal.Browser {
		tabs := make([]*portal.Browser, sallyport.ConcurrentAttempts)
		for i := range tabs {
			tabs[i] = p.Browser(t)
			tabs[i].Header.Set("X-Forwarded-For", portal.NetworkAddress(i))
			if a := tabs[i].SignIn(o.Name); a.Location != "/login/code" {
				t.Fatalf("submit the password of %s: %s, want /login/code", o.Name, portal.Summary(a))
			}
		}
		return tabs
	}
	t.Run("one code", func(t *testing.T) {
		nodes := map[string]bool{}
		for round := range rounds {
			o := c.Owners[2*round]
			tabs, path, field, code := pending(o), "/login/code", "code", ""
			if round%2 == 0 {
				code = o.CodeNow()
			} else {
				path, field, code = "/login/backup-code", "backup_code", o.Unused[0]
			}
			before := portal.CountRows(t, p, portal.SessionsOfQuery, o.Name)
			got := testkit.Race(sallyport.ConcurrentAttempts, func(i int) string { return portal.TryCode(tabs[i], path, field, code) })
			for _, b := range tabs {
				nodes[b.Last.Header.Get(proxies.NodeHeader)] = true
			}
			if got[portal.OutcomePassed] != 1 || portal.CountRows(t, p, portal.SessionsOfQuery, o.Name) != before+1 {
				t.Errorf("the same code from %d browsers at once to %s: %v, want one session", sallyport.ConcurrentAttempts, path, got)
			}
		}
		if len(nodes) != len(c.nodes) {
			t.Errorf("only %v answered, want every node", nodes)
		}
	})
	t.Run("one budget", func(t *testing.T) {
		o := c.Owners[2*rounds]
		tabs, wrong := pending(o), sallyport.WrongCode(o.Secret)
		got := testkit.Race(sallyport.ConcurrentAttempts, func(i int) string { return portal.TryCode(tabs[i], "/login/code", "code", wrong) })
		if n := portal.UnitsUsed(t, p, o.Name, "code"); n != 5 || got[portal.OutcomeWrong] > 5 || got[portal.OutcomePassed] > 0 {
			t.Errorf("%d wrong codes at once: %v, and %d units in the ledger; want 5 compared", sallyport.ConcurrentAttempts, got, n)
		}
		for range c.nodes {
			b := p.Browser(t)
			b.SignIn(o.Name)
			if got := portal.TryCode(b, "/login/code", "code", o.CodeNow()); got != portal.OutcomeTwoCodes {
				t.Errorf("right code past the budget: %s, want %s", got, portal.OutcomeTwoCodes)
			}
		}
	})
	t.Run("one end", func(t *testing.T) {
		const page = panels.Radio + "/page"
		b := panels.Visit(t, p, c.Owners[1].Name, page)
		session, entry := b.Cookie(portal.SessionCookie), b.CookieAt(panels.Radio, "sallyport-visit")
		var there []*portal.Browser
		for _, one := range c.nodes {
			b := c.portalAt(t, one.Base).Browser(t)
			b.SetCookie(portal.SessionCookie, session)
			b.SetCookieAt(panels.Radio, "sallyport-visit", entry)
			if panels.Received(t, panels.Navigate(b, page)); !b.SignedIn() {
				t.Fatalf("%s doesn't accept the session", one.Name)
			}
			there = append(there, b)
		}
		if a := b.Post("/logout"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-out: %s, want 303", portal.Summary(a))
		}
		for i, b := range there {
			if b.SignedIn() {
				t.Errorf("after the sign-out, %s still accepts the session", c.nodes[i].Name)
			}
			testkit.Until(t, "refusal by "+c.nodes[i].Name, func() bool {
				return b.Do(http.MethodGet, page, nil, nil).Status == http.StatusUnauthorized
			})
		}
	})
}
