package secret

import "golang.org/x/crypto/argon2"

// Argon2id is what one hash of a password or a backup code costs (RFC 9106);
// parallelism is always 1. Each holds a core and MemoryKiB for tens of
// milliseconds: whoever hashes holds a slot of throttle.Queue.
type Argon2id struct {
	MemoryKiB  uint32
	Iterations uint32
}

// Argon2HashBytes is the length of a hash.
const Argon2HashBytes = 32

// What a stored hash may ask for: a changed row must not make one verification
// eat the machine.
const (
	leastMemoryKiB = 8 // RFC 9106, section 3.1
	mostMemoryKiB  = 1 << 20
	mostIterations = 64
)

// Sound reports whether a stored hash may ask for these costs.
func (a Argon2id) Sound() bool {
	return leastMemoryKiB <= a.MemoryKiB && a.MemoryKiB <= mostMemoryKiB && 1 <= a.Iterations && a.Iterations <= mostIterations
}

// Key returns the hash of text: 32 bytes.
func (a Argon2id) Key(text string, salt []byte) []byte {
	return argon2.IDKey([]byte(text), salt, a.Iterations, a.MemoryKiB, 1, Argon2HashBytes)
}
