// Package throttle owns the ledger, the durable record of tries that limits
// guessing, and the queue in front of the password hash. It knows accounts
// only by id and decides nothing but "may this be tried now".
//
// The rules and their mathematics: a six-digit code with three acceptable
// steps is guessed with p = 3·10⁻⁶ a try, so what an unknown device may try in
// a year stays at 25 (SP 800-63B, "Rate Limiting (Throttling)"). A cap is a
// lock-out unless only somebody with the password can use it up, it never
// touches known devices, and behind it the door stays open in a harder form.
// No success gives tries back; windows only slide.
package throttle

import (
	"maps"
	"slices"
	"time"
)

// Bucket is one budget.
type Bucket string

// The buckets; [rules] has the numbers.
const (
	// CodeUnknownDevice counts units of wrong codes after a right password:
	// one for each authenticator that a code was compared with.
	CodeUnknownDevice Bucket = "code"
	// CodeKnownDevice counts the same for one known browser.
	CodeKnownDevice Bucket = "code-known"
	// TwoCodes counts wrong pairs of codes.
	TwoCodes Bucket = "two-codes"
	// BackupCode paces backup codes for account and prefix; 60 bits need no cap.
	BackupCode Bucket = "backup-code"
	// BackupCodeIssue counts new sets of backup codes: each costs ten hashes.
	BackupCodeIssue Bucket = "backup-code-issue"
	// PasswordUnknownDevice counts wrong passwords.
	PasswordUnknownDevice Bucket = "password"
	// PasswordKnownDevice counts the same for one known browser.
	PasswordKnownDevice Bucket = "password-known"
	// Change paces what an account's owner may change again and again, for each kind
	// of change: each leaves an event or a row, and none must fill the disk. What ends
	// a thief's access has no such pace, or the thief would use it up.
	Change Bucket = "change"
	// Prefix counts failures of unknown devices from one IPv4 /24 or IPv6 /56.
	Prefix Bucket = "prefix"
	// WidePrefix counts those from one IPv6 /48.
	WidePrefix Bucket = "wide-prefix"
	// restored holds when the database came out of a backup; see [Restored].
	restored Bucket = "restored"
	// instance holds the verdict on the whole instance; see [Ledger.Measure].
	// It has no rule, so it isn't swept either.
	instance Bucket = "instance"
)

// Answer is what the ledger says to a try.
type Answer int

// The answers. The zero value refuses.
const (
	Refuse       Answer = iota // no further try of this kind; another way in is needed
	Allow                      // try, the reservation stands
	Wait                       // try again after Verdict.RetryAfter
	NeedTwoCodes               // single codes aren't looked at now; two in a row are
	ForgetDevice               // the known browser becomes an unknown one; ask again as such
	Shielded                   // unknown browsers need a let-in link
)

// Verdict is an answer and, for [Wait], for how long.
type Verdict struct {
	Answer     Answer
	Bucket     Bucket // which said so
	RetryAfter time.Duration
}

const (
	minute = time.Minute
	day    = 24 * time.Hour
	year   = 365 * day
)

// limit allows so many units within a sliding window.
type limit struct {
	units  int
	within time.Duration
}

// rule is a row of the table of buckets.
type rule struct {
	// limits are hard: each must have room, or the answer is full.
	limits []limit
	full   Answer
	// accounts limits how many accounts the tries concern; past it: Wait.
	accounts limit
	// perPassword limits the units since the password was set; past it: Refuse.
	perPassword int
	// free tries come at any speed; past them one try per pace, which doubles
	// with each further try up to slowest, where slowest is set.
	free    limit
	pace    time.Duration
	slowest time.Duration
}

var rules = map[Bucket]rule{
	CodeUnknownDevice:     {limits: []limit{{5, day}, {10, 30 * day}, {25, year}}, full: NeedTwoCodes},
	CodeKnownDevice:       {limits: []limit{{10, day}, {25, year}}, full: ForgetDevice},
	TwoCodes:              {limits: []limit{{10, day}}, full: Refuse, perPassword: 100},
	BackupCode:            {pace: 5 * time.Second},
	BackupCodeIssue:       {limits: []limit{{3, time.Hour}}, full: Wait},
	PasswordUnknownDevice: {limits: []limit{{100, day}}, full: Shielded, free: limit{5, 15 * minute}, pace: 5 * time.Second},
	PasswordKnownDevice:   {free: limit{10, 15 * minute}, pace: 30 * time.Second, slowest: 15 * minute},
	Change:                {limits: []limit{{60, time.Hour}, {240, day}}, full: Wait},
	Prefix:                {limits: []limit{{30, 10 * minute}}, full: Wait, accounts: limit{10, time.Hour}},
	WidePrefix:            {limits: []limit{{120, 10 * minute}}, full: Wait, accounts: limit{40, time.Hour}},
	restored:              {limits: []limit{{1, day}}, full: NeedTwoCodes},
}

// Buckets returns those that refuse tries.
func Buckets() []Bucket {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(rules)), func(b Bucket) bool { return b == restored })
}

// keep returns how long an entry matters to the rule.
func (r rule) keep() time.Duration {
	longest := max(r.pace, r.slowest, r.free.within, r.accounts.within)
	for _, l := range r.limits {
		longest = max(longest, l.within)
	}
	if r.perPassword > 0 {
		longest = max(longest, year)
	}
	return longest
}

// entry is one try: reserved, and unless given back, failed.
type entry struct {
	id    uint32 // finds it again to give it back
	at    time.Time
	units int
	// owned: the attempt became a session, so the owner mistyped. It counts
	// against guessing all the same, not as a sign of a stolen password.
	owned bool
	tag   uint64 // what the try belongs to: an attempt, or for a prefix an account
}

// question is what decide is asked about a row.
type question struct {
	units       int
	tag         uint64
	passwordSet time.Time // when the account's password was set; see rule.perPassword
	instanceHot bool      // the whole instance has seen too many wrong codes
}

// decide answers whether a try may be made now, from the entries of one row,
// oldest first. It is pure: tests run it over years of simulated time.
func decide(now time.Time, row []entry, r rule, q question) Verdict {
	if len(row) > 0 && row[len(row)-1].at.After(now) {
		now = row[len(row)-1].at // a clock that was set back must not reopen a window
	}
	if len(r.limits) == 0 && r.pace == 0 {
		return Verdict{} // a bucket without a rule is closed (F5)
	}
	for _, l := range r.limits {
		wait, full := l.full(now, row, q.units)
		switch {
		case full && r.full == Wait:
			return Verdict{Answer: Wait, RetryAfter: wait}
		case full:
			return Verdict{Answer: r.full}
		}
	}
	if r.full == NeedTwoCodes && q.instanceHot {
		return Verdict{Answer: NeedTwoCodes}
	}
	if r.perPassword > 0 && q.units+unitsSince(row, q.passwordSet) > r.perPassword {
		return Verdict{Answer: Refuse}
	}
	if wait, full := r.accountsFull(now, row, q.tag); full {
		return Verdict{Answer: Wait, RetryAfter: wait}
	}
	if wait := r.paced(now, row, q.units); wait > 0 {
		return Verdict{Answer: Wait, RetryAfter: wait}
	}
	return Verdict{Answer: Allow}
}

// full reports whether units no longer fit, and when they will.
func (l limit) full(now time.Time, row []entry, units int) (wait time.Duration, full bool) {
	over := units - l.units
	for _, e := range row {
		if now.Sub(e.at) < l.within {
			over += e.units
		}
	}
	if over <= 0 {
		return 0, false
	}
	// Room comes back as the oldest entries leave the window.
	for _, e := range row {
		if left := l.within - now.Sub(e.at); left > 0 && over > 0 {
			over -= e.units
			wait = left
		}
	}
	return wait, true
}

func unitsSince(row []entry, since time.Time) int {
	n := 0
	for _, e := range row {
		if !e.at.Before(since) {
			n += e.units
		}
	}
	return n
}

// accountsFull reports whether one more account would be too many.
func (r rule) accountsFull(now time.Time, row []entry, tag uint64) (wait time.Duration, full bool) {
	if r.accounts.units == 0 {
		return 0, false
	}
	newest := map[uint64]time.Time{}
	for _, e := range row {
		if now.Sub(e.at) < r.accounts.within {
			newest[e.tag] = e.at
		}
	}
	newest[tag] = now
	if len(newest) <= r.accounts.units {
		return 0, false
	}
	wait = r.accounts.within
	for _, at := range newest {
		wait = min(wait, r.accounts.within-now.Sub(at))
	}
	return wait, true
}

// paced returns how long to wait once the free tries are used.
func (r rule) paced(now time.Time, row []entry, units int) time.Duration {
	if r.pace == 0 || len(row) == 0 {
		return 0
	}
	over := units - r.free.units
	for _, e := range row {
		if now.Sub(e.at) < r.free.within {
			over += e.units
		}
	}
	if over <= 0 && r.free.units > 0 {
		return 0
	}
	pace := r.pace
	for range over - 1 {
		if r.slowest > 0 {
			pace = min(2*pace, r.slowest)
		}
	}
	return max(0, pace-now.Sub(row[len(row)-1].at))
}
