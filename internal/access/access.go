// Package access decides: it holds what a door may require of a session, and
// the one function that says whether a session meets it. It is pure and owns
// no table.
package access

import (
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
)

// Requirement is what a door asks of whoever comes.
type Requirement int

// The requirements. The zero value is met by nobody, so that a route without
// one is closed (F5).
const (
	Nobody  Requirement = iota
	Public              // anybody
	Session             // a session
	Fresh               // a session whose proofs are at most [FreshFor] old
)

// FreshFor is how long a proof counts as fresh: for what changes how one
// signs in, as short as a person needs for it.
const FreshFor = 10 * time.Minute

// Verdict is the answer to a requirement.
type Verdict int

// The verdicts. The zero value denies.
const (
	Deny           Verdict = iota
	Admit                  // come in
	SignIn                 // sign in first
	Reauthenticate         // prove again who you are
)

// Bearer is what is known of whoever comes.
type Bearer struct {
	SignedIn  bool                  // there is a live session
	Proofs    []authenticator.Proof // of that session
	TwoFactor bool                  // the account has a second authenticator
}

// Check says whether the bearer meets the requirement at now. With two-factor
// authentication on, fresh means password and code, both; without it the
// password.
func Check(r Requirement, b Bearer, now time.Time) Verdict {
	switch {
	case r == Public:
		return Admit
	case r != Session && r != Fresh:
		return Deny
	case !b.SignedIn:
		return SignIn
	case r == Session:
		return Admit
	}
	fresh := authenticator.Since(b.Proofs, now.Add(-FreshFor))
	known := false
	for _, p := range fresh {
		known = known || p.Kind == authenticator.Password
	}
	if !known || b.TwoFactor && authenticator.AAL(fresh) < 2 {
		return Reauthenticate
	}
	return Admit
}
