package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
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
	write   *pool
	read    *pool // the same as write on PostgreSQL
	engine  engine
	changes changes
}

// Open opens the database at rawURL, "sqlite:PATH" or "postgres://…", and
// migrates it to the newest schema. It creates an SQLite file that doesn't exist.
func Open(ctx context.Context, rawURL string) (*DB, error) {
	var (
		d   *DB
		err error
	)
	if path, ok := strings.CutPrefix(rawURL, "sqlite:"); ok {
		d, err = openSQLite(path, false)
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

// OpenCurrent opens a database that exists. It doesn't migrate: if the schema isn't this program's,
// it returns an error.
func OpenCurrent(ctx context.Context, rawURL string) (*DB, error) {
	path, ok := strings.CutPrefix(rawURL, "sqlite:")
	if !ok {
		return OpenPooled(ctx, rawURL, "") // which needs no connection of its own and refuses an old schema
	}
	d, err := openSQLite(path, true)
	if err != nil {
		return nil, err
	}
	steps := migrations()
	version, since, err := schemaVersion(ctx, d.read)
	if newest := steps[len(steps)-1].version; err == nil && version < newest {
		err = fmt.Errorf("the database has schema version %d; the next start of this program brings it to %d", version, newest)
	} else if err == nil {
		err = checkUsable(version, since, newest)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenRestored opens an SQLite file from a backup and migrates it. It writes no
// copy before the migration, since the backup is one.
func OpenRestored(ctx context.Context, path string) (*DB, error) {
	d, err := openSQLite(path, true)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
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
	return d.engine.clock(ctx, d, own)
}

// Write runs change in a transaction and commits it durably if change returns nil. It returns the
// error of change as it is; every other error means that the transaction was rolled back or that
// its outcome is unknown. Inside change use tx only: SQLite has one writing connection, so a
// nested Write would never get it. The commit may fail after change has returned, so act on the
// result only once Write has returned nil.
func (d *DB) Write(ctx context.Context, change func(tx *Tx) error) error {
	return d.engine.write(ctx, d, change)
}

// The function passed to [DB.WriteTogether] returns ErrWouldWait if it isn't allowed to wait for
// a lock that another transaction holds.
var ErrWouldWait = errors.New("another transaction has the lock")

// WriteTogether is [DB.Write] for frequent changes of which other nodes are notified
// ([Tx.Changed]). On PostgreSQL, transactions with notifications commit one after the other, and
// each may have to wait for a standby. So the changes that wait on this node share its next
// transaction, as all changes do on SQLite. If one change fails or its context ends, only that
// change is undone.
//
// A shared transaction holds the locks of all its changes until it ends. To prevent deadlocks,
// change must follow these rules. It must begin with one lock that protects all rows that it
// changes, such as that of the account's row. If mayWait is false and another transaction has
// this lock, change must return [ErrWouldWait]; it then runs again, with mayWait true, in a
// transaction of its own. After the lock, it may change only rows that other transactions change
// under the same lock, or with statements that skip locked rows, as a sweep does. So it must not
// use rows that several accounts share, such as a network's row of the ledger or the row of the
// table schema ([LockUsable]).
//
// change may run several times, for instance if PostgreSQL ended the transaction because of a
// deadlock, or if the connection was lost before the commit. Only its last run takes effect.
func (d *DB) WriteTogether(ctx context.Context, change func(tx *Tx, mayWait bool) error) error {
	return d.engine.writeTogether(ctx, d, change)
}

// RowsPerWrite returns how many of n rows one transaction may change if other
// transactions change them in another order: n on SQLite, which has one writer;
// 1 on PostgreSQL, where two transactions could deadlock.
func (d *DB) RowsPerWrite(n int) int { return d.engine.rowsPerWrite(n) }

// withAnswerTimeout limits how long to wait for PostgreSQL's answer. SQLite runs
// in process and needs no limit.
func withAnswerTimeout(ctx context.Context, q Querier) (context.Context, context.CancelFunc) {
	if tx, ok := q.(*Tx); ok && tx.shared && ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	if p := poolOf(q); p != nil {
		return p.engine.withAnswerTimeout(ctx)
	}
	return context.WithTimeout(ctx, answerTime)
}

// poolOf returns the pool that q reads from, or nil if another package made q.
func poolOf(q Querier) *pool {
	switch q := q.(type) {
	case *pool:
		return q
	case *Tx:
		return q.pool
	}
	return nil
}

// retries is how often a read runs again if its connection was dead. When all connections
// end at once, the second one may be dead too: it was being opened at that moment.
const retries = 2

// mayRetry reports whether err means that a connection of the pool q was dead. If so, the caller
// may repeat a statement that changes nothing. A statement inside a transaction must not be
// repeated, so mayRetry returns false for a [*Tx].
func mayRetry(q Querier, err error) bool {
	p, ok := q.(*pool)
	return ok && p.engine.mayRetry(p, err)
}

// LosesCommits reports whether PostgreSQL has standbys but doesn't wait for one of them to
// confirm a commit. A standby that takes over may then lack the record that a code was used, and
// the code would work a second time (R7). A role without pg_monitor can't see the state of
// standbys; for it, the settings decide.
func (d *DB) LosesCommits(ctx context.Context) (bool, error) { return d.engine.losesCommits(ctx, d) }

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

// One reads the first row of a query into dest. It returns [ErrNotFound] if the query has no row.
func One(ctx context.Context, q Querier, query string, args []any, dest ...any) error {
	err := one(ctx, q, query, args, dest...)
	for range retries {
		if !mayRetry(q, err) {
			break
		}
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
// again, so read must have no side effects.
func All[T any](ctx context.Context, q Querier, query string, args []any, read func(Scan) (T, error)) ([]T, error) {
	rows, err := all(ctx, q, query, args, read)
	for range retries {
		if !mayRetry(q, err) {
			break
		}
		rows, err = all(ctx, q, query, args, read)
	}
	return rows, err
}

func all[T any](ctx context.Context, q Querier, query string, args []any, read func(Scan) (T, error)) ([]T, error) {
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
