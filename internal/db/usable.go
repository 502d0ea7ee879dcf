package db

import (
	"context"
	"errors"
	"fmt"
)

// ErrTooOld means that only a newer version of the program can use the database.
var ErrTooOld = errors.New("made by a newer sallyport")

// checkUsable returns an error that wraps [ErrTooOld] if a program can't use the database.
// version is the schema version of the database, and newest is the highest one that the program
// knows. A program can use the database if it knows version, or if newest is at least since.
func checkUsable(version, since, newest int64) error {
	if version > newest && since > newest {
		return fmt.Errorf("the database has schema version %d, %w; this one knows versions up to %d: install the newer version here", version, ErrTooOld, newest)
	}
	return nil
}

// CheckUsable returns an error that wraps [ErrTooOld] if this program can't use the database any
// more: a newer one has called [Require] since this one opened it. It takes no lock. If
// CheckUsable succeeds, the rows that tx has read before were stored before any Require.
func CheckUsable(ctx context.Context, tx *Tx) error {
	return queryUsable(ctx, tx, selectUsable)
}

// LockUsable is like [CheckUsable], and until tx ends, no other transaction can call [Require].
// So the database is still usable for this program when tx is committed.
//
// On PostgreSQL, locks are taken in this order: first tables, then the row of the table schema. A
// migration alters tables first, and stores its version last. So tx must have read or changed,
// before it calls LockUsable or Require, every table that it uses afterwards. Otherwise tx could
// hold the row and wait for a table while a migration holds the table and waits for the row. A
// read of a table suffices, since it makes the migration wait for the end of tx.
func LockUsable(ctx context.Context, tx *Tx) error {
	return queryUsable(ctx, tx, selectUsable+` FOR NO KEY UPDATE`)
}

const selectUsable = `SELECT version, usable_since FROM schema`

func queryUsable(ctx context.Context, tx *Tx, query string) error {
	var version, since int64
	if err := One(ctx, tx, query, nil, &version, &since); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	steps := migrations()
	return checkUsable(version, since, steps[len(steps)-1].version)
}

// UsableSince returns the oldest schema version whose program can use the database.
func UsableSince(ctx context.Context, q Querier) (int64, error) {
	_, since, err := schemaVersion(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return since, nil
}

// Require makes the database unusable for programs whose newest schema version is lower than
// version. The transaction that first stores data which they can't read calls it, so that an
// upgrade can be taken back until then. A running program finds out by [CheckUsable]; one that
// starts after the call fails to open the database. The requirement is never lowered. For the
// order of locks see [LockUsable].
func Require(ctx context.Context, tx *Tx, version int64) error {
	if _, err := Exec(ctx, tx, `UPDATE schema SET usable_since = $1 WHERE usable_since < $1`, version); err != nil {
		return fmt.Errorf("require schema version %d: %w", version, err)
	}
	return nil
}
