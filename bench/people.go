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
	// inARound is the number of codes or commits in one round, which the clients share.
	inARound = 256

	// signingIn is how many users sign in at a time. So many fit into the hashing queue.
	signingIn = 16

	// betweenRounds is the time on the test's clock between two rounds. It is so long
	// that no window of the ledger fills up, and short enough that a known browser stays
	// known.
	betweenRounds = 100 * 24 * time.Hour
)

// people are users who sign in at the same time, each with a phone and a known browser. If the
// browsers were unknown, so many codes in progress would count against the budget of the whole
// instance.
type people struct {
	*bench
	portal   *portal.Portal
	phones   []*portal.Phone
	from     []login.Browser
	attempts []string
	tidy     func() // called before each round, after the sweep; may be nil
}

// newPeople starts a portal on the engine. It uses a quick password hash: passwords aren't
// measured here, but the garbage of a hash in 19 MiB would be collected during the
// measurement.
func (b *bench) newPeople(engine string) *people {
	p := &people{bench: b, portal: portal.Start(b.stage, engine), attempts: make([]string, inARound)}
	for i := range inARound {
		p.phones = append(p.phones, addPerson(b.stage, p.portal, nameOf(i)))
		p.from = append(p.from, networkOf(i))
	}
	return p
}

func nameOf(i int) string { return fmt.Sprint("ada", i) }

// networkOf returns a browser with its own network. In a shared network, the wrong codes of many users
// would count against one budget.
func networkOf(i int) login.Browser {
	return login.Browser{Address: netip.AddrFrom4([4]byte{byte(11 + i/256), byte(i), 0, 1}), UserAgent: "bench"}
}

// submitPassword submits the password of user i and stores the attempt.
func (p *people) submitPassword(i int) error {
	begun, err := p.portal.Login.SubmitPassword(p.ctx, login.Credentials{Username: nameOf(i), Password: portal.Password, ReturnURL: "/"}, p.from[i])
	p.attempts[i] = begun.Attempt.Reveal()
	return err
}

// right submits a right code of user i.
func (p *people) right(i int) error { return p.submitCode(i, p.phones[i].Code(0)) }

// submitCode submits a code that must be right for user i.
func (p *people) submitCode(i int, code string) error {
	done, err := p.portal.Login.SubmitCode(p.ctx, p.attempts[i], code, "", p.from[i])
	p.from[i].Device = done.Device.Reveal()
	return err
}

// wrong submits a wrong code of user i.
func (p *people) wrong(i int) error {
	_, err := p.portal.Login.SubmitCode(p.ctx, p.attempts[i], p.phones[i].Code(-100*betweenRounds), "", p.from[i])
	if !errors.Is(err, login.ErrRejected) {
		return fmt.Errorf("a wrong code was not rejected: %w", err)
	}
	return nil
}

// prepare signs every user in, so that every browser is known, and then brings every user to the code
// page.
func (p *people) prepare() {
	p.portal.Clock.Move(betweenRounds)
	p.concurrently(signingIn, func(i int) error { return errors.Join(p.submitPassword(i), p.right(i)) })
	p.portal.Clock.Move(totp.Period)
	p.concurrently(signingIn, p.submitPassword)
	p.must(p.portal.Sweep(p.ctx))
	if p.tidy != nil {
		p.tidy()
	}
}

// codes returns a side in which the given number of clients submit one code for every user.
// The preparation isn't measured.
func (p *people) codes(clients int, submit func(i int) error) side {
	return func() sample {
		p.prepare()
		return p.concurrently(clients, submit)
	}
}

// concurrently calls the function one for each i of a round. The given number of concurrent
// clients share the calls.
func (b *bench) concurrently(clients int, one func(i int) error) sample {
	var all sync.WaitGroup
	took, errs := make([]time.Duration, inARound), make([]error, inARound)
	start := time.Now()
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
	over := time.Since(start)
	b.must(errors.Join(errs...))
	return timed(took, over)
}
