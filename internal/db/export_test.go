package db

import "context"

// Migrate is migrate for the tests of package db_test, which may import
// testkit.
var Migrate = migrate

// Migration is one step of [Migrate].
type Migration = migration

// Migrations are the embedded steps.
var Migrations = migrations

// Step returns a migration.
func Step(version, since int64, statements ...string) Migration {
	return migration{version: version, since: since, statements: statements}
}

// Version reads the table schema.
func (d *DB) Version(ctx context.Context) (version, since int64, err error) {
	return schemaVersion(ctx, d.read)
}

// Bounds of a batch.
const (
	BatchSize = batchSize
	BatchTime = batchTime
)

// Conns are the connections of a node.
const Conns = postgresConns

// AnswerTime is how long a statement may take.
const AnswerTime = answerTime
