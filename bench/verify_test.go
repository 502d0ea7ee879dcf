package bench

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
)

// verifications are made in each round: one alone is too short to measure, and
// leaves too little garbage to be collected.
const verifications = 10_000

// BenchmarkVerify holds the pure part of a code's verification, three steps
// whichever matches, against the three HMACs that it can't do without.
func BenchmarkVerify(b *testing.B) {
	key := make([]byte, totp.SecretBytes)
	rand.Read(key)
	now := testkit.Start
	code := totp.CodeAt(key, now.Add(-totp.Period)) // the oldest step that is accepted
	verify := func() {
		state := totp.State{Secret: key}
		if check := state.Verify(code, now); check.Result != totp.Accepted {
			b.Fatal("a right code was not accepted")
		}
	}
	var counter, sum [sha1.Size]byte
	next := func(step int64) []byte { return binary.BigEndian.AppendUint64(counter[:0], uint64(step)) }
	first := totp.Step(now) - 1

	// A naive verifier keys a new HMAC for each step.
	b.Run("against-three-HMACs", func(b *testing.B) {
		compare(b, verifications, verify, func() {
			for step := first; step < first+3; step++ {
				mac := hmac.New(sha1.New, key)
				mac.Write(next(step))
				mac.Sum(sum[:0])
			}
		})
	})
	// A careful one keys it once: Go's HMAC then copies two states for each
	// step instead of hashing two padded keys.
	b.Run("against-one-HMAC-reset", func(b *testing.B) {
		compare(b, verifications, verify, func() {
			mac := hmac.New(sha1.New, key)
			for step := first; step < first+3; step++ {
				mac.Reset()
				mac.Write(next(step))
				mac.Sum(sum[:0])
			}
		})
	})
}
