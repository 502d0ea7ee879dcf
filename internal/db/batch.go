package db

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// batchSize is how many changes share a commit at most: by then it is a
	// small part of what each of them costs.
	batchSize = 64

	// batchTime is how old a batch may be that still takes a change in. Who
	// came first waits so long at most, and for the change under way: so no
	// second slow one.
	batchTime = 10 * time.Millisecond
)

// errUnfinished is what a batch comes to unless it is committed.
var errUnfinished = fmt.Errorf("%w: the transaction did not end", ErrUnavailable)

// batch is a transaction of SQLite that several writers share, since a commit
// is mostly a wait for the disk. Whoever has the turn runs its change in it, on
// its own goroutine, and hands both on to the next; who finds nobody waiting
// commits.
//
// A change that comes to nothing is undone alone, by a savepoint. Later ones
// see what earlier ones did, as if each had been committed; if that isn't
// durable in the end nobody is told that anything was done, not even who was
// refused because of it.
type batch struct {
	tx     *Tx // with what all of them missed and changed
	done   func()
	size   int  // changes in it
	broken bool // it can't be committed
	late   *time.Timer
	ended  chan struct{}
	err    error // once it has ended
}

// share is [DB.Write] on SQLite. Until its turn comes it honours ctx; from then
// on it returns what became of the change.
func (d *DB) share(ctx context.Context, change func(tx *Tx) error) error {
	b, err := d.turn.take(ctx)
	if err != nil {
		return translate(err)
	}
	b, err = d.join(ctx, b, change)
	if b == nil {
		return err
	}
	<-b.ended
	if b.err != nil {
		return b.err
	}
	return err
}

// join runs change in the batch, or in a new one where that is nil, and hands
// the turn on.
func (d *DB) join(ctx context.Context, b *batch, change func(tx *Tx) error) (*batch, error) {
	if b == nil {
		tx, done, err := d.write.begin(ctx)
		if err != nil {
			d.turn.pass(nil)
			return nil, translate(err)
		}
		b = &batch{tx: tx, done: done, late: time.NewTimer(batchTime), ended: make(chan struct{}), err: errUnfinished}
	}
	// After a panic too: it is its caller's, and the others get their answer.
	defer func() {
		if b.open() && d.turn.pass(b) {
			return
		}
		defer d.turn.pass(nil)
		d.end(b)
	}()
	return b, b.run(ctx, change)
}

// run runs one change, and undoes it unless it returns nil.
func (b *batch) run(ctx context.Context, change func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	if err := b.mark(`SAVEPOINT change`); err != nil {
		return err
	}
	tx, kept := &Tx{Tx: b.tx.Tx, pool: b.tx.pool}, false
	defer func() {
		b.tx.missed = append(b.tx.missed, tx.missed...)
		if !kept && b.mark(`ROLLBACK TO change`) == nil {
			b.mark(`RELEASE change`)
		}
	}()
	if err := change(tx); err != nil {
		return err
	}
	if err := b.mark(`RELEASE change`); err != nil {
		return err
	}
	b.tx.changed = append(b.tx.changed, tx.changed...)
	b.size++
	kept = true
	return nil
}

// mark runs a statement about the savepoint. It fails where SQLite has rolled
// back everything by itself, as it may on a full or sick disk. The first change
// needs no savepoint: the batch ends with it if it fails.
func (b *batch) mark(statement string) error {
	if b.size == 0 {
		return nil
	}
	_, err := b.tx.ExecContext(context.Background(), statement)
	if err != nil {
		b.err, b.broken = translate(err), true
	}
	return translate(err)
}

// open reports whether another change may come in.
func (b *batch) open() bool {
	select {
	case <-b.late.C:
		return false
	default:
		return !b.broken && b.size > 0 && b.size < batchSize
	}
}

// end commits what there is and lets everybody know.
func (d *DB) end(b *batch) {
	defer close(b.ended)
	defer b.done()
	defer b.tx.Rollback() // after Commit it does nothing
	b.late.Stop()
	switch {
	case b.size == 0:
		b.err = nil // nothing was done
	case !b.broken:
		b.err = translate(b.tx.Commit())
		d.changes.tell(b.tx.changed...) // after an error too: the commit may have gone through
	}
}

// turn is had by one writer at a time, in the order they came.
type turn struct {
	mu      sync.Mutex
	taken   bool
	waiting []chan *batch
}

// take waits for the turn and returns the batch that comes with it, or nil.
func (t *turn) take(ctx context.Context) (*batch, error) {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil, nil
	}
	mine := make(chan *batch, 1)
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	select {
	case b := <-mine:
		return b, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, mine); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return nil, ctx.Err()
	}
	return <-mine, nil // too late: somebody must go on with the batch
}

// pass gives the turn to the next, with a batch that was begun or nil. Where
// nobody waits it returns false, and a batch stays with the caller, whose turn
// it still is.
func (t *turn) pass(b *batch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.taken = b != nil
		return false
	}
	t.waiting[0] <- b
	t.waiting = t.waiting[1:]
	return true
}
