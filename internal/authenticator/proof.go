package authenticator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/clock"
)

// Proof is one successful verification.
type Proof struct {
	Kind Kind
	ID   string    // id of the authenticator; empty for a password or a backup code
	At   time.Time // by the reference clock
}

// AAL returns the authentication assurance level of the proofs: 0 for none, 1 for one factor, 2
// for something you know and something you have (SP 800-63B, "Authentication Assurance Levels").
// A [Passkey] proof is both. Unknown kinds don't count.
func AAL(proofs []Proof) int {
	var known, owned bool
	for _, p := range proofs {
		switch p.Kind {
		case Password:
			known = true
		case TOTP, BackupCode, WebAuthn:
			owned = true
		case Passkey:
			known, owned = true, true
		}
	}
	switch {
	case known && owned:
		return 2
	case known || owned:
		return 1
	default:
		return 0
	}
}

// HasFirst reports whether the proofs contain one that a sign-in can begin with: a password
// or a passkey.
func HasFirst(proofs []Proof) bool { return has(proofs, Password) || has(proofs, Passkey) }

// PhishingResistant reports whether the proofs are two factors of which one is bound to this
// site's name, so that a site under another name can't relay it: a passkey, or a password and
// a WebAuthn authenticator.
func PhishingResistant(proofs []Proof) bool {
	return has(proofs, Passkey) || has(proofs, Password) && has(proofs, WebAuthn)
}

func has(proofs []Proof, kind Kind) bool {
	return slices.ContainsFunc(proofs, func(p Proof) bool { return p.Kind == kind })
}

// maxAhead is how far in the future the time of a proof may be. Every node uses its estimate of
// the reference clock, and the errors of these estimates are smaller. A time further ahead comes
// from a clock that was wrong. The proof would stay fresh until the right clock passes that time,
// so it doesn't count.
const maxAhead = clock.Slack

// Since returns the proofs that are dated neither before earliest nor more than 90 s after now.
// Callers that ask for the age of a proof must use it.
func Since(proofs []Proof, earliest, now time.Time) []Proof {
	var fresh []Proof
	for _, p := range proofs {
		if !p.At.Before(earliest) && !p.At.After(now.Add(maxAhead)) {
			fresh = append(fresh, p)
		}
	}
	return fresh
}

// Merge returns the proofs in old and in newer. A newer proof replaces an old one of the same
// authenticator, even if one is a [WebAuthn] proof and the other a [Passkey] proof: what an
// authenticator proved last counts. Its arguments stay unchanged.
func Merge(old, newer []Proof) []Proof {
	merged := make([]Proof, 0, len(old)+len(newer))
	for _, p := range old {
		replaced := false
		for _, n := range newer {
			replaced = replaced || n.ID == p.ID && (n.ID != "" || n.Kind == p.Kind)
		}
		if !replaced {
			merged = append(merged, p)
		}
	}
	return append(merged, newer...)
}

// Without returns the proofs for which drop returns false.
func Without(proofs []Proof, drop func(Proof) bool) []Proof {
	var left []Proof
	for _, p := range proofs {
		if !drop(p) {
			left = append(left, p)
		}
	}
	return left
}

// maxProofs limits a stored list. At most one proof of each authenticator is kept, one of the
// password and one of a backup code.
const maxProofs = 2 + MaxTOTP + MaxWebAuthn

// EncodeProofs returns proofs as stored text: "kind:id:ms", joined by commas. Kinds and ids come
// from this program, so the text never contains a user's input (R19).
func EncodeProofs(proofs []Proof) string {
	parts := make([]string, len(proofs))
	for i, p := range proofs {
		parts[i] = fmt.Sprintf("%s:%s:%d", p.Kind, p.ID, p.At.UnixMilli())
	}
	return strings.Join(parts, ",")
}

// ParseProofs parses the text of [EncodeProofs]. Any other text, or an unknown kind, is an
// error; callers must then deny (F3).
func ParseProofs(text string) ([]Proof, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxProofs {
		return nil, errors.New("stored proofs: too many")
	}
	proofs := make([]Proof, len(parts))
	for i, part := range parts {
		fields := strings.Split(part, ":")
		if len(fields) != 3 {
			return nil, errors.New("stored proofs: not kind:id:time")
		}
		ms, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || strconv.FormatInt(ms, 10) != fields[2] {
			return nil, errors.New("stored proofs: time is not a number")
		}
		kind := Kind(fields[0])
		if !slices.Contains(Kinds, kind) {
			return nil, errors.New("stored proofs: unknown kind")
		}
		proofs[i] = Proof{Kind: kind, ID: fields[1], At: time.UnixMilli(ms).UTC()}
	}
	return proofs, nil
}
