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
	// watchEvery is how often it is made sure that no change went by unheard.
	watchEvery = 250 * time.Millisecond

	// silence is how long what was read before is believed without that: past
	// it, everything is read from the database again (DESIGN §12).
	silence = 2 * time.Second

	// channel carries changes between nodes on PostgreSQL.
	channel = "sallyport_changes"

	// beat begins what a node tells itself, to hear that it hears.
	beat = "beat "

	// maxNamed ids of one transaction are told one by one; more count as
	// everything.
	maxNamed = 16
)

// changes tells whoever keeps rows in memory that they changed.
type changes struct {
	hear    atomic.Pointer[func(id string)]
	certain atomic.Pointer[time.Time] // up to which every change was heard
}

// OnChange has hear called, before the change is answered, with the id of each
// account, session or pass whose rows changed, or with "" for all of them. There is
// one to hear; it must not use the database.
func (d *DB) OnChange(hear func(id string)) { d.changes.hear.Store(&hear) }

func (c *changes) tell(ids ...string) {
	if hear := c.hear.Load(); hear != nil {
		for _, id := range ids {
			(*hear)(id)
		}
	}
}

// Current reports whether every change that was made until shortly before now,
// by whichever process, has been heard.
func (d *DB) Current(now time.Time) bool {
	certain := d.changes.certain.Load()
	if certain == nil {
		return false
	}
	age := now.Sub(*certain)
	return age >= 0 && age <= silence
}

// Changed notes in the transaction that it changes or deletes rows of the
// account, session or pass with this id that somebody may keep in memory; "" stands
// for all. Those on other nodes hear of it with the commit.
func (t *Tx) Changed(id string) {
	if !slices.Contains(t.changed, id) {
		t.changed = append(t.changed, id)
	}
	if len(t.changed) > maxNamed {
		t.changed = []string{""}
	}
}

// announce has PostgreSQL tell the other nodes with the commit. SQLite's other
// processes look for themselves.
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

// Watch listens for the changes of other processes until ctx ends or it hears
// nothing any more: then call it again. [DB.Current] is true only meanwhile.
func (d *DB) Watch(ctx context.Context, now func() time.Time) error {
	if d.postgres {
		return d.listen(ctx, now)
	}
	return d.look(ctx, now)
}

// look asks SQLite whether another process wrote: the number that it gives the
// one writing connection there is changes with every commit of anybody else.
func (d *DB) look(ctx context.Context, now func() time.Time) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for before := int64(-1); ; {
		at := now()
		var version int64
		if err := One(ctx, d.write, `PRAGMA data_version`, nil, &version); err != nil {
			return err
		}
		if version != before {
			d.changes.tell("")
		}
		before = version
		d.changes.certain.Store(&at)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// listen hears what PostgreSQL's other nodes change. Notifications come in the
// order of the commits, so whoever hears its own beat has heard all that was
// committed before it.
func (d *DB) listen(ctx context.Context, now func() time.Time) error {
	if d.direct == nil {
		return errNoDirect
	}
	conn, err := pgx.ConnectConfig(ctx, d.direct)
	if err != nil {
		return translate(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := say(ctx, conn, `LISTEN `+channel); err != nil {
		return err
	}
	d.changes.tell("") // what was changed while nobody listened
	mine := beat + rand.Text()
	for ctx.Err() == nil {
		at := now()
		if err := say(ctx, conn, `SELECT pg_notify($1, $2)`, channel, mine); err != nil {
			return err
		}
		heard, err := d.hear(ctx, conn, silence, mine)
		if err != nil {
			return err
		}
		if !heard {
			return fmt.Errorf("%w: it hasn't answered for %v", ErrUnavailable, silence)
		}
		d.changes.certain.Store(&at)
		if _, err := d.hear(ctx, conn, watchEvery, ""); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// say runs a statement on the connection that listens.
func say(ctx context.Context, conn *pgx.Conn, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, err := conn.Exec(ctx, query, args...)
	return translate(err)
}

// hear passes on what comes within that time, and reports whether, at last, it
// was mine; "" is nobody's.
func (d *DB) hear(ctx context.Context, conn *pgx.Conn, within time.Duration, mine string) (bool, error) {
	short, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(short)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, translate(err)
		case mine != "" && n.Payload == mine:
			return true, nil
		case !strings.HasPrefix(n.Payload, beat):
			d.changes.tell(n.Payload)
		}
	}
}
