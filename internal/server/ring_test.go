package server

import (
	"log/slog"
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/secret"
)

func TestServerReadsANewRingAtMostOnceASecond(t *testing.T) {
	path := t.TempDir() + "/keyring"
	if _, err := secret.CreateRing(path); err != nil {
		t.Fatal(err)
	}
	f := &ringFile{path: path, log: slog.New(slog.DiscardHandler)}
	if f.reread() == nil {
		t.Fatal("the first call doesn't read the file")
	}
	if _, err := secret.AddKey(t.Context(), secret.Source{Path: path}); err != nil {
		t.Fatal(err)
	}
	if f.reread() != nil {
		t.Error("the file was read twice within a second")
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if ring := f.reread(); ring == nil || len(ring.Keys()) != 2 {
		t.Error("a second later, the ring lacks the new key")
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if f.reread() != nil {
		t.Error("an unchanged file gives a new ring, want nil")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if f.reread() != nil {
		t.Error("a missing file gives a new ring, want nil")
	}
}
