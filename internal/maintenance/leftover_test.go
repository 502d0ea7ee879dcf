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

// What a killed command left is removed by the next one there; what another
// process may still write, and what is the operator's, stays.
func TestLeftOverFilesOfKilledCommandsAreRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	old := []string{".sallyport-1234567.tmp", ".sallyport-1234567.tmp-wal", ".sallyport-1234567.tmp-shm", ".sallyport-1234567.tmp-journal", ".keyring-99", ".before-7"}
	mine := []string{".keyring-", ".keyring-mine", ".keyring-99.bak", "keyring.copy", ".sallyport-1.tmp.gz", "sallyport.db.before-3-20260101-000000", ".before-link"}
	litter := func(dir string) {
		t.Helper()
		aged := time.Now().Add(-25 * time.Hour)
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

	keys, database := keysOf(t, "sqlite", 1)
	data := filepath.Dir(keys.From.Path)
	litter(data)
	again, err := OpenKeys(ctx, database, keys.From, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	left(data, "keyring")

	to := t.TempDir()
	litter(to)
	if _, err := Backup(ctx, keys.DB, keys.Ring, filepath.Join(to, "backup.db"), time.Now()); err != nil {
		t.Fatal(err)
	}
	left(to, "backup.db")

	dir := t.TempDir()
	litter(dir)
	if err := Restore(ctx, keys.Ring, filepath.Join(to, "backup.db"), filepath.Join(dir, "sallyport.db"), time.Now(), false); err != nil {
		t.Fatal(err)
	}
	left(dir, "sallyport.db")
}
