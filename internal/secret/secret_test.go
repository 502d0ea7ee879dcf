package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTextNeverPrints(t *testing.T) {
	text := NewText("canary")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "text", text, "in", struct{ T Text }{text})
	asJSON, err := json.Marshal(struct{ T Text }{text})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(text), fmt.Sprintf("%s %v %+v %#v %q", text, text, text, text, text),
		fmt.Sprintf("%v %+v", struct{ T Text }{text}, &struct{ T Text }{text}), log.String(), string(asJSON),
		fmt.Errorf("wrap: %v", text).Error(),
	} {
		if strings.Contains(got, "canary") {
			t.Errorf("the secret was printed: %s", got)
		}
	}
}

func TestSealedSecretOpensOnlyInItsPlace(t *testing.T) {
	ring := NewRing()
	home := Place{"totp", "secret", "row1"}
	sealed := ring.Seal(home, []byte("plain"))
	if got, err := ring.Open(home, sealed); err != nil || string(got) != "plain" {
		t.Fatalf("Open = %q, %v; want the sealed text", got, err)
	}
	for _, place := range []Place{
		{"totp", "secret", "row2"}, {"totp", "other", "row1"}, {"passwords", "secret", "row1"},
		{"totps", "ecret", "row1"}, {"totp", "secretrow1", ""},
	} {
		if _, err := ring.Open(place, sealed); !errors.Is(err, ErrOpen) {
			t.Errorf("opening at %v: got %v, want ErrOpen", place, err)
		}
	}
	if bytes.Equal(sealed, ring.Seal(home, []byte("plain"))) {
		t.Error("sealing twice gave the same bytes")
	}
	if _, err := NewRing().Open(home, sealed); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("opening with another ring: got %v, want ErrUnknownKey", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := ring.Open(home, changed); err == nil {
			t.Errorf("the secret opens although byte %d was changed", i)
		}
		if _, err := ring.Open(home, sealed[:i]); err == nil {
			t.Errorf("the secret opens although it was cut to %d bytes", i)
		}
	}
}

// If several processes start in one directory at once, one creates the ring, and the others never
// read an incomplete file.
func TestRingIsCreatedOnceAndRead(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "keyring")
		var (
			all  sync.WaitGroup
			made atomic.Int32
		)
		for range 4 {
			all.Go(func() {
				_, err := CreateRing(path)
				if err == nil {
					made.Add(1)
				} else if !errors.Is(err, fs.ErrExist) {
					t.Errorf("create: %v, want nil or ErrExist", err)
				}
				if _, err := ReadRing(path); err != nil {
					t.Errorf("read: %v, want no error", err)
				}
			})
		}
		all.Wait()
		if made.Load() != 1 {
			t.Errorf("%d rings were created, want 1", made.Load())
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
			t.Errorf("temporary files are left: %v, %v; want none", left, err)
		}
	}
}

func TestRingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	made, err := CreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, want 0600", info.Mode())
	}
	if _, err := CreateRing(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating over an existing ring: got %v, want ErrExist", err)
	}
	read, err := ReadRing(path)
	if err != nil {
		t.Fatal(err)
	}
	place := Place{"t", "c", "r"}
	if got, err := read.Open(place, made.Seal(place, []byte("x"))); err != nil || string(got) != "x" {
		t.Errorf("the ring that was read back opens %q, %v; want x", got, err)
	}
	if !bytes.Equal(read.MAC("p", "x"), made.MAC("p", "x")) {
		t.Error("the ring that was read back computes another MAC")
	}
	if bytes.Equal(read.MAC("p", "x"), read.MAC("px", "")) {
		t.Error("the MAC is the same when a part of the text moves to the purpose")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	// Other users of the machine must not read the key ring (attack 160).
	if _, err := ReadRing(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a ring that the group can read: got %v, want an error that says chmod 600", err)
	}
	if _, err := ReadRing(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing ring: got %v, want ErrNotExist", err)
	}
}

func TestTokensAreWholeAndDifferent(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token := NewToken().Reveal()
		if len(token) != 43 || seen[token] {
			t.Fatalf("a token has %d characters, repeated: %v; want 43, never repeated", len(token), seen[token])
		}
		seen[token] = true
	}
	token := NewToken().Reveal()
	for _, other := range []string{token[:42], token + "A", strings.ToLower(token) + " ", ""} {
		if bytes.Equal(Hash(token), Hash(other)) {
			t.Errorf("%q has the hash of the token %q, want another hash", other, token)
		}
	}
}

func FuzzParseRing(f *testing.F) {
	f.Add(NewRing().set.Load().marshal())
	f.Add(ringOf(NewRing().set.Load().withFresh().rotated()).set.Load().marshal())
	f.Add([]byte("mac AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nkey a b\n"))
	f.Add([]byte("# only a comment"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ring, err := ParseRing(text)
		if err != nil {
			return
		}
		second, err := ParseRing(ring.set.Load().marshal())
		if err != nil {
			t.Fatalf("the marshalled ring does not parse: %v", err)
		}
		place := Place{"t", "c", "r"}
		if _, err := second.Open(place, ring.Seal(place, nil)); err != nil {
			t.Fatalf("the ring that was marshalled and parsed does not open: %v", err)
		}
	})
}
