package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// checkpoint replaces the events that retention deleted: all events up to its head.
type checkpoint struct {
	Head   Head
	Events int64 // the number of events that were ever deleted
	MadeAt time.Time
	MAC    []byte // signature of the other fields and the checkpoint before
}

// link returns the bytes that are signed for c after the checkpoint prev.
func (c checkpoint) link(prev checkpoint) []byte {
	b := appendBytes(nil, prev.MAC)
	b = appendInt(b, c.Head.Seq)
	b = appendBytes(b, c.Head.MAC)
	b = appendInt(b, c.Events)
	return appendInt(b, c.MadeAt.UnixMilli())
}

// checkpoints returns all checkpoints in order, or a [*Fault] if one was changed or
// deleted.
func checkpoints(ctx context.Context, q db.Querier, ring *secret.Ring) ([]checkpoint, error) {
	all, err := readCheckpoints(ctx, q, `ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	var prev checkpoint
	for _, c := range all {
		if err := c.checkFollows(ring, prev); err != nil {
			return nil, err
		}
		prev = c
	}
	return all, prev.checkCurrent(ring)
}

// lastCheckpoint returns the newest checkpoint and the one before it; each is zero if it doesn't
// exist. It returns a [*Fault] if the newest isn't as it was signed.
func lastCheckpoint(ctx context.Context, q db.Querier, ring *secret.Ring) (last, prev checkpoint, err error) {
	newest, err := readCheckpoints(ctx, q, `ORDER BY seq DESC LIMIT 2`)
	if err != nil || len(newest) == 0 {
		return last, prev, err
	}
	last = newest[0]
	if len(newest) > 1 {
		prev = newest[1]
	}
	if err := last.checkFollows(ring, prev); err != nil {
		return last, prev, err
	}
	return last, prev, last.checkCurrent(ring)
}

func readCheckpoints(ctx context.Context, q db.Querier, which string) ([]checkpoint, error) {
	all, err := db.All(ctx, q, `SELECT seq, head, events, made_at, mac FROM audit_checkpoints `+which,
		nil, func(scan db.Scan) (checkpoint, error) {
			var (
				c    checkpoint
				made db.At
			)
			err := scan(&c.Head.Seq, &c.Head.MAC, &c.Events, &made, &c.MAC)
			c.MadeAt = made.Time
			return c, err
		})
	if err != nil {
		return nil, fmt.Errorf("read audit checkpoints: %w", err)
	}
	return all, nil
}

// checkFollows returns a [*Fault] unless the checkpoint was signed after prev.
func (c checkpoint) checkFollows(ring *secret.Ring, prev checkpoint) error {
	if ring.Verify(forCheckpoint, c.link(prev), c.MAC) != nil {
		return &Fault{Kind: Checkpoint, Seq: c.Head.Seq,
			Text: fmt.Sprintf("the checkpoint at event %d was changed, or one before it was deleted", c.Head.Seq)}
	}
	return nil
}

// checkCurrent returns a [*Fault] if the last checkpoint is signed with a key that was replaced.
// [HandOver] signs that checkpoint again with the new key, and the signature covers the earlier
// checkpoints too. Without this check an attacker with a copy of an old key ring could make a
// checkpoint for any event.
func (c checkpoint) checkCurrent(ring *secret.Ring) error {
	if len(c.MAC) > 0 && !ring.IsCurrent(c.MAC) {
		return &Fault{Kind: Checkpoint, Seq: c.Head.Seq,
			Text: fmt.Sprintf("the checkpoint at event %d was forged under an old key, or a later one was deleted", c.Head.Seq)}
	}
	return nil
}

// resignCheckpoint signs the last checkpoint with the signer of the sealing key. A
// checkpoint that was changed stays as it is, so that [Verify] finds it.
func resignCheckpoint(ctx context.Context, tx *db.Tx, ring *secret.Ring) error {
	last, prev, err := lastCheckpoint(ctx, tx, ring)
	if fault := (*Fault)(nil); errors.As(err, &fault) {
		return nil
	}
	if err != nil || last.Head.Seq == 0 {
		return err
	}
	_, err = db.Exec(ctx, tx, `UPDATE audit_checkpoints SET mac = $2 WHERE seq = $1`,
		last.Head.Seq, ring.Signer().Sign(forCheckpoint, last.link(prev)))
	return err
}

// Prune deletes up to [Batch] of the oldest sealed events, if they are older than cutoff, and
// leaves a signed checkpoint in their place. It returns the checkpoint's head and the number of
// deleted events. Prune verifies before it signs: if one of these events or the last checkpoint
// was changed, it returns an error and deletes no event, so that the evidence stays.
func Prune(ctx context.Context, d *db.DB, ring *secret.Ring, cutoff, now time.Time) (head Head, n int, err error) {
	err = d.Write(ctx, func(tx *db.Tx) error {
		head, n, err = prune(ctx, tx, ring, cutoff, now)
		return err
	})
	if err != nil {
		return Head{}, 0, fmt.Errorf("prune audit events: %w", err)
	}
	return head, n, nil
}

func prune(ctx context.Context, tx *db.Tx, ring *secret.Ring, cutoff, now time.Time) (Head, int, error) {
	// The lock prevents a [HandOver] meanwhile: the checkpoint must be signed with the key
	// of the head.
	end, err := lockHead(ctx, tx)
	if err != nil {
		return Head{}, 0, err
	}
	signer, err := signerAfter(ring, end)
	if err != nil {
		return Head{}, 0, err
	}
	prev, _, err := lastCheckpoint(ctx, tx, ring)
	if err != nil {
		return Head{}, 0, err
	}
	events, err := sealedAfter(ctx, tx, Event{Seq: math.MinInt64}, Batch)
	if err != nil {
		return Head{}, 0, err
	}
	head, n := prev.Head, 0
	for _, e := range events {
		if e.Seq != head.Seq+1 || !follows(ring, head, e) {
			return Head{}, 0, fmt.Errorf("event %d doesn't match its seal; run: sallyport audit verify", e.Seq)
		}
		if !e.At.Before(cutoff) {
			break
		}
		head = headOf(e)
		n++
	}
	if n == 0 {
		return head, 0, nil
	}
	gone, err := db.Exec(ctx, tx, `DELETE FROM events WHERE seq > $1 AND seq <= $2`, prev.Head.Seq, head.Seq)
	if err != nil {
		return Head{}, 0, err
	}
	if gone != int64(n) {
		return Head{}, 0, errors.New("the events to delete changed since they were read: another node deletes them too, or somebody changed the log")
	}
	next := checkpoint{Head: head, Events: prev.Events + int64(n), MadeAt: now}
	next.MAC = signer.Sign(forCheckpoint, next.link(prev))
	_, err = db.Exec(ctx, tx, `INSERT INTO audit_checkpoints (seq, head, events, made_at, mac) VALUES ($1, $2, $3, $4, $5)`,
		head.Seq, head.MAC, next.Events, db.At{Time: now}, next.MAC)
	return head, n, err
}
