package db

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the key of a PostgreSQL advisory lock, so that nodes that
// start at the same time migrate one after the other. The number is arbitrary.
const migrationLock = 7_253_119_640

// migration is one step forward; there are no steps back. Its number is the
// version that the schema has after the step.
type migration struct {
	version int64
	// since is the oldest version whose binary can use this schema. After a step that
	// only adds, nodes with the previous binary can continue during an upgrade.
	since      int64
	statements []string
}

// migrations reads the embedded files NNNN_name.sql. A first line
// "-- usable since: N" names the oldest version whose binary can use the schema.
func migrations() []migration {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err)
	}
	var all []migration
	for _, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic(err)
		}
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(len(all))+1 {
			panic("migration " + name + " is not the next in number")
		}
		m := migration{version: version, since: version}
		if first, _, _ := strings.Cut(string(text), "\n"); strings.HasPrefix(first, "-- usable since: ") {
			if m.since, err = strconv.ParseInt(strings.TrimPrefix(first, "-- usable since: "), 10, 64); err != nil {
				panic("migration " + name + ": " + err.Error())
			}
		}
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(statement) != "" {
				m.statements = append(m.statements, statement)
			}
		}
		all = append(all, m)
	}
	return all
}

// migrate brings the schema to the newest of steps, in one transaction. It
// refuses a schema that a newer binary made, unless the schema's usable_since
// allows this binary to use it (F12).
func migrate(ctx context.Context, d *DB, steps []migration) error {
	newest := steps[len(steps)-1].version
	// Read outside of a transaction first, so that a start on a current schema
	// doesn't wait for a writer.
	version, since, err := schemaVersion(ctx, d.read)
	if err == nil && version >= newest {
		return checkUsable(version, since, newest)
	}
	if err != nil {
		version = 0 // there may be no table yet; the transaction returns other errors
	}
	return d.engine.migrate(ctx, d, steps, version)
}

// runSteps runs the steps that the schema lacks, in the transaction tx. Before the first of
// them it calls check with the schema's version, unless check is nil.
func runSteps(ctx context.Context, tx *Tx, steps []migration, check func(version int64) error) error {
	newest := steps[len(steps)-1].version
	if _, err := Exec(ctx, tx, `CREATE TABLE IF NOT EXISTS schema (version BIGINT NOT NULL, usable_since BIGINT NOT NULL)`); err != nil {
		if IsMisconfigured(err) {
			return fmt.Errorf("this user may not make tables in the database: %w%s", err, advice[postgresDenied])
		}
		return fmt.Errorf("migrate: %w", err)
	}
	version, since, err := schemaVersion(ctx, tx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if version >= newest {
		return checkUsable(version, since, newest)
	}
	if check != nil {
		if err := check(version); err != nil {
			return err
		}
	}
	for _, step := range steps {
		if step.version <= version {
			continue
		}
		for _, statement := range step.statements {
			if err := execWithoutTimeout(ctx, tx, statement); err != nil {
				return fmt.Errorf("migrate to version %d, %s: %w", step.version, firstLine(statement), err)
			}
		}
		version, since = step.version, max(since, step.since)
	}
	return storeVersion(ctx, tx, version, since)
}

// firstLine returns the first line of a statement that isn't a comment.
func firstLine(statement string) string {
	for line := range strings.Lines(statement) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			return line
		}
	}
	return ""
}

// waitKey is the key of the function of [OnWait] in a context.
type waitKey struct{}

// OnWait returns a context in which [Open] and [OpenPooled] call report when a migration waits
// for other transactions, with the statement that can't run yet. They go on waiting, until the
// context ends.
func OnWait(ctx context.Context, report func(reason error)) context.Context {
	return context.WithValue(ctx, waitKey{}, report)
}

func reportWait(ctx context.Context, reason error) {
	if report, ok := ctx.Value(waitKey{}).(func(error)); ok {
		report(reason)
	}
}

// storeVersion stores the schema's version after a migration. It never lowers usable_since,
// which [Require] may have raised, also while the migration ran.
func storeVersion(ctx context.Context, tx *Tx, version, since int64) error {
	n, err := Exec(ctx, tx, `
		UPDATE schema
		SET    version = $1, usable_since = CASE WHEN usable_since < $2 THEN $2 ELSE usable_since END`, version, since)
	if err == nil && n == 0 {
		_, err = Exec(ctx, tx, `INSERT INTO schema (version, usable_since) VALUES ($1, $2)`, version, since)
	}
	if err != nil {
		return fmt.Errorf("store schema version %d: %w", version, err)
	}
	return nil
}

// postgresDenied is PostgreSQL's code insufficient_privilege.
const postgresDenied = "42501"

// execWithoutTimeout runs a statement that may take minutes on a large database.
func execWithoutTimeout(ctx context.Context, tx *Tx, statement string, args ...any) error {
	_, err := tx.ExecContext(ctx, statement, args...)
	return translate(err)
}

// schemaVersion returns the version in the table schema and the oldest version
// whose binary can use it; 0 if the table is empty.
func schemaVersion(ctx context.Context, q Querier) (version, since int64, err error) {
	err = One(ctx, q, `SELECT COALESCE(MAX(version), 0), COALESCE(MAX(usable_since), 0) FROM schema`, nil, &version, &since)
	return version, since, err
}
