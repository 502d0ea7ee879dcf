// Package access decides: it holds what a door may demand of a session, which
// demand a panel makes of a path, and the one function that says whether a
// session meets it. It is pure and owns no table.
package access

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
)

// Requirement is what a door asks of whoever comes.
type Requirement int

// The requirements. The zero value is met by nobody, so that a route without
// one is closed (F5).
const (
	Nobody    Requirement = iota
	Public                // anybody: the panels' "nothing"
	Session               // a session
	TwoFactor             // a session that two factors were proven for
	Fresh                 // a session whose proofs are at most [FreshFor] old
)

// FreshFor is how long a proof counts as fresh: for what changes how one
// signs in, as short as a person needs for it.
const FreshFor = 10 * time.Minute

// clocksDiffer is how far the clocks of two nodes may be apart that both take codes,
// each up to 30 s from the database's, and a step of a code more. A proof that is
// further in the future was written by a clock that was ahead, and would stay fresh
// for as long as it was.
const clocksDiffer = 90 * time.Second

// Demand is a requirement with what a panel may add to it.
type Demand struct {
	Requirement Requirement
	Groups      []string      // one of which the account must be in; none: any account
	MaxAge      time.Duration // how old the proofs may be; 0: as old as the session
}

// Verdict is the answer to a demand.
type Verdict int

// The verdicts. The zero value denies.
const (
	Deny           Verdict = iota
	Admit                  // come in
	SignIn                 // sign in first
	Reauthenticate         // prove again who you are, with every factor there is
	Enroll                 // enable two-factor authentication first
)

// Bearer is what is known of whoever comes.
type Bearer struct {
	SignedIn  bool                  // there is a live session
	Proofs    []authenticator.Proof // of that session
	TwoFactor bool                  // the account has a second authenticator
	Groups    []string              // of the account

	// Vouched: an operator answers for it, so no proof of the account is asked.
	Vouched bool
}

// Check says whether the bearer meets the demand at now. What asks for proofs
// of a certain age asks for the password, and with two-factor authentication
// on for the code as well.
func Check(d Demand, b Bearer, now time.Time) Verdict {
	switch {
	case d.Requirement == Public:
		return Admit
	case d.Requirement != Session && d.Requirement != TwoFactor && d.Requirement != Fresh:
		return Deny
	case !b.SignedIn:
		return SignIn
	case len(d.Groups) > 0 && !slices.ContainsFunc(b.Groups, func(g string) bool { return slices.Contains(d.Groups, g) }):
		return Deny // no proof helps
	case b.Vouched:
		return Admit
	}
	if age := maxAge(d); age > 0 && !proven(b, now.Add(-age), now.Add(clocksDiffer)) {
		return Reauthenticate
	}
	if d.Requirement != TwoFactor || authenticator.AAL(b.Proofs) >= 2 {
		return Admit
	}
	if !b.TwoFactor {
		return Enroll
	}
	return Reauthenticate
}

// proven reports whether the bearer proved the password between the two times, and
// the second factor where there is one.
func proven(b Bearer, first, last time.Time) bool {
	since := authenticator.Without(authenticator.Since(b.Proofs, first),
		func(p authenticator.Proof) bool { return p.At.After(last) })
	return slices.ContainsFunc(since, func(p authenticator.Proof) bool { return p.Kind == authenticator.Password }) &&
		(!b.TwoFactor || authenticator.AAL(since) >= 2)
}
