package sallyport_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// at is the portal as it answers at an address: HAProxy's, or a node's own.
func (c *cluster) at(t *testing.T, address string) *portal.Portal {
	t.Helper()
	return &portal.Portal{Portal: &server.Portal{DB: testkit.Open(t, c.database)}, Base: c.Base, At: strings.TrimPrefix(address, "http://")}
}

// AtOnce are as many as fit into the budget of wrong passwords beside each other.
const AtOnce = 9

// ATTACKS 2, 30, 44, 80, where a balancer hands each request to another node.
func TestAttacksOnThreeNodes(t *testing.T) {
	t.Parallel()
	const rounds = 12
	c := startCluster(t, 2*rounds+4)
	p := c.at(t, c.Base)
	pending := func(o *Owner) []*portal.Browser {
		tabs := make([]*portal.Browser, AtOnce)
		for i := range tabs {
			tabs[i] = p.Browser(t)
			tabs[i].Header.Set("X-Forwarded-For", NetworkAddress(i))
			if a := tabs[i].SignIn(o.Name); a.Location != "/login/code" {
				t.Fatalf("password of %s: %s", o.Name, Summary(a))
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
			before := CountRows(t, p, SessionsOfQuery, o.Name)
			got := testkit.Race(AtOnce, func(i int) string { return TryCode(tabs[i], path, field, code) })
			for _, b := range tabs {
				nodes[b.Last.Header.Get(nodeHeader)] = true
			}
			if got[OutcomePassed] != 1 || CountRows(t, p, SessionsOfQuery, o.Name) != before+1 {
				t.Errorf("%s: %v, want one session", path, got)
			}
		}
		if len(nodes) != len(c.nodes) {
			t.Errorf("%v answered, want every node", nodes)
		}
	})
	t.Run("one budget", func(t *testing.T) {
		o := c.Owners[2*rounds]
		tabs, wrong := pending(o), OtherThan(o.Secret)
		got := testkit.Race(AtOnce, func(i int) string { return TryCode(tabs[i], "/login/code", "code", wrong) })
		if n := UnitsUsed(t, p, o.Name, "code"); n != 5 || got[OutcomeWrong] > 5 || got[OutcomePassed] > 0 {
			t.Errorf("%v, and %d units; want 5 compared", got, n)
		}
		for range c.nodes {
			b := p.Browser(t)
			b.SignIn(o.Name)
			if got := TryCode(b, "/login/code", "code", o.CodeNow()); got != OutcomeTwoCodes {
				t.Errorf("a right code afterwards: %s", got)
			}
		}
	})
	t.Run("one end", func(t *testing.T) {
		const page = Radio + "/page"
		b := Visit(t, p, c.Owners[1].Name, page)
		session, entry := b.Cookie(SessionCookie), b.CookieAt(Radio, "sallyport-visit")
		var there []*portal.Browser
		for _, one := range c.nodes {
			b := c.at(t, one.Base).Browser(t)
			b.SetCookie(SessionCookie, session)
			b.SetCookieAt(Radio, "sallyport-visit", entry)
			if Received(t, Navigate(b, page)); !b.SignedIn() {
				t.Fatalf("%s doesn't know the session", one.Name)
			}
			there = append(there, b)
		}
		if a := b.Post("/logout"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-out: %s", Summary(a))
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
