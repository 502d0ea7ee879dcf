package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Some transactions lock the row of the table schema. They must take their locks in the same
// order as a migration, which first alters tables and then stores its version in that row.
func TestMigrationBesideThoseThatLockTheSchema(t *testing.T) {
	ctx := context.Background()
	extended := audit.Event{At: testkit.Start, Actor: audit.ByOperator, Reason: "asked by phone"}
	for _, test := range []struct {
		name   string
		do     func(d *db.DB) error
		tables []string // that it uses
	}{
		{"Report", func(d *db.DB) error {
			return cluster.Report(ctx, d, cluster.Node{ID: "id", Name: "node"}, time.Minute, testkit.Start)
		}, []string{"nodes"}},
		{"Use", func(d *db.DB) error {
			return d.Write(ctx, func(tx *db.Tx) error { return cluster.Use(ctx, tx, cluster.Audit2) })
		}, []string{"nodes"}},
		{"Append", func(d *db.DB) error {
			return d.Write(ctx, func(tx *db.Tx) error { return audit.Append(ctx, tx, extended) })
		}, []string{"nodes", "events"}},
		{"Seal", func(d *db.DB) error {
			_, _, err := audit.Seal(ctx, d, secret.NewRing())
			return err
		}, []string{"events", "audit_head"}},
		{"HandOver", func(d *db.DB) error {
			_, err := audit.HandOver(ctx, d, secret.NewRing(), func(tx *db.Tx) error { return audit.Append(ctx, tx, audit.Event{At: testkit.Start}) })
			return err
		}, []string{"events", "audit_head", "audit_checkpoints"}},
	} {
		for _, table := range test.tables {
			t.Run(test.name+" and "+table, func(t *testing.T) {
				t.Parallel()
				url := testkit.MigratedURL(t, "postgres", "")
				d, other := testkit.Open(t, url), testkit.Open(t, url)
				testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return audit.Append(ctx, tx, audit.Event{At: testkit.Start}) }))
				own := int64(len(db.Migrations()))
				// The time is shorter than PostgreSQL's deadlock_timeout, so that a deadlock ends
				// the call of do.
				const sleep = `SELECT pg_sleep(0.5)`
				step := db.Step(own+1, 2, `ALTER TABLE `+table+` ADD COLUMN later TEXT`, sleep)
				migrated := make(chan error, 1)
				go func() { migrated <- db.Migrate(ctx, other, append(db.Migrations(), step)) }()
				testkit.Until(t, "the migration sleeps", func() bool {
					return len(column(t, d, `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query = '`+sleep+`' AND state = 'active'`)) == 1
				})
				if err := test.do(d); err != nil {
					t.Errorf("%s: %v, want no error", test.name, err)
				}
				testkit.Check(t, <-migrated)
			})
		}
	}
}

// The row of the table schema is locked last, so a migration that begins meanwhile waits for
// the table at first, and then gets both.
func TestMigrationWaitsForThoseThatReadTheTable(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := testkit.MigratedURL(t, "postgres", "")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	var migrated chan error
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
		var n int
		testkit.Check(t, db.One(ctx, tx, `SELECT COUNT(*) FROM nodes`, nil, &n))
		testkit.Check(t, db.LockUsable(ctx, tx))
		migrated = beginMigration(ctx, t, other, `ALTER TABLE nodes ADD COLUMN later TEXT`)
		_, err := db.Exec(ctx, tx, `DELETE FROM nodes`) // gets its lock before the migration, which waits for it
		return err
	}))
	testkit.Check(t, <-migrated)
}

// A dump reads the tables for as long as it runs. Statements that begin while a migration waits
// for the dump must not wait too.
func TestMigrationBesideADumpStopsNoOther(t *testing.T) {
	t.Parallel()
	url := testkit.MigratedURL(t, "postgres", "")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	waits := make(chan error, 10)
	var migrated chan error
	ctx := db.OnWait(context.Background(), func(reason error) { waits <- reason })
	alter := "-- a comment\nALTER TABLE events ADD COLUMN later TEXT"
	testkit.Check(t, d.Write(ctx, func(dump *db.Tx) error {
		var n int
		testkit.Check(t, db.One(ctx, dump, `SELECT COUNT(*) FROM events`, nil, &n))
		migrated = beginMigration(ctx, t, other, alter)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return audit.Append(ctx, tx, audit.Event{At: testkit.Start}) }))
		return nil
	}))
	testkit.Check(t, <-migrated)
	if len(waits) != 1 {
		t.Fatalf("%d waits were reported, want one", len(waits))
	}
	if reason := <-waits; !strings.Contains(reason.Error(), "ALTER TABLE events ADD COLUMN later TEXT") {
		t.Errorf("the wait is reported as %v, want the statement that waits", reason)
	}
}

// PostgreSQL ends the transaction that first notices the deadlock, after its deadlock_timeout.
// That is the migration. The other transaction would notice the deadlock only after a minute,
// which is longer than it is allowed to wait.
func TestMigrationIsTriedAgainAfterADeadlock(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := testkit.MigratedURL(t, "postgres", "")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	var migrated chan error
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `SET LOCAL deadlock_timeout = '1min'`)
		testkit.Check(t, err)
		testkit.Check(t, db.LockUsable(ctx, tx))
		migrated = beginMigration(ctx, t, other, `ALTER TABLE nodes ADD COLUMN later TEXT`)
		_, err = db.Exec(ctx, tx, `DELETE FROM nodes`) // in the wrong order
		return err
	}))
	testkit.Check(t, <-migrated)
}

func TestMigrationThatWaitsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	url := testkit.MigratedURL(t, "postgres", "")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	own := int64(len(db.Migrations()))
	ctx, cancel := context.WithCancel(context.Background())
	ctx = db.OnWait(ctx, func(error) { cancel() })
	testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
		var n int
		testkit.Check(t, db.One(t.Context(), tx, `SELECT COUNT(*) FROM events`, nil, &n))
		err := db.Migrate(ctx, other, append(db.Migrations(), db.Step(own+1, 2, `ALTER TABLE events ADD COLUMN later TEXT`)))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the migration ended with %v, want context.Canceled", err)
		}
		return nil
	}))
}

// beginMigration begins a migration with one more statement, and returns once the migration waits
// for a lock. Its error comes through the channel.
func beginMigration(ctx context.Context, t *testing.T, d *db.DB, statement string) (migrated chan error) {
	t.Helper()
	migrated = make(chan error, 1)
	steps := append(db.Migrations(), db.Step(int64(len(db.Migrations()))+1, 2, statement))
	go func() { migrated <- db.Migrate(ctx, d, steps) }()
	testkit.Until(t, "the migration waits", func() bool {
		return len(column(t, d, `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)) == 1
	})
	return migrated
}
