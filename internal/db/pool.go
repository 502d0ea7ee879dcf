package db

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"time"
)

// pool is a database/sql pool of one engine.
type pool struct {
	*sql.DB
	engine   engine
	prepared sync.Map // query text to *sql.Stmt; query texts are constants, so there are few

	// epoch is raised when a connection was dead. The pool uses no idle connection of an
	// earlier epoch.
	epoch atomic.Int64
}

// QueryContext is like [sql.DB.QueryContext], but uses a prepared statement.
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = p.engine.statementContext(ctx)
	if stmt := p.engine.prepare(ctx, p, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return p.DB.QueryContext(ctx, p.engine.text(query), args...)
}

// QueryRowContext is like [sql.DB.QueryRowContext], but uses a prepared statement.
func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = p.engine.statementContext(ctx)
	if stmt := p.engine.prepare(ctx, p, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return p.DB.QueryRowContext(ctx, p.engine.text(query), args...)
}

// Tx is a transaction that may write. Functions that change rows take a Tx, so
// that a caller decides which changes are committed together.
type Tx struct {
	*sql.Tx
	pool       *pool
	unprepared []string    // queries to prepare once the transaction has ended
	changed    []string    // see [Tx.Changed]
	limit      *time.Timer // ends the wait for the end of a PostgreSQL transaction
	shared     bool        // it has changes of several writers, so the end of one writer's context must not end it
}

// QueryContext is like [sql.Tx.QueryContext], but uses a prepared statement.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = t.pool.engine.statementContext(ctx)
	if stmt := t.pool.engine.prepareInTx(ctx, t, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, t.pool.engine.text(query), args...)
}

// QueryRowContext is like [sql.Tx.QueryRowContext], but uses a prepared statement.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = t.pool.engine.statementContext(ctx)
	if stmt := t.pool.engine.prepareInTx(ctx, t, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, t.pool.engine.text(query), args...)
}

// ExecContext is like [sql.Tx.ExecContext], but uses a prepared statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = t.pool.engine.statementContext(ctx)
	if stmt := t.pool.engine.prepareInTx(ctx, t, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, t.pool.engine.text(query), args...)
}
