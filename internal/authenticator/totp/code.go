// Package totp owns time-based one-time passwords (RFC 6238): the secrets,
// table totp, their verification and single use, the key URI and its QR code.
package totp

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"strings"
	"time"
	"unicode"
)

// What every authenticator app supports, and therefore all that we enroll.
const (
	SecretBytes = 20 // K: the output of HMAC-SHA-1 (RFC 4226, section 4, requirement 6)
	Digits      = 6
	Period      = 30 * time.Second // X
)

const (
	// window is how many steps each side of the expected one are accepted:
	// RFC 6238, section 5.2, recommends one for the delay of typing.
	window = 1

	// maxDrift is how far, in steps, a phone's clock may be off and still be
	// learned by two codes in a row.
	maxDrift = 10

	// reach is how many steps before one that was used may be acceptable at the
	// same time: the whole width of what a phone may be off.
	reach = 2 * (maxDrift + window)

	// lookBack is how many steps back a code is recognised, never accepted, to
	// tell a person that the phone's clock is slow. Codes of the past are
	// worth nothing; those of the future would be.
	lookBack = 20
)

// ErrMalformed: what was typed is not six ASCII digits.
var ErrMalformed = errors.New("code is not six digits")

// Normalize returns the six digits of what was typed, without spaces and dashes
// ("123 456", "123-456"). Anything else is [ErrMalformed] before it is compared with
// anything (R8).
func Normalize(typed string) (string, error) {
	typed = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Zs, unicode.Pd) {
			return -1
		}
		return r
	}, typed)
	if len(typed) != Digits {
		return "", ErrMalformed
	}
	for i := range len(typed) {
		if typed[i] < '0' || typed[i] > '9' {
			return "", ErrMalformed
		}
	}
	return typed, nil
}

// Step returns the time step T of t (RFC 6238, section 4.2).
func Step(t time.Time) int64 { return t.Unix() / int64(Period/time.Second) }

// generator computes the codes of one key. It keeps the keyed hash between
// codes. It is not safe for concurrent use.
type generator struct {
	mac    hash.Hash
	digits int
	sum    [64]byte // room for SHA-512
}

func newGenerator(h func() hash.Hash, key []byte, digits int) *generator {
	return &generator{mac: hmac.New(h, key), digits: digits}
}

// code returns HOTP(K, C) for counter c (RFC 4226, section 5.3) as ASCII
// digits.
func (g *generator) code(c int64) [8]byte {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(c))
	g.mac.Reset()
	g.mac.Write(counter[:])
	sum := g.mac.Sum(g.sum[:0])
	// Dynamic truncation: the low half byte of the last byte is an offset.
	offset := sum[len(sum)-1] & 0x0f
	value := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	var digits [8]byte
	for i := g.digits - 1; i >= 0; i-- {
		digits[i] = byte('0' + value%10)
		value /= 10
	}
	return digits
}

// is reports whether code is that of step, in constant time.
func (g *generator) is(step int64, code string) bool {
	want := g.code(step)
	return subtle.ConstantTimeCompare(want[:g.digits], []byte(code)) == 1
}

// Result of comparing a code with one authenticator.
type Result int

// The results. Only [Accepted] opens anything, and only once claimed.
const (
	Wrong        Result = iota
	Accepted            // right, for a step that wasn't used
	Reused              // right, but this step or the next was used already
	Slow                // would have been right Minutes ago
	Fast                // will be right in Minutes; only [State.Explain] says so
	SetBack             // right, but before the last step used; codes work again in Minutes
	ClockChanged        // right for our clock, not for the drift that was learned
)

// Check is a verdict over a code.
type Check struct {
	Result  Result
	Step    int64 // of an accepted code; of a pair the second
	Drift   int64 // what to learn from it, in steps
	Minutes int   // see Result; at least 1
	from    int64 // the first step that it uses up
}

// State is what verification knows of an authenticator.
type State struct {
	Secret   []byte
	LastStep int64 // the newest step that was used; 0: none

	// StepAhead is the newest step that was used by a clock that may have been
	// ahead; 0: none. It and those shortly before are used, but none long before.
	StepAhead int64

	Drift int64 // how many steps the phone is ahead
}

// usedBy returns the step that uses up step, itself or a later one; 0: none does.
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

// Verify compares a normalised code with the steps acceptable at now. It is
// pure: an accepted step counts only once [Claim] says so.
func (s State) Verify(code string, now time.Time) Check {
	g := newGenerator(sha1.New, s.Secret, Digits)
	middle := Step(now) + s.Drift
	// The newest first; all three are computed whatever matches.
	var matched int64
	for step := middle + window; step >= middle-window; step-- {
		if g.is(step, code) && matched == 0 {
			matched = step
		}
	}
	switch {
	case matched > 0 && s.usedBy(matched) == 0:
		return Check{Result: Accepted, Step: matched, Drift: s.Drift, from: matched}
	case matched > 0:
		return s.used(matched)
	}
	for step := middle - window - 1; step >= Step(now)-lookBack; step-- {
		if !g.is(step, code) {
			continue
		}
		switch {
		case s.usedBy(step) > 0:
			return s.used(step)
		case step >= Step(now)-window:
			return Check{Result: ClockChanged}
		default:
			return Check{Result: Slow, Minutes: minutes(Step(now) - step)}
		}
	}
	return Check{}
}

// used is the answer to a right code for step, which is used up.
func (s State) used(step int64) Check {
	until := s.usedBy(step)
	if until-step <= 2*window {
		return Check{Result: Reused}
	}
	return Check{Result: SetBack, Minutes: minutes(until + 1 - step)}
}

// VerifyPair compares two codes with every two consecutive steps at which a
// phone up to ten steps off may be. A pair is guessed with p = 21·10⁻¹².
func (s State) VerifyPair(first, second string, now time.Time) Check {
	g := newGenerator(sha1.New, s.Secret, Digits)
	here := Step(now)
	var matched int64
	found := false
	before := g.is(here-maxDrift-1, first)
	for step := here - maxDrift; step <= here+maxDrift; step++ {
		// Both are always compared, so that a half-right pair looks and takes
		// the same as a wrong one (ATTACKS 12).
		isSecond, isFirst := g.is(step, second), g.is(step, first)
		if before && isSecond {
			matched, found = step, true
		}
		before = isFirst
	}
	switch {
	case !found, matched-1 == s.LastStep, matched-1 == s.StepAhead:
		// The first used, the second not: to say so would tell whoever saw the
		// first that the second is right.
		return Check{}
	case s.usedBy(matched) > 0, s.usedBy(matched-1) > 0:
		return s.used(matched - 1)
	}
	drift := matched - here
	if -window <= drift && drift <= window {
		drift = 0 // the ordinary window covers it
	}
	return Check{Result: Accepted, Step: matched, Drift: drift, from: matched - 1}
}

// Explain says of a wrong code in the wizard, where the person has the secret
// on the screen, that the phone's clock is up to ten minutes slow or fast.
func (s State) Explain(code string, now time.Time) Check {
	g := newGenerator(sha1.New, s.Secret, Digits)
	here := Step(now)
	for off := int64(window + 1); off <= lookBack; off++ {
		if g.is(here-off, code) {
			return Check{Result: Slow, Minutes: minutes(off)}
		}
		if g.is(here+off, code) {
			return Check{Result: Fast, Minutes: minutes(off)}
		}
	}
	return Check{}
}

// minutes returns steps in whole minutes, rounded up.
func minutes(steps int64) int {
	return int((steps*int64(Period/time.Second) + 59) / 60)
}

// CodeAt returns the code that the app shows at t, for tests and the demo.
func CodeAt(key []byte, t time.Time) string {
	digits := newGenerator(sha1.New, key, Digits).code(Step(t))
	return string(digits[:Digits])
}
