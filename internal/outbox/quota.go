package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

// Limit is a limit on the messages of one kind that are sent to one account in a period.
type Limit struct {
	N     int
	Per   time.Duration // at most a day
	Topic bool          // each topic is counted by itself
}

// Rate limits how fast messages of one kind are sent, to all accounts together. After a time without
// messages, up to Burst of them are sent at once.
type Rate struct {
	Every time.Duration // the time for one message; 0: no limit
	Burst int
}

// fullError means that a limit was reached.
type fullError struct {
	until time.Time // when the next message may be sent
	all   bool      // the limit is the one on all accounts together
}

func (e *fullError) Error() string { return fmt.Sprintf("quota used up until %v", e.until) }

// reserve takes one of the limit's slots, or returns a [*fullError]. Each slot is a row that one
// statement takes, so that concurrent callers never exceed the limit.
func reserve(ctx context.Context, tx *db.Tx, m Message, l Limit, now time.Time) error {
	topic := ""
	if l.Topic {
		topic = m.Topic
	}
	for slot := range l.N {
		// A slot that was used much later than now was taken by a clock that has been set back
		// since.
		n, err := db.Exec(ctx, tx, `
			INSERT INTO outbox_quotas (kind, account_id, topic, slot, used_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind, account_id, topic, slot) DO UPDATE SET used_at = excluded.used_at
			WHERE outbox_quotas.used_at <= $6 OR outbox_quotas.used_at > $7`,
			string(m.Kind), m.AccountID, topic, slot, db.At{Time: now}, db.At{Time: now.Add(-l.Per)}, db.At{Time: now.Add(clockMargin)})
		if err != nil {
			return fmt.Errorf("use quota: %w", err)
		}
		if n == 1 {
			return nil
		}
	}
	var oldest db.At
	if err := db.One(ctx, tx, `SELECT MIN(used_at) FROM outbox_quotas WHERE kind = $1 AND account_id = $2 AND topic = $3`,
		[]any{string(m.Kind), m.AccountID, topic}, &oldest); err != nil {
		return fmt.Errorf("read quota: %w", err)
	}
	return &fullError{until: oldest.Add(l.Per)}
}

// take counts a message against the rate, or returns a [*fullError]. It uses the algorithm GCRA:
// the kind's row has the time up to which the rate is used up. If that time is earlier than Burst
// messages before now, it counts as Burst messages before now.
func take(ctx context.Context, tx *db.Tx, kind Kind, r Rate, now time.Time) error {
	if r.Every == 0 {
		return nil
	}
	behind := now.Add(-time.Duration(r.Burst) * r.Every)
	n, err := db.Exec(ctx, tx, `
		INSERT INTO outbox_quotas (kind, account_id, topic, slot, used_at) VALUES ($1, '', '', 0, $2)
		ON CONFLICT (kind, account_id, topic, slot) DO UPDATE
		SET   used_at = CASE WHEN outbox_quotas.used_at < $3 OR outbox_quotas.used_at > $4 THEN $2 ELSE outbox_quotas.used_at + $5 END
		WHERE outbox_quotas.used_at <= $6 OR outbox_quotas.used_at > $4`,
		string(kind), db.At{Time: behind.Add(r.Every)}, db.At{Time: behind}, db.At{Time: now.Add(clockMargin)}, r.Every.Milliseconds(), db.At{Time: now.Add(-r.Every)})
	if err != nil {
		return fmt.Errorf("use the rate up: %w", err)
	}
	if n == 1 {
		return nil
	}
	return &fullError{until: now.Add(r.Every), all: true}
}

// foldBatch is how many messages one transaction folds. SQLite has one writer, and a sign-in
// must not wait for it longer than a few milliseconds.
const foldBatch = 200

// fold folds the waiting messages that have the same kind, account and topic as like into one. The
// oldest stays, counts the others in its More, and is due at the time due.
func fold(ctx context.Context, tx *db.Tx, like Message, due time.Time) error {
	all, err := db.All(ctx, tx, `
		SELECT `+columns+` FROM outbox
		WHERE  account_id = $1 AND kind = $2 AND topic = $3 AND admitted = FALSE
		ORDER  BY created_at, id LIMIT $4 FOR NO KEY UPDATE`, []any{like.AccountID, string(like.Kind), like.Topic, foldBatch}, read)
	if err != nil || len(all) == 0 {
		return err
	}
	keep := all[0]
	for _, m := range all[1:] {
		if m.Address != keep.Address { // one of them goes to the account's former address
			continue
		}
		keep.More += 1 + m.More
		if _, err := db.Exec(ctx, tx, `DELETE FROM outbox WHERE id = $1`, m.ID); err != nil {
			return fmt.Errorf("fold message: %w", err)
		}
	}
	_, err = db.Exec(ctx, tx, `UPDATE outbox SET more = $2, due_at = $3, gives_up_at = $4 WHERE id = $1`,
		keep.ID, keep.More, db.At{Time: due}, db.At{Time: due.Add(lifeOf(keep.Brief))})
	if err == nil && like.ID != keep.ID {
		// If the claimed message has another address than the oldest one, it wasn't folded, and is
		// due at the given time too.
		_, err = db.Exec(ctx, tx, `UPDATE outbox SET due_at = $2 WHERE id = $1 AND due_at < $2`, like.ID, db.At{Time: due})
	}
	if err != nil {
		return fmt.Errorf("fold message: %w", err)
	}
	return nil
}

// quotaTime is how long a used slot counts: the longest [Limit.Per].
const quotaTime = 24 * time.Hour

func expireQuotas(ctx context.Context, tx *db.Tx, now time.Time) error {
	if _, err := db.Exec(ctx, tx, `
		DELETE FROM outbox_quotas WHERE (kind, account_id, topic, slot) IN (
			SELECT kind, account_id, topic, slot FROM outbox_quotas WHERE used_at <= $1 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now.Add(-quotaTime)}); err != nil {
		return fmt.Errorf("delete free quotas: %w", err)
	}
	return nil
}

// admit counts a message that this node has claimed against its quotas. If one of them is used up,
// admit returns a [*fullError], and the caller must roll tx back.
func admit(ctx context.Context, tx *db.Tx, m Message, s Sender, now time.Time) error {
	if m.admitted {
		return nil
	}
	if s.Limits != nil {
		for _, l := range s.Limits(m.Topic) {
			if err := reserve(ctx, tx, m, l, now); err != nil {
				return err
			}
		}
	}
	if err := take(ctx, tx, m.Kind, s.Rate, now); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, tx, `UPDATE outbox SET admitted = TRUE WHERE id = $1`, m.ID); err != nil {
		return fmt.Errorf("admit message: %w", err)
	}
	return nil
}

// isFull returns err as a [*fullError], or nil if err doesn't mean that a quota is used up.
func isFull(err error) *fullError {
	var full *fullError
	if errors.As(err, &full) {
		return full
	}
	return nil
}
