package nodes

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// Attacks 2, 30, 44 and 80, where a balancer hands each request to another node.
func TestAttacksOnThreeNodes(t *testing.T) {
	t.Parallel()
	const rounds = 12
	c := startCluster(t, 2*rounds+4)
	p := c.at(t, c.Base)
	pending := func(o *sallyport.Owner) []*portal.Browser {
		tabs := make([]*portal.Browser, sallyport.AtOnce)
		for i := range tabs {
			tabs[i] = p.Browser(t)
			tabs[i].Header.Set("X-Forwarded-For", portal.NetworkAddress(i))
			if a := tabs[i].SignIn(o.Name); a.Location != "/login/code" {
				t.Fatalf("password of %s: %s", o.Name, portal.Summary(a))
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
			got := testkit.Race(sallyport.AtOnce, func(i int) string { return portal.TryCode(tabs[i], path, field, code) })
			for _, b := range tabs {
				nodes[b.Last.Header.Get(nodeHeader)] = true
			}
			if got[portal.OutcomePassed] != 1 || portal.CountRows(t, p, portal.SessionsOfQuery, o.Name) != before+1 {
				t.Errorf("%s: %v, want one session", path, got)
			}
		}
		if len(nodes) != len(c.nodes) {
			t.Errorf("%v answered, want every node", nodes)
		}
	})
	t.Run("one budget", func(t *testing.T) {
		o := c.Owners[2*rounds]
		tabs, wrong := pending(o), sallyport.OtherThan(o.Secret)
		got := testkit.Race(sallyport.AtOnce, func(i int) string { return portal.TryCode(tabs[i], "/login/code", "code", wrong) })
		if n := portal.UnitsUsed(t, p, o.Name, "code"); n != 5 || got[portal.OutcomeWrong] > 5 || got[portal.OutcomePassed] > 0 {
			t.Errorf("%v, and %d units; want 5 compared", got, n)
		}
		for range c.nodes {
			b := p.Browser(t)
			b.SignIn(o.Name)
			if got := portal.TryCode(b, "/login/code", "code", o.CodeNow()); got != portal.OutcomeTwoCodes {
				t.Errorf("a right code afterwards: %s", got)
			}
		}
	})
	t.Run("one end", func(t *testing.T) {
		const page = panels.Radio + "/page"
		b := panels.Visit(t, p, c.Owners[1].Name, page)
		session, entry := b.Cookie(portal.SessionCookie), b.CookieAt(panels.Radio, "sallyport-visit")
		var there []*portal.Browser
		for _, one := range c.nodes {
			b := c.at(t, one.Base).Browser(t)
			b.SetCookie(portal.SessionCookie, session)
			b.SetCookieAt(panels.Radio, "sallyport-visit", entry)
			if panels.Received(t, panels.Navigate(b, page)); !b.SignedIn() {
				t.Fatalf("%s doesn't know the session", one.Name)
			}
			there = append(there, b)
		}
		if a := b.Post("/logout"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-out: %s", portal.Summary(a))
		}
		for i, b := range there {
			if b.SignedIn() {
				t.Errorf("%s still opens the portal", c.nodes[i].Name)
			}
			testkit.Until(t, "refusal by "+c.nodes[i].Name, func() bool {
				return b.Do(http.MethodGet, page, nil, nil).Status == http.StatusUnauthorized
			})
		}
	})
}
