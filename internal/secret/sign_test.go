package secret

import (
	"bytes"
	"errors"
	"path/filepath"
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
	path := filepath.Join(t.TempDir(), "keyring")
	first, err := CreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("text")
	old := first.Sign("p", text)
	if _, err := AddKey(t.Context(), Source{Path: path}); err != nil {
		t.Fatal(err)
	}
	rotated, err := rotate(t, Source{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	sealing := rotated.set.Load()
	left, err := DropOldKeys(t.Context(), Source{Path: path}, sealing.keys[sealing.seals].id.String())
	if err != nil {
		t.Fatal(err)
	}
	for name, ring := range map[string]*Ring{"rotated": rotated, "old keys dropped": left} {
		if err := ring.Verify("p", text, old); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := first.Verify("p", text, ring.Sign("p", text)); err != nil {
			t.Errorf("%s signs: %v", name, err)
		}
	}
}
