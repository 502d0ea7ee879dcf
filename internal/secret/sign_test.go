package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

func TestSignatureIsOfOneTextForOnePurpose(t *testing.T) {
	ring := NewRing()
	signature := ring.Signer().Sign("p", []byte("text"))
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

// at is the place of a signature in a chain.
func at(seq int64, signature []byte) Head { return Head{Seq: seq, MAC: signature} }

// What a key signed stays verified when the key is dropped, but it signs
// nothing at or behind the place where the next one took over.
func TestSignerEndsWhereTheNextTakesOver(t *testing.T) {
	from := Source{Path: filepath.Join(t.TempDir(), "keyring")}
	text := []byte("text")
	stolen := make([]*Ring, 3) // of each generation
	var err error
	if stolen[0], err = CreateRing(from.Path); err != nil {
		t.Fatal(err)
	}
	ends := []int64{10, 20}
	for i, end := range ends {
		if _, err := AddKey(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		before, err := from.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys := before.Keys()
		ring, err := RotateKeys(t.Context(), from, keys[len(keys)-1].ID, func(r *Ring) Head {
			return at(end, r.Signer().Sign("p", text))
		})
		if err != nil {
			t.Fatal(err)
		}
		if stolen[i+1], err = DropOldKeys(t.Context(), from, keys[len(keys)-1].ID); err != nil {
			t.Fatal(err)
		}
		if got := stolen[i+1].Handovers(); len(got) != i+1 || !got[i].Equal(ring.Handovers()[i]) {
			t.Errorf("after the drop the ring keeps %v", got)
		}
	}
	ring, err := from.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, thief := range stolen {
		signature := thief.Signer().Sign("p", text)
		if err := ring.Verify("p", text, signature); err != nil {
			t.Errorf("generation %d: %v", i, err)
		}
		if got, want := ring.IsCurrent(signature), i == len(ends); got != want {
			t.Errorf("generation %d is current: %v", i, got)
		}
		next, err := ring.SignerAfter(signature)
		if err != nil || next.id != ring.Signer().id {
			t.Errorf("generation %d is followed by another than the last, %v", i, err)
		}
		for _, test := range []struct {
			seq  int64
			ends int // generations before this one have ended there
		}{{1, 0}, {9, 0}, {10, 1}, {11, 1}, {19, 1}, {20, 2}, {21, 2}} {
			var want error
			switch {
			case i < test.ends:
				want = ErrEnded
			case i == 2 && test.seq == 10:
				want = ErrForged // generation 1 took over there
			}
			if err := ring.VerifyAt("p", text, at(test.seq, signature)); !errors.Is(err, want) {
				t.Errorf("generation %d at %d: %v, want %v", i, test.seq, err, want)
			}
		}
		if i > 0 {
			if err := stolen[0].Verify("p", text, signature); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("the first ring knows generation %d: %v", i, err)
			}
		}
	}
	other := ring.Signer().Sign("p", []byte("other"))
	if err := ring.VerifyAt("p", []byte("other"), at(20, other)); !errors.Is(err, ErrForged) {
		t.Errorf("another signature where the last took over: %v", err)
	}
	if got := string(ring.set.Load().marshal()); strings.Count(got, "mac ") != 1 || strings.Count(got, "past ") != 1 || strings.Count(got, " since ") != 2 {
		t.Error("the ring's file has other lines than mac, past, key")
	}
}

// Rings differ for a while; the chain's last signature says who goes on.
func TestChainGoesOnUnderOneSigner(t *testing.T) {
	first := NewRing().set.Load().withFresh()
	behind, ahead := ringOf(first), ringOf(first.rotated())
	for name, test := range map[string]struct {
		ring *Ring
		last []byte
		want *Ring
	}{
		"an empty chain":            {behind, nil, behind},
		"the other has not rotated": {ahead, behind.Signer().Sign("p", nil), behind},
		"the other has rotated":     {behind, ahead.Signer().Sign("p", nil), ahead},
		"both have":                 {ahead, ahead.Signer().Sign("p", nil), ahead},
	} {
		got, err := test.ring.SignerAfter(test.last)
		if err != nil || got.id != test.want.Signer().id {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := behind.SignerAfter(NewRing().Signer().Sign("p", nil)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("by another ring: %v, want ErrUnknownKey", err)
	}
}

func TestKeysAreDroppedOnlyAfterTheHandOver(t *testing.T) {
	from := Source{Path: filepath.Join(t.TempDir(), "keyring")}
	if _, err := CreateRing(from.Path); err != nil {
		t.Fatal(err)
	}
	added, err := AddKey(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	newest := added.Keys()[1].ID
	if _, err := RotateKeys(t.Context(), from, newest, func(*Ring) Head { return Head{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := DropOldKeys(t.Context(), from, newest); err == nil {
		t.Error("dropped a key that signs")
	}
	if ring, err := rotate(t, from); err != nil || len(ring.Handovers()) != 1 {
		t.Errorf("the next rotation hands nothing over: %v", err)
	}
	if _, err := DropOldKeys(t.Context(), from, newest); err != nil {
		t.Error(err)
	}
}

// The largest ring that the commands make is read again.
func TestRingOfMostSignersIsRead(t *testing.T) {
	set := NewRing().set.Load()
	for len(set.signers) < maxSigners {
		set = set.withFresh().rotated()
		set.signers[len(set.signers)-1].since = Head{Seq: math.MaxInt64, MAC: make([]byte, keyIDBytes+sha256.Size)}
		if len(set.keys) > maxKeys {
			set = set.with(set.keys[1:], maxKeys-1)
		}
	}
	text := set.marshal()
	if len(text) > maxRingBytes {
		t.Errorf("%d bytes are more than are read", len(text))
	}
	ring, err := ParseRing(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ring.set.Load().marshal(), text) {
		t.Error("it is another ring when it is read")
	}
}

// An earlier version kept a dropped first key's MAC key, and signed with it.
func TestSignaturesOfEarlierVersionsVerify(t *testing.T) {
	const (
		mac = "mac AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
		key = "key AAAAAAAA AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
	)
	for text, want := range map[string]string{
		key:       "712a262c3ff3101c725a50bbd0ecaac593ba9aa1165b17fb032efd018b07745748afb9e36ac7",
		mac + key: "56e455de154042b33a4430510e18583c419b44b209252d160f9e50d6bcf3de0f7a85ffa03c1e",
	} {
		ring, err := ParseRing([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := hex.DecodeString(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.VerifyAt("p", []byte("text"), at(1, signature)); err != nil {
			t.Error(err)
		}
		if next, err := ring.SignerAfter(signature); err != nil || !bytes.Equal(next.Sign("p", []byte("text")), signature) {
			t.Errorf("before a rotation the chain goes on under another key, %v", err)
		}
	}
}
