package recovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestOneNetworkAsksSlowly checks that one network may ask for ten new passwords in an hour, whatever
// names it asks for.
func TestOneNetworkAsksSlowly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b := portal.FromNetwork(p.Browser(t), 7)
		for i := range 10 {
			if a := b.Post("/forgot", "username", fmt.Sprint("name", i)); a.Status != http.StatusSeeOther {
				t.Fatalf("request %d for a new password: %s, want 303", i, portal.Summary(a))
			}
		}
		if a := b.Post("/forgot", "username", "one more"); a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("the eleventh name within an hour: %s, want 429 with Retry-After", portal.Summary(a))
		}
		if a := portal.FromNetwork(p.Browser(t), 8).Post("/forgot", "username", "one more"); a.Status != http.StatusSeeOther {
			t.Errorf("a request from another network: %s, want 303", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// TestAttackD7LimitsDontJoinNameAndAddress asks from one network for a name and for its address. If
// both counted as one account, the network's limit would reveal whose address it is.
func TestAttackD7LimitsDontJoinNameAndAddress(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "known")
		portal.VerifyEmail(t, p, "known")
		for i, name := range []string{"known", "nobody"} {
			b := portal.FromNetwork(p.Browser(t), i+1)
			for range 4 { // one more than the mails of a day
				b.Post("/forgot", "username", name)
			}
			b.Post("/forgot", "username", name+"@example.com")
			admitted := 0
			for b.Post("/forgot", "username", fmt.Sprint("other", admitted)).Status == http.StatusSeeOther && admitted < 20 {
				admitted++
			}
			if admitted != 8 {
				t.Errorf("after requests for %s and its address, the network may ask for %d other names, want 8", name, admitted)
			}
		}
	}, portal.BehindProxy)
}

// TestStrangersCantUseUpTheOwnersMails checks that the owner's known browser still gets its mails of
// the day after a stranger has used up those for unknown browsers.
func TestStrangersCantUseUpTheOwnersMails(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "bob")
		owner, other := portal.FromNetwork(p.Browser(t), 1), portal.FromNetwork(p.Browser(t), 2)
		owner.SignIn("ada")
		other.SignIn("bob")
		to := portal.VerifyEmail(t, p, "ada")
		sent := func(b *portal.Browser) int {
			before := len(portal.Mails(t, p))
			b.Post("/forgot", "username", "ada")
			return len(portal.Mails(t, p)) - before
		}
		strangers := 0
		for range 5 {
			strangers += sent(other) // a known browser of bob's, unknown to ada's account
		}
		owners := 0
		for range 5 {
			owners += sent(owner)
		}
		if strangers != 3 || owners != 3 {
			t.Errorf("a stranger's requests sent %d mails and the owner's sent %d, want three each", strangers, owners)
		}
		// The link works in bob's browser, and bob stays signed in.
		if a := reset(other, lastTicket(t, p, to), chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("set ada's password in bob's browser: %s, want the notice password_set", portal.Summary(a))
		}
		if a := other.Get("/settings/profile"); !strings.Contains(a.Body, "bob") || strings.Contains(a.Body, to) {
			t.Errorf("bob's profile after the reset of ada's password: %s, want bob's name and not ada's address", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the owner's old session", false)
	}, portal.BehindProxy)
}

// TestARobotGainsAndSpoilsNothing lets a robot open the link and submit its form before the owner, as
// programs of mail servers do. The robot gains nothing, and the owner can still use the link.
func TestARobotGainsAndSpoilsNothing(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		owner := p.Browser(t)
		owner.SignIn("ada")
		ticket := portal.MailedReset(t, p, p.Browser(t), "ada")
		robot := p.Browser(t)
		for _, method := range []string{"HEAD", "GET", "OPTIONS", "GET"} {
			robot.Do(method, "/reset?ticket="+ticket, nil, nil)
		}
		isForResetsOnly(t, robot, ticket)
		robot.Post("/reset", "ticket", ticket)
		robot.Post("/reset", "ticket", ticket, "new_password", "", "username", "ada")
		robot.Post("/reset", "ticket", ticket, "new_password", "ada")
		robot.Post("/reset?ticket="+ticket, "new_password", chosen) // the portal ignores a ticket in the query
		portal.CheckSignedIn(t, robot, "the robot", false)
		portal.CheckSignedIn(t, owner, "the owner, after the robot", true)
		if a := reset(p.Browser(t), ticket, chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("the owner uses the link after the robot: %s, want the notice password_set", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the old session", false)
	})
}
