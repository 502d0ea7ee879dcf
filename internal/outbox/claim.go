package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// claimSlack is by how much a claim outlives the time that the sender may take. It covers the
// recording of the result, also while the database fails over.
const claimSlack = time.Minute

// errLost means that another node has claimed the message, or that it is gone.
var errLost = errors.New("claimed elsewhere")

// clockMargin is by how much the reference clocks of two nodes may differ, or the length of their
// claims, before one takes a time that the other stored for that of a clock which has been set
// back. They differ by milliseconds at least. Without the margin, the node that is behind would
// take over what the other one has just claimed, and use its quotas again.
const clockMargin = 10 * time.Minute

// claimable is the condition on a message that no node has claimed, or whose node died. A claim
// that ends later than any claim could was made by a clock that has been set back since. $2 is
// now, $3 the latest end of a claim, by any node's clock.
const claimable = `(claimed_until IS NULL OR claimed_until <= $2 OR claimed_until > $3)`

// ready is the condition on a message of the kind $1 that can be claimed now. $4 is the lowest
// priority, $5 a time after which no message is due, unless that clock was set back.
const ready = `kind = $1 AND priority <= $4 AND (due_at <= $2 OR due_at > $5) AND ` + claimable

// readyArgs returns the arguments of [ready].
func readyArgs(kind Kind, lowest int, life time.Duration, now time.Time) []any {
	return []any{string(kind), db.At{Time: now}, db.At{Time: now.Add(life + clockMargin)}, lowest, db.At{Time: now.Add(longestPause)}}
}

// next returns the message that is to be sent first, or [db.ErrNotFound]. Messages after
// lowest, in the order of priorities, are left alone.
func next(ctx context.Context, tx *db.Tx, kind Kind, lowest int, life time.Duration, now time.Time) (Message, error) {
	all, err := db.All(ctx, tx, `
		SELECT `+columns+` FROM outbox
		WHERE  `+ready+`
		ORDER  BY priority, due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED`, readyArgs(kind, lowest, life, now), read)
	if err == nil && len(all) == 0 {
		err = db.ErrNotFound
	}
	if err != nil {
		return Message{}, err
	}
	return all[0], nil
}

// claim gives this node the message for life. Of many callers, on any number of nodes, one
// succeeds; the others get [errLost]. If the node dies, others take the message over after those
// that were due before its claim ended: it may have been sent, or its sending may have killed the
// node.
func claim(ctx context.Context, tx *db.Tx, m *Message, life time.Duration, now time.Time) error {
	until := now.Add(life).Truncate(time.Millisecond)
	n, err := db.Exec(ctx, tx, `
		UPDATE outbox SET claimed_until = $4, due_at = $4, tries = tries + 1
		WHERE  id = $1 AND `+claimable, m.ID, db.At{Time: now}, db.At{Time: now.Add(life + clockMargin)}, db.At{Time: until})
	if err != nil {
		return fmt.Errorf("claim message: %w", err)
	}
	if n == 0 {
		return errLost
	}
	m.ClaimedUntil = until
	m.Tries++
	return nil
}

// sent deletes the message, also if another node has claimed it meanwhile: that node must not
// repeat it once more. It reports whether the message was still there.
func sent(ctx context.Context, tx *db.Tx, m Message) (bool, error) {
	n, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1`, m.ID)
	if err != nil {
		return false, fmt.Errorf("delete a sent message: %w", err)
	}
	return n == 1, nil
}

// giveUp deletes a message that this node has claimed, or returns [errLost].
func giveUp(ctx context.Context, tx *db.Tx, m Message) error {
	n, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1 AND claimed_until = $2`, m.ID, db.At{Time: m.ClaimedUntil})
	if err != nil {
		return fmt.Errorf("give up a message: %w", err)
	}
	if n == 0 {
		return errLost
	}
	return nil
}

// release ends this node's claim. The message is due again at the given time; tries, unsure and
// reason replace what is stored.
func release(ctx context.Context, tx *db.Tx, m Message, due time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE outbox SET claimed_until = NULL, due_at = $3, tries = $4, unsure = $5, last_error = $6
		WHERE  id = $1 AND claimed_until = $2`,
		m.ID, db.At{Time: m.ClaimedUntil}, db.At{Time: due}, m.Tries, m.Unsure, m.LastError)
	if err != nil {
		return fmt.Errorf("put a message off: %w", err)
	}
	return nil
}

// expireBatch is how many messages one transaction of [Pump.Expire] gives up.
const expireBatch = 50

// Expire gives up messages past their time that no node sends, for example because no sender is
// configured for their kind any more, and deletes quotas that are free again. It is for a sweep.
func (p *Pump) Expire(ctx context.Context, tx *db.Tx, now time.Time) error {
	all, err := db.All(ctx, tx, `
		SELECT `+columns+` FROM outbox
		WHERE  gives_up_at <= $2 AND (claimed_until IS NULL OR claimed_until <= $2)
		ORDER  BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED`, []any{expireBatch, db.At{Time: now}}, read)
	if err != nil {
		return fmt.Errorf("look for late messages: %w", err)
	}
	for _, m := range all {
		n, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1 AND (claimed_until IS NULL OR claimed_until <= $2)`, m.ID, db.At{Time: now})
		if err != nil {
			return fmt.Errorf("give up a message: %w", err)
		}
		if n == 1 {
			if err := p.GaveUp(ctx, tx, m, errTooLate, now); err != nil {
				return err
			}
		}
	}
	return expireQuotas(ctx, tx, now)
}

// errTooLate is the reason for which a message is given up that wasn't sent in its time.
var errTooLate = errors.New("it couldn't be sent in time")

// ByID returns a message without its body, or [db.ErrNotFound].
func ByID(ctx context.Context, q db.Querier, id string) (Message, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM outbox WHERE id = $1`, []any{id}, read)
	if err == nil && len(all) == 0 {
		err = db.ErrNotFound
	}
	if err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	return all[0], nil
}

// Retry makes messages due now that wait for another try, or only the one with the id unless it
// is empty. It returns how many. Messages that wait for quota are not among them. The pause of a
// node that the other side refused goes on.
func Retry(ctx context.Context, tx *db.Tx, id string, now time.Time) (int, error) {
	n, err := db.Exec(ctx, tx, `
		UPDATE outbox SET due_at = $2
		WHERE  id IN (
			SELECT id FROM outbox
			WHERE  (id = $1 OR $1 = '') AND (tries > 0 OR last_error <> '') AND due_at > $2 AND (claimed_until IS NULL OR claimed_until <= $2)
			ORDER  BY created_at, id FOR NO KEY UPDATE)`, id, db.At{Time: now})
	if err != nil {
		return 0, fmt.Errorf("retry messages: %w", err)
	}
	return int(n), nil
}

// ErrClaimed means that a node is sending the message.
var ErrClaimed = errors.New("it is being sent")

// Drop deletes a message that no node is sending. It returns [ErrClaimed] if one is.
func Drop(ctx context.Context, tx *db.Tx, m Message, now time.Time) error {
	n, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1 AND (claimed_until IS NULL OR claimed_until <= $2)`, m.ID, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	if n == 0 {
		return ErrClaimed
	}
	return nil
}
