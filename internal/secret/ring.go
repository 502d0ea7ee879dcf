package secret

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	keyBytes   = 32 // AES-256, and the input of HKDF
	keyIDBytes = 6  // random; distinguishes the keys of one ring

	// maxRingBytes limits how much of a ring's file is read. The file has a few lines, and one line
	// of at most 190 bytes for each key that was ever dropped; see maxSigners.
	maxRingBytes = 256 << 10

	ringHeader = "# Sallyport key ring. Anybody who reads it can open every stored secret.\n" +
		"# Keep a copy apart from the database: without it nobody can sign in.\n"
)

// Errors of a key ring. After such an error, callers must deny access, and must not act as if there
// were no secret.
var (
	// ErrUnknownKey: the secret was sealed under a key that isn't in the ring.
	ErrUnknownKey = errors.New("sealed under a key that is not in the key ring")
	// ErrOpen: the sealed bytes were changed or cut, or belong to another row.
	ErrOpen = errors.New("sealed secret does not open")
)

// Ring holds the keys that seal stored secrets. One key seals; every key
// opens. A Ring is safe for concurrent use.
type Ring struct {
	set atomic.Pointer[keySet]
	// reread returns the ring that the file holds now, or nil if it has not
	// changed. It is nil for a ring that never changes. See [Ring.Follow].
	reread func() *Ring
}

// keySet is the content of a ring's file. It is never changed, only replaced.
type keySet struct {
	keys  []ringKey // oldest first
	seals int       // index of the sealing key; the keys after it are spare
	// signers holds the signers of dropped keys, followed by those of the keys in the field keys.
	// The first signer is that of the first key that the ring ever had.
	signers []Signer
}

// dropped returns how many signers belong to dropped keys.
func (s *keySet) dropped() int { return len(s.signers) - len(s.keys) }

type ringKey struct {
	id   keyID
	aead cipher.AEAD
	raw  []byte
}

type keyID [keyIDBytes]byte

func (id keyID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Text returns the ring in the form that [ParseRing] reads, for an operator to
// store.
func (r *Ring) Text() Text { return NewText(string(r.set.Load().marshal())) }

// NewRing returns a ring with one fresh random key.
func NewRing() *Ring {
	return ringOf((&keySet{}).withFresh())
}

func ringOf(set *keySet) *Ring {
	r := &Ring{}
	r.set.Store(set)
	return r
}

// CreateRing writes a new ring to path with mode 0600, atomically and durably, and
// returns it. It returns [fs.ErrExist] if the file exists.
func CreateRing(path string) (*Ring, error) {
	ring := NewRing()
	dir, err := lockDir(path)
	if err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	defer dir.Close()
	// The lock keeps other processes from creating the file after this check.
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create key ring: %s: %w", path, fs.ErrExist)
	}
	if err := replace(path, ring.set.Load().marshal(), nil); err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	return ring, nil
}

// ErrOthersRead: the mode of the key ring's file lets other users of this machine
// read it.
var ErrOthersRead = errors.New("others may read it")

// ReadRing reads the ring at path. It returns [ErrOthersRead] if group or others
// have any permission on the file, and [fs.ErrNotExist] if there is no file.
func ReadRing(path string) (*Ring, error) {
	text, mode, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key ring: %w", err)
	}
	if mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key ring %s has mode %v, so %w; run: chmod 600 %s", path, mode, ErrOthersRead, path)
	}
	ring, err := ParseRing(text)
	if err != nil {
		return nil, fmt.Errorf("key ring %s: %w; restore the file from its copy", path, err)
	}
	return ring, nil
}

// ParseRing reads the text of a key ring: comment lines, empty lines, and
//
//	mac SECRET             if the ring's first key was dropped: see [Ring.MAC]
//	past SECRET            for each later key that was dropped: see [Signer]
//	key ID SECRET          for each key, oldest first
//	key ID SECRET seals    for the key that seals; without this line the first key seals
//
// ID is 6 bytes and SECRET 32 bytes, in base64url without padding. If the signer of a key has taken
// over from an older signer, the key's line ends with "since HEAD", the place where it took over.
func ParseRing(text []byte) (*Ring, error) {
	set, marked := &keySet{}, false
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for line := 1; scanner.Scan(); line++ {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		// The error doesn't quote the line, which may be a key.
		bad := fmt.Errorf("line %d is not \"key ID SECRET\"", line)
		var since Head
		if n := len(fields); n > 2 && fields[n-2] == "since" {
			var err error
			if since, err = ParseHead(fields[n-1]); err != nil {
				return nil, bad
			}
			fields = fields[:n-2]
		}
		seals := len(fields) == 4 && fields[3] == "seals" && !marked
		switch {
		case len(fields) == 2 && fields[0] == "mac" && len(set.signers) == 0,
			len(fields) == 2 && fields[0] == "past" && len(set.signers) > 0 && len(set.keys) == 0:
			key, err := parseSecret(fields[1], keyBytes)
			if err != nil {
				return nil, bad
			}
			set.signers = append(set.signers, newSigner(key))
		case fields[0] == "key" && (len(fields) == 3 || seals):
			id, err1 := parseSecret(fields[1], keyIDBytes)
			raw, err2 := parseSecret(fields[2], keyBytes)
			if err1 != nil || err2 != nil {
				return nil, bad
			}
			if err := set.add(keyID(id), raw); err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			if seals {
				set.seals, marked = len(set.keys)-1, true
			}
		default:
			return nil, bad
		}
		set.signers[len(set.signers)-1].since = since
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(set.keys) == 0 {
		return nil, errors.New("it contains no key")
	}
	return ringOf(set), nil
}

func parseSecret(text string, size int) ([]byte, error) {
	secret, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil && len(secret) != size {
		err = errors.New("wrong size")
	}
	return secret, err
}

// add appends a key to a set that is not in use yet.
func (s *keySet) add(id keyID, raw []byte) error {
	if s.index(id) >= 0 {
		return errors.New("two keys have the same id")
	}
	sealKey, err := hkdf.Key(sha256.New, raw, id[:], "sallyport seal v1", keyBytes)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(sealKey)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	use := "sallyport sign v1"
	if len(s.signers) == 0 {
		use = "sallyport mac v1" // the ring's first key signs with the key of Ring.MAC
	}
	signKey, err := hkdf.Key(sha256.New, raw, id[:], use, keyBytes)
	if err != nil {
		return err
	}
	s.keys = append(s.keys, ringKey{id: id, aead: aead, raw: raw})
	s.signers = append(s.signers, newSigner(signKey))
	return nil
}

// index returns the index of the key in keys, or -1.
func (s *keySet) index(id keyID) int {
	return slices.IndexFunc(s.keys, func(k ringKey) bool { return k.id == id })
}

func (s *keySet) marshal() []byte {
	b64 := base64.RawURLEncoding
	var b bytes.Buffer
	b.WriteString(ringHeader)
	for i, signer := range s.signers {
		at := i - s.dropped() // index in keys
		switch {
		case at >= 0:
			fmt.Fprintf(&b, "key %s %s", s.keys[at].id, b64.EncodeToString(s.keys[at].raw))
		case i == 0:
			fmt.Fprintf(&b, "mac %s", b64.EncodeToString(signer.key))
		default:
			fmt.Fprintf(&b, "past %s", b64.EncodeToString(signer.key))
		}
		if at == s.seals {
			b.WriteString(" seals")
		}
		if signer.since.Seq > 0 {
			fmt.Fprintf(&b, " since %s", signer.since)
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

// Place says where a sealed secret is stored. It is authenticated together with the
// secret, so a sealed value that an attacker copies to another row, column or table
// doesn't open there (attack 142).
type Place struct{ Table, Column, Row string }

func (p Place) aad(id keyID) []byte {
	var b []byte
	for _, part := range []string{p.Table, p.Column, p.Row} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return append(b, id[:]...)
}

// Seal encrypts plain for its place with AES-256-GCM. It returns the key id (6
// bytes), the nonce (12), the encrypted text and the tag (16). Nonces are random; a
// key seals far fewer than the 2³² secrets at which two nonces might collide.
func (r *Ring) Seal(place Place, plain []byte) []byte {
	// A server that kept sealing under the old key would undo the work of a
	// concurrent "key rotate".
	r.Refresh()
	set := r.set.Load()
	key := set.keys[set.seals]
	return key.aead.Seal(bytes.Clone(key.id[:]), nil, plain, place.aad(key.id))
}

// Open returns the secret that was sealed for place. It returns [ErrUnknownKey] or
// [ErrOpen] if the secret can't be used; neither means that there is no secret.
func (r *Ring) Open(place Place, sealed []byte) ([]byte, error) {
	if len(sealed) < keyIDBytes {
		return nil, ErrOpen
	}
	id := keyID(sealed)
	set := r.set.Load()
	at := set.index(id)
	if at < 0 {
		r.Refresh()
		set = r.set.Load()
		at = set.index(id)
	}
	if at < 0 {
		return nil, ErrUnknownKey
	}
	plain, err := set.keys[at].aead.Open(nil, nil, sealed[keyIDBytes:], place.aad(id))
	if err != nil {
		return nil, ErrOpen
	}
	if at > set.seals {
		// Seal under this key from now on: only a node that has rotated to it can have sealed the
		// secret, and sealing under the older key would undo that rotation.
		r.set.CompareAndSwap(set, set.with(set.keys, at))
	}
	return plain, nil
}

// MAC returns the HMAC-SHA-256 of text for purpose, 32 bytes that can't be computed without the ring.
// The HMAC's key is derived from the first key that the ring ever had. So the result stays the same
// when keys are added, rotated or dropped, and a copy of an old ring is enough to compute it. Use
// MAC only for look-ups and to hide names. For data that must not be forged, use a [Signer].
func (r *Ring) MAC(purpose, text string) []byte {
	return sum(r.set.Load().signers[0].key, purpose, []byte(text))
}
