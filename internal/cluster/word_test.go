package cluster_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// use calls [cluster.Use] in a transaction of its own.
func use(d *db.DB, w cluster.Word) error {
	return d.Write(context.Background(), func(tx *db.Tx) error { return cluster.Use(context.Background(), tx, w) })
}

// report reports a node of this program.
func report(d *db.DB, id string) error {
	return cluster.Report(context.Background(), d, cluster.Node{ID: id, Name: "host of " + id, Keys: []string{"key"}}, time.Minute, testkit.Start)
}

// reportOld reports a node as version 12 did, which knew no words.
func reportOld(t *testing.T, d *db.DB, id string) {
	t.Helper()
	exec(t, d, `INSERT INTO nodes (id, name, ring_keys, expires_at) VALUES ($1, $2, 'key', 9999999999999)`, id, "host of "+id)
}

func exec(t *testing.T, d *db.DB, statement string, args ...any) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := db.Exec(t.Context(), tx, statement, args...)
		return err
	})
	testkit.Check(t, err)
}

func usableSince(t *testing.T, d *db.DB) int64 {
	t.Helper()
	since, err := db.UsableSince(t.Context(), d.Reader())
	testkit.Check(t, err)
	return since
}

func TestWordIsUsedOnlyIfEveryNodeKnowsIt(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		before := usableSince(t, d)
		if before >= cluster.Audit2.Version {
			t.Fatalf("a new database is usable since %d, want less than the word's version", before)
		}
		refused := func(when string, names ...string) {
			t.Helper()
			err := use(d, cluster.Audit2)
			if !errors.Is(err, cluster.ErrNotYet) {
				t.Fatalf("%s: %v, want ErrNotYet", when, err)
			}
			for _, id := range []string{"old", "older", "new"} {
				if strings.Contains(err.Error(), "host of "+id) != slices.Contains(names, id) {
					t.Errorf("%s: %v, want the names of %v", when, err, names)
				}
			}
		}
		testkit.Check(t, report(d, "new"))
		reportOld(t, d, "old")
		reportOld(t, d, "older")
		refused("two older nodes", "old", "older")
		testkit.Check(t, cluster.EndLeases(t.Context(), d, "older"))
		refused("one older node", "old")
		if since := usableSince(t, d); since != before {
			t.Errorf("a use that was refused made the database usable since %d, want %d", since, before)
		}
		testkit.Check(t, cluster.EndLeases(t.Context(), d, "old"))
		undo := errors.New("undo")
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			testkit.Check(t, cluster.Use(t.Context(), tx, cluster.Audit2))
			return undo
		})
		if since := usableSince(t, d); !errors.Is(err, undo) || since != before {
			t.Errorf("a use that was rolled back: %v, usable since %d; want %d", err, since, before)
		}
		for range 2 {
			testkit.Check(t, use(d, cluster.Audit2))
			if since := usableSince(t, d); since != cluster.Audit2.Version {
				t.Errorf("after a use: usable since %d, want %d", since, cluster.Audit2.Version)
			}
		}
		// Version 12 doesn't check the schema when it reports, so a node that was frozen goes on.
		reportOld(t, d, "old")
		refused("an older node has come back", "old")
		testkit.Check(t, cluster.EndLeases(t.Context(), d, "old"))
		testkit.Check(t, use(d, cluster.Audit2))
	})
}

// No node runs, only commands.
func TestWordIsUsedWithoutNodes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) { testkit.Check(t, use(d, cluster.Audit2)) })
}

// A report doesn't have a word if the word's name is only a part of another name in the report.
func TestWordsAreComparedWhole(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		testkit.Check(t, report(d, "new"))
		for knows, want := range map[string]bool{"": false, "audit": false, "audit20": false, "audit20 xaudit2": false, "a audit2": true, "audit2 b": true, "audit2": true} {
			exec(t, d, `UPDATE nodes SET knows = $1`, knows)
			if err := use(d, cluster.Audit2); (err == nil) != want {
				t.Errorf("a node knows %q: %v, want a use: %v", knows, err, want)
			}
		}
	})
}

// later returns a word of the next version, and gives the database that version's schema, which
// this program can use until the word is used. In tests with such a word, this program is the
// older one, so the nodes of the older version report with Report, which checks the schema.
// Version 12 didn't check it; [reportOld] reports as that version did.
func later(t *testing.T, d *db.DB) cluster.Word {
	t.Helper()
	var own int64
	testkit.Check(t, db.One(t.Context(), d.Reader(), `SELECT version FROM schema`, nil, &own))
	exec(t, d, `UPDATE schema SET version = $1`, own+1)
	return cluster.Word{Name: "later", Version: own + 1}
}

func isLive(t *testing.T, d *db.DB, id string) bool {
	t.Helper()
	nodes, err := cluster.Nodes(t.Context(), d, testkit.Start)
	testkit.Check(t, err)
	return slices.ContainsFunc(nodes, func(n cluster.Node) bool { return n.ID == id })
}

func TestOldNodeIsNotLiveAfterTheFirstUse(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		w := later(t, d)
		testkit.Check(t, report(d, "old"))
		if err := use(d, w); !errors.Is(err, cluster.ErrNotYet) {
			t.Errorf("while the node is live: %v, want ErrNotYet", err)
		}
		// The node freezes, and the other nodes remove its report.
		testkit.Check(t, cluster.EndLeases(t.Context(), d, "old"))
		testkit.Check(t, use(d, w))
		if err := report(d, "old"); !errors.Is(err, db.ErrTooOld) || isLive(t, d, "old") {
			t.Errorf("it wakes up and reports: %v, live is %v; want ErrTooOld and no report", err, isLive(t, d, "old"))
		}
	})
}

// A node begins its report before the first use of a word is committed.
func TestReportWaitsForTheFirstUse(t *testing.T) {
	t.Parallel()
	d := testkit.Open(t, testkit.MigratedURL(t, "postgres", ""))
	w := later(t, d)
	reported := make(chan error, 1)
	testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
		if err := cluster.Use(t.Context(), tx, w); err != nil {
			return err
		}
		go func() { reported <- report(d, "old") }()
		testkit.Until(t, "the report waits", func() bool {
			var n int
			testkit.Check(t, db.One(t.Context(), d.Reader(), `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`, nil, &n))
			return n == 1
		})
		return nil
	}))
	if err := <-reported; !errors.Is(err, db.ErrTooOld) || isLive(t, d, "old") {
		t.Errorf("%v, live is %v; want ErrTooOld and no report", err, isLive(t, d, "old"))
	}
}

// An old node starts while the first use is committed: either the use is refused, or the node
// isn't live afterwards.
func TestOldNodeThatStartsDuringTheFirstUse(t *testing.T) {
	t.Parallel()
	const rounds = 60
	url := testkit.MigratedURL(t, "postgres", "")
	d := testkit.Open(t, url)
	w := later(t, d)
	before := usableSince(t, d)
	outcomes := map[string]int{}
	for range rounds {
		exec(t, d, `DELETE FROM nodes`)
		exec(t, d, `INSERT INTO nodes (id, name, ring_keys, knows, expires_at) VALUES ('new', 'new', 'key', 'audit2 later', 9999999999999)`)
		exec(t, d, `UPDATE schema SET usable_since = $1`, before)
		old, err := db.Open(t.Context(), url) // it may still open the database
		testkit.Check(t, err)
		var used, reported error
		testkit.Race(2, func(i int) string {
			if i == 0 {
				used = use(d, w)
			} else {
				reported = report(old, "old")
			}
			return ""
		})
		testkit.Check(t, old.Close())
		live := isLive(t, d, "old")
		switch {
		case used == nil && errors.Is(reported, db.ErrTooOld) && !live:
			outcomes["used"]++
		case errors.Is(used, cluster.ErrNotYet) && reported == nil && live && usableSince(t, d) == before:
			outcomes["refused"]++
		default:
			t.Fatalf("the use: %v; the report: %v; the old node is live: %v", used, reported, live)
		}
	}
	t.Logf("of %d rounds: %v", rounds, outcomes)
}
