package db

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
)

// pool is a database/sql pool. On SQLite it prepares each statement once and
// doesn't watch the caller's context while one runs: both would cost a sign-in
// more than the statement itself. pgx does the like by itself.
type pool struct {
	*sql.DB
	prepares bool
	pooled   bool     // see [OpenPooled]
	prepared sync.Map // query text to *sql.Stmt; the texts are ours, so they are few
}

// within returns the context to run a statement in. SQLite's wait for a lock
// ends by itself, after busyTimeout.
func (p *pool) within(ctx context.Context) context.Context {
	if p.prepares && ctx.Err() == nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// statement returns the prepared query, or nil where it is to run as it is.
func (p *pool) statement(ctx context.Context, query string) *sql.Stmt {
	if stmt, ok := p.prepared.Load(query); ok {
		return stmt.(*sql.Stmt)
	}
	if !p.prepares {
		return nil
	}
	stmt, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil // running it says why
	}
	if before, there := p.prepared.LoadOrStore(query, stmt); there {
		stmt.Close()
		return before.(*sql.Stmt)
	}
	return stmt
}

// QueryContext is that of [sql.DB], with a prepared statement.
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = p.within(ctx)
	if stmt := p.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return p.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of [sql.DB], with a prepared statement.
func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = p.within(ctx)
	if stmt := p.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return p.DB.QueryRowContext(ctx, query, args...)
}

// Tx is a transaction that may write. Functions that change rows take one, so
// that a caller can't forget to make several changes one.
type Tx struct {
	*sql.Tx
	pool    *pool
	missed  []string // queries that ran unprepared
	changed []string // see [Tx.Changed]
}

// begin begins a transaction; done must be called after it ended. Waiting for
// a connection honours ctx.
func (p *pool) begin(ctx context.Context) (tx *Tx, done func(), err error) {
	if !p.prepares {
		plain, err := p.BeginTx(ctx, nil)
		if err == nil && p.pooled {
			all := ""
			for name, ms := range timeouts {
				all += fmt.Sprintf("SET LOCAL %s = %d;", name, ms)
			}
			if _, err = plain.ExecContext(ctx, all); err != nil {
				plain.Rollback()
			}
		}
		return &Tx{Tx: plain, pool: p}, func() {}, err
	}
	conn, err := p.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	plain, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	tx = &Tx{Tx: plain, pool: p}
	return tx, func() {
		conn.Close()
		// Only now: inside, the transaction holds the one connection there is.
		for _, query := range tx.missed {
			p.statement(context.WithoutCancel(ctx), query)
		}
	}, nil
}

// statement returns the query prepared for this transaction, or nil where it
// is to run as it is; once the transaction has ended it is prepared.
func (t *Tx) statement(ctx context.Context, query string) *sql.Stmt {
	if stmt, ok := t.pool.prepared.Load(query); ok {
		return t.StmtContext(ctx, stmt.(*sql.Stmt))
	}
	if t.pool.prepares && !strings.HasPrefix(query, "CREATE") {
		t.missed = append(t.missed, query)
	}
	return nil
}

// QueryContext is that of [sql.Tx], with a prepared statement.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = t.pool.within(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of [sql.Tx], with a prepared statement.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = t.pool.within(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// ExecContext is that of [sql.Tx], with a prepared statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = t.pool.within(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

// UnlessLocked ends a query so that it leaves rows out that another transaction
// changes right now. So one that changes many rows, in any order, waits for
// nobody, and never for somebody who waits for it. SQLite has one writer.
func (t *Tx) UnlessLocked() string {
	if t.pool.prepares {
		return ""
	}
	return ` FOR NO KEY UPDATE SKIP LOCKED`
}

// Locked ends a query so that the rows stay as they are read until the transaction
// ends, but for what it changes itself. SQLite has one writer.
func (t *Tx) Locked() string {
	if t.pool.prepares {
		return ""
	}
	return ` FOR NO KEY UPDATE`
}
