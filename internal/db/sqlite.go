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

	"github.com/sallyport/sallyport/internal/durable"
)

const (
	// busyTimeout is how long a statement waits for another process that holds SQLite's write
	// lock, such as a command or a backup. Past it the browser gets status 503, and the change
	// was not made.
	busyTimeout = 5 * time.Second

	// sqliteReaders is the number of reading connections beside the writing one.
	// More would only cost memory: reads are short, and the system caches pages.
	sqliteReaders = 4

	// sqliteBatch is the most changes that share one commit. At this size the
	// commit is a small part of what each change costs.
	sqliteBatch = 64

	// sqliteBatchTime is the age past which a batch accepts no more changes. The
	// first writer of a batch waits this long at most, plus the time of the change
	// that runs then, so it never waits for two slow changes.
	sqliteBatchTime = 10 * time.Millisecond

	// writerCacheKiB limits the page cache of the writing connection. SQLite's default, 2 MB, is
	// less than what a batch of sign-ins changes in a database of a million accounts: pages would
	// be written to the log before the commit, read again and written again. The cache uses
	// memory only for pages that it holds.
	writerCacheKiB = 16_000
)

// sqliteEngine implements [engine]. It prepares each statement once and doesn't watch
// the caller's context while a statement runs: preparing each time or watching would
// cost a sign-in more than the statement itself.
type sqliteEngine struct {
	path     string // of the file
	backedUp bool   // a migration needs no copy of the file
	batching batching
}

// newSQLiteEngine returns an engine for the file at path.
func newSQLiteEngine(path string, backedUp bool) *sqliteEngine {
	e := &sqliteEngine{path: path, backedUp: backedUp}
	e.batching = batching{
		size: sqliteBatch, time: sqliteBatchTime,
		begin:  e.begin,
		commit: func(tx *Tx) error { return translate(tx.Commit()) },
		enter:  []string{`SAVEPOINT change`},
		keep:   []string{`RELEASE change`},
		undo:   []string{`ROLLBACK TO change`, `RELEASE change`},
	}
	return e
}

// openSQLite opens the file at path, which it creates if it doesn't exist. backedUp
// says that a migration needs no copy of it.
func openSQLite(path string, backedUp bool) (*DB, error) {
	if err := durable.MakeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	// SQLite would create the file readable by all users of the machine. The log and index files
	// beside it get the mode of this file.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	f.Close()

	e := newSQLiteEngine(path, backedUp)
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
		return &pool{DB: lite, engine: e}, nil
	}
	// SQLite has one writer, and writers queue in Go rather than in its lock. The
	// journal of a savepoint stays in memory: a temporary file would cost more
	// than the change itself.
	write, err := open(1, "temp_store(MEMORY)", fmt.Sprintf("cache_size(-%d)", writerCacheKiB))
	if err != nil {
		return nil, err
	}
	read, err := open(sqliteReaders, "query_only(1)")
	if err != nil {
		write.Close()
		return nil, err
	}
	return &DB{write: write, read: read, engine: e}, nil
}

// sqliteName returns the SQLite URI of a file; values are its parameters.
func sqliteName(path string, values url.Values) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: values.Encode()}).String()
}

// text returns the query without the clauses that lock rows: SQLite has one writer
// and no such clauses.
func (*sqliteEngine) text(query string) string {
	query = strings.ReplaceAll(query, ` COLLATE "C"`, "") // SQLite sorts text by its bytes anyway
	query = strings.ReplaceAll(query, " FOR NO KEY UPDATE SKIP LOCKED", "")
	return strings.ReplaceAll(query, " FOR NO KEY UPDATE", "")
}

// prepare returns the prepared query, or nil if it should run unprepared.
func (e *sqliteEngine) prepare(ctx context.Context, p *pool, query string) *sql.Stmt {
	if stmt, ok := p.prepared.Load(query); ok {
		return stmt.(*sql.Stmt)
	}
	stmt, err := p.PrepareContext(ctx, e.text(query))
	if err != nil {
		return nil // running the query will return the error
	}
	if before, there := p.prepared.LoadOrStore(query, stmt); there {
		stmt.Close()
		return before.(*sql.Stmt)
	}
	return stmt
}

// prepareInTx returns the query prepared for a transaction. If it isn't prepared yet,
// prepareInTx returns nil and the pool prepares it after the transaction.
func (*sqliteEngine) prepareInTx(ctx context.Context, t *Tx, query string) *sql.Stmt {
	if stmt, ok := t.pool.prepared.Load(query); ok {
		return t.StmtContext(ctx, stmt.(*sql.Stmt))
	}
	if !strings.HasPrefix(query, "CREATE") {
		t.unprepared = append(t.unprepared, query)
	}
	return nil
}

// statementContext returns a context that is never cancelled; a wait for a lock ends
// after busyTimeout.
func (*sqliteEngine) statementContext(ctx context.Context) context.Context {
	if ctx.Err() == nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// SQLite runs in process and needs no limit.
func (*sqliteEngine) withAnswerTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return ctx, func() {}
}

func (e *sqliteEngine) begin(ctx context.Context, p *pool) (tx *Tx, done func(), err error) {
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
		plain.Rollback() // no effect after Commit
		conn.Close()
		// During the transaction the only connection is taken, so statements can
		// be prepared only now.
		for _, query := range tx.unprepared {
			e.prepare(context.WithoutCancel(ctx), p, query)
		}
	}, nil
}

func (e *sqliteEngine) write(ctx context.Context, d *DB, change func(tx *Tx) error) error {
	return e.batching.write(ctx, d, change)
}

// One writer never waits for a lock of another transaction.
func (e *sqliteEngine) writeTogether(ctx context.Context, d *DB, change func(tx *Tx, mayWait bool) error) error {
	return e.batching.write(ctx, d, func(tx *Tx) error { return change(tx, true) })
}

func (*sqliteEngine) mayRetry(*pool, error) bool { return false }

// SQLite has no clock of its own.
func (*sqliteEngine) clock(_ context.Context, _ *DB, own time.Time) (time.Time, error) {
	return own, nil
}

// One writer can't deadlock.
func (*sqliteEngine) rowsPerWrite(n int) int { return n }

func (*sqliteEngine) servesOne() bool { return true }

func (e *sqliteEngine) lockServer() (unlock func(), err error) {
	f, err := os.OpenFile(e.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	if err := durable.Lock(f); err != nil {
		f.Close()
		if errors.Is(err, durable.ErrLocked) {
			return nil, ErrServed
		}
		return nil, fmt.Errorf("lock database: %w", err)
	}
	return func() { f.Close() }, nil
}

func (*sqliteEngine) losesCommits(context.Context, *DB) (bool, error) { return false, nil }

func (e *sqliteEngine) file() (string, error) { return e.path, nil }

// migrate copies the file first, unless it is new.
func (e *sqliteEngine) migrate(ctx context.Context, d *DB, steps []migration, version int64) error {
	copied := int64(0) // the version that was copied
	if version > 0 && !e.backedUp {
		if err := copyBeforeMigration(ctx, d, version); err != nil {
			return fmt.Errorf("copy the database before its migration: %w; nothing was changed: make room on the disk, and start again", err)
		}
		copied = version
	}
	return d.Write(ctx, func(tx *Tx) error {
		return runSteps(ctx, tx, steps, func(version int64) error {
			if !e.backedUp && version != copied {
				return errors.New("migrate: another process migrates the database too; start again")
			}
			return nil
		})
	})
}

// watch asks SQLite whether another process wrote. data_version, read on
// the only writing connection, changes with every commit of another process.
func (*sqliteEngine) watch(ctx context.Context, d *DB, now func() time.Time) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for before := int64(-1); ; {
		at := now()
		var version int64
		if err := One(ctx, d.write, `PRAGMA data_version`, nil, &version); err != nil {
			return err
		}
		if version != before {
			d.changes.report("")
		}
		before = version
		d.changes.knownUntil.Store(&at)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
