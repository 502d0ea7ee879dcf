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

	"github.com/sallyport/sallyport/internal/durable"
)

const (
	// busyTimeout is how long a statement waits for another process that holds
	// SQLite's write lock, such as a command or a backup. Past it the browser
	// gets status 503, and nothing was changed.
	busyTimeout = 5 * time.Second

	// sqliteReaders is the number of reading connections beside the writing one.
	// More would only cost memory: reads are short, and the system caches pages.
	sqliteReaders = 4
)

// Errors that callers distinguish. Every other error of this package wraps
// [ErrUnavailable].
var (
	// ErrNotFound: no row matched.
	ErrNotFound = errors.New("no such row")
	// ErrConflict: a unique value is taken.
	ErrConflict = errors.New("value is taken")
	// ErrUnavailable: the database didn't answer, or not in time. Callers must
	// refuse the request (F1).
	ErrUnavailable = errors.New("database unavailable")
)

// Querier reads rows. It is a [*Tx] or the pool of [DB.Reader].
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	write     *pool
	read      *pool
	writeLock writeLock // used on SQLite only
	postgres  bool
	path      string // path of the SQLite file; empty on PostgreSQL
	backedUp  bool   // a migration needs no copy of the file
	changes   changes
	pooled    bool            // see [OpenPooled]
	direct    *pgx.ConnConfig // for connections past a pooler; nil on SQLite, or if none is set
}

// Open opens the database at rawURL, "sqlite:PATH" or "postgres://…", and
// migrates it to the newest schema. It creates an SQLite file that doesn't exist.
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

// OpenRestored opens an SQLite file from a backup and migrates it. It writes no
// copy before the migration, since the backup is one.
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
	if err := durable.MakeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	// SQLite would create the file readable by everybody. The log and index
	// files beside it get the mode of this file.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	f.Close()

	open := func(conns int, more ...string) (*pool, error) {
		values := url.Values{"_pragma": append([]string{
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
			"journal_mode(WAL)",
			"synchronous(FULL)", // a change that was answered survives a power cut (F11)
			"foreign_keys(1)",
		}, more...)}
		// A transaction takes the write lock when it begins. A transaction that
		// reads first and writes later would fail at once if another process
		// wrote in between, whatever the busy timeout.
		values.Set("_txlock", "immediate")
		lite, err := sql.Open("sqlite", sqliteName(path, values))
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		lite.SetMaxOpenConns(conns)
		return &pool{DB: lite, prepares: true}, nil
	}
	// SQLite has one writer, and writers queue in Go rather than in its lock. The
	// journal of a savepoint stays in memory: a temporary file would cost more
	// than the change itself.
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

// Reader returns the pool for reads outside of a transaction. Inside a
// transaction use its [Tx].
func (d *DB) Reader() Querier { return d.read }

// Ping returns an error that wraps [ErrUnavailable] if the database doesn't
// answer.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return One(ctx, d.read, `SELECT 1`, nil, &one)
}

// Clock returns the time of the PostgreSQL server, which all nodes share. On
// SQLite it returns own, the time of this process.
func (d *DB) Clock(ctx context.Context, own time.Time) (time.Time, error) {
	if !d.postgres {
		return own, nil
	}
	var at At
	err := One(ctx, d.read, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`, nil, &at)
	return at.Time, err
}

// Write runs change in a transaction and commits it durably if change returns
// nil. It returns the error of change as it is; every other error means that the
// outcome is unknown or that nothing was changed. Inside change use tx only:
// SQLite has one writing connection, so a nested Write would never get it. The
// commit may fail after change has returned, so act on the result only once
// Write has returned nil.
func (d *DB) Write(ctx context.Context, change func(tx *Tx) error) error {
	if !d.postgres {
		return d.writeInBatch(ctx, change)
	}
	// The timer limits the waits to begin and to commit. Statements have limits
	// of their own, so a long change isn't cut off while the server answers.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(answerTime, cancel)
	defer timer.Stop()
	tx, done, err := d.write.begin(ctx)
	if mayRetry(d.write, err) {
		tx, done, err = d.write.begin(ctx)
	}
	if err != nil {
		return translate(err)
	}
	defer done()
	timer.Stop()
	defer func() {
		timer.Reset(answerTime)
		tx.Rollback() // no effect after Commit
	}()
	if err := change(tx); err != nil {
		return err
	}
	if err := d.announce(ctx, tx); err != nil {
		return err
	}
	timer.Reset(answerTime)
	err = tx.Commit()
	d.changes.report(tx.changed...) // after an error too: the commit may have gone through
	return translate(err)
}

// RowsPerWrite returns how many of n rows one transaction may change if other
// transactions change them in another order: n on SQLite, which has one writer;
// 1 on PostgreSQL, where two transactions could deadlock.
func (d *DB) RowsPerWrite(n int) int {
	if d.postgres {
		return 1
	}
	return n
}

// withAnswerTimeout limits how long to wait for PostgreSQL's answer. SQLite runs
// in process and needs no limit.
func withAnswerTimeout(ctx context.Context, q Querier) (context.Context, context.CancelFunc) {
	switch q := q.(type) {
	case *pool:
		if q.prepares {
			return ctx, func() {}
		}
	case *Tx:
		if q.pool.prepares {
			return ctx, func() {}
		}
	}
	return context.WithTimeout(ctx, answerTime)
}

// Exec runs a statement in tx and returns the number of rows it changed.
func Exec(ctx context.Context, tx *Tx, query string, args ...any) (int64, error) {
	ctx, cancel := withAnswerTimeout(ctx, tx)
	defer cancel()
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, translate(err)
	}
	n, err := result.RowsAffected()
	return n, translate(err)
}

// One reads the first row of a query into dest. It returns [ErrNotFound] if there
// is none.
func One(ctx context.Context, q Querier, query string, args []any, dest ...any) error {
	err := one(ctx, q, query, args, dest...)
	if mayRetry(q, err) {
		err = one(ctx, q, query, args, dest...)
	}
	return err
}

func one(ctx context.Context, q Querier, query string, args []any, dest ...any) error {
	ctx, cancel := withAnswerTimeout(ctx, q)
	defer cancel()
	return translate(q.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// Scan copies the columns of one row into dest.
type Scan func(dest ...any) error

// All returns every row of a query, each converted by read. All may run the query
// twice, so read must have no side effects.
func All[T any](ctx context.Context, q Querier, read func(Scan) (T, error), query string, args ...any) ([]T, error) {
	rows, err := all(ctx, q, read, query, args...)
	if mayRetry(q, err) {
		rows, err = all(ctx, q, read, query, args...)
	}
	return rows, err
}

func all[T any](ctx context.Context, q Querier, read func(Scan) (T, error), query string, args ...any) ([]T, error) {
	ctx, cancel := withAnswerTimeout(ctx, q)
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

// postgresUnique is PostgreSQL's code unique_violation.
const postgresUnique = "23505"

// translate maps an error of a driver to the errors of this package.
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
	return fmt.Errorf("%w: %w", ErrUnavailable, withoutCredentials(err))
}
