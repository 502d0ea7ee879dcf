package db

import (
	"context"
	"crypto/tls"
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

	// postgresConns is the most connections of one node. PostgreSQL's default
	// limit of 100 connections is then enough for six nodes.
	postgresConns = 16
)

// errNoDirect: the operation needs a connection past the pooler, and none is set.
var errNoDirect = errors.New("a pooler is in front of the database, and database_direct isn't set")

// OpenPooled opens the PostgreSQL database at rawURL, where a pooler gives a
// connection to one transaction at a time. [DB.Watch] and migrations need a
// connection of their own and use the URL direct, past the pooler. If direct is
// empty, Watch fails and OpenPooled refuses an old schema.
func OpenPooled(ctx context.Context, rawURL, direct string) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	// The next transaction may get another connection, without the prepared
	// statements of this one.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	d := connect(cfg)
	d.pooled, d.write.pooled, d.direct = true, true, nil
	if direct != "" {
		if d.direct, err = parsePostgres("database_direct", direct); err != nil {
			d.Close()
			return nil, err
		}
		withTimeouts(d.direct)
	}
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// HasSchema reports whether the PostgreSQL database at rawURL has the table schema,
// which [Open] creates. It creates nothing, and works through a pooler too.
func HasSchema(ctx context.Context, rawURL string) (bool, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return false, err
	}
	// A pooler may give the next transaction another connection, without the
	// prepared statements of this one.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	d := connect(cfg)
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
	return connect(cfg), nil
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
	// A standby may lag, and would accept what the primary has ended already. If
	// the URL names several hosts, pgx tries the next one.
	cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	return cfg, nil
}

// connectError says why a connection failed. pgx's text names the user and the
// database and quotes the server; connectError names the servers alone.
type connectError struct {
	hosts  string // hosts and ports
	reason string
	err    error
}

func (e *connectError) Error() string { return "connect to " + e.hosts + ": " + e.reason }
func (e *connectError) Unwrap() error { return e.err }

// withoutCredentials returns a [connectError] if connecting failed, and any other
// error as it is.
func withoutCredentials(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return err
	}
	var hosts []string
	add := func(host string, port uint16) {
		if address := net.JoinHostPort(host, fmt.Sprint(port)); !slices.Contains(hosts, address) {
			hosts = append(hosts, address)
		}
	}
	add(failed.Config.Host, failed.Config.Port)
	for _, other := range failed.Config.Fallbacks {
		add(other.Host, other.Port)
	}
	return &connectError{strings.Join(hosts, ", "), connectReason(err), err}
}

// PostgreSQL's codes in words that name neither user nor database, and advice for
// those that only PostgreSQL's administrator can mend.
var (
	reasons = map[string]string{
		"28P01": "the password, or the user's name, is wrong",
		"28000": "this user may not connect from here, or doesn't exist",
		"3D000": "there is no such database",
		"42501": "this user may not use the database",
		"53300": "it has too many connections",
		"57P03": "it is starting or stopping",
	}
	advice = map[string]string{
		"28P01": "; to create the user, as PostgreSQL's own user: createuser --pwprompt sallyport",
		"28000": "; to create the user, as PostgreSQL's own user: createuser --pwprompt sallyport",
		"3D000": "; to create it, as PostgreSQL's own user: createdb --owner=sallyport sallyport",
		"42501": "; to allow it, as PostgreSQL's own user: psql -c 'ALTER DATABASE sallyport OWNER TO sallyport', or for a new one: createdb --owner=sallyport sallyport",
	}
)

// IsMisconfigured reports whether PostgreSQL answered that it has no such user or
// database, or that the user has too few rights. A retry won't help.
func IsMisconfigured(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && advice[answer.Code] != ""
}

// connectReason returns why a connection failed, in words that name neither user
// nor database.
func connectReason(err error) string {
	var (
		answer    *pgconn.PgError
		dns       *net.DNSError
		dial      *net.OpError
		untrusted *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &answer):
		reason := reasons[answer.Code]
		if reason == "" {
			reason = "it refuses the connection"
		}
		return reason + " (SQLSTATE " + answer.Code + ")" + advice[answer.Code]
	case errors.As(err, &dns):
		return dns.Err
	case errors.As(err, &untrusted):
		return untrusted.Error()
	case errors.As(err, &dial) && dial.Err != nil:
		return dial.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case strings.Contains(err.Error(), "read only connection"):
		return "it is read only, as a standby is"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "it ended the connection"
	default:
		return "the connection failed; PostgreSQL's own log says more"
	}
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

func connect(cfg *pgx.ConnConfig) *DB {
	both := &pool{DB: stdlib.OpenDB(*cfg)}
	both.SetMaxOpenConns(postgresConns)
	both.SetMaxIdleConns(postgresConns)
	return &DB{write: both, read: both, postgres: true, direct: cfg}
}

// mayRetry reports whether err means that a connection of the pool q was dead, as
// every connection is after a failover. If so, it discards the idle connections,
// and the caller may run a statement that changes nothing once more. A statement
// inside a transaction may not run again: for a [*Tx], mayRetry returns false.
func mayRetry(q Querier, err error) bool {
	p, ok := q.(*pool)
	if !ok || p.prepares || !isDead(err) {
		return false
	}
	// The idle connections are dead too, and would fail one after the other.
	p.SetMaxIdleConns(0)
	p.SetMaxIdleConns(postgresConns)
	return true
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

// LosesCommits reports whether PostgreSQL has standbys, but none that confirms a
// commit before it is answered. A standby that takes over may then lack the record
// that a code was used, and the code would work a second time (R7). A role without
// pg_monitor can't see the state of standbys; for it, the settings decide.
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
