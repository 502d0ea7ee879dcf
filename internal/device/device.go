// Package device owns known browsers and the table devices. A browser is known for an
// account after a full sign-in in it. It then has budgets of its own for wrong passwords and
// codes, so that strangers can't use up the owner's. It never replaces a factor (R18).
//
// letin.go has browsers that a mailed link let in: they may try passwords, and aren't known.
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
	// maxPerAccount limits an account's known browsers. A further browser replaces the one that
	// has been unused for longest.
	maxPerAccount = 20

	// maxPerBrowser limits the accounts with a token in one cookie, as on a family's computer.
	// A further token replaces the one that has been unused for longest. Together they take 900
	// bytes.
	maxPerBrowser = 20

	// Life is how long a browser stays known without a sign-in.
	Life = 180 * 24 * time.Hour
)

// Device is a browser known for one account.
type Device struct {
	ID        string
	AccountID string
	CreatedAt time.Time
	UsedAt    time.Time // time of the last full sign-in; 1970 while IsLetIn
	Address   string
	Browser   string // User-Agent

	// IsLetIn means that mail let the browser in, and that the account hasn't signed in there
	// since. The browser isn't known.
	IsLetIn bool
}

// Browser describes the client of a request.
type Browser struct {
	Cookie    string // value of its device cookie, or empty
	Address   string
	UserAgent string
}

const columns = `id, account_id, created_at, used_at, address, browser`

func scanDevice(scan db.Scan) (d Device, err error) {
	var created, used db.At
	err = scan(&d.ID, &d.AccountID, &created, &used, &d.Address, &d.Browser)
	d.CreatedAt, d.UsedAt, d.IsLetIn = created.Time, used.Time, used.UnixMilli() == 0
	return d, err
}

// separator separates the tokens in a cookie; tokens don't contain it.
const separator = "."

// tokensIn returns the tokens in a cookie, the newest first, at most [maxPerBrowser].
func tokensIn(cookie string) []string {
	if cookie == "" {
		return nil
	}
	tokens := strings.SplitN(cookie, separator, maxPerBrowser+1)
	return tokens[:min(len(tokens), maxPerBrowser)]
}

// hashPlaceholders returns SQL placeholders for the hashes of the tokens, numbered from first, and
// args followed by the hashes.
func hashPlaceholders(tokens []string, first int, args ...any) (string, []any) {
	places := make([]string, len(tokens))
	for i, token := range tokens {
		places[i] = "$" + strconv.Itoa(first+i)
		args = append(args, secret.Hash(token))
	}
	return strings.Join(places, ", "), args
}

// ByCookie returns the account's known browser that a token in the cookie names, or the zero
// Device if the account doesn't know it. A token is valid for one account only (attack 19), unless
// it is older than that rule.
func ByCookie(ctx context.Context, q db.Querier, cookie, accountID string, now time.Time) (Device, error) {
	return byCookie(ctx, q, cookie, `used_at > $2`, accountID, db.At{Time: now.Add(-Life)})
}

// byCookie returns the account's browser that a token in the cookie names, if it meets condition.
// The placeholders in condition are $2 and so on.
func byCookie(ctx context.Context, q db.Querier, cookie, condition string, args ...any) (Device, error) {
	tokens := tokensIn(cookie)
	// Don't return early for an empty account: an unknown name must cost the same query as a
	// known one (R27).
	if len(tokens) == 0 {
		return Device{}, nil
	}
	places, args := hashPlaceholders(tokens, len(args)+1, args...)
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM devices WHERE account_id = $1 AND (`+condition+`) AND token_hash IN (`+places+`)
		ORDER BY used_at DESC, id LIMIT 1`, args, scanDevice)
	if err != nil {
		return Device{}, fmt.Errorf("read known browser: %w", err)
	}
	if len(all) == 0 {
		return Device{}, nil
	}
	return all[0], nil
}

// Remember makes the browser known for the account and returns the new value of its cookie: a new
// token for the account, followed by the valid tokens of other accounts. The account's earlier
// token stops working, so a copy of the cookie is useless after the owner's next sign-in. Rows of
// other accounts don't change, so that a thief who signs in with a copied cookie takes over no
// browser. known reports whether the account knew the browser before. A browser that was only let
// in wasn't known.
func Remember(ctx context.Context, tx *db.Tx, accountID string, from Browser, now time.Time) (cookie secret.Text, known bool, err error) {
	token := secret.NewToken()
	tokens := tokensIn(from.Cookie)
	from.Cookie = token.Reveal()
	if len(tokens) == 0 {
		return token, false, insert(ctx, tx, accountID, from, now)
	}
	// The subquery picks one row, in case the cookie has two tokens of the account.
	places, args := hashPlaceholders(tokens, 6, accountID, secret.Hash(token.Reveal()), db.At{Time: now}, from.Address, from.UserAgent)
	n, err := db.Exec(ctx, tx, `
		UPDATE devices SET token_hash = $2, used_at = $3, address = $4, browser = $5
		WHERE account_id = $1 AND token_hash IN (`+places+`) AND id = (
			SELECT id FROM devices WHERE account_id = $1 AND used_at > 0 AND token_hash IN (`+places+`) ORDER BY used_at DESC, id LIMIT 1)`, args...)
	if err != nil {
		return token, false, fmt.Errorf("renew known browser: %w", err)
	}
	if n == 0 {
		if err := EndLetIn(ctx, tx, accountID); err != nil {
			return token, false, err
		}
		if err := insert(ctx, tx, accountID, from, now); err != nil {
			return token, false, err
		}
	}
	others, err := tokensOfOthers(ctx, tx, tokens, accountID, now)
	return secret.NewText(strings.Join(append([]string{token.Reveal()}, others...), separator)), n > 0, err
}

// insert makes a browser known, whose cookie must be a single token. If the account then has
// more than maxPerAccount browsers, insert removes the longest unused.
func insert(ctx context.Context, tx *db.Tx, accountID string, from Browser, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, $4, $5, $6)`,
		secret.NewTimedID(now), secret.Hash(from.Cookie), accountID, db.At{Time: now}, from.Address, from.UserAgent)
	if err != nil {
		return fmt.Errorf("remember browser: %w", err)
	}
	var n int
	err = db.One(ctx, tx, `SELECT COUNT(*) FROM devices WHERE account_id = $1`, []any{accountID}, &n)
	if err == nil && n > maxPerAccount { // counting is much cheaper, and rarely finds too many
		_, err = db.Exec(ctx, tx, `
			DELETE FROM devices WHERE id IN (
				SELECT id FROM devices WHERE account_id = $1 ORDER BY used_at, id DESC LIMIT $2)`, accountID, n-maxPerAccount)
	}
	if err != nil {
		return fmt.Errorf("forget oldest browser: %w", err)
	}
	return nil
}

// tokensOfOthers returns those of the tokens that are valid for other accounts, leaving room for
// one more in the cookie.
func tokensOfOthers(ctx context.Context, tx *db.Tx, tokens []string, accountID string, now time.Time) ([]string, error) {
	places, args := hashPlaceholders(tokens, 4, accountID, db.At{Time: now.Add(-Life)}, db.At{Time: now.Add(-LetInLife)})
	all, err := db.All(ctx, tx, `SELECT token_hash FROM devices WHERE account_id <> $1 AND (`+mayTry+`) AND token_hash IN (`+places+`)`,
		args, func(scan db.Scan) (hash []byte, err error) { return hash, scan(&hash) })
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
			delete(live, hash) // drops a token that the cookie names twice
		}
	}
	return others, nil
}

// List returns the account's known browsers, the last used first.
func List(ctx context.Context, q db.Querier, accountID string, now time.Time) ([]Device, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM devices WHERE account_id = $1 AND used_at > $2 ORDER BY used_at DESC, id`,
		[]any{accountID, db.At{Time: now.Add(-Life)}}, scanDevice)
	if err != nil {
		return nil, fmt.Errorf("list known browsers: %w", err)
	}
	return all, nil
}

// Remove makes one of the account's browsers unknown and reports whether it was known.
func Remove(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	n, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE account_id = $1 AND id = $2`, accountID, id)
	return n == 1, err
}

// RemoveOthers makes all of the account's browsers unknown except the one with this cookie, and
// returns their number. With an empty cookie it makes all unknown.
func RemoveOthers(ctx context.Context, tx *db.Tx, accountID, cookie string) (int, error) {
	query, args := `DELETE FROM devices WHERE account_id = $1`, []any{accountID}
	if tokens := tokensIn(cookie); len(tokens) > 0 {
		var places string
		places, args = hashPlaceholders(tokens, 2, args...)
		query += ` AND token_hash NOT IN (` + places + `)`
	}
	n, err := db.Exec(ctx, tx, query, args...)
	return int(n), err
}

// Expire deletes browsers without a sign-in within [Life], and those let in for longer than
// [LetInLife]. It skips locked rows, as session.Expire does.
func Expire(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE id IN (
		SELECT id FROM devices WHERE used_at <= $1 AND (used_at > 0 OR created_at <= $2) FOR NO KEY UPDATE SKIP LOCKED)`,
		db.At{Time: now.Add(-Life)}, db.At{Time: now.Add(-LetInLife)})
	return err
}

// Purge deletes all known browsers, after the database was restored from a backup (F13).
func Purge(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM devices`)
	return err
}

// ClampTimes corrects times after latest, which were stored while the clock was ahead. It sets
// last uses to latest, and ends the permission of browsers that were let in, which would last too
// long.
func ClampTimes(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `UPDATE devices SET used_at = $1 WHERE used_at > $1`, db.At{Time: latest})
	if err == nil {
		_, err = db.Exec(ctx, tx, `DELETE FROM devices WHERE used_at = 0 AND created_at > $1`, db.At{Time: latest})
	}
	return err
}
