package totp

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"strings"
	"time"
	"unicode"
)

// All limits are counted in steps of the authenticator's own period, since a guesser's chance
// depends on the number of codes that are compared. With a period of 60 s, the limits are twice as
// long in time as with 30 s.
const (
	// window is the number of steps accepted on each side of the expected one. RFC 6238,
	// section 5.2, recommends one, for the delay of typing.
	window = 1

	// maxDrift is the maximum offset of a phone's clock that the server learns from two codes in
	// a row: 5 minutes with a period of 30 s.
	maxDrift = 10

	// reach is the largest distance between two steps that may be acceptable at the same time:
	// the full range of a phone's offset.
	reach = 2 * (maxDrift + window)

	// lookBack is how many past steps are compared to recognize a code, but not to accept it,
	// so that the user can be told that the phone's clock is slow. A past code is of no use
	// to a guesser; a future one would be.
	lookBack = 20
)

// ErrMalformed means that the text isn't six to eight ASCII digits.
var ErrMalformed = errors.New("code is not six to eight digits")

// Normalize returns the digits of the typed text without spaces and dashes ("123 456",
// "1234-5678"): six to eight, since the account's authenticators aren't known yet. Any other
// text is [ErrMalformed], and so is never compared with a code (R8).
func Normalize(typed string) (string, error) {
	typed = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Zs, unicode.Pd) {
			return -1
		}
		return r
	}, typed)
	if len(typed) < minDigits || len(typed) > maxDigits {
		return "", ErrMalformed
	}
	for i := range len(typed) {
		if typed[i] < '0' || typed[i] > '9' {
			return "", ErrMalformed
		}
	}
	return typed, nil
}

// Step returns the number of the time step at t, which RFC 6238, section 4.2, calls T. The period
// must be at least a second.
func Step(t time.Time, period time.Duration) int64 { return t.Unix() / int64(period/time.Second) }

// generator computes the codes of one key. It reuses the keyed hash. It is not safe for
// concurrent use.
type generator struct {
	mac    hash.Hash
	digits int
	sum    [64]byte // large enough for SHA-512
}

func newGenerator(h func() hash.Hash, key []byte, digits int) *generator {
	return &generator{mac: hmac.New(h, key), digits: digits}
}

// code returns HOTP(K, C) for counter c (RFC 4226, section 5.3) as ASCII digits. HMAC-SHA-256
// and HMAC-SHA-512 are truncated like HMAC-SHA-1, by the low bits of their own last byte (RFC
// 6238, section 1.2 and appendix A).
func (g *generator) code(c int64) [maxDigits]byte {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(c))
	g.mac.Reset()
	g.mac.Write(counter[:])
	sum := g.mac.Sum(g.sum[:0])
	// Dynamic truncation: the low four bits of the last byte are an offset.
	offset := sum[len(sum)-1] & 0x0f
	value := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	var digits [maxDigits]byte
	for i := g.digits - 1; i >= 0; i-- {
		digits[i] = byte('0' + value%10)
		value /= 10
	}
	return digits
}

// is reports whether the code of the step equals code. It compares in constant time.
func (g *generator) is(step int64, code string) bool {
	want := g.code(step)
	return subtle.ConstantTimeCompare(want[:g.digits], []byte(code)) == 1
}

// find returns the newest of the steps from oldest to newest whose code equals code, or 0 if none
// does. It computes the codes of all these steps, even after a match.
func (g *generator) find(code string, newest, oldest int64) (matched int64) {
	for step := newest; step >= oldest; step-- {
		if g.is(step, code) && matched == 0 {
			matched = step
		}
	}
	return matched
}

// Result is the result of comparing a code with one authenticator.
type Result int

// The results. Only [Accepted] can prove anything, and only after [Claim] succeeds.
const (
	Wrong        Result = iota
	Accepted            // right, for an unused step
	Reused              // right, but for a step that is used, possibly by a code of the next steps
	Slow                // was right Minutes ago
	Fast                // will be right in Minutes; only [State.Explain] returns it
	SetBack             // right, but well before the last used step; codes work again in Minutes
	ClockChanged        // right for the server's clock, but not with the learned drift
)

// Check is the outcome of verifying a code.
type Check struct {
	Result  Result
	Step    int64 // the step of an accepted code, or of the second code of a pair
	Drift   int64 // the drift to store, in steps
	Minutes int   // see Result; at least 1 where it is set
	from    int64 // the first step that the code or pair uses up
}

// State is what verification needs of an authenticator. Steps are counted in the authenticator's
// own period. With an empty secret or parameters that aren't supported, no code is right.
type State struct {
	Secret []byte
	Parameters
	LastStep int64 // the newest used step, or 0

	// StepAhead is the newest step that was used while the clock may have been ahead, or 0.
	// It and the steps within reach before it count as used, earlier ones do not.
	StepAhead int64

	Drift int64 // by how many steps the phone's clock is ahead
}

// generator returns the generator of the authenticator's codes, or nil if its parameters aren't
// supported.
func (s State) generator() *generator {
	if len(s.Secret) == 0 || !s.isSupported() {
		return nil
	}
	return newGenerator(s.Algorithm.hash(), s.Secret, s.Digits)
}

// usedBy returns the used step because of which the given step is unusable: that step itself or a
// later one. It returns 0 if the step is usable.
func (s State) usedBy(step int64) int64 {
	switch {
	case step <= s.StepAhead && step >= s.StepAhead-reach:
		return max(s.LastStep, s.StepAhead)
	case step <= s.LastStep:
		return s.LastStep
	default:
		return 0
	}
}

// Verify compares a normalized code with the codes of the steps that are acceptable at now. It also
// compares it with the codes of earlier steps, to find out why a wrong code is wrong. A code of
// another length is wrong. Verify computes the same set of codes whatever the outcome, so that
// timing doesn't reveal which of several authenticators matched. It is pure; an accepted step proves
// something only after [Claim] succeeds.
func (s State) Verify(code string, now time.Time) Check {
	if g := s.generator(); g != nil {
		return s.verify(g, code, now)
	}
	return Check{}
}

func (s State) verify(g *generator, code string, now time.Time) Check {
	check, past := s.verifyWindow(g, code, now), s.recognize(g, code, now)
	if check.Result != Wrong {
		return check
	}
	return past
}

// verifyWindow compares the code with the acceptable steps.
func (s State) verifyWindow(g *generator, code string, now time.Time) Check {
	middle := Step(now, s.Period) + s.Drift
	matched := g.find(code, middle+window, middle-window)
	switch {
	case matched <= 0:
		return Check{}
	case s.usedBy(matched) > 0:
		return s.used(matched)
	default:
		return Check{Result: Accepted, Step: matched, Drift: s.Drift, from: matched}
	}
}

// recognize compares the code with the steps before the acceptable ones.
func (s State) recognize(g *generator, code string, now time.Time) Check {
	here := Step(now, s.Period)
	matched := g.find(code, here+s.Drift-window-1, here-lookBack)
	switch {
	case matched <= 0:
		return Check{}
	case s.usedBy(matched) > 0:
		return s.used(matched)
	case matched >= here-window:
		return Check{Result: ClockChanged}
	default:
		return Check{Result: Slow, Minutes: s.minutes(here - matched)}
	}
}

// used returns the result for a right code whose step is used.
func (s State) used(step int64) Check {
	until := s.usedBy(step)
	if until-step <= 2*window {
		return Check{Result: Reused}
	}
	return Check{Result: SetBack, Minutes: s.minutes(until + 1 - step)}
}

// VerifyPair compares two codes with the codes of all pairs of consecutive steps that a phone may
// show if its clock is up to ten steps off. A random pair is right with p = 21·10⁻¹² if its codes
// have six digits, and with p = 21·10⁻¹⁶ if they have eight.
func (s State) VerifyPair(first, second string, now time.Time) Check {
	g := s.generator()
	if g == nil {
		return Check{}
	}
	here := Step(now, s.Period)
	var matched int64
	found := false
	before := g.is(here-maxDrift-1, first)
	for step := here - maxDrift; step <= here+maxDrift; step++ {
		// Always compare both, so that a half-right pair gives the same answer in the same
		// time as a wrong one (attack 12).
		isSecond, isFirst := g.is(step, second), g.is(step, first)
		if before && isSecond {
			matched, found = step, true
		}
		before = isFirst
	}
	switch {
	case !found, matched-1 == s.LastStep, matched-1 == s.StepAhead:
		// The first code is used and the second is not. Saying so would tell a thief who
		// saw the first code that the second is right.
		return Check{}
	case s.usedBy(matched) > 0, s.usedBy(matched-1) > 0:
		return s.used(matched - 1)
	}
	drift := matched - here
	if -window <= drift && drift <= window {
		drift = 0 // within the ordinary window
	}
	return Check{Result: Accepted, Step: matched, Drift: drift, from: matched - 1}
}

// Explain returns [Slow] or [Fast] for a wrong code that a clock up to 20 steps off would show.
// It is for the wizard only, where the user has the secret on the screen.
func (s State) Explain(code string, now time.Time) Check {
	g := s.generator()
	if g == nil {
		return Check{}
	}
	here := Step(now, s.Period)
	for off := int64(window + 1); off <= lookBack; off++ {
		if g.is(here-off, code) {
			return Check{Result: Slow, Minutes: s.minutes(off)}
		}
		if g.is(here+off, code) {
			return Check{Result: Fast, Minutes: s.minutes(off)}
		}
	}
	return Check{}
}

// minutes converts steps to whole minutes, rounded up.
func (s State) minutes(steps int64) int {
	return int((steps*int64(s.Period/time.Second) + 59) / 60)
}
