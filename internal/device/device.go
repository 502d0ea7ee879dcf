// Package device owns known browsers, table devices. A known browser is one in
// which its account signed in fully before. It chooses the budget that tries
// are counted in and never replaces a factor (R18).
package device

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// maxPerAccount known browsers; the longest unused makes room.
	maxPerAccount = 20

	// maxPerBrowser accounts share one cookie, as on a family's computer; the
	// longest unused makes room.
	maxPerBrowser = 20

	// Life of a known browser without a sign-in.
	Life = 180 * 24 * time.Hour
)

// Device is a browser known for one account.
type Device struct {
	ID        string
	AccountID string
	CreatedAt time.Time
	UsedAt    time.Time // the last full sign-in
	Address   string
	Browser   string // User-Agent
}

// Browser is where a request came from.
type Browser struct {
	Address   string
	UserAgent string
}

const columns = `id, account_id, created_at, used_at, address, browser`

func read(scan db.Scan) (d Device, err error) {
	var created, used db.At
	err = scan(&d.ID, &d.AccountID, &created, &used, &d.Address, &d.Browser)
	d.CreatedAt, d.UsedAt = created.Time, used.Time
	return d, err
}

// Known returns the device that token names for the account; its ID is empty
// where the browser isn't known. The cookie of one account says nothing about
// another (ATTACKS 19).
func Known(ctx context.Context, q db.Querier, token, accountID string, now time.Time) (Device, error) {
	if token == "" || accountID == "" {
		return Device{}, nil
	}
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM devices WHERE token_hash = $1 AND account_id = $2 AND used_at > $3`,
		secret.Hash(token), accountID, db.At{Time: now.Add(-Life)})
	if err != nil {
		return Device{}, fmt.Errorf("read known browser: %w", err)
	}
	if len(all) == 0 {
		return Device{}, nil
	}
	return all[0], nil
}

// Remember makes the browser known for the account and returns its new token.
// The token that it held so far is dead, so a copied cookie dies with the
// owner's next sign-in; other accounts that the browser is known for move to
// the new one.
func Remember(ctx context.Context, tx *db.Tx, held, accountID string, from Browser, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	hash := secret.Hash(token.Reveal())
	if held != "" {
		moved, err := db.All(ctx, tx, func(scan db.Scan) (id string, err error) { return id, scan(&id) }, `
			UPDATE devices SET token_hash = $2,
				used_at = CASE account_id WHEN $3 THEN $4 ELSE used_at END,
				address = CASE account_id WHEN $3 THEN $5 ELSE address END,
				browser = CASE account_id WHEN $3 THEN $6 ELSE browser END
			WHERE token_hash = $1 RETURNING account_id`,
			secret.Hash(held), hash, accountID, db.At{Time: now}, from.Address, from.UserAgent)
		if err != nil {
			return token, fmt.Errorf("move known browser: %w", err)
		}
		if slices.Contains(moved, accountID) {
			return token, nil
		}
	}
	_, err := db.Exec(ctx, tx, `
		INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, $4, $5, $6)`,
		secret.NewID(), hash, accountID, db.At{Time: now}, from.Address, from.UserAgent)
	if err != nil {
		return token, fmt.Errorf("remember browser: %w", err)
	}
	var n int
	err = db.One(ctx, tx, `SELECT COUNT(*) FROM devices WHERE account_id = $1`, []any{accountID}, &n)
	if err == nil && n > maxPerAccount { // to count is much cheaper, and mostly all there is to do
		_, err = db.Exec(ctx, tx, `
			DELETE FROM devices WHERE id IN (
				SELECT id FROM devices WHERE account_id = $1 ORDER BY used_at, id DESC LIMIT $2)`, accountID, n-maxPerAccount)
	}
	if err != nil {
		return token, fmt.Errorf("forget oldest browser: %w", err)
	}
	if held == "" {
		return token, nil // nothing else has this token
	}
	_, err = db.Exec(ctx, tx, `
		DELETE FROM devices WHERE token_hash = $1 AND id NOT IN (
			SELECT id FROM devices WHERE token_hash = $1 ORDER BY used_at DESC, id LIMIT $2)`, hash, maxPerBrowser)
	return token, err
}

// List returns the account's known browsers, the last used first.
func List(ctx context.Context, q db.Querier, accountID string, now time.Time) ([]Device, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM devices WHERE account_id = $1 AND used_at > $2 ORDER BY used_at DESC, id`,
		accountID, db.At{Time: now.Add(-Life)})
	if err != nil {
		return nil, fmt.Errorf("list known browsers: %w", err)
	}
	return all, nil
}

// Forget makes one browser of the account unknown and reports whether it was
// known.
func Forget(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	n, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE account_id = $1 AND id = $2`, accountID, id)
	return n == 1, err
}

// ForgetOthers makes all browsers of the account unknown but the one that
// holds token; an empty token spares none.
func ForgetOthers(ctx context.Context, tx *db.Tx, accountID, token string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE account_id = $1 AND token_hash <> $2`, accountID, secret.Hash(token))
	return err
}

// Sweep deletes browsers that were unused for too long.
func Sweep(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE used_at <= $1`, db.At{Time: now.Add(-Life)})
	return err
}

// ForgetAll makes every browser of every account unknown: the database came
// out of a backup (F13).
func ForgetAll(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM devices`)
	return err
}

// BringBack brings last uses that a clock which was ahead wrote down back to latest.
func BringBack(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `UPDATE devices SET used_at = $1 WHERE used_at > $1`, db.At{Time: latest})
	return err
}
