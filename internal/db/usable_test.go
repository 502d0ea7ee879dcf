package db_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// require calls [db.Require] in a transaction of its own.
func require(d *db.DB, version int64) error {
	return d.Write(context.Background(), func(tx *db.Tx) error { return db.Require(context.Background(), tx, version) })
}

func usableSince(t *testing.T, d *db.DB) int64 {
	t.Helper()
	since, err := db.UsableSince(t.Context(), d.Reader())
	testkit.Check(t, err)
	return since
}

func TestRequirementIsNeverLowered(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		own := int64(len(db.Migrations()))
		before := usableSince(t, d)
		if before >= own {
			t.Fatalf("usable since %d; this test needs a schema that older programs can use", before)
		}
		undo := errors.New("undo")
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			testkit.Check(t, db.Require(t.Context(), tx, own))
			return undo
		})
		if got := usableSince(t, d); !errors.Is(err, undo) || got != before {
			t.Errorf("after a rollback: usable since %d, %v; want %d", got, err, before)
		}
		testkit.Check(t, require(d, own))
		testkit.Check(t, require(d, before))
		if got := usableSince(t, d); got != own {
			t.Errorf("usable since %d, want %d", got, own)
		}
		testkit.Check(t, db.Migrate(t.Context(), d, append(db.Migrations(), db.Step(own+1, before, `CREATE TABLE later (a BIGINT)`))))
		if version, since, err := d.Version(t.Context()); err != nil || version != own+1 || since != own {
			t.Errorf("after a migration: version %d, usable since %d, %v; want %d and %d", version, since, err, own+1, own)
		}
		testkit.Check(t, db.Migrate(t.Context(), d, append(db.Migrations(), db.Step(own+1, before), db.Step(own+2, own+2, `CREATE TABLE next (a BIGINT)`), db.Step(own+3, before))))
		if got := usableSince(t, d); got != own+2 {
			t.Errorf("after a migration that older programs can't use: usable since %d, want %d", got, own+2)
		}
	})
}

// A node may call Require while another node migrates the schema to a still newer version.
func TestMigrationKeepsARequirementOfMeanwhile(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t, "postgres")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	own := int64(len(db.Migrations()))
	const table = `CREATE TABLE later (a BIGINT)`
	migrated := make(chan error, 1)
	go func() {
		migrated <- db.Migrate(context.Background(), other, append(db.Migrations(), db.Step(own+1, 2, table, `SELECT pg_sleep(1)`)))
	}()
	testkit.Until(t, "the migration sleeps", func() bool {
		return len(column(t, d, `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query = 'SELECT pg_sleep(1)' AND state = 'active'`)) == 1
	})
	testkit.Check(t, require(d, own))
	testkit.Check(t, <-migrated)
	if version, since, err := d.Version(t.Context()); err != nil || version != own+1 || since != own {
		t.Errorf("version %d, usable since %d, %v; want %d and %d", version, since, err, own+1, own)
	}
}

func TestProgramThatIsTooOldIsToldSo(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		own := int64(len(db.Migrations()))
		for _, test := range []struct {
			version, since int64
			usable         bool
		}{
			{own, 2, true}, {own, own, true}, {own + 1, own, true}, {own + 1, own + 1, false}, {own + 9, own + 5, false},
		} {
			mustExec(t, d, `UPDATE schema SET version = $1, usable_since = $2`, test.version, test.since)
			for _, check := range []func(context.Context, *db.Tx) error{db.CheckUsable, db.LockUsable} {
				err := d.Write(t.Context(), func(tx *db.Tx) error { return check(t.Context(), tx) })
				if test.usable && err != nil || !test.usable && !errors.Is(err, db.ErrTooOld) {
					t.Errorf("schema %d, usable since %d, program %d: %v, want ErrTooOld unless the program can use it", test.version, test.since, own, err)
				}
			}
		}
	})
}

// Rows that a transaction stores after LockUsable are committed before the database becomes
// unusable for older programs.
func TestRequireWaitsForThoseThatChecked(t *testing.T) {
	t.Parallel()
	d := testkit.Open(t, testkit.MigratedURL(t, "postgres", ""))
	own := int64(len(db.Migrations()))
	required := make(chan error, 1)
	testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
		if err := db.LockUsable(t.Context(), tx); err != nil {
			return err
		}
		go func() { required <- require(d, own) }()
		testkit.Until(t, "the other transaction waits", func() bool {
			return len(column(t, d, `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)) == 1
		})
		select {
		case err := <-required:
			t.Errorf("the other transaction has ended already, with %v", err)
			required <- err
		default:
		}
		return nil
	}))
	testkit.Check(t, <-required)
	if got := usableSince(t, d); got != own {
		t.Errorf("usable since %d, want %d", got, own)
	}
}
