package throttle

import (
	"maps"
	"slices"
	"time"
)

// Bucket is a kind of budget.
type Bucket string

// The buckets; their limits are in rules.
const (
	// CodeUnknownDevice counts wrong codes from unknown browsers after a right password, in
	// units. One unit is a chance of 3·10⁻⁶ to guess right, which is that of a six-digit code
	// for an account with one authenticator. A try costs at least one unit.
	CodeUnknownDevice Bucket = "code"
	// CodeKnownDevice counts wrong codes from one known browser, in the same units.
	CodeKnownDevice Bucket = "code-known"
	// TwoCodes counts wrong pairs of codes.
	TwoCodes Bucket = "two-codes"
	// BackupCode paces tries of backup codes, by account and by prefix. It doesn't limit their
	// number, since a code has 60 bits.
	BackupCode Bucket = "backup-code"
	// BackupCodeIssue counts new sets of backup codes, since each costs ten hashes.
	BackupCodeIssue Bucket = "backup-code-issue"
	// PasswordUnknownDevice counts wrong passwords from unknown browsers. A separate row counts
	// those from browsers that a mailed link let in; see [LetIn].
	PasswordUnknownDevice Bucket = "password"
	// PasswordKnownDevice counts wrong passwords from one known browser.
	PasswordKnownDevice Bucket = "password-known"
	// Change limits changes by an account's owner, per kind of change, so that they can't fill
	// the disk: each writes an event or a row. Changes that end a thief's access have no limit,
	// since the thief could use it up.
	Change Bucket = "change"
	// Recovery counts the mails that are requested for an account, such as one with a link for a
	// new password. It keeps strangers, who can request mails too, from filling the owner's
	// mailbox.
	Recovery Bucket = "recovery"
	// Prefix counts failures of unknown browsers from one IPv4 /24 or IPv6 /56.
	Prefix Bucket = "prefix"
	// WidePrefix counts failures of unknown browsers from one IPv6 /48.
	WidePrefix Bucket = "wide-prefix"
	// restored has an entry after the database was restored from a backup; see [MarkRestored].
	restored Bucket = "restored"
	// instance has the state of the whole instance; see [Ledger.Measure]. It has no rule, so
	// its row never expires.
	instance Bucket = "instance"
)

// LetIn is the subject of the row of [PasswordUnknownDevice] for browsers that a mailed link let
// in. All links of an account share the row, so that one more link gives a guesser no more tries.
const LetIn = "let-in"

// Answer is the ledger's answer to a try.
type Answer int

// The answers. The zero value refuses the try.
const (
	Refuse       Answer = iota // no more tries of this kind; the user needs another way to sign in
	Allow                      // go ahead; the reservation is committed
	Wait                       // the user can try again after Verdict.RetryAfter
	NeedTwoCodes               // single codes aren't verified now, but two codes in a row are
	ForgetDevice               // make the known browser unknown, then ask the ledger again
	Shielded                   // unknown browsers need a let-in link
)

// Verdict is an answer with its details.
type Verdict struct {
	Answer     Answer
	Bucket     Bucket        // the bucket that gave the answer
	RetryAfter time.Duration // for [Wait]
}

const (
	minute = time.Minute
	day    = 24 * time.Hour
	year   = 365 * day
)

// limit allows a number of units within a sliding window.
type limit struct {
	units  int
	within time.Duration
}

// rule has the limits of one bucket.
type rule struct {
	// limits are the limits on units. A try that exceeds one of them gets the answer full.
	limits []limit
	full   Answer
	// accounts limits the number of accounts that the tries concern. Past it the answer is Wait.
	accounts limit
	// perPassword limits the units since the password was set. Past it the answer is Refuse.
	perPassword int
	// free is the number of tries that are allowed at any speed. After them, one try per
	// duration pace is allowed. If slowest is set, each further try doubles pace, up to slowest.
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
	Recovery:              {limits: []limit{{3, day}}, full: Wait},
	Prefix:                {limits: []limit{{30, 10 * minute}}, full: Wait, accounts: limit{10, time.Hour}},
	WidePrefix:            {limits: []limit{{120, 10 * minute}}, full: Wait, accounts: limit{40, time.Hour}},
	restored:              {limits: []limit{{1, day}}, full: NeedTwoCodes},
}

// Buckets returns the buckets that count tries, in alphabetical order.
func Buckets() []Bucket {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(rules)), func(b Bucket) bool { return b == restored })
}

// keep returns how long an entry can matter to the rule.
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

// entry is one try. It is reserved and counts as wrong unless it is given back.
type entry struct {
	id    uint32 // identifies the try when it is given back
	at    time.Time
	units int
	// owned is true if the attempt became a session, since then the wrong code was the owner's.
	// The try still counts against guessing, but not as a sign of a stolen password.
	owned bool
	tag   uint64 // what the try belongs to: an attempt or, for a prefix, an account
}

// question holds the other inputs of decide.
type question struct {
	units       int
	tag         uint64
	passwordSet time.Time // when the password was set; see rule.perPassword
	instanceHot bool      // the whole instance has too many wrong codes
}

// decide returns whether a try is allowed at the time now. row has the entries of the try's row,
// oldest first. decide is pure, so that tests can run it over years of simulated time.
func decide(now time.Time, row []entry, r rule, q question) Verdict {
	if len(row) > 0 && row[len(row)-1].at.After(now) {
		now = row[len(row)-1].at // a clock that goes back must not reopen a window
	}
	if len(r.limits) == 0 && r.pace == 0 {
		return Verdict{} // a bucket without a rule allows no try (F5)
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

// full reports whether a try of so many units exceeds the limit, and if so, how long to wait until
// it won't.
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
	// Room appears when the oldest entries leave the window.
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

// accountsFull reports whether a try for the account tag exceeds the limit on the number of
// accounts, and if so, how long to wait until it won't.
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

// paced returns how long to wait before the try. That is 0 unless the free tries are used up.
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
