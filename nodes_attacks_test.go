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
	return &portal.Portal{Portal: &server.Portal{DB: testkit.Open(t, c.database)}, Base: c.base, At: strings.TrimPrefix(address, "http://")}
}

// atOnce are as many as fit into the budget of wrong passwords beside each other.
const atOnce = 9

// ATTACKS 2, 30, 44, 80, where a balancer hands each request to another node.
func TestAttacksOnThreeNodes(t *testing.T) {
	t.Parallel()
	const rounds = 12
	c := startCluster(t, 2*rounds+4)
	p := c.at(t, c.base)
	pending := func(o *owner) []*portal.Browser {
		tabs := make([]*portal.Browser, atOnce)
		for i := range tabs {
			tabs[i] = p.Browser(t)
			tabs[i].Header.Set("X-Forwarded-For", network(i))
			if a := tabs[i].SignIn(o.name); a.Location != "/login/code" {
				t.Fatalf("password of %s: %s", o.name, short(a))
			}
		}
		return tabs
	}
	t.Run("one code", func(t *testing.T) {
		nodes := map[string]bool{}
		for round := range rounds {
			o := c.owners[2*round]
			tabs, path, field, code := pending(o), "/login/code", "code", ""
			if round%2 == 0 {
				code = o.codeNow()
			} else {
				path, field, code = "/login/backup-code", "backup_code", o.unused[0]
			}
			before := countRows(t, p, sessionsOf, o.name)
			got := testkit.Race(atOnce, func(i int) string { return tryCode(tabs[i], path, field, code) })
			for _, b := range tabs {
				nodes[b.Last.Header.Get(nodeHeader)] = true
			}
			if got[passed] != 1 || countRows(t, p, sessionsOf, o.name) != before+1 {
				t.Errorf("%s: %v, want one session", path, got)
			}
		}
		if len(nodes) != len(c.nodes) {
			t.Errorf("%v answered, want every node", nodes)
		}
	})
	t.Run("one budget", func(t *testing.T) {
		o := c.owners[2*rounds]
		tabs, wrong := pending(o), otherThan(o.secret)
		got := testkit.Race(atOnce, func(i int) string { return tryCode(tabs[i], "/login/code", "code", wrong) })
		if n := units(t, p, o.name, "code"); n != 5 || got[compared] > 5 || got[passed] > 0 {
			t.Errorf("%v, and %d units; want 5 compared", got, n)
		}
		for range c.nodes {
			b := p.Browser(t)
			b.SignIn(o.name)
			if got := tryCode(b, "/login/code", "code", o.codeNow()); got != twoCodes {
				t.Errorf("a right code afterwards: %s", got)
			}
		}
	})
	t.Run("one end", func(t *testing.T) {
		const page = radio + "/page"
		b := visit(t, p, c.owners[1].name, page)
		session, entry := b.Cookie(sessionCookie), b.CookieAt(radio, "sallyport-visit")
		var there []*portal.Browser
		for _, one := range c.nodes {
			b := c.at(t, one.base).Browser(t)
			b.SetCookie(sessionCookie, session)
			b.SetCookieAt(radio, "sallyport-visit", entry)
			if got(t, navigate(b, page)); !b.SignedIn() {
				t.Fatalf("%s doesn't know the session", one.name)
			}
			there = append(there, b)
		}
		if a := b.Post("/logout"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-out: %s", short(a))
		}
		for i, b := range there {
			if b.SignedIn() {
				t.Errorf("%s still opens the portal", c.nodes[i].name)
			}
			testkit.Until(t, "refusal by "+c.nodes[i].name, func() bool {
				return b.Do(http.MethodGet, page, nil, nil).Status == http.StatusUnauthorized
			})
		}
	})
}
