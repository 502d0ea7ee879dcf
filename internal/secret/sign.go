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
	// ErrEnded: the signature's key had been replaced before the place in the chain at which the
	// signature stands.
	ErrEnded = errors.New("signed with a key that had been replaced before")
)

// Signer signs the entries of a chain. Each key of the ring has a signer, which stays in the ring when
// the key is dropped, so that its signatures can always be verified. They count only up to the place
// in the chain where the signer of a later key took over, since an attacker may have a copy of an
// old ring.
type Signer struct {
	id  keyID // the first bytes of its signatures
	key []byte
	// since is the head that the signer signed when it took over. It is zero for the first signer,
	// and for a signer that has not taken over yet.
	since Head
}

func newSigner(key []byte) Signer {
	s := Signer{key: key}
	s.id = keyID(s.sum("signer", nil))
	return s
}

// Sign returns a signature of text for purpose: 38 bytes, of which 6 identify the
// signer and 32 are an HMAC-SHA-256.
func (s Signer) Sign(purpose string, text []byte) []byte {
	return append(s.id[:], s.sum(purpose, text)...)
}

func (s Signer) sum(purpose string, text []byte) []byte {
	return sum(s.key, "sign "+purpose, text) // no purpose of Ring.MAC has this prefix
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

// SignerAfter returns the signer that signs next in a chain whose last signature is signature.
// Usually that is the signer of this last signature, so that nodes whose rings differ for a while
// use the same signer. If the chain is empty, or if a later signer has already taken over, it is
// [Ring.Signer]. SignerAfter returns [ErrUnknownKey] if the ring lacks the last signature's signer.
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

// IsCurrent reports whether the signer that signature names hasn't been replaced by a later one. It
// doesn't verify the signature.
func (r *Ring) IsCurrent(signature []byte) bool {
	set, at := r.signerOf(signature)
	return at >= 0 && set.end(at) == math.MaxInt64
}

// Verify returns nil if signature is that of text for purpose by any signer of the ring. Otherwise it
// returns [ErrUnknownKey] if the signer isn't in the ring, and [ErrForged] if it is.
func (r *Ring) Verify(purpose string, text, signature []byte) error {
	_, _, err := r.verify(purpose, text, signature)
	return err
}

// VerifyAt is [Ring.Verify] for the signature at.MAC at the place at.Seq in the chain. It also
// returns [ErrEnded] if a later signer had taken over by that place, and [ErrForged] if a signer took
// over at that place with another signature.
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

// Handovers returns the places in the chain where signers took over, oldest first.
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

// signerOf returns the set of keys and, in it, the index of the signer that signature names, or -1.
// It refreshes the ring if the signer is unknown.
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

// end returns the place in the chain from which on the signatures of the signer at this index don't
// count, or [math.MaxInt64] if all of them count.
func (s *keySet) end(signer int) int64 {
	end := int64(math.MaxInt64)
	for _, later := range s.signers[signer+1:] {
		if later.since.Seq > 0 {
			end = min(end, later.since.Seq)
		}
	}
	return end
}
