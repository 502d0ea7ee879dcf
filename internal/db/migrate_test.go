package db_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

var update = flag.Bool("update", false, "write schema.golden.sql")

func TestFreshSchemaIsTheGoldenOne(t *testing.T) {
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	statements := column(t, d, `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name`)
	got := strings.Join(statements, ";\n\n") + ";\n"
	const golden = "schema.golden.sql"
	if *update {
		testkit.Check(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	testkit.Check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run go test -update and review the difference:\n%s", golden, diff)
	}
}

func TestEnginesHaveTheSameTables(t *testing.T) {
	lite, postgres := testkit.Open(t, testkit.DatabaseURL(t, "sqlite")), testkit.Open(t, testkit.DatabaseURL(t, "postgres"))
	want := column(t, lite, `
		SELECT m.name || '.' || p.name || ' ' || lower(p.type) || CASE WHEN p."notnull" = 1 OR p.pk > 0 THEN '' ELSE ' null' END
		FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY 1`)
	got := column(t, postgres, `
		SELECT table_name || '.' || column_name || ' ' || data_type || CASE WHEN is_nullable = 'NO' THEN '' ELSE ' null' END
		FROM information_schema.columns WHERE table_schema = 'public'`)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns of PostgreSQL (-sqlite +postgres):\n%s", diff)
	}
	if len(got) < 80 {
		t.Errorf("%d columns, want at least 80", len(got))
	}
}

func TestMigratingTwiceChangesNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		mustExec(t, d, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
		before, since, err := d.Version(ctx)
		testkit.Check(t, err)
		for range 2 {
			testkit.Check(t, db.Migrate(ctx, d, db.Migrations()))
		}
		after, sinceAfter, err := d.Version(ctx)
		testkit.Check(t, err)
		if before != after || since != sinceAfter || before != int64(len(db.Migrations())) {
			t.Errorf("the schema had version %d, usable since %d; then %d, usable since %d; want no change", before, since, after, sinceAfter)
		}
		if got := column(t, d, `SELECT name FROM groups`); !slices.Equal(got, []string{"ops"}) {
			t.Errorf("groups = %v, want ops", got)
		}
		if got := column(t, d, `SELECT 'row' FROM schema`); len(got) != 1 {
			t.Errorf("the table named schema has %d rows, want 1", len(got))
		}
	})
}

func TestNodesThatStartTogetherMigrateOnce(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL, opened := testkit.DatabaseURL(t, engine), make([]*db.DB, 6)
			got := testkit.Race(len(opened), func(i int) string {
				var err error
				opened[i], err = db.Open(context.Background(), rawURL)
				return testkit.Outcome(err)
			})
			if got["ok"] != len(opened) {
				t.Errorf("outcomes of nodes that start together: %v, want %d ok", got, len(opened))
			}
			for _, d := range opened {
				if d != nil {
					defer d.Close()
					if got := column(t, d, `SELECT 'row' FROM schema`); len(got) != 1 {
						t.Errorf("the table named schema has %d rows, want 1", len(got))
					}
				}
			}
		})
	}
}

// A binary refuses a schema that only newer binaries can use, and leaves it as it is
// (F12).
func TestNewerSchemaIsRefusedUnlessItSaysOtherwise(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, rawURL := context.Background(), testkit.DatabaseURL(t, engine)
			d := testkit.Open(t, rawURL)
			own := int64(len(db.Migrations()))
			for _, test := range []struct {
				version, since int64
				opens          bool
			}{
				{own, own, true}, {own + 1, own + 1, false}, {own + 5, own + 2, false}, {own + 1, own, true}, {own + 5, own, true}, {own + 5, 0, true},
			} {
				mustExec(t, d, `UPDATE schema SET version = $1, usable_since = $2`, test.version, test.since)
				second, err := db.Open(ctx, rawURL)
				if err == nil {
					second.Close()
				}
				if (err == nil) != test.opens {
					t.Errorf("schema %d, usable since %d, by binary %d: got %v, want it to open: %v", test.version, test.since, own, err, test.opens)
				}
				if err != nil && !strings.Contains(err.Error(), "newer sallyport") {
					t.Errorf("the error doesn't say what to do: %v", err)
				}
				if version, since, err := d.Version(ctx); err != nil || version != test.version || since != test.since {
					t.Errorf("an older binary changed the schema to %d, usable since %d, %v; want no change", version, since, err)
				}
			}
		})
	}
}

func TestMigrationsAreOneTransaction(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		own := int64(len(db.Migrations()))
		table := func(name string) bool {
			_, err := exec(d, `SELECT 1 FROM `+name)
			return err == nil
		}
		steps := append(db.Migrations(), db.Step(own+1, own, `CREATE TABLE one (a BIGINT)`), db.Step(own+2, own+2, `CREATE TABLE two (a BIGINT)`, `nonsense`))
		if err := db.Migrate(ctx, d, steps); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", own+2)) {
			t.Errorf("a broken step: got %v, want an error that names version %d", err, own+2)
		}
		if version, _, err := d.Version(ctx); err != nil || version != own || table("one") || table("two") {
			t.Errorf("after a broken step: version %d, %v, tables exist: %v %v; want no change", version, err, table("one"), table("two"))
		}
		steps[len(steps)-1] = db.Step(own+2, own, `CREATE TABLE two (a BIGINT)`, `INSERT INTO two (a) VALUES (1)`)
		got := testkit.Race(4, func(int) string { return testkit.Outcome(db.Migrate(ctx, d, steps)) })
		if got["ok"] != 4 {
			t.Errorf("outcomes of four migrations at once: %v, want 4 ok", got)
		}
		if version, since, err := d.Version(ctx); err != nil || version != own+2 || since != own || !table("one") {
			t.Errorf("the schema has version %d, usable since %d, %v", version, since, err)
		}
		if got := column(t, d, `SELECT 'row' FROM two`); len(got) != 1 {
			t.Errorf("the step ran %d times, want once", len(got))
		}
	})
}

// A migration of a large database takes longer than any other statement may. A node
// that starts meanwhile waits for it.
func TestLongMigrationIsNotCutOff(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t, "postgres")
	d, other := testkit.Open(t, url), testkit.Open(t, url)
	version, _, err := d.Version(t.Context())
	testkit.Check(t, err)
	long := append(db.Migrations(), db.Step(version+1, version, fmt.Sprintf(`SELECT pg_sleep(%f)`, (db.AnswerTime+time.Second).Seconds())))
	waited := make(chan error, 1)
	go func() { waited <- db.Migrate(t.Context(), other, long) }()
	testkit.Check(t, db.Migrate(t.Context(), d, long))
	testkit.Check(t, <-waited)
	if got, _, err := d.Version(t.Context()); err != nil || got != version+1 {
		t.Errorf("version %d, %v; want %d", got, err, version+1)
	}
}
