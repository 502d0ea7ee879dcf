package db

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// checkEvery is the interval at which a process checks that it has received
	// every change of the others.
	checkEvery = 250 * time.Millisecond

	// maxStale is how long cached rows may be used after the last successful
	// check. Past it, every read goes to the database.
	maxStale = 2 * time.Second

	// channel carries changes between nodes on PostgreSQL.
	channel = "sallyport_changes"

	// beatPrefix starts the notifications that a node sends to itself to check
	// that its LISTEN connection works.
	beatPrefix = "beat "

	// maxNamed is the most ids that one transaction reports one by one. A
	// transaction with more reports that everything changed.
	maxNamed = 16
)

// changes reports changed rows to the cache in front of the database.
type changes struct {
	callback atomic.Pointer[func(id string)]
	// knownUntil is the time up to which every change has been reported.
	knownUntil atomic.Pointer[time.Time]
}

// OnChange sets the function that invalidates the caller's cache. [DB.Write]
// calls callback before it returns, and [DB.Watch] calls it for the changes of
// other processes. The argument is the id of an account, session or pass whose
// rows changed, or "" if any row may have changed. A second call of OnChange
// replaces the function. callback must be safe for concurrent use and must not
// use the database.
func (d *DB) OnChange(callback func(id string)) { d.changes.callback.Store(&callback) }

func (c *changes) report(ids ...string) {
	if callback := c.callback.Load(); callback != nil {
		for _, id := range ids {
			(*callback)(id)
		}
	}
}

// Current reports whether every change that any process committed until 2 s
// before now has been reported to the function that [DB.OnChange] set.
func (d *DB) Current(now time.Time) bool {
	until := d.changes.knownUntil.Load()
	if until == nil {
		return false
	}
	age := now.Sub(*until)
	return age >= 0 && age <= maxStale
}

// Changed notes that the transaction changes or deletes cached rows of the
// account, session or pass with this id; "" stands for all of them. Caches on
// other nodes learn of it with the commit.
func (t *Tx) Changed(id string) {
	if !slices.Contains(t.changed, id) {
		t.changed = append(t.changed, id)
	}
	if len(t.changed) > maxNamed {
		t.changed = []string{""}
	}
}

// Watch reports the changes of other processes until ctx ends or it loses the
// connection. In the latter case call it again: [DB.Current] returns true only
// while Watch runs.
func (d *DB) Watch(ctx context.Context, now func() time.Time) error {
	return d.engine.watch(ctx, d, now)
}
