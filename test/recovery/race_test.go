package recovery

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// rounds is how often each race is run, each time for another account.
const rounds = 4

// place is an account before a race: its owner and a thief use browsers at different nodes.
type place struct {
	t      *testing.T
	nodes  []*portal.Portal
	name   string
	first  string // the owner's address
	thief  *portal.Browser
	number int // counts the browsers, so that each has its own network
}

// onNodes runs a race at one node on SQLite, and at three nodes on PostgreSQL.
func onNodes(t *testing.T, race func(p *place)) {
	t.Parallel()
	for engine, n := range map[string]int{"sqlite": 1, "postgres": 3} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			settings := []string{"SALLYPORT_MAIL_URL=file:" + t.TempDir() + "/mails", portal.WithMail[1], portal.BehindProxy}
			var nodes []*portal.Portal
			if n == 1 {
				nodes = append(nodes, portal.Start(t, engine, settings...))
			} else {
				nodes = portal.StartNodes(t, n, settings...)
			}
			for i := range rounds {
				p := &place{t: t, nodes: nodes, name: fmt.Sprint("ada", i), number: 100 * i}
				nodes[0].AddAccount(t, p.name)
				p.first = portal.VerifyEmail(t, nodes[0], p.name)
				p.thief = p.browser()
				p.thief.SignIn(p.name)
				race(p)
				p.pass(time.Hour) // so that the limits of changes don't apply to the next round
			}
		})
	}
}

// browser returns a new browser in a network of its own, at the next node.
func (p *place) browser() *portal.Browser {
	p.number++
	return portal.FromNetwork(p.nodes[p.number%len(p.nodes)].Browser(p.t), p.number)
}

func (p *place) pass(d time.Duration) { portal.MoveAll(p.nodes, d) }

// ticket returns the ticket of the newest link that was mailed to an address. It then moves the clocks,
// so that the next mail has a later time.
func (p *place) ticket(to string) string {
	p.t.Helper()
	ticket := lastTicket(p.t, p.nodes[0], to)
	p.pass(time.Second)
	return ticket
}

// asked asks for a new password, and returns the ticket of the link that is mailed to an address.
func (p *place) asked(to string) string {
	p.t.Helper()
	p.browser().Post("/forgot", "username", p.name)
	return p.ticket(to)
}

// confirmation asks in the thief's session for another address, and returns the ticket that confirms it.
func (p *place) confirmation(address string) string {
	p.t.Helper()
	p.thief.Post("/settings/profile/email", "email", address)
	return p.ticket(address)
}

// stolen gives the account the thief's address, and returns the ticket with which the owner restores
// the earlier one.
func (p *place) stolen(address string) string {
	p.t.Helper()
	if !p.confirm(p.confirmation(address)) {
		p.t.Fatalf("confirm an address in the thief's session: %s, want the notice email_confirmed", portal.Summary(p.thief.Last))
	}
	return p.ticket(p.first)
}

// The following four methods report whether the request succeeded.

func (p *place) confirm(ticket string) bool {
	return p.thief.Post("/settings/profile/email/confirm", "ticket", ticket).Location == "/settings/profile?notice=email_confirmed"
}

func (p *place) undo(b *portal.Browser, ticket string) bool {
	return b.Post("/undo-email", "ticket", ticket, "email", p.first).Location == "/login?notice=email_restored"
}

func (p *place) reset(b *portal.Browser, ticket, typed string) bool {
	return reset(b, ticket, typed).Location == "/login?notice=password_set"
}

func (p *place) opens(typed string) bool {
	b := p.browser()
	b.Post("/login", "username", p.name, "password", typed)
	return b.SignedIn()
}

// atOnce calls all functions at the same time and returns how many reported success.
func atOnce(all ...func() bool) (succeeded int) {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
	)
	for _, one := range all {
		group.Go(func() {
			if one() {
				mu.Lock()
				succeeded++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return succeeded
}

// isOwners fails the test unless the account has the owner's address again, the thief's session and the
// typed passwords don't open it, and its owner gets a new password by mail.
func (p *place) isOwners(typed ...string) {
	p.t.Helper()
	if got := portal.MustAccount(p.t, p.nodes[0], p.name).Email; got != p.first {
		p.t.Errorf("the address of %s is %s, want the owner's, %s", p.name, got, p.first)
	}
	if p.thief.SignedIn() {
		p.t.Errorf("the thief's session of %s is still open, want it ended", p.name)
	}
	for _, one := range append(typed, portal.Password) {
		if p.opens(one) {
			p.t.Errorf("%s: the earlier password %q still opens the account, want it refused", p.name, one)
		}
	}
	p.pass(time.Minute)
	if own := "the owner's own new phrase"; !p.reset(p.browser(), p.asked(p.first), own) || !p.opens(own) {
		p.t.Errorf("%s: the owner can't sign in with a new password that was set by mail", p.name)
	}
}

// The owner can restore the address while a thief with a session confirms a second one.
func TestAttackD10UndoRacesWithAnotherAddress(t *testing.T) {
	onNodes(t, func(p *place) {
		undo, second, owner := p.stolen("thief-"+p.name+"@example.net"), p.confirmation("second-"+p.name+"@example.net"), p.browser()
		undone := false
		atOnce(func() bool { return p.confirm(second) }, func() bool { undone = p.undo(owner, undo); return undone })
		if !undone {
			p.t.Errorf("%s: the owner restores the address: %s, want the notice email_restored", p.name, portal.Summary(owner.Last))
		}
		p.isOwners()
	})
}

// The owner can restore the address while a thief, who receives the account's mails, sets a password
// with a mailed link.
func TestAttackD10UndoRacesWithAReset(t *testing.T) {
	onNodes(t, func(p *place) {
		address := "thief-" + p.name + "@example.net"
		undo, owner, other := p.stolen(address), p.browser(), p.browser()
		link, undone := p.asked(address), false
		atOnce(func() bool { return p.reset(other, link, chosen) }, func() bool { undone = p.undo(owner, undo); return undone })
		if !undone {
			p.t.Errorf("%s: the owner restores the address: %s, want the notice email_restored", p.name, portal.Summary(owner.Last))
		}
		p.isOwners(chosen)
	})
}

// The owner can restore the address 71 hours after the change, although the thief has set a password.
func TestAttackD10UndoAfterAReset(t *testing.T) {
	onNodes(t, func(p *place) {
		address := "thief-" + p.name + "@example.net"
		undo := p.stolen(address)
		if !p.reset(p.browser(), p.asked(address), chosen) || !p.opens(chosen) {
			p.t.Fatal("the thief can't set a password by mail, which this test needs")
		}
		p.pass(71 * time.Hour)
		if !p.undo(p.browser(), undo) {
			p.t.Errorf("%s: the owner can't undo the change after 71 hours", p.name)
		}
		p.isOwners(chosen)
	})
}

// The link that restores an address ends 72 hours after its mail, which is sent within a minute.
func TestAttackD10TheUndoEnds(t *testing.T) {
	onNodes(t, func(p *place) {
		undo := p.stolen("thief-" + p.name + "@example.net")
		p.pass(72*time.Hour + 2*time.Minute)
		b := p.browser()
		if p.undo(b, undo) || b.Last.Status != http.StatusNotFound {
			p.t.Errorf("%s: restore the address after 72 hours: %s, want 404", p.name, portal.Summary(b.Last))
		}
	})
}

// A thief keeps an account until the owner's link has ended, and changes the address again. Thus the
// thief gets a link that restores the thief's first address. This link ends when an operator restores
// the owner's address.
func TestAttackD10AnOperatorsWordIsFinal(t *testing.T) {
	onNodes(t, func(p *place) {
		first, ctx := "thief-"+p.name+"@example.net", context.Background()
		p.stolen(first)
		p.pass(73 * time.Hour)
		p.thief = p.browser()
		p.thief.SignIn(p.name)
		if !p.confirm(p.confirmation("second-" + p.name + "@example.net")) {
			p.t.Fatal("the thief can't change the address again, which this test needs")
		}
		undo := p.ticket(first)
		err := p.nodes[0].Manage.Accounts.SetEmail(ctx, manage.CommandLine(), portal.MustAccount(p.t, p.nodes[0], p.name), p.first)
		if err != nil {
			p.t.Fatal(err)
		}
		b := p.browser()
		if b.Post("/undo-email", "ticket", undo, "email", first); b.Last.Status != http.StatusNotFound {
			p.t.Errorf("%s: restore the thief's address with the thief's link: %s, want 404", p.name, portal.Summary(b.Last))
		}
		if got := portal.MustAccount(p.t, p.nodes[0], p.name).Email; got != p.first {
			p.t.Errorf("the address of %s is %s, want the owner's, %s", p.name, got, p.first)
		}
	})
}

// Of four browsers that submit one link to restore the address at once, one succeeds.
func TestAttackD10OneUndo(t *testing.T) {
	onNodes(t, func(p *place) {
		undo := p.stolen("thief-" + p.name + "@example.net")
		var all []func() bool
		for range 4 {
			b := p.browser()
			all = append(all, func() bool { return p.undo(b, undo) })
		}
		if n := atOnce(all...); n != 1 {
			p.t.Errorf("%s: %d browsers undid the change with one link, want 1", p.name, n)
		}
		p.isOwners()
	})
}

// Of three requests at once with two links to a new password, one sets a password.
func TestAttackD5TwoLinksSetOnePassword(t *testing.T) {
	onNodes(t, func(p *place) {
		first, second := p.asked(p.first), p.asked(p.first)
		var all []func() bool
		for i, link := range []string{first, second, first} {
			b := p.browser()
			all = append(all, func() bool { return p.reset(b, link, fmt.Sprint(chosen, i)) })
		}
		if n := atOnce(all...); n != 1 {
			p.t.Errorf("%s: %d of three requests set a password, want 1", p.name, n)
		}
		opened := 0
		for i := range all {
			if p.opens(fmt.Sprint(chosen, i)) {
				opened++
			}
		}
		if opened != 1 || p.opens(portal.Password) {
			p.t.Errorf("%s: %d of the new passwords open the account, want one, and not the former", p.name, opened)
		}
	})
}

// If a link to a new password is submitted while a session changes the password or the address, one
// of the two requests succeeds, since each ends what the other needs.
func TestAttackD5AResetRacesWithAChange(t *testing.T) {
	onNodes(t, func(p *place) {
		link, other := p.asked(p.first), p.browser()
		byReset := "set with a mailed link"
		if n := atOnce(func() bool { return p.reset(other, link, byReset) }, func() bool {
			return p.thief.Post("/settings/security/password", "password", portal.Password, "new_password", chosen).Location == "/settings/security?notice=password_changed"
		}); n != 1 {
			p.t.Errorf("%s: of a reset and a change of the password %d succeeded, want 1; the answers: %s; %s", p.name, n, portal.Summary(other.Last), portal.Summary(p.thief.Last))
		}
		if byLink, bySession := p.opens(byReset), p.opens(chosen); byLink == bySession || p.opens(portal.Password) {
			p.t.Errorf("%s: the password set with the link opens the account: %v, the one set in the session: %v; want one of them, and not the former password", p.name, byLink, bySession)
		}
	})
	t.Run("address", func(t *testing.T) {
		onNodes(t, func(p *place) {
			link, other := p.asked(p.first), p.browser()
			moved := p.confirmation("new-" + p.name + "@example.org")
			if n := atOnce(func() bool { return p.reset(other, link, chosen) }, func() bool { return p.confirm(moved) }); n != 1 {
				p.t.Errorf("%s: of a reset and a change of the address %d succeeded, want 1", p.name, n)
			}
		})
	})
}
