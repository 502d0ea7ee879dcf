// Package device owns known browsers, table devices. A known browser is one in
// which its account signed in fully before. It chooses the budget that tries
// are counted in and never replaces a factor (R18).
package device

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// maxPerAccount known browsers; the longest unused makes room.
	maxPerAccount = 20

	// maxPerBrowser accounts have a token in one cookie, as on a family's computer;
	// that of the longest unused makes room. They take 900 bytes.
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

// separator stands between the tokens of a cookie; no token has it.
const separator = "."

// held returns the tokens that a cookie holds, the newest first, at most
// [maxPerBrowser] of them.
func held(cookie string) []string {
	if cookie == "" {
		return nil
	}
	tokens := strings.SplitN(cookie, separator, maxPerBrowser+1)
	return tokens[:min(len(tokens), maxPerBrowser)]
}

// hashesOf returns the placeholders of the tokens' hashes, from $first on, and args
// with the hashes behind them.
func hashesOf(tokens []string, first int, args ...any) (string, []any) {
	places := make([]string, len(tokens))
	for i, token := range tokens {
		places[i] = "$" + strconv.Itoa(first+i)
		args = append(args, secret.Hash(token))
	}
	return strings.Join(places, ", "), args
}

// Known returns the device of the account that a token in the cookie names; its ID is
// empty where the browser isn't known. The token of one account says nothing about
// another (ATTACKS 19), unless it is of the time when accounts shared one.
func Known(ctx context.Context, q db.Querier, cookie, accountID string, now time.Time) (Device, error) {
	tokens := held(cookie)
	if len(tokens) == 0 { // an unknown name, with an empty id, costs the same query
		return Device{}, nil
	}
	places, args := hashesOf(tokens, 3, accountID, db.At{Time: now.Add(-Life)})
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM devices WHERE account_id = $1 AND used_at > $2 AND token_hash IN (`+places+`)
		ORDER BY used_at DESC, id LIMIT 1`, args...)
	if err != nil {
		return Device{}, fmt.Errorf("read known browser: %w", err)
	}
	if len(all) == 0 {
		return Device{}, nil
	}
	return all[0], nil
}

// Remember makes the browser known for the account and returns what its cookie holds
// from now on: a new token for the account, then those for other accounts that
// still work. The account's older token is dead, so a copied cookie dies with the
// owner's next sign-in. A sign-in changes no other account's row: whoever signs in
// with a copy of somebody's cookie takes no browser over.
func Remember(ctx context.Context, tx *db.Tx, cookie, accountID string, from Browser, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	tokens := held(cookie)
	if len(tokens) == 0 {
		return token, add(ctx, tx, token, accountID, from, now)
	}
	// One row, if somebody put two of the account's tokens into the cookie.
	places, args := hashesOf(tokens, 6, accountID, secret.Hash(token.Reveal()), db.At{Time: now}, from.Address, from.UserAgent)
	n, err := db.Exec(ctx, tx, `
		UPDATE devices SET token_hash = $2, used_at = $3, address = $4, browser = $5
		WHERE account_id = $1 AND token_hash IN (`+places+`) AND id = (
			SELECT id FROM devices WHERE account_id = $1 AND token_hash IN (`+places+`) ORDER BY used_at DESC, id LIMIT 1)`, args...)
	if err != nil {
		return token, fmt.Errorf("renew known browser: %w", err)
	}
	if n == 0 {
		if err := add(ctx, tx, token, accountID, from, now); err != nil {
			return token, err
		}
	}
	others, err := ofOthers(ctx, tx, tokens, accountID, now)
	return secret.NewText(strings.Join(append([]string{token.Reveal()}, others...), separator)), err
}

// add makes a browser known; of the account's others the longest unused makes room.
func add(ctx context.Context, tx *db.Tx, token secret.Text, accountID string, from Browser, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, $4, $5, $6)`,
		secret.NewID(), secret.Hash(token.Reveal()), accountID, db.At{Time: now}, from.Address, from.UserAgent)
	if err != nil {
		return fmt.Errorf("remember browser: %w", err)
	}
	var n int
	err = db.One(ctx, tx, `SELECT COUNT(*) FROM devices WHERE account_id = $1`, []any{accountID}, &n)
	if err == nil && n > maxPerAccount { // to count is much cheaper, and mostly all there is to do
		_, err = db.Exec(ctx, tx, `
			DELETE FROM devices WHERE id IN (
				SELECT id FROM devices WHERE account_id = $1 ORDER BY used_at, id DESC LIMIT $2)`, accountID, n-maxPerAccount)
	}
	if err != nil {
		return fmt.Errorf("forget oldest browser: %w", err)
	}
	return nil
}

// ofOthers returns those of the tokens that make the browser known for other
// accounts, at most as many as fit beside one more.
func ofOthers(ctx context.Context, tx *db.Tx, tokens []string, accountID string, now time.Time) ([]string, error) {
	places, args := hashesOf(tokens, 3, accountID, db.At{Time: now.Add(-Life)})
	all, err := db.All(ctx, tx, func(scan db.Scan) (hash []byte, err error) { return hash, scan(&hash) },
		`SELECT token_hash FROM devices WHERE account_id <> $1 AND used_at > $2 AND token_hash IN (`+places+`)`, args...)
	if err != nil {
		return nil, fmt.Errorf("read known browsers of others: %w", err)
	}
	live := map[string]bool{}
	for _, hash := range all {
		live[string(hash)] = true
	}
	var others []string
	for _, token := range tokens {
		if hash := string(secret.Hash(token)); live[hash] && len(others) < maxPerBrowser-1 {
			others = append(others, token)
			delete(live, hash) // a cookie may name it twice
		}
	}
	return others, nil
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

// ForgetOthers makes all browsers of the account unknown but the one whose cookie
// this is, and returns how many; an empty cookie spares none.
func ForgetOthers(ctx context.Context, tx *db.Tx, accountID, cookie string) (int, error) {
	query, args := `DELETE FROM devices WHERE account_id = $1`, []any{accountID}
	if tokens := held(cookie); len(tokens) > 0 {
		var places string
		places, args = hashesOf(tokens, 2, args...)
		query += ` AND token_hash NOT IN (` + places + `)`
	}
	n, err := db.Exec(ctx, tx, query, args...)
	return int(n), err
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
