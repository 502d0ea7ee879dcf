package secret

import "golang.org/x/crypto/argon2"

// Argon2id holds the cost parameters of one hash of a password or a backup code (RFC 9106). The
// parallelism is always 1. Computing a hash occupies one core and MemoryKiB of memory for tens of
// milliseconds, so the caller must hold a slot of throttle.Queue.
type Argon2id struct {
	MemoryKiB  uint32
	Iterations uint32
}

// Argon2HashBytes is the length of a hash in bytes.
const Argon2HashBytes = 32

// Limits on the costs of a stored hash. An attacker with write access to the database must not be
// able to make one verification exhaust the machine.
const (
	leastMemoryKiB = 8 // RFC 9106, section 3.1
	mostMemoryKiB  = 1 << 20
	mostIterations = 64
)

// Sound reports whether the costs of a stored hash are within the limits: 8 KiB to
// 1 GiB, and 1 to 64 iterations. Callers must check that before they call [Argon2id.Key].
func (a Argon2id) Sound() bool {
	return leastMemoryKiB <= a.MemoryKiB && a.MemoryKiB <= mostMemoryKiB && 1 <= a.Iterations && a.Iterations <= mostIterations
}

// Key returns the hash of text: 32 bytes.
func (a Argon2id) Key(text string, salt []byte) []byte {
	return argon2.IDKey([]byte(text), salt, a.Iterations, a.MemoryKiB, 1, Argon2HashBytes)
}
