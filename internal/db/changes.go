package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
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
// calls it before it returns, and [DB.Watch] for the changes of other processes,
// with the id of each account, session or pass whose rows changed, or with "" if
// any row may have changed. A second call replaces the function. callback must
// be safe for concurrent use and must not use the database.
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

// announce makes PostgreSQL notify the other nodes when tx commits. On SQLite
// the other processes poll for changes instead.
func (d *DB) announce(ctx context.Context, tx *Tx) error {
	if !d.postgres {
		return nil
	}
	for _, id := range tx.changed {
		if _, err := Exec(ctx, tx, `SELECT pg_notify($1, $2)`, channel, id); err != nil {
			return err
		}
	}
	return nil
}

// Watch reports the changes of other processes until ctx ends or it loses the
// connection; then call it again. [DB.Current] returns true only while it runs.
func (d *DB) Watch(ctx context.Context, now func() time.Time) error {
	if d.postgres {
		return d.listenPostgres(ctx, now)
	}
	return d.pollSQLite(ctx, now)
}

// pollSQLite asks SQLite whether another process wrote. data_version, read on
// the only writing connection, changes with every commit of another process.
func (d *DB) pollSQLite(ctx context.Context, now func() time.Time) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for before := int64(-1); ; {
		at := now()
		var version int64
		if err := One(ctx, d.write, `PRAGMA data_version`, nil, &version); err != nil {
			return err
		}
		if version != before {
			d.changes.report("")
		}
		before = version
		d.changes.knownUntil.Store(&at)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// listenPostgres receives the changes of the other nodes. Notifications arrive
// in the order of the commits, so a node that has received its own beat has also
// received every change that was committed before it.
func (d *DB) listenPostgres(ctx context.Context, now func() time.Time) error {
	if d.direct == nil {
		return errNoDirect
	}
	conn, err := pgx.ConnectConfig(ctx, d.direct)
	if err != nil {
		return translate(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := execOnListener(ctx, conn, `LISTEN `+channel); err != nil {
		return err
	}
	d.changes.report("") // changes that were committed before LISTEN
	beat := beatPrefix + rand.Text()
	for ctx.Err() == nil {
		at := now()
		if err := execOnListener(ctx, conn, `SELECT pg_notify($1, $2)`, channel, beat); err != nil {
			return err
		}
		received, err := d.receive(ctx, conn, maxStale, beat)
		if err != nil {
			return err
		}
		if !received {
			return fmt.Errorf("%w: it hasn't answered for %v", ErrUnavailable, maxStale)
		}
		d.changes.knownUntil.Store(&at)
		if _, err := d.receive(ctx, conn, checkEvery, ""); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// execOnListener runs a statement on the LISTEN connection.
func execOnListener(ctx context.Context, conn *pgx.Conn, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, maxStale)
	defer cancel()
	_, err := conn.Exec(ctx, query, args...)
	return translate(err)
}

// receive reports the changes that arrive until the notification beat does or
// the timeout ends, and returns whether beat arrived. With an empty beat it
// always waits for the timeout.
func (d *DB) receive(ctx context.Context, conn *pgx.Conn, timeout time.Duration, beat string) (bool, error) {
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(waitCtx)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, translate(err)
		case beat != "" && n.Payload == beat:
			return true, nil
		case !strings.HasPrefix(n.Payload, beatPrefix):
			d.changes.report(n.Payload)
		}
	}
}
