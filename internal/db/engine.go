package db

import (
	"context"
	"database/sql"
	"time"
)

// engine has the operations that SQLite and PostgreSQL do in different ways. sqliteEngine
// and postgresEngine implement it. Everything else in this package, and every query
// above it, is the same for both.
type engine interface {
	// text translates a query, which is written for PostgreSQL, for the engine.
	text(query string) string
	// prepare and prepareInTx return the prepared query, or nil if the caller should
	// run its text.
	prepare(ctx context.Context, p *pool, query string) *sql.Stmt
	prepareInTx(ctx context.Context, t *Tx, query string) *sql.Stmt
	// statementContext returns the context to run a statement in.
	statementContext(ctx context.Context) context.Context
	// withAnswerTimeout limits how long to wait for an answer.
	withAnswerTimeout(ctx context.Context) (context.Context, context.CancelFunc)
	// mayRetry reports whether a read that failed may run again. It may close the
	// pool's idle connections, which are dead then.
	mayRetry(p *pool, err error) bool

	// begin begins a transaction. The caller must call done after the transaction has
	// ended. ctx can cancel the wait for a connection.
	begin(ctx context.Context, p *pool) (tx *Tx, done func(), err error)
	// migrate runs the steps that the schema lacks. version is the schema's, or 0 if it has no
	// version or it couldn't be read.
	migrate(ctx context.Context, d *DB, steps []migration, version int64) error

	// The methods of [DB] by these names.
	write(ctx context.Context, d *DB, change func(tx *Tx) error) error
	writeTogether(ctx context.Context, d *DB, change func(tx *Tx, mayWait bool) error) error
	clock(ctx context.Context, d *DB, own time.Time) (time.Time, error)
	watch(ctx context.Context, d *DB, now func() time.Time) error
	rowsPerWrite(n int) int
	servesOne() bool
	lockServer() (unlock func(), err error)
	losesCommits(ctx context.Context, d *DB) (bool, error)

	// file is [DB.Path].
	file() (string, error)
}
