package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// reported collects the ids that a database reports as changed.
type reported struct {
	mu  sync.Mutex
	ids []string
}

func (h *reported) add(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = append(h.ids, id)
}

func (h *reported) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.ids, id)
}

func (h *reported) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = nil
}

// change writes to the database and reports ids as changed. The function in the transaction
// returns outcome.
func change(d *db.DB, outcome error, ids ...string) error {
	return d.Write(context.Background(), func(tx *db.Tx) error {
		for _, id := range ids {
			tx.Changed(id)
		}
		if _, err := db.Exec(context.Background(), tx, `UPDATE groups SET created_at = created_at + 1`); err != nil {
			return err
		}
		return outcome
	})
}

func TestOwnChangesAreReportedBeforeWriteReturns(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		var h reported
		d.OnChange(h.add)
		testkit.Check(t, change(d, nil, "alice", "bob", "alice"))
		if want := []string{"alice", "bob"}; !slices.Equal(h.ids, want) {
			t.Errorf("got %q, want %q", h.ids, want)
		}
		if d.Current(time.Now()) {
			t.Error("Current is true although Watch doesn't run")
		}
		h.reset()
		rollback := errors.New("rollback")
		if err := change(d, rollback, "alice"); err != rollback || len(h.ids) != 0 {
			t.Errorf("after a rollback %q were reported, error %v; want none, and the change's error", h.ids, err)
		}
		var many []string
		for i := range 100 {
			many = append(many, fmt.Sprint(i))
		}
		testkit.Check(t, change(d, nil, many...))
		if !slices.Contains(h.ids, "") || len(h.ids) > 20 {
			t.Errorf("for 100 changed ids %d were reported: %q; want \"\" among at most 20", len(h.ids), h.ids)
		}
	})
}

func TestChangesOfOtherProcessesAreReported(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, engine)
			here, there := testkit.Open(t, rawURL), testkit.Open(t, rawURL)
			mustExec(t, here, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
			var h reported
			here.OnChange(h.add)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- here.Watch(ctx, time.Now) }()
			testkit.Until(t, "watching", func() bool { return here.Current(time.Now()) })
			if !h.has("") {
				t.Error("Watch didn't report the changes from before it began")
			}
			for round := range 5 {
				h.reset()
				id := fmt.Sprint("alice", round)
				testkit.Check(t, change(there, nil, id))
				// On SQLite, Watch reports that anything may have changed; on PostgreSQL, it reports the id.
				testkit.Until(t, "the report of "+id, func() bool { return h.has(id) || engine == "sqlite" && h.has("") })
			}
			h.reset()
			testkit.Check(t, change(there, nil, ""))
			testkit.Until(t, "the report that all changed", func() bool { return h.has("") })
			if engine == "sqlite" {
				h.reset()
				testkit.Check(t, change(here, nil, "bob"))
				time.Sleep(600 * time.Millisecond) // enough for two polls
				if h.has("") {
					t.Error("a change of this process is reported as another's")
				}
			}
			if now := time.Now(); here.Current(now.Add(3*time.Second)) || here.Current(now.Add(-time.Hour)) {
				t.Error("Current is true at a time when Watch didn't run")
			}
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Watch ended with %v, want Canceled", err)
			}
		})
	}
}

// Watch ends if its LISTEN connection is lost. The next Watch reports that
// anything may have changed meanwhile.
func TestLostListenConnectionIsNoticed(t *testing.T) {
	d := testkit.Open(t, testkit.DatabaseURL(t, "postgres"))
	var h reported
	d.OnChange(h.add)
	ended := make(chan error, 1)
	watch := func() { ended <- d.Watch(t.Context(), time.Now) }
	go watch()
	testkit.Until(t, "watching", func() bool { return d.Current(time.Now()) })
	cut := func() {
		// The last statement of that connection is pg_notify or LISTEN.
		column(t, d, `SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE '%pg_notify%' OR query LIKE 'LISTEN%')`)
	}
	cut()
	if err := <-ended; !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("Watch ended with %v, want ErrUnavailable", err)
	}
	h.reset()
	testkit.Check(t, change(d, nil)) // while Watch doesn't run
	go watch()
	testkit.Until(t, "a report after the reconnect", func() bool { return h.has("") })
	testkit.Until(t, "watching again", func() bool { return d.Current(time.Now()) })
}
