package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// ErrForged: the signed text or its signature was changed.
var ErrForged = errors.New("signature does not match")

// Sign returns a signature of text for purpose, 38 bytes: 6 that tell rings
// apart, and HMAC-SHA-256 under the key of [Ring.MAC], which stays when others
// rotate, so that a signature can be verified for ever.
func (r *Ring) Sign(purpose string, text []byte) []byte {
	set := r.set.Load()
	return append(set.signer(), set.sign(purpose, text)...)
}

// Verify returns nil where signature is one of text for purpose by this ring;
// else [ErrForged], or [ErrUnknownKey] where another ring made it.
func (r *Ring) Verify(purpose string, text, signature []byte) error {
	if len(signature) != keyIDBytes+sha256.Size {
		return ErrForged
	}
	set := r.set.Load()
	if !bytes.Equal(set.signer(), signature[:keyIDBytes]) {
		return ErrUnknownKey
	}
	if !hmac.Equal(set.sign(purpose, text), signature[keyIDBytes:]) {
		return ErrForged
	}
	return nil
}

// signer names the ring in its signatures.
func (s *keySet) signer() []byte { return s.sign("signer", nil)[:keyIDBytes] }

func (s *keySet) sign(purpose string, text []byte) []byte {
	h := hmac.New(sha256.New, s.mac)
	purpose = "sign " + purpose // no purpose of Ring.MAC begins so
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(purpose))))
	h.Write([]byte(purpose))
	h.Write(text)
	return h.Sum(nil)
}
