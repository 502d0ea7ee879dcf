package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// statementTimeout ends a PostgreSQL statement that hangs on a lock or a
	// sick disk, as busyTimeout does on SQLite.
	statementTimeout = 5 * time.Second
	connectTimeout   = 5 * time.Second

	// postgresConns a node; PostgreSQL's default of 100 then serves six nodes.
	postgresConns = 16
)

// errNoDirect: a connection of its own is needed, and only a pooler is known.
var errNoDirect = errors.New("a pooler stands before the database, and database_direct names no way past it")

// OpenPooled opens the PostgreSQL database at rawURL, where a pooler lends a
// connection to one transaction after the other. Hearing of changes and
// migrating need one of their own and go to direct, past the pooler. Where that
// is empty nothing is heard, and an old schema is refused.
func OpenPooled(ctx context.Context, rawURL, direct string) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	// A prepared statement may be on another connection the next time.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	d := connect(cfg)
	d.pooled, d.write.pooled, d.direct = true, true, nil
	if direct != "" {
		if d.direct, err = parsePostgres("database_direct", direct); err != nil {
			d.Close()
			return nil, err
		}
		withTimeout(d.direct)
	}
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func openPostgres(rawURL string) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	withTimeout(cfg)
	return connect(cfg), nil
}

// parsePostgres reads the URL that the setting called name holds.
func parsePostgres(name, rawURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(rawURL)
	if err != nil {
		// pgx's own error may quote the URL, and with it the password.
		return nil, fmt.Errorf("%s: that is not a PostgreSQL URL such as postgres://name:password@host/database", name)
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.RuntimeParams["application_name"] = "sallyport"
	return cfg, nil
}

// withTimeout sets statementTimeout for a connection's whole life. Poolers refuse
// that; there each transaction sets it.
func withTimeout(cfg *pgx.ConnConfig) {
	cfg.RuntimeParams["statement_timeout"] = fmt.Sprint(statementTimeout.Milliseconds())
}

func connect(cfg *pgx.ConnConfig) *DB {
	both := &pool{DB: stdlib.OpenDB(*cfg)}
	both.SetMaxOpenConns(postgresConns)
	both.SetMaxIdleConns(postgresConns)
	return &DB{write: both, read: both, postgres: true, direct: cfg}
}

// LosesCommits reports whether PostgreSQL has standbys, of which none has a
// commit before it is answered: one that takes over may have forgotten which
// code was used (R7). Who may not see how standbys follow, a role without
// pg_monitor, goes by the setting that asks them to.
func (d *DB) LosesCommits(ctx context.Context) (bool, error) {
	if !d.postgres {
		return false, nil
	}
	var standbys, sure int
	err := One(ctx, d.read, `
		SELECT COUNT(*), COUNT(*) FILTER (
			WHERE (sync_state IN ('sync', 'quorum') OR sync_state IS NULL AND current_setting('synchronous_standby_names') <> '')
			AND   current_setting('synchronous_commit') NOT IN ('off', 'local'))
		FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'`, nil, &standbys, &sure)
	return standbys > 0 && sure == 0, err
}
