package totp

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
	"time"
)

// The parameters of new authenticators: those that every app supports.
const (
	SecretBytes = 20 // size of K, the output of HMAC-SHA-1 (RFC 4226, section 4, requirement 6)
	Digits      = 6
	Period      = 30 * time.Second // X
)

// The lengths of codes, in digits (RFC 4226, section 5.3).
const (
	minDigits = 6
	maxDigits = 8
)

// periods are the supported values of X. 30 s is the default of RFC 6238, section 5.2; some
// hardware tokens and other servers use 60 s.
var periods = [...]time.Duration{30 * time.Second, 60 * time.Second}

// Algorithm is the hash function of the HMAC, named as in the key URI.
type Algorithm string

// The algorithms of RFC 6238, section 1.2.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
	SHA512 Algorithm = "SHA512"
)

// hash returns the constructor of the hash function, or nil for an unknown algorithm.
func (a Algorithm) hash() func() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	default:
		return nil
	}
}

// Parameters are what an authenticator and the server must agree on besides the secret. With
// parameters that aren't supported, such as the zero value, no code is right.
type Parameters struct {
	Algorithm Algorithm
	Digits    int           // 6 to 8
	Period    time.Duration // 30 s or 60 s
}

// Standard returns the parameters of new authenticators: SHA-1, 6 digits, 30 s.
func Standard() Parameters { return Parameters{SHA1, Digits, Period} }

// isSupported reports whether codes with these parameters can be right.
func (p Parameters) isSupported() bool {
	return p.Algorithm.hash() != nil && minDigits <= p.Digits && p.Digits <= maxDigits && slices.Contains(periods[:], p.Period)
}

// parametersOf returns the parameters from the columns of a row, or an error if one of them isn't
// supported.
func parametersOf(algorithm string, digits, seconds int64) (Parameters, error) {
	p := Parameters{Algorithm: Algorithm(algorithm)}
	// Compare before converting: a large number must not overflow into a supported one.
	if minDigits <= digits && digits <= maxDigits {
		p.Digits = int(digits)
	}
	for _, period := range periods {
		if seconds == int64(period/time.Second) {
			p.Period = period
		}
	}
	if !p.isSupported() {
		return Parameters{}, fmt.Errorf("codes with algorithm %q, %d digits and a period of %d s are not supported", algorithm, digits, seconds)
	}
	return p, nil
}

// CodeAt returns the code that an app with these parameters shows at t, or "" if they aren't
// supported. It is for tests.
func (p Parameters) CodeAt(secret []byte, t time.Time) string {
	g := State{Secret: secret, Parameters: p}.generator()
	if g == nil {
		return ""
	}
	digits := g.code(Step(t, p.Period))
	return string(digits[:p.Digits])
}

// CodeAt returns the code that an app with the standard parameters shows at t. It is for tests.
func CodeAt(secret []byte, t time.Time) string { return Standard().CodeAt(secret, t) }

// Units returns the number of units that a guess costs. digits is the length of the guessed code,
// and authenticators is how many of the account's authenticators have codes of that length. A unit
// is the chance to guess the code of one authenticator with six digits, of which three codes are
// right at any moment: 3·10⁻⁶. The chance is the same for every period, since the window is counted
// in codes. It is 3·10⁻⁷ for seven digits and 3·10⁻⁸ for eight, so a guess against n authenticators
// costs n/10 or n/100 units, rounded up. So the 25 units of a year never win more than
// 25 · 3·10⁻⁶ = 7.5·10⁻⁵.
//
// Parts of a unit aren't counted: if a guess cost a hundredth of one, 2,500 guesses a year would be
// allowed, but a row of the ledger holds 256.
func Units(authenticators, digits int) int {
	perUnit := 1
	for range digits - minDigits {
		perUnit *= 10
	}
	return (authenticators + perUnit - 1) / perUnit
}
