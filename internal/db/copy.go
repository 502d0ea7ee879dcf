package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/durable"
)

// ErrNotSQLite: the database is on PostgreSQL, so there is no file to copy.
var ErrNotSQLite = errors.New("the database is PostgreSQL, not an SQLite file")

// Path returns the path of the SQLite file. On PostgreSQL it returns [ErrNotSQLite].
func (d *DB) Path() (string, error) { return d.engine.file() }

// CopyTo writes a consistent copy of the SQLite database into the empty file at
// path, while other connections and processes read and write the database. On
// PostgreSQL it returns [ErrNotSQLite].
func (d *DB) CopyTo(ctx context.Context, path string) error {
	file, err := d.Path()
	if err != nil {
		return err
	}
	// The copy gets a connection of its own: the writing connection must stay
	// free for sign-ins, and a copy only reads.
	lite, err := sql.Open("sqlite", sqliteName(file, url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}}))
	if err != nil {
		return translate(err)
	}
	defer lite.Close()
	if _, err := lite.ExecContext(ctx, `VACUUM INTO $1`, path); err != nil {
		return fmt.Errorf("copy the database: %w", translate(err))
	}
	return nil
}

// OpenCopy opens an SQLite file that [DB.CopyTo] wrote, for reading only: it
// neither migrates nor changes the file. It refuses a damaged file, a file that
// isn't Sallyport's, and a schema that only a newer binary can use.
func OpenCopy(ctx context.Context, path string) (*DB, error) {
	lite, err := sql.Open("sqlite", sqliteName(path, url.Values{"mode": {"ro"}, "immutable": {"1"}}))
	if err != nil {
		return nil, translate(err)
	}
	e := newSQLiteEngine(path, false)
	both := &pool{DB: lite, engine: e}
	d := &DB{write: both, read: both, engine: e}
	var check string
	if err := One(ctx, both, `PRAGMA quick_check(1)`, nil, &check); err != nil || check != "ok" {
		d.Close()
		return nil, fmt.Errorf("it isn't an SQLite database, or is damaged (%s); use another backup", errorOr(err, check))
	}
	version, since, err := schemaVersion(ctx, both)
	if err != nil || version == 0 {
		d.Close()
		return nil, errors.New("it is an SQLite database, but not one of Sallyport")
	}
	steps := migrations()
	if err := checkUsable(version, since, steps[len(steps)-1].version); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// errorOr returns the text of err, or text if err is nil.
func errorOr(err error, text string) string {
	if err != nil {
		return err.Error()
	}
	return text
}

// CloseToMove writes the content of SQLite's write-ahead log into the database
// file and closes it. The file alone then holds the whole database and may be
// moved. It returns an error if another process has the database open.
func (d *DB) CloseToMove(ctx context.Context) error {
	var busy, log, done int
	err := One(ctx, d.write, `PRAGMA wal_checkpoint(TRUNCATE)`, nil, &busy, &log, &done)
	if err == nil && busy != 0 {
		err = errors.New("another process has it open")
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("settle the database: %w", err)
	}
	return nil
}

// copyBeforeMigration writes a copy of the SQLite file into the same directory,
// so that an operator can go back to the older binary after a migration (F12).
// version is the schema's before the migration. The operator deletes the copy.
func copyBeforeMigration(ctx context.Context, d *DB, version int64) error {
	path, err := d.Path()
	if err != nil {
		return err
	}
	var date string
	if err := One(ctx, d.read, `SELECT strftime('%Y%m%d-%H%M%S', 'now')`, nil, &date); err != nil {
		return err
	}
	f, err := durable.Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := d.CopyTo(ctx, f.Name()); err != nil {
		return err
	}
	// The copy's name must survive a power cut, since the migration does.
	return f.Replace(fmt.Sprintf("%s.before-%d-%s", path, version, date))
}
