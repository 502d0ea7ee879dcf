package db

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// batchSize is the most changes that share one commit. At this size the
	// commit is a small part of what each change costs.
	batchSize = 64

	// batchTime is the age past which a batch accepts no more changes. The first
	// writer of a batch waits this long at most, plus the time of the change
	// that runs then, so it never waits for two slow changes.
	batchTime = 10 * time.Millisecond
)

// errUnfinished is the error of a batch that ended without a commit.
var errUnfinished = fmt.Errorf("%w: the transaction did not end", ErrUnavailable)

// batch is an SQLite transaction that several writers share, since most of a
// commit's time is a wait for the disk. The writer that holds the write lock
// runs its change in the batch, on its own goroutine, and hands lock and batch
// to the next writer in the queue. A writer that finds the queue empty commits.
//
// A savepoint undoes a change that fails, and that change alone. Later changes
// see the earlier ones as if each had been committed. If the commit fails, every
// writer of the batch gets its error, even one whose change was refused because
// of what an earlier change wrote.
type batch struct {
	tx     *Tx // collects the unprepared queries and the changed ids of all changes
	done   func()
	size   int  // the number of changes in it
	broken bool // it can't be committed
	late   *time.Timer
	ended  chan struct{}
	err    error // valid once ended is closed
}

// write runs change in a batch. ctx can cancel the wait for the write lock; after
// that, write returns the outcome of the change.
func (e *sqliteEngine) write(ctx context.Context, d *DB, change func(tx *Tx) error) error {
	b, err := e.writeLock.acquire(ctx)
	if err != nil {
		return translate(err)
	}
	b, err = e.runInBatch(ctx, d, b, change)
	if b == nil {
		return err
	}
	<-b.ended
	if b.err != nil {
		return b.err
	}
	return err
}

// runInBatch runs change in the batch b, or in a new one if b is nil, and
// releases the write lock.
func (e *sqliteEngine) runInBatch(ctx context.Context, d *DB, b *batch, change func(tx *Tx) error) (*batch, error) {
	if b == nil {
		tx, done, err := e.begin(ctx, d.write)
		if err != nil {
			e.writeLock.handOver(nil)
			return nil, translate(err)
		}
		b = &batch{tx: tx, done: done, late: time.NewTimer(batchTime), ended: make(chan struct{}), err: errUnfinished}
	}
	// This runs after a panic too: the panic goes to the caller of this change,
	// and the other writers still get their answer.
	defer func() {
		if b.isOpen() && e.writeLock.handOver(b) {
			return
		}
		defer e.writeLock.handOver(nil)
		d.commit(b)
	}()
	return b, b.run(ctx, change)
}

// run runs one change. It undoes the change unless it returns nil.
func (b *batch) run(ctx context.Context, change func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	if err := b.savepoint(`SAVEPOINT change`); err != nil {
		return err
	}
	tx, kept := &Tx{Tx: b.tx.Tx, pool: b.tx.pool}, false
	defer func() {
		b.tx.unprepared = append(b.tx.unprepared, tx.unprepared...)
		if !kept && b.savepoint(`ROLLBACK TO change`) == nil {
			b.savepoint(`RELEASE change`)
		}
	}()
	if err := change(tx); err != nil {
		return err
	}
	if err := b.savepoint(`RELEASE change`); err != nil {
		return err
	}
	b.tx.changed = append(b.tx.changed, tx.changed...)
	b.size++
	kept = true
	return nil
}

// savepoint runs a statement that sets, releases or rolls back to a savepoint.
// It fails if SQLite has rolled back the whole transaction by itself, as it may
// on a full or faulty disk. The first change needs no savepoint: if that change
// fails, the batch ends with it.
func (b *batch) savepoint(statement string) error {
	if b.size == 0 {
		return nil
	}
	_, err := b.tx.ExecContext(context.Background(), statement)
	if err != nil {
		b.err, b.broken = translate(err), true
	}
	return translate(err)
}

// isOpen reports whether the batch accepts another change.
func (b *batch) isOpen() bool {
	select {
	case <-b.late.C:
		return false
	default:
		return !b.broken && b.size > 0 && b.size < batchSize
	}
}

// commit commits the changes of the batch and wakes its writers.
func (d *DB) commit(b *batch) {
	defer close(b.ended)
	defer b.done()
	defer b.tx.Rollback() // no effect after Commit
	b.late.Stop()
	switch {
	case b.size == 0:
		b.err = nil // there is nothing to commit
	case !b.broken:
		b.err = translate(b.tx.Commit())
		d.changes.report(b.tx.changed...) // after an error too: the commit may have gone through
	}
}

// writeLock is a FIFO lock on the right to write. An open batch passes from
// holder to holder with it.
type writeLock struct {
	mu    sync.Mutex
	held  bool
	queue []chan *batch
}

// acquire waits for the lock. It returns the open batch that the last holder
// handed over, or nil if there is none.
func (l *writeLock) acquire(ctx context.Context) (*batch, error) {
	l.mu.Lock()
	if !l.held {
		l.held = true
		l.mu.Unlock()
		return nil, nil
	}
	own := make(chan *batch, 1)
	l.queue = append(l.queue, own)
	l.mu.Unlock()
	select {
	case b := <-own:
		return b, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, own); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		return nil, ctx.Err()
	}
	return <-own, nil // the lock was handed over already, and the batch needs a holder
}

// handOver gives the lock, and b if it isn't nil, to the first writer in the
// queue, and reports whether there was one. If the queue is empty, a nil b
// releases the lock; otherwise the caller keeps both lock and batch.
func (l *writeLock) handOver(b *batch) (handedOver bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.held = b != nil
		return false
	}
	l.queue[0] <- b
	l.queue = l.queue[1:]
	return true
}
