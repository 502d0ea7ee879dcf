package db

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Migrate exports migrate to the tests in package db_test, which may import
// testkit.
var Migrate = migrate

// Migration is one step of [Migrate].
type Migration = migration

// Migrations returns the embedded steps.
var Migrations = migrations

// Step returns a migration.
func Step(version, since int64, statements ...string) Migration {
	return migration{version: version, since: since, statements: statements}
}

// Version returns what the table named schema holds; see schemaVersion.
func (d *DB) Version(ctx context.Context) (version, since int64, err error) {
	return schemaVersion(ctx, d.read)
}

// Limits of a batch.
const (
	BatchSize = sqliteBatch
	BatchTime = sqliteBatchTime
)

// Conns is the maximum number of PostgreSQL connections of a node.
const Conns = postgresConns

// AnswerTime is how long a node waits for PostgreSQL's answer.
const AnswerTime = answerTime

// together returns how the changes of WriteTogether share transactions.
func (d *DB) together() *batching {
	if e, ok := d.engine.(*sqliteEngine); ok {
		return &e.batching
	}
	return d.engine.(postgresEngine).batching
}

// NeverLate makes WriteTogether wait for slow changes and late batches, so that tests decide
// which changes share a transaction. Call it before the first change.
func (d *DB) NeverLate() { d.together().slow, d.together().time = 0, time.Minute }

// Queued returns the number of changes that wait for a transaction.
func (d *DB) Queued() int {
	l := &d.together().writeLock
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// PostgresBatch is the maximum number of changes in one transaction on PostgreSQL.
const PostgresBatch = postgresBatch

// countStatements counts the messages to PostgreSQL that carry a statement. The sender waits for
// an answer to each of them.
type countStatements struct{ n *atomic.Int64 }

func (c countStatements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (countStatements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// OpenCounted opens a PostgreSQL database and counts its statements in n.
func OpenCounted(rawURL string, n *atomic.Int64) (*DB, error) {
	cfg, err := parsePostgres("database", rawURL)
	if err != nil {
		return nil, err
	}
	cfg.Tracer = countStatements{n}
	return connect(cfg, postgresEngine{direct: cfg}), nil
}
