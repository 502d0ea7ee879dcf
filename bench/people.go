package main

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// inARound are the codes or commits of one round, shared by the clients.
	inARound = 256

	// signingIn at a time are not too many for the hashing queue.
	signingIn = 16

	// apart are two rounds: no window of the ledger fills up, and a known
	// browser stays known.
	apart = 100 * 24 * time.Hour
)

// people have a phone and a known browser each, and sign in at the same time.
// The codes that are under way of so many unknown browsers would count against
// the whole instance.
type people struct {
	*bench
	portal   *portal.Portal
	phones   []*portal.Phone
	from     []login.Browser
	attempts []string
	tidy     func() // before each round, after a sweep; may be nil
}

// newPeople starts a portal on that engine. Its passwords aren't measured: their
// hash is a quick one, or what 19 MiB leave would be collected here.
func (b *bench) newPeople(engine string) *people {
	p := &people{bench: b, portal: portal.Start(b.stage, engine), attempts: make([]string, inARound)}
	for i := range inARound {
		p.phones = append(p.phones, addPerson(b.stage, p.portal, nameOf(i)))
		p.from = append(p.from, networkOf(i))
	}
	return p
}

func nameOf(i int) string { return fmt.Sprint("ada", i) }

// networkOf is a browser in a network of its own: many people's wrong codes
// count for one.
func networkOf(i int) login.Browser {
	return login.Browser{Address: netip.AddrFrom4([4]byte{byte(11 + i/256), byte(i), 0, 1}), UserAgent: "bench"}
}

// begin gives the password.
func (p *people) begin(i int) error {
	begun, err := p.portal.Login.SubmitPassword(p.ctx, nameOf(i), portal.Password, "/", "", p.from[i])
	p.attempts[i] = begun.Attempt.Reveal()
	return err
}

func (p *people) right(i int) error { return p.give(i, p.phones[i].Code(0)) }

// give gives a code that is right.
func (p *people) give(i int, code string) error {
	done, err := p.portal.Login.SubmitCode(p.ctx, p.attempts[i], code, "", "", p.from[i])
	p.from[i].Device = done.Device.Reveal()
	return err
}

func (p *people) wrong(i int) error {
	_, err := p.portal.Login.SubmitCode(p.ctx, p.attempts[i], p.phones[i].Code(-100*apart), "", "", p.from[i])
	if !errors.Is(err, login.ErrRejected) {
		return fmt.Errorf("a wrong code: %w", err)
	}
	return nil
}

// prepare has each browser become known, or stay so, and everybody wait for a
// code.
func (p *people) prepare() {
	p.portal.Clock.Move(apart)
	p.together(signingIn, func(i int) error { return errors.Join(p.begin(i), p.right(i)) })
	p.portal.Clock.Move(totp.Period)
	p.together(signingIn, p.begin)
	p.must(p.portal.Sweep(p.ctx))
	if p.tidy != nil {
		p.tidy()
	}
}

// codes is a side in which so many clients give everybody's code; what goes
// before isn't measured.
func (p *people) codes(clients int, give func(i int) error) side {
	return func() sample {
		p.prepare()
		return p.together(clients, give)
	}
}

// together has that many clients share a round.
func (b *bench) together(clients int, one func(i int) error) sample {
	var all sync.WaitGroup
	took, errs := make([]time.Duration, inARound), make([]error, inARound)
	begin := time.Now()
	for first := range clients {
		all.Go(func() {
			for i := first; i < inARound; i += clients {
				at := time.Now()
				errs[i] = one(i)
				took[i] = time.Since(at)
			}
		})
	}
	all.Wait()
	over := time.Since(begin)
	b.must(errors.Join(errs...))
	return timed(took, over)
}
