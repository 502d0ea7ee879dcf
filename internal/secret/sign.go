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

// Sign returns a signature of text for purpose, 38 bytes: the id of the ring's
// sealing key and HMAC-SHA-256 under a key derived from it. Unlike
// [Ring.MAC] it says which key made it, so it can be verified after a newer
// key has taken over.
func (r *Ring) Sign(purpose string, text []byte) []byte {
	key := r.keys[0]
	return append(bytes.Clone(key.id[:]), key.sign(purpose, text)...)
}

// Verify returns nil where signature is one of text for purpose, by any key of
// the ring; else [ErrForged] or [ErrUnknownKey].
func (r *Ring) Verify(purpose string, text, signature []byte) error {
	if len(signature) != keyIDBytes+sha256.Size {
		return ErrForged
	}
	id := [keyIDBytes]byte(signature)
	for _, key := range r.keys {
		if key.id != id {
			continue
		}
		if !hmac.Equal(key.sign(purpose, text), signature[keyIDBytes:]) {
			return ErrForged
		}
		return nil
	}
	return ErrUnknownKey
}

func (k ringKey) sign(purpose string, text []byte) []byte {
	h := hmac.New(sha256.New, k.signs)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(purpose))))
	h.Write([]byte(purpose))
	h.Write(text)
	return h.Sum(nil)
}
