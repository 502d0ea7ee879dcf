package secret

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// states returns the states of the ring's keys, separated by spaces.
func states(r *Ring) string {
	var all []string
	for _, key := range r.Keys() {
		all = append(all, string(key.State))
	}
	return strings.Join(all, " ")
}

// A key is first a spare, then seals, then is old and dropped; the result of Ring.MAC
// stays the same.
func TestKeyGoesFromSpareToOldAndMACStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	ring, err := CreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	place := Place{"t", "c", "r"}
	first := ring.Seal(place, []byte("x"))
	mac := ring.MAC("name", "ada")
	for _, step := range []struct {
		do   func() (*Ring, error)
		want string
	}{
		{func() (*Ring, error) { return AddKey(t.Context(), Source{Path: path}) }, "seals spare"},
		{func() (*Ring, error) { return rotate(t, Source{Path: path}) }, "old seals"},
		{func() (*Ring, error) { return rotate(t, Source{Path: path}) }, "old seals"},
		{func() (*Ring, error) { return AddKey(t.Context(), Source{Path: path}) }, "old seals spare"},
		{func() (*Ring, error) { return RemoveOldKeys(t.Context(), Source{Path: path}, ring.Keys()[1].ID) }, "seals spare"},
		{func() (*Ring, error) { return rotate(t, Source{Path: path}) }, "old seals"},
	} {
		made, err := step.do()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ReadRing(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(made.Keys(), read.Keys()); diff != "" || states(read) != step.want {
			t.Errorf("keys are %q, want %q; read back (-made +read):\n%s", states(read), step.want, diff)
		}
		if !bytes.Equal(read.MAC("name", "ada"), mac) {
			t.Errorf("%s: the MAC key changed", step.want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v, %v; want mode 0600", info, err)
		}
		ring = read
	}
	if _, err := ring.Open(place, first); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("opening with a dropped key: got %v, want ErrUnknownKey", err)
	}
	if _, err := RemoveOldKeys(t.Context(), Source{Path: path}, ring.Keys()[0].ID); err == nil || states(ring) != "old seals" {
		t.Error("keys were dropped although another command had rotated")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files in the directory: %v, %v; want the ring alone", left, err)
	}
}

// Files that were written before keys could be rotated have no "seals".
func TestRingWithoutASealingMarkIsRead(t *testing.T) {
	old := "key AAAAAAAA AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nkey AAAAAAAB AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\n"
	ring, err := ParseRing([]byte(old))
	if err != nil || states(ring) != "seals spare" {
		t.Errorf("got keys %v, %v; want seals and spare", ring.Keys(), err)
	}
	for _, bad := range []string{
		strings.ReplaceAll(old, "\n", " seals\n"), // two sealing keys
		strings.Replace(old, "\n", " opens\n", 1),
		"mac AAAA\n" + old,
		"mac AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	} {
		if _, err := ParseRing([]byte(bad)); err == nil {
			t.Errorf("ParseRing accepted\n%s", bad)
		}
	}
}

func TestTwoCommandsLoseNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	if _, err := CreateRing(path); err != nil {
		t.Fatal(err)
	}
	const n = 8
	var adding sync.WaitGroup
	for range n {
		adding.Go(func() {
			if _, err := AddKey(t.Context(), Source{Path: path}); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	ring, err := ReadRing(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(ring.Keys()); got != n+1 {
		t.Errorf("%d keys, want %d", got, n+1)
	}
}

func TestRingFollowsItsOwnFileOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	ring, err := CreateRing(path)
	if err != nil {
		t.Fatal(err)
	}
	inFile := ring
	ring.Follow(func() *Ring { return inFile })
	if inFile, err = AddKey(t.Context(), Source{Path: path}); err != nil {
		t.Fatal(err)
	}
	if inFile, err = rotate(t, Source{Path: path}); err != nil {
		t.Fatal(err)
	}
	place := Place{"t", "c", "r"}
	if _, err := ring.Open(place, inFile.Seal(place, nil)); err != nil {
		t.Errorf("opening with a key that was added meanwhile: %v, want no error", err)
	}
	if got, want := KeyOf(ring.Seal(place, nil)), inFile.Keys()[1].ID; got != want {
		t.Errorf("sealed under %s, want the new key %s", got, want)
	}
	other := NewRing()
	inFile = other
	if _, err := ring.Open(place, other.Seal(place, nil)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("opening a secret of another portal: %v, want ErrUnknownKey", err)
	}
}

// A node whose file has the spare key notices another node's rotation when it opens a secret that
// the other node sealed under that key.
func TestRingSealsUnderTheKeyThatAnotherNodeRotatedTo(t *testing.T) {
	set := NewRing().set.Load().withFresh()
	here, there := ringOf(set), ringOf(set.rotated())
	place := Place{"t", "c", "r"}
	forged := there.Seal(place, nil)
	forged[len(forged)-1] ^= 1
	if _, err := here.Open(place, forged); err == nil || states(here) != "seals spare" {
		t.Errorf("a forged secret made the spare key seal: %q, %v; want \"seals spare\" and an error", states(here), err)
	}
	if _, err := here.Open(place, there.Seal(place, nil)); err != nil || states(here) != "old seals" {
		t.Errorf("keys are %q, %v; want them as on the other node", states(here), err)
	}
}

// handOver acts as an audit log that the new key continues at once.
func handOver(r *Ring) Head { return Head{Seq: 7, MAC: r.Signer().Sign("p", nil)} }

// rotate rotates to the newest key of the source.
func rotate(t *testing.T, from Source) (*Ring, error) {
	t.Helper()
	ring, err := from.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := ring.Keys()
	return RotateKeys(t.Context(), from, keys[len(keys)-1].ID, handOver)
}

// A rotation to a key that another command has just added must fail: other nodes could lack that
// key.
func TestKeyAddedMeanwhileIsNotRotatedTo(t *testing.T) {
	from := Source{Path: filepath.Join(t.TempDir(), "keyring")}
	seen, err := CreateRing(from.Path)
	if err != nil {
		t.Fatal(err)
	}
	added, err := AddKey(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKeys(t.Context(), from, seen.Keys()[0].ID, handOver); err == nil {
		t.Error("rotated to a key that the caller didn't see")
	}
	if now, err := ReadRing(from.Path); err != nil || states(now) != "seals spare" {
		t.Errorf("keys are %q, %v; want seals and spare", states(now), err)
	}
	if _, err := RotateKeys(t.Context(), from, added.Keys()[1].ID, handOver); err != nil {
		t.Error(err)
	}
}
