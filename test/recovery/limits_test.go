package recovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestOneNetworkAsksSlowly checks the limit on requests of one network, whatever name they have.
func TestOneNetworkAsksSlowly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b := portal.FromNetwork(p.Browser(t), 7)
		for i := range 10 {
			if a := b.Post("/forgot", "username", fmt.Sprint("name", i)); a.Status != http.StatusSeeOther {
				t.Fatalf("request %d: %s", i, portal.Summary(a))
			}
		}
		if a := b.Post("/forgot", "username", "one more"); a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("the eleventh name within an hour: %s, want 429 with Retry-After", portal.Summary(a))
		}
		if a := portal.FromNetwork(p.Browser(t), 8).Post("/forgot", "username", "one more"); a.Status != http.StatusSeeOther {
			t.Errorf("from another network: %s", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// TestAttackD7LimitsDontJoinNameAndAddress asks from one network for a name and for an address. If
// both counted as one account, the limit of the network would tell.
func TestAttackD7LimitsDontJoinNameAndAddress(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "known")
		portal.VerifyEmail(t, p, "known")
		for i, name := range []string{"known", "nobody"} {
			b := portal.FromNetwork(p.Browser(t), i+1)
			for range 4 { // past the limit of the day
				b.Post("/forgot", "username", name)
			}
			b.Post("/forgot", "username", name+"@example.com")
			admitted := 0
			for b.Post("/forgot", "username", fmt.Sprint("other", admitted)).Status == http.StatusSeeOther && admitted < 20 {
				admitted++
			}
			if admitted != 8 {
				t.Errorf("%s: %d other names are admitted, want 8", name, admitted)
			}
		}
	}, portal.BehindProxy)
}

// TestStrangersCantUseUpTheOwnersMails asks for another's account all day.
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
			strangers += sent(other) // it is known to another account
		}
		owners := 0
		for range 5 {
			owners += sent(owner)
		}
		if strangers != 3 || owners != 3 {
			t.Errorf("%d mails for a stranger and %d for the owner's browser, want three each", strangers, owners)
		}
		// The link works in a browser that another account uses, which stays signed in.
		if a := reset(other, lastTicket(t, p, to), chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("in another account's browser: %s", portal.Summary(a))
		}
		if a := other.Get("/settings/profile"); !strings.Contains(a.Body, "bob") || strings.Contains(a.Body, to) {
			t.Errorf("another account's browser, afterwards: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the owner's old session", false)
	}, portal.BehindProxy)
}

// TestARobotGainsAndSpoilsNothing opens the link and submits its form as programs of mail servers
// do before the person.
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
		robot.Post("/reset?ticket="+ticket, "new_password", chosen) // the ticket is read from the form alone
		portal.CheckSignedIn(t, robot, "the robot", false)
		portal.CheckSignedIn(t, owner, "the owner, after the robot", true)
		if a := reset(p.Browser(t), ticket, chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("the person's turn: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the old session", false)
	})
}
