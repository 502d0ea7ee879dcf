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

// heard keeps what a database tells.
type heard struct {
	mu  sync.Mutex
	ids []string
}

func (h *heard) hear(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = append(h.ids, id)
}

func (h *heard) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.ids, id)
}

func (h *heard) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = nil
}

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

func TestOwnChangesAreHeardBeforeTheyAreAnswered(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		var h heard
		d.OnChange(h.hear)
		must(t, change(d, nil, "alice", "bob", "alice"))
		if want := []string{"alice", "bob"}; !slices.Equal(h.ids, want) {
			t.Errorf("heard %q, want %q", h.ids, want)
		}
		if d.Current(time.Now()) {
			t.Error("nobody watches, but all is said to be heard")
		}
		h.forget()
		broken := errors.New("broken")
		if err := change(d, broken, "alice"); err != broken || len(h.ids) != 0 {
			t.Errorf("rolled back: heard %q, %v", h.ids, err)
		}
		var many []string
		for i := range 100 {
			many = append(many, fmt.Sprint(i))
		}
		must(t, change(d, nil, many...))
		if !slices.Contains(h.ids, "") || len(h.ids) > 20 {
			t.Errorf("of many: heard %d, %q", len(h.ids), h.ids)
		}
	})
}

func TestOtherProcessesChangesAreHeard(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, engine)
			here, there := testkit.Open(t, rawURL), testkit.Open(t, rawURL)
			mustExec(t, here, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
			var h heard
			here.OnChange(h.hear)
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- here.Watch(ctx, time.Now) }()
			testkit.Until(t, "watching", func() bool { return here.Current(time.Now()) })
			if !h.has("") {
				t.Error("what happened before was not dropped")
			}
			for round := range 5 {
				h.forget()
				id := fmt.Sprint("alice", round)
				must(t, change(there, nil, id))
				// SQLite tells that something changed, PostgreSQL tells whom.
				testkit.Until(t, "hearing "+id, func() bool { return h.has(id) || engine == "sqlite" && h.has("") })
			}
			h.forget()
			must(t, change(there, nil, ""))
			testkit.Until(t, "hearing that all changed", func() bool { return h.has("") })
			if engine == "sqlite" {
				h.forget()
				must(t, change(here, nil, "bob"))
				time.Sleep(600 * time.Millisecond) // it looks twice in that time
				if h.has("") {
					t.Error("an own change counts as another's")
				}
			}
			if now := time.Now(); here.Current(now.Add(3*time.Second)) || here.Current(now.Add(-time.Hour)) {
				t.Error("all is said to be heard of a time when nobody listened")
			}
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("watch ended with %v", err)
			}
		})
	}
}

// A connection that listens no more makes nothing certain; the next one drops
// what was missed.
func TestCutListenerIsNoticed(t *testing.T) {
	d := testkit.Open(t, testkit.DatabaseURL(t, "postgres"))
	var h heard
	d.OnChange(h.hear)
	ended := make(chan error, 1)
	watch := func() { ended <- d.Watch(t.Context(), time.Now) }
	go watch()
	testkit.Until(t, "watching", func() bool { return d.Current(time.Now()) })
	cut := func() {
		// It is the one whose last statement is a notification or LISTEN.
		column(t, d, `SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query LIKE '%pg_notify%' OR query LIKE 'LISTEN%')`)
	}
	cut()
	if err := <-ended; !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("watch ended with %v", err)
	}
	h.forget()
	must(t, change(d, nil)) // unheard
	go watch()
	testkit.Until(t, "hearing again", func() bool { return h.has("") })
	testkit.Until(t, "watching again", func() bool { return d.Current(time.Now()) })
}
