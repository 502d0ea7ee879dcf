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
	keyIDBytes = 6  // random; only tells the keys of one ring apart

	// maxRingBytes limits what is read: a ring holds a few lines, and one of at
	// most 190 bytes for each key that was ever dropped; see maxSigners.
	maxRingBytes = 256 << 10

	ringHeader = "# Sallyport key ring. Anybody who reads it can open every stored secret.\n" +
		"# Keep a copy apart from the database: without it nobody can sign in.\n"
)

// Errors of a key ring. All of them mean "deny", never "there is nothing".
var (
	// ErrUnknownKey: the secret was sealed under a key that isn't in the ring.
	ErrUnknownKey = errors.New("sealed under a key that is not in the key ring")
	// ErrOpen: the sealed bytes were changed, cut, or belong to another row.
	ErrOpen = errors.New("sealed secret does not open")
)

// Ring holds the keys that seal stored secrets. One key seals; every key
// opens. A Ring is safe for concurrent use.
type Ring struct {
	set atomic.Pointer[keySet]
	// reread returns what the file holds now, or nil where there is nothing
	// new; nil for a ring that stays as it is. See [Ring.Follow].
	reread func() *Ring
}

// keySet is what a ring's file says. It is never changed, only replaced.
type keySet struct {
	keys  []ringKey // oldest first
	seals int       // index of the sealing key; those after it are spare
	// signers are those of the keys that were dropped, then of keys. The first
	// is of the first key ever.
	signers []Signer
}

// dropped returns how many signers are of keys that were dropped.
func (s *keySet) dropped() int { return len(s.signers) - len(s.keys) }

type ringKey struct {
	id   keyID
	aead cipher.AEAD
	raw  []byte
}

type keyID [keyIDBytes]byte

func (id keyID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Text returns the ring as [ParseRing] reads it, for an operator to store.
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

// CreateRing writes a fresh ring to path with mode 0600, durably and all or
// nothing, and returns it. It fails with [fs.ErrExist] where a file is there
// already.
func CreateRing(path string) (*Ring, error) {
	ring := NewRing()
	dir, err := lockDir(path)
	if err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	defer dir.Close()
	// Under the lock nobody else makes one.
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create key ring: %s: %w", path, fs.ErrExist)
	}
	if err := replace(dir, path, ring.set.Load().marshal(), nil); err != nil {
		return nil, fmt.Errorf("create key ring: %w", err)
	}
	return ring, nil
}

// ErrOthersRead: a key ring's file has a mode that lets others on this machine read it.
var ErrOthersRead = errors.New("others may read it")

// ReadRing reads the ring at path. It refuses a file that anybody but its
// owner may read or write, and returns [fs.ErrNotExist] where there is none.
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
//	mac SECRET             once the first key ever is dropped: see [Ring.MAC]
//	past SECRET            for each later key that was dropped: see [Signer]
//	key ID SECRET          for each key, oldest first
//	key ID SECRET seals    for the one that seals; without it the first does
//
// ID is 6 bytes and SECRET 32 bytes of base64url without padding. "since HEAD"
// ends the line of a key whose signer took over from an older one, there.
func ParseRing(text []byte) (*Ring, error) {
	set, marked := &keySet{}, false
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for line := 1; scanner.Scan(); line++ {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		// The line's text stays out of the error: it is a key.
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

// add appends a key while the set is being made.
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
		use = "sallyport mac v1" // the first key ever, which signs with that of Ring.MAC
	}
	signKey, err := hkdf.Key(sha256.New, raw, id[:], use, keyBytes)
	if err != nil {
		return err
	}
	s.keys = append(s.keys, ringKey{id: id, aead: aead, raw: raw})
	s.signers = append(s.signers, newSigner(signKey))
	return nil
}

// index returns where the key is, or -1.
func (s *keySet) index(id keyID) int {
	return slices.IndexFunc(s.keys, func(k ringKey) bool { return k.id == id })
}

func (s *keySet) marshal() []byte {
	b64 := base64.RawURLEncoding
	var b bytes.Buffer
	b.WriteString(ringHeader)
	for i, signer := range s.signers {
		at := i - s.dropped() // in keys
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

// Place says where a sealed secret is stored. It is authenticated together
// with the secret, so a sealed value copied into another row, column or table
// doesn't open there (ATTACKS 142).
type Place struct{ Table, Column, Row string }

func (p Place) aad(id keyID) []byte {
	var b []byte
	for _, part := range []string{p.Table, p.Column, p.Row} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return append(b, id[:]...)
}

// Seal encrypts plain for its place: key id (6 bytes), nonce (12), AES-256-GCM
// text and tag (16). Nonces are random; a ring key seals far fewer than the
// 2³² secrets that would make two of them meet.
func (r *Ring) Seal(place Place, plain []byte) []byte {
	// A server that goes on sealing under the key of before would undo the
	// work of "key rotate" beside it.
	r.Refresh()
	set := r.set.Load()
	key := set.keys[set.seals]
	return key.aead.Seal(bytes.Clone(key.id[:]), nil, plain, place.aad(key.id))
}

// Open returns what was sealed for place. It fails with [ErrUnknownKey] or
// [ErrOpen]; both mean that the secret can't be used, not that there is none.
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
		// Another node has rotated to this key: nobody else can have sealed
		// under it. Sealing under the key of before would undo that.
		r.set.CompareAndSwap(set, set.with(set.keys, at))
	}
	return plain, nil
}

// MAC returns HMAC-SHA-256 of text under a key of the ring, for purpose: 32
// bytes that nobody without the ring can compute. It stays the same whatever
// keys are added, rotated or dropped, since it comes from the first key ever:
// a copy of an old ring computes it too. So it may only find things or hide
// names; what must not be forged is signed, see [Signer].
func (r *Ring) MAC(purpose, text string) []byte {
	return sum(r.set.Load().signers[0].key, purpose, []byte(text))
}
