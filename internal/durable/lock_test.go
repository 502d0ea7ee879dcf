package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOneOpenFileAtATimeHoldsTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second, third := open(), open(), open()
	if err := Lock(first); err != nil {
		t.Fatal(err)
	}
	if err := Lock(second); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v, want ErrLocked", err)
	}
	if locked, err := IsLocked(third); !locked || err != nil {
		t.Errorf("while the file is locked, IsLocked returns %v, %v; want true", locked, err)
	}
	first.Close()
	if locked, err := IsLocked(third); locked || err != nil {
		t.Errorf("after the file was closed, IsLocked returns %v, %v; want false", locked, err)
	}
	third.Close()
	if err := Lock(second); err != nil {
		t.Errorf("once no process holds the lock, Lock returns %v; want nil", err)
	}
}
