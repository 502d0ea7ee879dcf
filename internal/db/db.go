// Package db opens the database, SQLite or PostgreSQL, migrates it and runs
// transactions. Both engines get the same SQL text: $1, $2, …; TEXT BIGINT
// BOOLEAN BYTEA; times as Unix milliseconds. It owns the tables schema,
// leases and nodes; every other belongs to one package above.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// busyTimeout is how long a statement waits for another process that
	// holds SQLite's write lock, such as the command line or a backup. Past
	// it the person gets a 503 and nothing was done.
	busyTimeout = 5 * time.Second

	// sqliteReaders read beside the one writer. More only cost memory: pages
	// are short and cached by the system.
	sqliteReaders = 4
)

// Errors that callers decide upon. Every other error of this package wraps
// [ErrUnavailable].
var (
	// ErrNotFound: no row matched.
	ErrNotFound = errors.New("no such row")
	// ErrConflict: a unique value is taken.
	ErrConflict = errors.New("value is taken")
	// ErrUnavailable: the database didn't answer, or not in time. Whoever
	// asks is refused (F1).
	ErrUnavailable = errors.New("database unavailable")
)

// Querier reads: a transaction or the pool.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	write    *pool
	read     *pool
	turn     turn // to write, on SQLite
	postgres bool
	path     string // of the SQLite file; empty on PostgreSQL
	backedUp bool   // a migration needs no copy of the file
	changes  changes
	pooled   bool            // see [OpenPooled]
	direct   *pgx.ConnConfig // of connections of its own, on PostgreSQL; nil where there is no way
}

// Open opens the database at rawURL, "sqlite:PATH" or "postgres://…", and
// migrates it to the newest schema.
func Open(ctx context.Context, rawURL string) (*DB, error) {
	var (
		d   *DB
		err error
	)
	if path, ok := strings.CutPrefix(rawURL, "sqlite:"); ok {
		d, err = openSQLite(path)
	} else {
		d, err = openPostgres(rawURL)
	}
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenRestored opens an SQLite file out of a backup and migrates it. The
// backup itself is the copy of before.
func OpenRestored(ctx context.Context, path string) (*DB, error) {
	d, err := openSQLite(path)
	if err != nil {
		return nil, err
	}
	d.backedUp = true
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func openSQLite(path string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	// SQLite would create the file readable to all; the log and index files
	// beside it take over its mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	f.Close()

	open := func(conns int, more ...string) (*pool, error) {
		values := url.Values{"_pragma": append([]string{
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
			"journal_mode(WAL)",
			"synchronous(FULL)", // an answered request survives a power cut (F11)
			"foreign_keys(1)",
		}, more...)}
		// A transaction takes the write lock when it begins: one that reads
		// first and writes later would fail at once when another wrote
		// between, whatever the busy timeout.
		values.Set("_txlock", "immediate")
		lite, err := sql.Open("sqlite", sqliteName(path, values))
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		lite.SetMaxOpenConns(conns)
		return &pool{DB: lite, prepares: true}, nil
	}
	// SQLite has one writer; queue in Go, not in its lock. What a savepoint may
	// undo stays in memory: a temporary file costs more than a change does.
	write, err := open(1, "temp_store(MEMORY)")
	if err != nil {
		return nil, err
	}
	read, err := open(sqliteReaders, "query_only(1)")
	if err != nil {
		write.Close()
		return nil, err
	}
	return &DB{write: write, read: read, path: path}, nil
}

// Close closes the database.
func (d *DB) Close() error {
	err := d.write.Close()
	if d.read != d.write {
		err = errors.Join(err, d.read.Close())
	}
	return err
}

// Reader returns the pool to read from, outside of any transaction.
func (d *DB) Reader() Querier { return d.read }

// Ping returns an error that wraps [ErrUnavailable] where the database
// doesn't answer.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return One(ctx, d.read, `SELECT 1`, nil, &one)
}

// Clock returns the time of the PostgreSQL server, which all nodes share.
// SQLite has none of its own: there it returns own.
func (d *DB) Clock(ctx context.Context, own time.Time) (time.Time, error) {
	if !d.postgres {
		return own, nil
	}
	var at At
	err := One(ctx, d.read, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`, nil, &at)
	return at.Time, err
}

// Write runs change in a transaction and commits it, durably, when change
// returns nil. Inside, use tx only: SQLite has one writing connection, and a
// second one would wait for the first for ever. What change found there may
// still come to nothing, so act on it once Write has returned.
func (d *DB) Write(ctx context.Context, change func(tx *Tx) error) error {
	if !d.postgres {
		return d.share(ctx, change)
	}
	// Statements have limits of their own, so that only silence ends a long change.
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	patience := time.AfterFunc(answerTime, giveUp)
	defer patience.Stop()
	tx, done, err := d.write.begin(ctx)
	if dropDead(d.write, err) {
		tx, done, err = d.write.begin(ctx) // nothing was done yet
	}
	if err != nil {
		return translate(err)
	}
	defer done()
	patience.Stop()
	defer func() {
		patience.Reset(answerTime)
		tx.Rollback() // after Commit it does nothing
	}()
	if err := change(tx); err != nil {
		return err
	}
	if err := d.announce(ctx, tx); err != nil {
		return err
	}
	patience.Reset(answerTime)
	err = tx.Commit()
	d.changes.tell(tx.changed...) // after an error too: the commit may have gone through
	return translate(err)
}

// Together returns how many of n rows, which others change in another order, may
// be changed in one transaction: all of them where there is one writer; on
// PostgreSQL one, or two transactions could wait for each other.
func (d *DB) Together(n int) int {
	if d.postgres {
		return 1
	}
	return n
}

// inTime bounds how long a server may be silent; SQLite is none.
func inTime(ctx context.Context, q Querier) (context.Context, context.CancelFunc) {
	switch on := q.(type) {
	case *pool:
		if on.prepares {
			return ctx, func() {}
		}
	case *Tx:
		if on.pool.prepares {
			return ctx, func() {}
		}
	}
	return context.WithTimeout(ctx, answerTime)
}

// Exec runs a statement in tx and returns the number of rows it changed.
func Exec(ctx context.Context, tx *Tx, query string, args ...any) (int64, error) {
	ctx, cancel := inTime(ctx, tx)
	defer cancel()
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, translate(err)
	}
	n, err := result.RowsAffected()
	return n, translate(err)
}

// One reads the only row of a query into dest, or returns [ErrNotFound].
func One(ctx context.Context, q Querier, query string, args []any, dest ...any) error {
	err := one(ctx, q, query, args, dest...)
	if dropDead(q, err) {
		err = one(ctx, q, query, args, dest...)
	}
	return err
}

func one(ctx context.Context, q Querier, query string, args []any, dest ...any) error {
	ctx, cancel := inTime(ctx, q)
	defer cancel()
	return translate(q.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// Scan reads the columns of one row.
type Scan func(dest ...any) error

// All reads every row of a query, each by read, which changes nothing else.
func All[T any](ctx context.Context, q Querier, read func(Scan) (T, error), query string, args ...any) ([]T, error) {
	rows, err := all(ctx, q, read, query, args...)
	if dropDead(q, err) {
		rows, err = all(ctx, q, read, query, args...)
	}
	return rows, err
}

func all[T any](ctx context.Context, q Querier, read func(Scan) (T, error), query string, args ...any) ([]T, error) {
	ctx, cancel := inTime(ctx, q)
	defer cancel()
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := read(rows.Scan)
		if err != nil {
			return nil, translate(err)
		}
		all = append(all, one)
	}
	return all, translate(rows.Err())
}

// Codes of PostgreSQL's unique_violation and of SQLite's two unique errors.
const postgresUnique = "23505"

func translate(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == postgresUnique {
		return fmt.Errorf("%w: %s", ErrConflict, pg.ConstraintName)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		return fmt.Errorf("%w: %s", ErrConflict, lite.Error())
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, quiet(err))
}
