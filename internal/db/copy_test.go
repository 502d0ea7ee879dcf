package db

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A migration of an SQLite file leaves a copy of the file with the old schema, for
// the way back to the older binary (F12).
func TestMigrationLeavesACopyOfTheFile(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "sallyport.db")
	copies := func() []string {
		all, err := filepath.Glob(path + ".before-*")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	d, err := openSQLite(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(ctx, d, migrations()[:1]); err != nil {
		t.Fatal(err)
	}
	err = d.Write(ctx, func(tx *Tx) error {
		_, err := Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if got := copies(); len(got) != 0 {
		t.Fatalf("a new database was copied to %v, want no copy", got)
	}

	for range 2 { // the second start finds the schema up to date
		d, err := Open(ctx, "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	got := copies()
	if len(got) != 1 || !strings.HasPrefix(got[0], path+".before-1-") {
		t.Fatalf("copies: %v, want one of version 1", got)
	}
	if info, err := os.Stat(got[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	before, err := OpenCopy(ctx, got[0])
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	var name string
	version, _, err := schemaVersion(ctx, before.Reader())
	if err != nil || version != 1 {
		t.Errorf("the copy has version %d, %v; want 1", version, err)
	}
	if err := One(ctx, before.Reader(), `SELECT name FROM groups`, nil, &name); err != nil || name != "ops" {
		t.Errorf("the copy holds the group %q, %v; want ops", name, err)
	}
}

// Without the copy there is no migration (F12).
func TestMigrationWithoutRoomForACopyChangesNothing(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "sallyport.db")
	d, err := openSQLite(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := migrate(ctx, d, migrations()[:1]); err != nil {
		t.Fatal(err)
	}
	d.engine.(*sqliteEngine).path = filepath.Join(t.TempDir(), "gone", "sallyport.db") // in a directory that doesn't exist
	if err := migrate(ctx, d, migrations()); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("got %v, want an error that says that nothing was changed", err)
	}
	if version, _, err := schemaVersion(ctx, d.read); err != nil || version != 1 {
		t.Errorf("version %d, %v; want 1", version, err)
	}
}

func TestCopyOfANewerSchemaIsRefused(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d, err := Open(ctx, "sqlite:"+filepath.Join(dir, "sallyport.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.Write(ctx, func(tx *Tx) error {
		_, err := Exec(ctx, tx, `UPDATE schema SET version = 1000, usable_since = 1000`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "copy")
	if err := d.CopyTo(ctx, file); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCopy(ctx, file); err == nil || !strings.Contains(err.Error(), "made by a newer sallyport") {
		t.Errorf("got %v, want an error that names the newer version", err)
	}
}
