package server

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// What a killed command left is removed by the next one there; what somebody
// may still write, and what is the operator's, stays.
func TestLeftOverFilesOfKilledCommandsAreRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	old := []string{".sallyport-1234567.tmp", ".sallyport-1234567.tmp-wal", ".sallyport-1234567.tmp-shm", ".sallyport-1234567.tmp-journal", ".keyring-99", ".before-7"}
	mine := []string{".keyring-", ".keyring-mine", ".keyring-99.bak", "keyring.copy", ".sallyport-1.tmp.gz", "sallyport.db.before-3-20260101-000000", ".before-link"}
	litter := func(dir string) {
		t.Helper()
		aged := time.Now().Add(-leftoverAge - time.Hour)
		for _, name := range append(slices.Clone(old), mine...) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, aged, aged); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, ".sallyport-22.tmp"), nil, 0o600); err != nil { // of this hour
			t.Fatal(err)
		}
		if err := os.Symlink("keyring.copy", filepath.Join(dir, ".keyring-5")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, ".before-6"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left := func(dir string, besides ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), "sallyport.db-") && entry.Name() != "sallyport.db.lock" {
				got = append(got, entry.Name())
			}
		}
		want := append(append(besides, mine...), ".sallyport-22.tmp", ".keyring-5", ".before-6")
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in %s (-want +got):\n%s", dir, diff)
		}
	}

	keys, cfg := keysOf(t, "sqlite", 1)
	litter(cfg.DataDir)
	again, err := OpenKeys(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	left(cfg.DataDir, "keyring", "sallyport.db")

	to := t.TempDir()
	litter(to)
	if _, err := Backup(ctx, keys.DB, keys.Ring, filepath.Join(to, "backup.db")); err != nil {
		t.Fatal(err)
	}
	left(to, "backup.db")

	dir := t.TempDir()
	litter(dir)
	if err := Restore(ctx, keys.Ring, filepath.Join(to, "backup.db"), filepath.Join(dir, "sallyport.db"), testkit.Start, false); err != nil {
		t.Fatal(err)
	}
	left(dir, "sallyport.db")

	cfg.DataDir = t.TempDir()
	litter(cfg.DataDir)
	p, err := Open(ctx, cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := p.Serve(stopped, listener); err != nil {
		t.Fatal(err)
	}
	left(cfg.DataDir, "keyring", "sallyport.db")

	acme := t.TempDir()
	litter(acme)
	cfg.DataDir, cfg.TLS.ACME.AcceptTerms = filepath.Dir(acme), true
	if err := os.Rename(acme, cfg.ACMEDir()); err != nil {
		t.Fatal(err)
	}
	kept := keptCertificates{cfg.ACMEDir(), slog.New(slog.DiscardHandler)}
	if err := kept.Put(ctx, "auth.test", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := newCertificates(cfg, time.Now, slog.New(slog.DiscardHandler)).begin(); err != nil {
		t.Fatal(err)
	}
	left(cfg.ACMEDir(), "auth.test")
}

// The patterns are those of the files that are really written.
func TestTemporaryFilesHaveTheNamesThatAreLookedFor(t *testing.T) {
	dir := t.TempDir()
	backup, err := temporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	ring, err := os.CreateTemp(dir, secret.TemporaryRing)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	for _, f := range []*os.File{backup, ring} {
		if !isTemporary(filepath.Base(f.Name())) {
			t.Errorf("%s isn't looked for", f.Name())
		}
	}
}
