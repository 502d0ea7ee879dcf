package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// claimSlack is how much longer a claim lasts than the sender is allowed to take. That is enough
// time to record the result, even during a failover of the database.
const claimSlack = time.Minute

// errLost means that another node has claimed or deleted the message.
var errLost = errors.New("claimed elsewhere")

// clockMargin is how far in the future a stored time can be before a node assumes that it comes
// from a clock that has been set back since. The reference clocks of two nodes differ by
// milliseconds, and the lengths of their claims can differ too. Without the margin, the node whose
// clock is behind would take over a message that another node has just claimed, and count it
// against its quotas again.
const clockMargin = 10 * time.Minute

// claimable is the SQL condition for a message that isn't claimed now: no node has claimed it, the
// claim has ended, or the claim's end is so late that it comes from a clock that has been set back
// since. $2 is now, and $3 the latest end that a claim can have by any node's clock.
const claimable = `(claimed_until IS NULL OR claimed_until <= $2 OR claimed_until > $3)`

// ready is the SQL condition for a message of the kind $1 that can be claimed now. $4 is the
// lowest priority. $5 is the latest time at which a message can be due; a later time comes from a
// clock that has been set back since.
const ready = `kind = $1 AND priority <= $4 AND (due_at <= $2 OR due_at > $5) AND ` + claimable

// readyArgs returns the arguments of [ready].
func readyArgs(kind Kind, lowest int, life time.Duration, now time.Time) []any {
	return []any{string(kind), db.At{Time: now}, db.At{Time: now.Add(life + clockMargin)}, lowest, db.At{Time: now.Add(longestPause)}}
}

// next returns the message that is to be sent first, or [db.ErrNotFound]. It ignores messages
// with a priority lower than lowest, which are those with a greater number.
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

// claim reserves the message for this node, for the duration life. Of many callers, on any number of
// nodes, only one succeeds; the others get [errLost]. If the node dies, the message becomes due when
// the claim ends. It then comes after the messages that were due before, since it may have been sent
// already, or may be what killed the node.
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

// sent deletes a message that was sent, even if another node has claimed it in the meantime, since
// that node would only send it again. It reports whether the message still existed.
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

// release ends this node's claim of a message and makes the message due again at the time due. It
// stores the Tries, Unsure and LastError of m.
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

// Expire gives up messages that are too old, such as those of a kind for which no sender is
// configured any more, and deletes rows of quotas that no longer count. It is one of the deletions
// of the sweep.
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

// errTooLate is the reason why a message that is too old is given up.
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

// Retry makes the message with this id due now if it waits for another try. If id is empty, it does
// so for all such messages. It returns their number. It doesn't affect messages that wait because
// of a quota, and doesn't end a pause after a [Paused] failure.
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

// Remove deletes a message. It returns [ErrClaimed] while a node is sending it.
func Remove(ctx context.Context, tx *db.Tx, m Message, now time.Time) error {
	n, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1 AND (claimed_until IS NULL OR claimed_until <= $2)`, m.ID, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("drop message: %w", err)
	}
	if n == 0 {
		return ErrClaimed
	}
	return nil
}
