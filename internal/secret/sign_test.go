package secret

import (
	"bytes"
	"errors"
	"testing"
)

func TestSignatureIsOfOneTextForOnePurpose(t *testing.T) {
	ring := NewRing()
	signature := ring.Sign("p", []byte("text"))
	if err := ring.Verify("p", []byte("text"), signature); err != nil {
		t.Error(err)
	}
	changed := bytes.Clone(signature)
	changed[len(changed)-1] ^= 1
	for _, test := range []struct {
		name, purpose, text string
		signature           []byte
	}{
		{"other text", "p", "texT", signature},
		{"other purpose", "q", "text", signature},
		{"part of the purpose moved to the text", "", "ptext", signature},
		{"other signature", "p", "text", changed},
		{"cut", "p", "text", signature[:37]},
		{"none", "p", "text", nil},
	} {
		if err := ring.Verify(test.purpose, []byte(test.text), test.signature); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v, want ErrForged", test.name, err)
		}
	}
	if err := NewRing().Verify("p", []byte("text"), signature); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("by another ring: %v, want ErrUnknownKey", err)
	}
}

func TestSignatureOutlivesARotation(t *testing.T) {
	old, fresh := NewRing(), NewRing()
	ring, err := ParseRing(append(fresh.marshal(), old.marshal()...))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Verify("p", []byte("text"), old.Sign("p", []byte("text"))); err != nil {
		t.Error(err)
	}
	if err := fresh.Verify("p", []byte("text"), ring.Sign("p", []byte("text"))); err != nil {
		t.Errorf("the first key signs: %v", err)
	}
}
