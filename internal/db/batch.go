package db

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// batching lets writers share a transaction, called a batch, since a commit spends most of its
// time waiting: for the disk, and on PostgreSQL also for a standby and for other transactions
// with NOTIFY. The writer that holds the write lock runs its change in the batch, on its own
// goroutine, and passes the lock and the batch to the next writer in the queue. A writer commits
// the batch if the queue is empty or the batch is full or too old. Writers that arrive while
// a batch is being committed wait for the next one. So a writer never waits for others to arrive.
type batching struct {
	writeLock writeLock

	size int           // the most changes that share one commit
	time time.Duration // the age past which a batch accepts no more changes

	// slow is the time past which a change no longer makes other writers wait: they
	// begin another batch. Zero means that they always wait, as on SQLite, which has one writer.
	slow time.Duration
	// queueTime is the longest wait for the write lock. Zero sets no limit.
	queueTime time.Duration

	begin  func(ctx context.Context, p *pool) (tx *Tx, done func(), err error)
	commit func(tx *Tx) error

	// enter, keep and undo are the statements before a change, after one that
	// succeeded, and after one that failed.
	enter, keep, undo []string
}

// errUndone is the error of a batch that was rolled back before its commit.
var errUndone = fmt.Errorf("%w: the transaction was undone", ErrUnavailable)

// batch is a transaction that several writers share. If a change fails, a savepoint
// undoes only that change. Later changes see the earlier ones as if each had been
// committed. If the commit fails, every writer of the batch gets its error, even one
// whose change was refused because of what an earlier change wrote.
type batch struct {
	*batching
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
func (g *batching) write(ctx context.Context, d *DB, change func(tx *Tx) error) error {
	queued, stop := ctx, func() {}
	if g.queueTime > 0 {
		queued, stop = context.WithTimeout(ctx, g.queueTime)
	}
	b, err := g.writeLock.acquire(queued)
	stop()
	if err != nil {
		return translate(err)
	}
	b, err = g.runInBatch(ctx, d, b, change)
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
func (g *batching) runInBatch(ctx context.Context, d *DB, b *batch, change func(tx *Tx) error) (*batch, error) {
	if b == nil {
		tx, done, err := g.begin(ctx, d.write)
		if err != nil {
			g.writeLock.handOver(nil)
			return nil, translate(err)
		}
		b = &batch{batching: g, tx: tx, done: done, late: time.NewTimer(g.time), ended: make(chan struct{}), err: errUndone}
	}
	holdsLock := func() bool { return true }
	if g.slow > 0 {
		holdsLock = time.AfterFunc(g.slow, func() { g.writeLock.handOver(nil) }).Stop
	}
	// This runs after a panic too: the panic goes to the caller of this change,
	// and the other writers still get their answer.
	defer func() {
		if holdsLock() {
			if b.isOpen() && g.writeLock.handOver(b) {
				return
			}
			defer g.writeLock.handOver(nil)
		}
		d.commit(b)
	}()
	return b, b.run(ctx, change)
}

// run runs one change. If the change returns an error or panics, run undoes it.
func (b *batch) run(ctx context.Context, change func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	if err := b.savepoint(b.enter); err != nil {
		return b.fail(err)
	}
	tx, kept := &Tx{Tx: b.tx.Tx, pool: b.tx.pool, shared: b.tx.shared}, false
	defer func() {
		b.tx.unprepared = append(b.tx.unprepared, tx.unprepared...)
		if kept {
			return
		}
		if err := b.savepoint(b.undo); err != nil {
			b.fail(err)
		}
	}()
	if err := change(tx); err != nil {
		return err
	}
	if err := b.savepoint(b.keep); err != nil {
		return err
	}
	b.tx.changed = append(b.tx.changed, tx.changed...)
	b.size++
	kept = true
	return nil
}

// savepoint runs statements that set, release or roll back to a savepoint. The first
// change needs no savepoint: if that change fails, the batch ends with it.
func (b *batch) savepoint(statements []string) error {
	if b.size == 0 {
		return nil
	}
	for _, statement := range statements {
		if _, err := Exec(context.Background(), b.tx, statement); err != nil {
			return err
		}
	}
	return nil
}

// fail notes that the batch can't be committed, because of err: the connection is
// lost, or SQLite has rolled back the whole transaction by itself, as it may on a full
// or faulty disk.
func (b *batch) fail(err error) error {
	b.err, b.broken = fmt.Errorf("%w: %w", errUndone, err), true
	return b.err
}

// isOpen reports whether the batch accepts another change.
func (b *batch) isOpen() bool {
	select {
	case <-b.late.C:
		return false
	default:
		return !b.broken && b.size > 0 && b.size < b.batching.size
	}
}

// commit commits the changes of the batch and wakes its writers.
func (d *DB) commit(b *batch) {
	defer close(b.ended)
	defer b.done()
	b.late.Stop()
	switch {
	case b.size == 0:
		b.err = nil // the batch is empty
	case !b.broken:
		b.err = b.batching.commit(b.tx)
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

// acquire waits for the lock. It returns the open batch that the last holder handed over, or nil.
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
// queue, and reports whether there was one. If the queue is empty and b is nil, it
// releases the lock. If the queue is empty and b isn't nil, the caller keeps both.
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
