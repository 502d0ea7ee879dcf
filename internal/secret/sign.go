package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Errors of a signature.
var (
	// ErrForged: the signed text or its signature was changed.
	ErrForged = errors.New("signature does not match")
	// ErrEnded: the signature is of a key that a later one had replaced before
	// that place of the chain.
	ErrEnded = errors.New("signed with a key that had been replaced before")
)

// Signer is a key that signs: each key of the ring has one. It stays in the
// ring when its key is dropped, so that what it signed can be verified for
// ever. From the place in the chain where the signer of a later key took over
// its signatures count no more: somebody may have a copy of an old ring.
type Signer struct {
	id  keyID // the first bytes of its signatures
	key []byte
	// since is a place that it signed when it took over. It is zero for the
	// first signer, and for one that has not taken over.
	since Head
}

func newSigner(key []byte) Signer {
	s := Signer{key: key}
	s.id = keyID(s.sum("signer", nil))
	return s
}

// Sign returns a signature of text for purpose, 38 bytes: 6 that tell signers
// apart, and an HMAC-SHA-256.
func (s Signer) Sign(purpose string, text []byte) []byte {
	return append(s.id[:], s.sum(purpose, text)...)
}

func (s Signer) sum(purpose string, text []byte) []byte {
	return sum(s.key, "sign "+purpose, text) // no purpose of Ring.MAC begins so
}

// sum returns the HMAC-SHA-256 of text for purpose.
func sum(key []byte, purpose string, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(purpose))))
	h.Write([]byte(purpose))
	h.Write(text)
	return h.Sum(nil)
}

// Signer returns the signer of the key that seals.
func (r *Ring) Signer() Signer {
	set := r.set.Load()
	return set.signers[set.dropped()+set.seals]
}

// SignerAfter returns who signs next in a chain that ends with signature: the
// signer of that, so that nodes whose rings differ for a while go on alike.
// It is [Ring.Signer] for an empty chain, and where a later one had taken over.
// [ErrUnknownKey] says that the ring lacks it.
func (r *Ring) SignerAfter(signature []byte) (Signer, error) {
	if len(signature) == 0 {
		return r.Signer(), nil
	}
	set, at := r.signerOf(signature)
	switch {
	case at < 0:
		return Signer{}, ErrUnknownKey
	case set.end(at) < math.MaxInt64:
		return r.Signer(), nil
	default:
		return set.signers[at], nil
	}
}

// IsCurrent reports whether signature begins as those of a signer that none
// has replaced.
func (r *Ring) IsCurrent(signature []byte) bool {
	set, at := r.signerOf(signature)
	return at >= 0 && set.end(at) == math.MaxInt64
}

// Verify returns nil where signature is one of text for purpose by any signer
// of this ring; else [ErrForged], or [ErrUnknownKey] where another ring made it.
func (r *Ring) Verify(purpose string, text, signature []byte) error {
	_, _, err := r.verify(purpose, text, signature)
	return err
}

// VerifyAt is Verify for the signature at a place of the chain: it returns
// [ErrEnded] where a later signer had taken over before, and [ErrForged] where
// one took over at this place with another signature.
func (r *Ring) VerifyAt(purpose string, text []byte, at Head) error {
	set, signer, err := r.verify(purpose, text, at.MAC)
	if err != nil {
		return err
	}
	if at.Seq >= set.end(signer) {
		return ErrEnded
	}
	for _, s := range set.signers {
		if s.since.Seq == at.Seq && !s.since.Equal(at) {
			return ErrForged
		}
	}
	return nil
}

// Handovers returns the places where signers took over, oldest first.
func (r *Ring) Handovers() []Head {
	var all []Head
	for _, s := range r.set.Load().signers {
		if s.since.Seq > 0 {
			all = append(all, s.since)
		}
	}
	return all
}

func (r *Ring) verify(purpose string, text, signature []byte) (*keySet, int, error) {
	if len(signature) != keyIDBytes+sha256.Size {
		return nil, -1, ErrForged
	}
	set, at := r.signerOf(signature)
	if at < 0 {
		return nil, -1, ErrUnknownKey
	}
	if !hmac.Equal(set.signers[at].sum(purpose, text), signature[keyIDBytes:]) {
		return nil, -1, ErrForged
	}
	return set, at, nil
}

// signerOf returns the index of the signer whose signature it may be, or -1.
func (r *Ring) signerOf(signature []byte) (*keySet, int) {
	set := r.set.Load()
	at := set.signer(signature)
	if at < 0 {
		r.Refresh()
		set = r.set.Load()
		at = set.signer(signature)
	}
	return set, at
}

func (s *keySet) signer(signature []byte) int {
	return slices.IndexFunc(s.signers, func(one Signer) bool { return bytes.HasPrefix(signature, one.id[:]) })
}

// end returns the first place in the chain that isn't the signer's any more.
func (s *keySet) end(signer int) int64 {
	end := int64(math.MaxInt64)
	for _, later := range s.signers[signer+1:] {
		if later.since.Seq > 0 {
			end = min(end, later.since.Seq)
		}
	}
	return end
}
