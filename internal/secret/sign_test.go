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
			t.Errorf("%s: got %v, want ErrForged", test.name, err)
		}
	}
	if err := NewRing().Verify("p", []byte("text"), signature); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("with another ring: got %v, want ErrUnknownKey", err)
	}
}

// headAt returns the place of a signature in a chain.
func headAt(seq int64, signature []byte) Head { return Head{Seq: seq, MAC: signature} }

// Signatures of a key verify after the key was dropped, but not at or after the place
// where the next key took over.
func TestSignerEndsWhereTheNextTakesOver(t *testing.T) {
	from := Source{Path: filepath.Join(t.TempDir(), "keyring")}
	text := []byte("text")
	stolen := make([]*Ring, 3) // a copy of the ring of each generation
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
			return headAt(end, r.Signer().Sign("p", text))
		})
		if err != nil {
			t.Fatal(err)
		}
		if stolen[i+1], err = RemoveOldKeys(t.Context(), from, keys[len(keys)-1].ID); err != nil {
			t.Fatal(err)
		}
		if got := stolen[i+1].Handovers(); len(got) != i+1 || !got[i].Equal(ring.Handovers()[i]) {
			t.Errorf("after its old key was dropped, the ring says that signers took over at %v, want %v", got, ring.Handovers())
		}
	}
	ring, err := from.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, thief := range stolen {
		signature := thief.Signer().Sign("p", text)
		if err := ring.Verify("p", text, signature); err != nil {
			t.Errorf("the newest ring doesn't verify a signature of generation %d: %v", i, err)
		}
		if got, want := ring.IsCurrent(signature), i == len(ends); got != want {
			t.Errorf("generation %d is current: %v, want %v", i, got, want)
		}
		next, err := ring.SignerAfter(signature)
		if err != nil || next.id != ring.Signer().id {
			t.Errorf("after generation %d the last generation doesn't sign next: %v", i, err)
		}
		for _, test := range []struct {
			seq  int64
			ends int // generations before this one have ended at seq
		}{{1, 0}, {9, 0}, {10, 1}, {11, 1}, {19, 1}, {20, 2}, {21, 2}} {
			var want error
			switch {
			case i < test.ends:
				want = ErrEnded
			case i == 2 && test.seq == 10:
				want = ErrForged // generation 1 took over at this place
			}
			if err := ring.VerifyAt("p", text, headAt(test.seq, signature)); !errors.Is(err, want) {
				t.Errorf("generation %d at place %d: got %v, want %v", i, test.seq, err, want)
			}
		}
		if i > 0 {
			if err := stolen[0].Verify("p", text, signature); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("the first ring verifies generation %d: got %v, want ErrUnknownKey", i, err)
			}
		}
	}
	other := ring.Signer().Sign("p", []byte("other"))
	if err := ring.VerifyAt("p", []byte("other"), headAt(20, other)); !errors.Is(err, ErrForged) {
		t.Errorf("another signature where the last signer took over: got %v, want ErrForged", err)
	}
	if got := string(ring.set.Load().marshal()); strings.Count(got, "mac ") != 1 || strings.Count(got, "past ") != 1 || strings.Count(got, " since ") != 2 {
		t.Error("the ring's file doesn't have the lines mac, past and key")
	}
}

// While rings differ, the chain's last signature decides which key signs next.
func TestChainContinuesUnderOneSigner(t *testing.T) {
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
			t.Errorf("%s: SignerAfter returns the signer %x, %v; want %x", name, got.id, err, test.want.Signer().id)
		}
	}
	if _, err := behind.SignerAfter(NewRing().Signer().Sign("p", nil)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("after a signature of another ring: got %v, want ErrUnknownKey", err)
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
	if _, err := RemoveOldKeys(t.Context(), from, newest); err == nil {
		t.Error("RemoveOldKeys dropped a key that still signs the log, want an error")
	}
	if ring, err := rotate(t, from); err != nil || len(ring.Handovers()) != 1 {
		t.Errorf("the ring doesn't record where the new key took over, after the next rotation: %v", err)
	}
	if _, err := RemoveOldKeys(t.Context(), from, newest); err != nil {
		t.Error(err)
	}
}

// The largest ring that the commands write can be read.
func TestLargestRingIsRead(t *testing.T) {
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
		t.Errorf("the largest ring has %d bytes, but only %d are read", len(text), maxRingBytes)
	}
	ring, err := ParseRing(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ring.set.Load().marshal(), text) {
		t.Error("the ring that was read differs from the one that was written")
	}
}

// An earlier version signed with the key of Ring.MAC, which stayed when the first key
// was dropped.
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
		if err := ring.VerifyAt("p", []byte("text"), headAt(1, signature)); err != nil {
			t.Error(err)
		}
		if next, err := ring.SignerAfter(signature); err != nil || !bytes.Equal(next.Sign("p", []byte("text")), signature) {
			t.Errorf("the chain continues under another key without a rotation: %v", err)
		}
	}
}
