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

	// answerTime is how long a node waits for an answer of PostgreSQL, for one of
	// its own connections to it, or to be told that a standby has its commit: a
	// server that froze or vanished never says anything. It is also how long
	// PostgreSQL keeps the locks of a node that did.
	answerTime = 2 * statementTimeout

	// postgresConns a node; PostgreSQL's default of 100 then serves six nodes.
	postgresConns = 16
)

// errNoDirect: a connection of its own is needed, and only a pooler is known.
var errNoDirect = errors.New("a pooler is in front of the database, and database_direct isn't set")

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
		withTimeouts(d.direct)
	}
	if err := migrate(ctx, d, migrations()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// HasSchema reports whether the PostgreSQL database at rawURL has the table schema, which
// [Open] creates. It creates nothing, and works through a pooler too.
func HasSchema(ctx context.Context, rawURL string) (bool, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return false, err
	}
	// A prepared statement may be on another connection of the pooler the next time.
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

// parsePostgres reads the URL that the setting called name holds.
func parsePostgres(name, rawURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(rawURL)
	if err != nil {
		// pgx's own error may quote the URL, and with it the password.
		return nil, fmt.Errorf("%s: that is not a PostgreSQL URL such as postgres://name:password@host/database", name)
	}
	cfg.ConnectTimeout = connectTimeout
	cfg.RuntimeParams["application_name"] = "sallyport"
	// A standby may not know yet what has ended; of several hosts the next is tried.
	cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	return cfg, nil
}

// connectError is why no connection came about. pgx's text names the user and the
// database, and quotes what the server says of them; this names the servers alone.
type connectError struct {
	at     string // hosts and ports
	reason string
	err    error
}

func (e *connectError) Error() string { return "connect to " + e.at + ": " + e.reason }
func (e *connectError) Unwrap() error { return e.err }

// quiet returns err as [connectError] where it is about connecting.
func quiet(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return err
	}
	var at []string
	add := func(host string, port uint16) {
		if one := net.JoinHostPort(host, fmt.Sprint(port)); !slices.Contains(at, one) {
			at = append(at, one)
		}
	}
	add(failed.Config.Host, failed.Config.Port)
	for _, other := range failed.Config.Fallbacks {
		add(other.Host, other.Port)
	}
	return &connectError{strings.Join(at, ", "), whyNot(err), err}
}

// PostgreSQL's codes, in words that name nobody, and what to do about those that only its
// administrator can change.
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

// IsMisconfigured reports whether err is of a PostgreSQL that answers, but has no such
// user or database, or gives the user too few rights: to try again won't help.
func IsMisconfigured(err error) bool {
	var told *pgconn.PgError
	return errors.As(err, &told) && advice[told.Code] != ""
}

// whyNot returns the reason in words that name nobody.
func whyNot(err error) string {
	var (
		told   *pgconn.PgError
		dns    *net.DNSError
		dial   *net.OpError
		untrue *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &told):
		reason := reasons[told.Code]
		if reason == "" {
			reason = "it refuses the connection"
		}
		return reason + " (SQLSTATE " + told.Code + ")" + advice[told.Code]
	case errors.As(err, &dns):
		return dns.Err
	case errors.As(err, &untrue):
		return untrue.Error()
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

// timeouts are PostgreSQL's own, in milliseconds.
var timeouts = map[string]int64{
	"statement_timeout":                   statementTimeout.Milliseconds(),
	"idle_in_transaction_session_timeout": answerTime.Milliseconds(),
}

// withTimeouts sets the timeouts for a connection's whole life. Poolers refuse
// that; there each transaction sets them.
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

// dropDead reports whether err says that a connection of the pool q was dead
// before it answered, as all are after a failover; then the next statement gets a fresh
// one. What changes nothing may be tried once more. A statement in a transaction may
// not: q is none.
func dropDead(q Querier, err error) bool {
	p, ok := q.(*pool)
	if !ok || p.prepares || !isDead(err) {
		return false
	}
	// The others that wait for work have the same end, and would fail one after the other.
	p.SetMaxIdleConns(0)
	p.SetMaxIdleConns(postgresConns)
	return true
}

// isDead reports whether the connection ended, rather than the statement, the time to
// wait for it, or the way to the server.
func isDead(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var (
		connecting *pgconn.ConnectError
		told       *pgconn.PgError
	)
	switch {
	case errors.As(err, &told):
		return slices.Contains(ended, told.Code)
	case errors.As(err, &connecting):
		return false // there is no way to the server
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

// ended are the codes with which PostgreSQL ends a connection: admin_shutdown (also
// by pg_terminate_backend), crash_shutdown and idle_session_timeout.
var ended = []string{"57P01", "57P02", "57P05"}

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
