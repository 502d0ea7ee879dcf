package db

import "context"

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

// Version returns what the table schema holds; see schemaVersion.
func (d *DB) Version(ctx context.Context) (version, since int64, err error) {
	return schemaVersion(ctx, d.read)
}

// Limits of a batch.
const (
	BatchSize = batchSize
	BatchTime = batchTime
)

// Conns is the most PostgreSQL connections of a node.
const Conns = postgresConns

// AnswerTime is how long a node waits for PostgreSQL's answer.
const AnswerTime = answerTime
