// Package throttle owns the ledger, the durable record of tries that limits
// guessing, and the queue in front of the password hash. It knows accounts
// only by id and decides nothing but "may this be tried now".
//
// The rules and their mathematics: a six-digit code with three acceptable
// steps is guessed with p = 3·10⁻⁶ a try, so what an unknown device may try in
// a year stays at 25 (SP 800-63B, "Rate Limiting (Throttling)"). No success
// gives tries back; windows only slide.
package throttle

import "time"

// Bucket is one budget of an account.
type Bucket string

// The buckets. [rules] has the numbers.
const (
	// CodeUnknownDevice counts units of wrong codes after a right password:
	// one for each authenticator that a code was compared with.
	CodeUnknownDevice Bucket = "code"
	// TwoCodes counts wrong pairs of codes.
	TwoCodes Bucket = "two-codes"
	// BackupCode paces backup codes; 60 bits need no cap.
	BackupCode Bucket = "backup-code"
	// BackupCodeIssue counts new sets of backup codes: each costs ten hashes.
	BackupCodeIssue Bucket = "backup-code-issue"
	// PasswordUnknownDevice counts wrong passwords.
	PasswordUnknownDevice Bucket = "password"
)

// Answer is what the ledger says to a try.
type Answer int

// The answers. The zero value refuses.
const (
	Refuse       Answer = iota // no further try of this kind; another way in is needed
	Allow                      // try, the reservation stands
	Wait                       // try again after Verdict.RetryAfter
	NeedTwoCodes               // single codes aren't looked at now; two in a row are
)

// Verdict is an answer and, for [Wait], for how long.
type Verdict struct {
	Answer     Answer
	RetryAfter time.Duration
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// limit allows units within a sliding window.
type limit struct {
	units  int
	within time.Duration
}

// rule is a row of the table of buckets.
type rule struct {
	limits []limit       // each must have room
	pace   time.Duration // past a full limit, or always where there is none: one try per pace
	full   Answer        // without a pace: the answer to a full limit
}

var rules = map[Bucket]rule{
	CodeUnknownDevice:     {limits: []limit{{5, day}, {10, 30 * day}, {25, year}}, full: NeedTwoCodes},
	TwoCodes:              {limits: []limit{{10, day}}, full: Refuse},
	BackupCode:            {pace: 5 * time.Second},
	BackupCodeIssue:       {limits: []limit{{3, time.Hour}}, full: Wait},
	PasswordUnknownDevice: {limits: []limit{{5, 15 * time.Minute}}, pace: 5 * time.Second},
}

// keep returns how long an entry matters to the rule.
func (r rule) keep() time.Duration {
	longest := r.pace
	for _, l := range r.limits {
		longest = max(longest, l.within)
	}
	return longest
}

// entry is one try: reserved, and unless given back, failed.
type entry struct {
	id    uint32 // finds it again to give it back
	at    time.Time
	units int
}

// decide answers whether units may be tried now, from the entries of one row,
// oldest first. It is pure: tests run it over years of simulated time.
func decide(now time.Time, row []entry, r rule, units int) Verdict {
	if len(row) > 0 && row[len(row)-1].at.After(now) {
		// A clock that was set back must not reopen a window.
		now = row[len(row)-1].at
	}
	var wait time.Duration
	full := len(r.limits) == 0
	for _, l := range r.limits {
		used := 0
		for _, e := range row {
			if now.Sub(e.at) < l.within {
				used += e.units
			}
		}
		if used+units <= l.units {
			continue
		}
		full = true
		// Room comes back as the oldest entries leave the window.
		over := used + units - l.units
		for _, e := range row {
			if left := l.within - now.Sub(e.at); left > 0 && over > 0 {
				over -= e.units
				wait = max(wait, left)
			}
		}
	}
	switch {
	case !full:
		return Verdict{Answer: Allow}
	case r.pace > 0:
		if len(row) == 0 {
			return Verdict{Answer: Allow}
		}
		if left := r.pace - now.Sub(row[len(row)-1].at); left > 0 {
			return Verdict{Answer: Wait, RetryAfter: left}
		}
		return Verdict{Answer: Allow}
	case r.full == Wait:
		return Verdict{Answer: Wait, RetryAfter: wait}
	default:
		return Verdict{Answer: r.full}
	}
}
