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

// place is an account before a race: an owner who is at one node, and a thief at another.
type place struct {
	t      *testing.T
	nodes  []*portal.Portal
	name   string
	first  string // the owner's address
	thief  *portal.Browser
	number int // of browsers so far
}

// onNodes runs a race on SQLite, and on three nodes with PostgreSQL, whose browsers take turns.
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
				p.pass(time.Hour) // for the limits of changes
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

// ticket returns that of the newest link that an address got. The next mail is newer.
func (p *place) ticket(to string) string {
	p.t.Helper()
	ticket := lastTicket(p.t, p.nodes[0], to)
	p.pass(time.Second)
	return ticket
}

// asked returns the ticket of a link to a new password.
func (p *place) asked(to string) string {
	p.t.Helper()
	p.browser().Post("/forgot", "username", p.name)
	return p.ticket(to)
}

// confirmation returns the ticket with which the thief's session confirms another address.
func (p *place) confirmation(address string) string {
	p.t.Helper()
	p.thief.Post("/settings/profile/email", "email", address)
	return p.ticket(address)
}

// stolen gives the account the thief's address, and returns the ticket with which the owner takes
// it back.
func (p *place) stolen(address string) string {
	p.t.Helper()
	if !p.confirm(p.confirmation(address)) {
		p.t.Fatalf("the session can't confirm an address: %s", portal.Summary(p.thief.Last))
	}
	return p.ticket(p.first)
}

// The following report whether they succeeded.

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

// atOnce does all at the same time and returns how many succeeded.
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

// isOwners fails the test unless the account has the owner's address again, and only its owner can
// still get in.
func (p *place) isOwners(typed ...string) {
	p.t.Helper()
	if got := portal.MustAccount(p.t, p.nodes[0], p.name).Email; got != p.first {
		p.t.Errorf("%s: the address is %s, want %s", p.name, got, p.first)
	}
	if p.thief.SignedIn() {
		p.t.Errorf("%s: the thief is still signed in", p.name)
	}
	for _, one := range append(typed, portal.Password) {
		if p.opens(one) {
			p.t.Errorf("%s: the thief's password %q still opens the account", p.name, one)
		}
	}
	p.pass(time.Minute)
	if own := "the owner's own new phrase"; !p.reset(p.browser(), p.asked(p.first), own) || !p.opens(own) {
		p.t.Errorf("%s: the owner gets no new password by mail", p.name)
	}
}

// A thief with a session confirms a second address while the owner undoes the first.
func TestAttackD10UndoRacesWithAnotherAddress(t *testing.T) {
	onNodes(t, func(p *place) {
		undo, second, owner := p.stolen("thief-"+p.name+"@example.net"), p.confirmation("second-"+p.name+"@example.net"), p.browser()
		undone := false
		atOnce(func() bool { return p.confirm(second) }, func() bool { undone = p.undo(owner, undo); return undone })
		if !undone {
			p.t.Errorf("%s: the owner can't undo the change: %s", p.name, portal.Summary(owner.Last))
		}
		p.isOwners()
	})
}

// A thief with the address sets a password with a mailed link while the owner undoes the address.
func TestAttackD10UndoRacesWithAReset(t *testing.T) {
	onNodes(t, func(p *place) {
		address := "thief-" + p.name + "@example.net"
		undo, owner, other := p.stolen(address), p.browser(), p.browser()
		link, undone := p.asked(address), false
		atOnce(func() bool { return p.reset(other, link, chosen) }, func() bool { undone = p.undo(owner, undo); return undone })
		if !undone {
			p.t.Errorf("%s: the owner can't undo the change: %s", p.name, portal.Summary(owner.Last))
		}
		p.isOwners(chosen)
	})
}

// The thief resets the password first, in peace. The owner can still undo both.
func TestAttackD10UndoAfterAReset(t *testing.T) {
	onNodes(t, func(p *place) {
		address := "thief-" + p.name + "@example.net"
		undo := p.stolen(address)
		if !p.reset(p.browser(), p.asked(address), chosen) || !p.opens(chosen) {
			p.t.Fatal("the thief can't reset the password")
		}
		p.pass(71 * time.Hour)
		if !p.undo(p.browser(), undo) {
			p.t.Errorf("%s: the owner can't undo the change after 71 hours", p.name)
		}
		p.isOwners(chosen)
	})
}

// The link to undo ends after 72 hours, and a minute in which its mail may be sent.
func TestAttackD10TheUndoEnds(t *testing.T) {
	onNodes(t, func(p *place) {
		undo := p.stolen("thief-" + p.name + "@example.net")
		p.pass(72*time.Hour + 2*time.Minute)
		b := p.browser()
		if p.undo(b, undo) || b.Last.Status != http.StatusNotFound {
			p.t.Errorf("%s: after 72 hours: %s, want 404", p.name, portal.Summary(b.Last))
		}
	})
}

// A thief who has the account for longer than the owner's link works changes the address again, and
// so gets a link that restores the first of the thief's addresses. It ends when an operator gives
// the account its owner's address back.
func TestAttackD10AnOperatorsWordIsFinal(t *testing.T) {
	onNodes(t, func(p *place) {
		first, ctx := "thief-"+p.name+"@example.net", context.Background()
		p.stolen(first)
		p.pass(73 * time.Hour)
		p.thief = p.browser()
		p.thief.SignIn(p.name)
		if !p.confirm(p.confirmation("second-" + p.name + "@example.net")) {
			p.t.Fatal("the thief can't change the address again")
		}
		undo := p.ticket(first)
		err := p.nodes[0].Manage.Accounts.SetEmail(ctx, manage.CommandLine(), portal.MustAccount(p.t, p.nodes[0], p.name), p.first)
		if err != nil {
			p.t.Fatal(err)
		}
		b := p.browser()
		if b.Post("/undo-email", "ticket", undo, "email", first); b.Last.Status != http.StatusNotFound {
			p.t.Errorf("%s: the thief's link: %s, want 404", p.name, portal.Summary(b.Last))
		}
		if got := portal.MustAccount(p.t, p.nodes[0], p.name).Email; got != p.first {
			p.t.Errorf("%s: the address is %s, want %s", p.name, got, p.first)
		}
	})
}

// Four browsers submit one link to undo at once.
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

// Two links to a new password, and one link at two nodes, are submitted at once.
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

// A link to a new password is submitted while its account changes: of the two, one succeeds, since
// each ends what the other needs.
func TestAttackD5AResetRacesWithAChange(t *testing.T) {
	onNodes(t, func(p *place) {
		link, other := p.asked(p.first), p.browser()
		byReset := "set with a mailed link"
		if n := atOnce(func() bool { return p.reset(other, link, byReset) }, func() bool {
			return p.thief.Post("/settings/security/password", "password", portal.Password, "new_password", chosen).Location == "/settings/security?notice=password_changed"
		}); n != 1 {
			p.t.Errorf("%s: %d of a reset and a change of the password succeeded, want 1: %s; %s", p.name, n, portal.Summary(other.Last), portal.Summary(p.thief.Last))
		}
		if byLink, byOwner := p.opens(byReset), p.opens(chosen); byLink == byOwner || p.opens(portal.Password) {
			p.t.Errorf("%s: the password of the link opens the account: %v, that of the owner: %v; want one of them", p.name, byLink, byOwner)
		}
	})
	t.Run("address", func(t *testing.T) {
		onNodes(t, func(p *place) {
			link, other := p.asked(p.first), p.browser()
			moved := p.confirmation("new-" + p.name + "@example.org")
			if n := atOnce(func() bool { return p.reset(other, link, chosen) }, func() bool { return p.confirm(moved) }); n != 1 {
				p.t.Errorf("%s: %d of a reset and a change of the address succeeded, want 1", p.name, n)
			}
		})
	})
}
