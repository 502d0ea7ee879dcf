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
		t.Fatal("the first look reads nothing")
	}
	if _, err := secret.AddKey(t.Context(), secret.Source{Path: path}); err != nil {
		t.Fatal(err)
	}
	if f.reread() != nil {
		t.Error("read again within a second")
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if ring := f.reread(); ring == nil || len(ring.Keys()) != 2 {
		t.Error("missed the new key")
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if f.reread() != nil {
		t.Error("read a file that is as before")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.looked = f.looked.Add(-maintenance.RingEvery)
	if f.reread() != nil {
		t.Error("read a file that is gone")
	}
}
