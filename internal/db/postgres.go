package db

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// statementTimeout ends a PostgreSQL statement that hangs on a lock or a
	// sick disk, as busyTimeout does on SQLite.
	statementTimeout = 5 * time.Second
	connectTimeout   = 5 * time.Second

	// answerTime is how long a node waits for PostgreSQL's answer, for a free
	// connection of the pool, or for a standby to confirm a commit. A server that
	// froze or vanished never answers. It is also how long PostgreSQL keeps the
	// locks of a node that froze or vanished.
	answerTime = 2 * statementTimeout

	// migrationLockTimeout is how long a statement of a migration waits for the lock of a table.
	// All later statements on the table queue behind it: if it waited for the end of a dump, no
	// sign-in would succeed until then. The timeout is shorter than statementTimeout, so that the
	// statements in the queue succeed. The migration is tried again after migrationPause.
	migrationLockTimeout = 2 * time.Second
	migrationPause       = 3 * time.Second

	// postgresConns is the most connections of one node. PostgreSQL's default
	// limit of 100 connections is then enough for six nodes.
	postgresConns = 16
)

// errNoDirect: the operation needs a connection past the pooler, which isn't configured.
var errNoDirect = errors.New("a pooler is in front of the database, and database_direct isn't set")

// OpenPooled opens the PostgreSQL database at rawURL, the URL of a pooler that assigns a
// connection to a client for one transaction at a time. [DB.Watch] and migrations need a
// connection of their own and use the URL direct, past the pooler. If direct is empty, Watch
// fails and OpenPooled refuses an old schema.
func OpenPooled(ctx context.Context, rawURL, direct string) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	// The next transaction may get another connection, without the prepared
	// statements of this one.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	e := postgresEngine{pooled: true}
	if direct != "" {
		if e.direct, err = parsePostgres("database_direct", direct); err != nil {
			return nil, err
		}
		withTimeouts(e.direct)
	}
	d := connect(cfg, e)
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// HasSchema reports whether the PostgreSQL database at rawURL has the table schema, which [Open]
// creates. It only reads, and works through a pooler too.
func HasSchema(ctx context.Context, rawURL string) (bool, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return false, err
	}
	// A pooler may give the next transaction another connection, without the
	// prepared statements of this one.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	d := connect(cfg, postgresEngine{})
	defer d.Close()
	var has bool
	err = One(ctx, d.read, `SELECT to_regclass('schema') IS NOT NULL`, nil, &has)
	return has, err
}

func openPostgres(rawURL string) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	withTimeouts(cfg)
	return connect(cfg, postgresEngine{direct: cfg}), nil
}

// parsePostgres parses rawURL, the value of the setting called name.
func parsePostgres(name, rawURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(rawURL)
	if err != nil {
		// pgx's own error may quote the URL, and with it the password.
		return nil, fmt.Errorf("%s: that is not a PostgreSQL URL such as postgres://name:password@host/database", name)
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.RuntimeParams["application_name"] = "sallyport"
	// A standby may lag, and would then accept sessions and codes that the primary has already
	// ended. If the URL names several hosts, pgx tries the next one.
	cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	return cfg, nil
}

// timeouts are settings of PostgreSQL, in milliseconds.
var timeouts = map[string]int64{
	"statement_timeout":                   statementTimeout.Milliseconds(),
	"idle_in_transaction_session_timeout": answerTime.Milliseconds(),
}

// withTimeouts sets the timeouts for the whole life of a connection. Poolers
// refuse these settings, so there each transaction sets them.
func withTimeouts(cfg *pgx.ConnConfig) {
	for name, ms := range timeouts {
		cfg.RuntimeParams[name] = fmt.Sprint(ms)
	}
}

// epochKey is the key of a connection's epoch in the data that pgx keeps with it.
const epochKey = "epoch"

func connect(cfg *pgx.ConnConfig, e postgresEngine) *DB {
	e.batching = e.newBatching()
	both := &pool{engine: e}
	both.DB = stdlib.OpenDB(*cfg,
		stdlib.OptionAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
			conn.PgConn().CustomData()[epochKey] = both.epoch.Load()
			return nil
		}),
		stdlib.OptionResetSession(func(_ context.Context, conn *pgx.Conn) error {
			if conn.PgConn().CustomData()[epochKey] != both.epoch.Load() {
				return driver.ErrBadConn // database/sql closes it and takes another one
			}
			return nil
		}))
	both.SetMaxOpenConns(postgresConns)
	both.SetMaxIdleConns(postgresConns)
	return &DB{write: both, read: both, engine: e}
}

// isDead reports whether err means that an open connection ended. A failed
// statement, a timeout and a failure to connect don't count.
func isDead(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var (
		connecting *pgconn.ConnectError
		answer     *pgconn.PgError
	)
	switch {
	case errors.As(err, &answer):
		return slices.Contains(connectionEndCodes, answer.Code)
	case errors.As(err, &connecting):
		return false
	}
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, driver.ErrBadConn, sql.ErrConnDone, pgconn.ErrConnClosed,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// connectionEndCodes are the codes with which PostgreSQL ends a connection:
// admin_shutdown (also by pg_terminate_backend), crash_shutdown and
// idle_session_timeout.
var connectionEndCodes = []string{"57P01", "57P02", "57P05"}

// postgresEngine implements [engine]. Without direct it can't watch for changes, nor
// migrate behind a pooler.
type postgresEngine struct {
	pooled   bool            // see [OpenPooled]
	direct   *pgx.ConnConfig // for connections past a pooler; nil if not configured
	batching *batching       // of writeTogether; connect sets it
}

// text returns the query: the queries of this program are PostgreSQL's.
func (postgresEngine) text(query string) string { return query }

// pgx caches prepared statements by itself, so that pool and transaction needn't.
func (postgresEngine) prepare(context.Context, *pool, string) *sql.Stmt   { return nil }
func (postgresEngine) prepareInTx(context.Context, *Tx, string) *sql.Stmt { return nil }

func (postgresEngine) statementContext(ctx context.Context) context.Context { return ctx }

func (postgresEngine) withAnswerTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, answerTime)
}

func (e postgresEngine) begin(ctx context.Context, p *pool) (tx *Tx, done func(), err error) {
	plain, err := p.BeginTx(ctx, nil)
	if err == nil && e.pooled {
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

// mayRetry reports whether err means that a connection was dead, as every
// connection is after a failover. If so, it discards the idle connections: they are
// dead too, and would fail one after the other. It doesn't call SetMaxIdleConns for that,
// which in Go 1.26 races with connections that come back to the pool.
func (postgresEngine) mayRetry(p *pool, err error) bool {
	if !isDead(err) {
		return false
	}
	p.epoch.Add(1)
	return true
}

func (postgresEngine) clock(ctx context.Context, d *DB, _ time.Time) (time.Time, error) {
	var at At
	err := One(ctx, d.read, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`, nil, &at)
	return at.Time, err
}

// Transactions that change several rows in different orders could deadlock.
func (postgresEngine) rowsPerWrite(int) int { return 1 }

// Any number of nodes may serve.
func (postgresEngine) servesOne() bool             { return false }
func (postgresEngine) lockServer() (func(), error) { return func() {}, nil }
func (postgresEngine) file() (string, error)       { return "", ErrNotSQLite }

func (postgresEngine) losesCommits(ctx context.Context, d *DB) (bool, error) {
	var standbys, sure int
	err := One(ctx, d.read, `
		SELECT COUNT(*), COUNT(*) FILTER (
			WHERE (sync_state IN ('sync', 'quorum') OR sync_state IS NULL AND current_setting('synchronous_standby_names') <> '')
			AND   current_setting('synchronous_commit') NOT IN ('off', 'local'))
		FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'`, nil, &standbys, &sure)
	return standbys > 0 && sure == 0, err
}

// migrate migrates past the pooler, if there is one. A long transaction would
// occupy one of the pooler's few connections, and a pooler may end a transaction
// that takes too long.
func (e postgresEngine) migrate(ctx context.Context, d *DB, steps []migration, _ int64) error {
	if e.pooled {
		if err := d.Ping(ctx); err != nil {
			return err
		}
		if e.direct == nil {
			return fmt.Errorf("the database's schema must be upgraded to version %d first: %w; set it, at least for this start", steps[len(steps)-1].version, errNoDirect)
		}
		direct := connect(e.direct, postgresEngine{direct: e.direct})
		defer direct.Close()
		return migrate(ctx, direct, steps)
	}
	for reported := ""; ; {
		err := d.Write(ctx, func(tx *Tx) error { return migratePostgres(ctx, tx, steps) })
		if !lostLock(err) {
			return err
		}
		if err.Error() != reported {
			reported = err.Error()
			reportWait(ctx, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migrationPause):
		}
	}
}

func migratePostgres(ctx context.Context, tx *Tx, steps []migration) error {
	if err := execWithoutTimeout(ctx, tx, `SET LOCAL statement_timeout = 0`); err != nil {
		return err
	}
	// Only other migrations queue behind this statement, so it needs no timeout.
	if err := execWithoutTimeout(ctx, tx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
		return fmt.Errorf("wait for another node's migration: %w", err)
	}
	if err := execWithoutTimeout(ctx, tx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, migrationLockTimeout.Milliseconds())); err != nil {
		return err
	}
	return runSteps(ctx, tx, steps, func(int64) error { return lockAccounts(ctx, tx) })
}

// lockAccounts locks the table accounts, if there is one. Other nodes go on changing accounts, and
// lock them before they use other tables. A migration that changed such a table first and
// accounts later would deadlock with them, and PostgreSQL might end their transaction.
func lockAccounts(ctx context.Context, tx *Tx) error {
	var exists bool
	err := One(ctx, tx, `SELECT to_regclass('accounts') IS NOT NULL`, nil, &exists)
	if err == nil && exists {
		err = execWithoutTimeout(ctx, tx, `LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		return fmt.Errorf("migrate: lock the table accounts: %w", err)
	}
	return nil
}

// lostLock reports whether err means that a statement got no lock in time, or that PostgreSQL
// ended it because of a deadlock. The transaction may succeed later.
func lostLock(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (answer.Code == "55P03" || answer.Code == "40P01")
}

// watch receives the changes of the other nodes. Notifications arrive
// in the order of the commits, so a node that has received its own beat has also
// received every change that was committed before it.
func (e postgresEngine) watch(ctx context.Context, d *DB, now func() time.Time) error {
	if e.direct == nil {
		return errNoDirect
	}
	conn, err := pgx.ConnectConfig(ctx, e.direct)
	if err != nil {
		return translate(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := execOnListener(ctx, conn, `LISTEN `+channel); err != nil {
		return err
	}
	d.changes.report("") // changes that were committed before LISTEN
	beat := beatPrefix + rand.Text()
	for ctx.Err() == nil {
		at := now()
		if err := execOnListener(ctx, conn, `SELECT pg_notify($1, $2)`, channel, beat); err != nil {
			return err
		}
		received, err := d.receive(ctx, conn, maxStale, beat)
		if err != nil {
			return err
		}
		if !received {
			return fmt.Errorf("%w: it hasn't answered for %v", ErrUnavailable, maxStale)
		}
		d.changes.knownUntil.Store(&at)
		if _, err := d.receive(ctx, conn, checkEvery, ""); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// execOnListener runs a statement on the LISTEN connection.
func execOnListener(ctx context.Context, conn *pgx.Conn, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, maxStale)
	defer cancel()
	_, err := conn.Exec(ctx, query, args...)
	return translate(err)
}

// receive reports the changes that arrive, until the notification with the text
// beat arrives or the timeout ends. It returns whether that notification arrived.
// With an empty beat it always waits for the timeout.
func (d *DB) receive(ctx context.Context, conn *pgx.Conn, timeout time.Duration, beat string) (bool, error) {
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(waitCtx)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, translate(err)
		case beat != "" && n.Payload == beat:
			return true, nil
		case !strings.HasPrefix(n.Payload, beatPrefix):
			d.changes.report(n.Payload)
		}
	}
}
