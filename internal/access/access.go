package access

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
)

// Requirement is what a route or a path of a panel requires of a request.
type Requirement int

// The requirements, from [Public] to [Fresh]. The zero value admits no request, so that
// a route without a requirement is closed (F5).
const (
	Closed    Requirement = iota // no session meets it
	Public                       // no session is required; "nothing" in a panel's rules
	Session                      // a session
	TwoFactor                    // a session for which two factors were proven
	Fresh                        // a session whose proofs are at most [FreshFor] old
)

// FreshFor is how long a proof counts as fresh. Changes to how an account signs in require
// fresh proofs, so it is only as long as a user needs for such a change.
const FreshFor = 10 * time.Minute

// Demand is a requirement together with the conditions that a panel may add to it.
type Demand struct {
	Requirement Requirement
	Groups      []string      // the account must be in one of them; empty: any account
	MaxAge      time.Duration // maximum age of the proofs; 0: no limit within the session
}

// Verdict is the answer of [Check].
type Verdict int

// The verdicts. The zero value denies.
const (
	Deny           Verdict = iota // refuse: no proof would help
	Admit                         // admit the request
	SignIn                        // require a sign-in
	Reauthenticate                // require every factor of the account to be proven again
	Enroll                        // require two-factor authentication to be enabled first
)

// Bearer is what is known about the sender of a request. The zero value has no session.
type Bearer struct {
	SignedIn  bool                  // the request carries a live session
	Proofs    []authenticator.Proof // the proofs of that session
	TwoFactor bool                  // the account has a second authenticator
	Groups    []string              // the groups of the account

	// Required means that the policy in force requires two factors of the account, whatever a
	// demand asks for.
	Required bool

	// Vouched means that an operator issued the credential, such as a machine pass, so
	// the account need not have proven anything.
	Vouched bool
}

// MustEnroll reports whether the account lacks the two-factor authentication that the policy
// requires of it. Then [Check] returns [Enroll] for every demand but [Public] that it doesn't deny.
func (b Bearer) MustEnroll() bool { return b.SignedIn && b.Required && !b.TwoFactor }

// Check returns whether the bearer meets the demand at the time now, and if not, what would
// help. A maximum age applies to the proof of the password or passkey, and if the account has
// two-factor authentication, to that of the second factor as well.
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
	case b.MustEnroll():
		return Enroll
	case b.Vouched:
		return Admit
	}
	if age := maxAge(d); age > 0 && !isProvenSince(b, now.Add(-age), now) {
		return Reauthenticate
	}
	if d.Requirement != TwoFactor && !b.Required || authenticator.AAL(b.Proofs) >= 2 {
		return Admit
	}
	if !b.TwoFactor {
		return Enroll
	}
	return Reauthenticate
}

// isProvenSince reports whether the bearer has proved what a sign-in to the account takes: a
// password or a passkey, and two factors if the account has two-factor authentication. Proofs from
// before earliest or from the future don't count; see [authenticator.Since].
func isProvenSince(b Bearer, earliest, now time.Time) bool {
	since := authenticator.Since(b.Proofs, earliest, now)
	return authenticator.HasFirst(since) && (!b.TwoFactor || authenticator.AAL(since) >= 2)
}
