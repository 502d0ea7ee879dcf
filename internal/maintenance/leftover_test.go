package maintenance

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The next command in a directory removes the temporary files of a killed one. It keeps
// files that another process may still be writing, and files of the operator.
func TestLeftOverFilesOfKilledCommandsAreRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	temporaries := []string{".sallyport-1234567.tmp", ".sallyport-1234567.tmp-wal", ".sallyport-1234567.tmp-shm", ".sallyport-1234567.tmp-journal", ".keyring-99", ".before-7"}
	operators := []string{".keyring-", ".keyring-mine", ".keyring-99.bak", "keyring.copy", ".sallyport-1.tmp.gz", "sallyport.db.before-3-20260101-000000", ".before-link"}
	fill := func(dir string) {
		t.Helper()
		aged := time.Now().Add(-25 * time.Hour)
		for _, name := range append(slices.Clone(temporaries), operators...) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, aged, aged); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, ".sallyport-22.tmp"), nil, 0o600); err != nil { // new: it may be in use
			t.Fatal(err)
		}
		if err := os.Symlink("keyring.copy", filepath.Join(dir, ".keyring-5")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, ".before-6"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	wantCleaned := func(dir string, others ...string) {
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
		want := append(append(others, operators...), ".sallyport-22.tmp", ".keyring-5", ".before-6")
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files in %s (-want +got):\n%s", dir, diff)
		}
	}

	keys, database := keysOf(t, "sqlite", 1)
	data := filepath.Dir(keys.From.Path)
	fill(data)
	reopened, err := OpenKeys(ctx, database, keys.From, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer reopened.Close()
	wantCleaned(data, "keyring")

	to := t.TempDir()
	fill(to)
	if _, err := Backup(ctx, keys.DB, keys.Ring, filepath.Join(to, "backup.db"), time.Now()); err != nil {
		t.Fatal(err)
	}
	wantCleaned(to, "backup.db")

	dir := t.TempDir()
	fill(dir)
	if err := Restore(ctx, keys.Ring, Restoration{File: filepath.Join(to, "backup.db"), Target: filepath.Join(dir, "sallyport.db")}, time.Now()); err != nil {
		t.Fatal(err)
	}
	wantCleaned(dir, "sallyport.db")
}
