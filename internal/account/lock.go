package account

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/db"
)

// Lock locks the account's row until tx ends, so that changes of an account run one after
// the other. It must come before every other statement that writes rows of the account,
// since transactions that lock rows in different orders deadlock. It returns
// [db.ErrNotFound] if the account doesn't exist.
func Lock(ctx context.Context, tx *db.Tx, id string) error {
	var locked string
	err := db.One(ctx, tx, `SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE`, []any{id}, &locked)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		err = fmt.Errorf("lock account: %w", err)
	}
	return err
}

// LockAndRead is like [Lock], and also returns the account as it is while tx holds the lock.
func LockAndRead(ctx context.Context, tx *db.Tx, id string) (Account, error) {
	return readOne(ctx, tx, `SELECT `+columns+` FROM accounts WHERE id = $1 FOR NO KEY UPDATE`, id)
}

// Change calls the function change in a transaction that has locked the account's row. It is for
// frequent changes of which other nodes are notified, such as a sign-out. Changes of other accounts
// may share the transaction; see [db.DB.WriteTogether] for the rules that the function must follow.
// Change returns [db.ErrNotFound] if the account doesn't exist.
func Change(ctx context.Context, d *db.DB, id string, change func(tx *db.Tx) error) error {
	return d.WriteTogether(ctx, func(tx *db.Tx, mayWait bool) error {
		lock := Lock
		if !mayWait {
			lock = lockAtOnce
		}
		if err := lock(ctx, tx, id); err != nil {
			return err
		}
		return change(tx)
	})
}

// lockAtOnce is like [Lock], but returns [db.ErrWouldWait] if another transaction has locked the
// row, or if there is no such row. So a transaction that changes several accounts never waits for
// the lock of one while it holds the lock of another, and can't be part of a deadlock over accounts.
func lockAtOnce(ctx context.Context, tx *db.Tx, id string) error {
	var locked string
	err := db.One(ctx, tx, `SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED`, []any{id}, &locked)
	if errors.Is(err, db.ErrNotFound) {
		return db.ErrWouldWait
	}
	if err != nil {
		return fmt.Errorf("lock account: %w", err)
	}
	return nil
}
