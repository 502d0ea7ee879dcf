package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// postgresBatch is the most changes that share one transaction. PostgreSQL keeps 64
	// savepoints of a transaction at hand; past that, every reader has to look them up.
	postgresBatch = 32

	// postgresBatchTime is the age past which a batch accepts no more changes, so that its first
	// changes, and transactions that need the locks of these changes, don't wait for long.
	postgresBatchTime = 50 * time.Millisecond

	// slowChange is the time past which a change no longer makes other writers wait: they begin
	// another batch.
	slowChange = 100 * time.Millisecond

	// batchLockTimeout is how long a change in a batch waits for a lock, since the earlier
	// changes of the batch wait with it. After the timeout the change runs again in a transaction
	// of its own, with statementTimeout.
	batchLockTimeout = 250 * time.Millisecond
)

// newBatching returns how writeTogether shares transactions.
func (e postgresEngine) newBatching() *batching {
	return &batching{
		size: postgresBatch, time: postgresBatchTime, slow: slowChange, queueTime: answerTime,
		begin: func(ctx context.Context, p *pool) (tx *Tx, done func(), err error) {
			// Once the transaction has begun, the end of the first writer's context must not end
			// it.
			shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
			stop := context.AfterFunc(ctx, cancel)
			tx, rollBack, err := e.beginWithLimit(shared, p)
			if err != nil {
				stop()
				cancel()
				return nil, nil, err
			}
			tx.shared = true
			done = func() {
				rollBack()
				cancel()
			}
			if !stop() {
				done()
				return nil, nil, ctx.Err()
			}
			return tx, done, nil
		},
		commit: func(tx *Tx) error { return e.commit(context.Background(), tx) },
		// A rollback to the savepoint resets the timeout. A release doesn't, so keep resets it:
		// the commit may wait for longer.
		enter: []string{fmt.Sprintf(`SAVEPOINT change; SET LOCAL lock_timeout = %d`, batchLockTimeout.Milliseconds())},
		keep:  []string{`SET LOCAL lock_timeout TO DEFAULT; RELEASE change`},
		undo:  []string{`ROLLBACK TO change; RELEASE change`},
	}
}

func (e postgresEngine) writeTogether(ctx context.Context, d *DB, change func(tx *Tx, mayWait bool) error) error {
	err := e.batching.write(ctx, d, func(tx *Tx) error { return change(tx, false) })
	for range retries {
		if !mayRunAgain(err) {
			break
		}
		err = e.write(ctx, d, func(tx *Tx) error { return change(tx, true) })
	}
	return err
}

// mayRunAgain reports whether a change of writeTogether was rolled back and may succeed in a
// transaction of its own.
func mayRunAgain(err error) bool {
	var answer *pgconn.PgError
	return errors.Is(err, ErrWouldWait) || errors.Is(err, errUndone) || lostLock(err) ||
		errors.As(err, &answer) && answer.Code == postgresSerialization
}

// postgresSerialization is PostgreSQL's code serialization_failure.
const postgresSerialization = "40001"

func (e postgresEngine) write(ctx context.Context, d *DB, change func(tx *Tx) error) error {
	tx, done, err := e.beginWithLimit(ctx, d.write)
	if err != nil {
		return translate(err)
	}
	defer done()
	if err := change(tx); err != nil {
		return err
	}
	err = e.commit(ctx, tx)
	if !errors.Is(err, errUndone) {
		d.changes.report(tx.changed...) // after an error too: the commit may have gone through
	}
	return err
}

// beginWithLimit is begin with a limit on the wait for the beginning of the transaction and on
// the wait for its end. It retries if a connection was dead. done rolls the transaction back,
// unless it has ended.
func (e postgresEngine) beginWithLimit(ctx context.Context, p *pool) (tx *Tx, done func(), err error) {
	// The timer runs only during these two waits. Each statement has a limit of its own, so a
	// change may take longer than answerTime if the server answers each statement in time.
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(answerTime, cancel)
	tx, _, err = e.begin(ctx, p)
	for range retries {
		if !e.mayRetry(p, err) {
			break
		}
		tx, _, err = e.begin(ctx, p)
	}
	timer.Stop()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	tx.limit = timer
	return tx, func() {
		timer.Reset(answerTime)
		tx.Rollback() // no effect after Commit
		timer.Stop()
		cancel()
	}, nil
}

// commit notifies the other nodes and commits. An error that wraps errUndone means that the
// transaction was rolled back.
func (e postgresEngine) commit(ctx context.Context, tx *Tx) error {
	if err := announce(ctx, tx); err != nil {
		return fmt.Errorf("%w: %w", errUndone, err)
	}
	tx.limit.Reset(answerTime)
	return translate(tx.Commit())
}

// announce makes PostgreSQL notify the other nodes when tx commits.
func announce(ctx context.Context, tx *Tx) error {
	if len(tx.changed) == 0 {
		return nil
	}
	_, err := Exec(ctx, tx, `SELECT pg_notify($1, id) FROM UNNEST(CAST($2 AS TEXT[])) AS id`, channel, tx.changed)
	return err
}
