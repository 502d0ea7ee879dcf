package db

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
)

// pool is a database/sql pool. On SQLite it prepares each statement once and
// doesn't watch the caller's context while a statement runs: preparing each time
// or watching would cost a sign-in more than the statement itself. On PostgreSQL
// pgx caches prepared statements by itself.
type pool struct {
	*sql.DB
	prepares bool
	pooled   bool     // see [OpenPooled]
	prepared sync.Map // query text to *sql.Stmt; query texts are constants, so there are few
}

// statementContext returns the context to run a statement in. On SQLite that
// context is never cancelled; a wait for a lock ends after busyTimeout.
func (p *pool) statementContext(ctx context.Context) context.Context {
	if p.prepares && ctx.Err() == nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// statement returns the prepared query, or nil if it should run unprepared.
func (p *pool) statement(ctx context.Context, query string) *sql.Stmt {
	if stmt, ok := p.prepared.Load(query); ok {
		return stmt.(*sql.Stmt)
	}
	if !p.prepares {
		return nil
	}
	stmt, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil // running the query will return the error
	}
	if before, there := p.prepared.LoadOrStore(query, stmt); there {
		stmt.Close()
		return before.(*sql.Stmt)
	}
	return stmt
}

// QueryContext is like [sql.DB.QueryContext], but uses a prepared statement.
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = p.statementContext(ctx)
	if stmt := p.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return p.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext is like [sql.DB.QueryRowContext], but uses a prepared statement.
func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = p.statementContext(ctx)
	if stmt := p.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return p.DB.QueryRowContext(ctx, query, args...)
}

// Tx is a transaction that may write. Functions that change rows take a Tx, so
// that a caller decides which changes are committed together.
type Tx struct {
	*sql.Tx
	pool       *pool
	unprepared []string // queries to prepare once the transaction has ended
	changed    []string // see [Tx.Changed]
}

// begin begins a transaction. The caller must call done after the transaction has
// ended. ctx can cancel the wait for a connection.
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
		// During the transaction the only connection is taken, so statements can
		// be prepared only now.
		for _, query := range tx.unprepared {
			p.statement(context.WithoutCancel(ctx), query)
		}
	}, nil
}

// statement returns the query prepared for this transaction. If it isn't prepared
// yet, statement returns nil and the pool prepares it after the transaction.
func (t *Tx) statement(ctx context.Context, query string) *sql.Stmt {
	if stmt, ok := t.pool.prepared.Load(query); ok {
		return t.StmtContext(ctx, stmt.(*sql.Stmt))
	}
	if t.pool.prepares && !strings.HasPrefix(query, "CREATE") {
		t.unprepared = append(t.unprepared, query)
	}
	return nil
}

// QueryContext is like [sql.Tx.QueryContext], but uses a prepared statement.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = t.pool.statementContext(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is like [sql.Tx.QueryRowContext], but uses a prepared statement.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = t.pool.statementContext(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// ExecContext is like [sql.Tx.ExecContext], but uses a prepared statement.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = t.pool.statementContext(ctx)
	if stmt := t.statement(ctx, query); stmt != nil {
		return stmt.ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

// UnlessLocked returns the end of a SELECT that locks its rows and skips rows
// that another transaction has locked. A transaction that changes many rows, in
// any order, then never waits for another and can't deadlock. It is "" on SQLite,
// which has one writer.
func (t *Tx) UnlessLocked() string {
	if t.pool.prepares {
		return ""
	}
	return ` FOR NO KEY UPDATE SKIP LOCKED`
}

// Locked returns the end of a SELECT that locks its rows: no other transaction can
// change them until this one ends. It is "" on SQLite, which has one writer.
func (t *Tx) Locked() string {
	if t.pool.prepares {
		return ""
	}
	return ` FOR NO KEY UPDATE`
}
