package device

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// LetInLife is how long a browser that mail let in may try passwords: as long as wrong passwords
// shield an account from unknown browsers.
const LetInLife = 24 * time.Hour

// mayTry is the condition for a browser that is known ($2: since when) or let in ($3: since when).
// A sign-in sets used_at, so used_at is 0 for a browser that was only let in. Earlier versions of
// the program take such a row for a browser that isn't known any more.
const mayTry = `used_at > $2 OR used_at = 0 AND created_at > $3`

// LetIn lets the browser try passwords of the account for [LetInLife], although unknown browsers
// aren't allowed to, and returns the new value of its cookie. It ends the permission of the
// browser that was let in before, so that an attacker who reads the owner's mails lets in at most
// one. A browser that is known stays known.
func LetIn(ctx context.Context, tx *db.Tx, accountID string, from Browser, now time.Time) (cookie secret.Text, err error) {
	known, err := ByCookie(ctx, tx, from.Cookie, accountID, now)
	if err != nil || known.ID != "" {
		return secret.NewText(from.Cookie), err
	}
	if err := EndLetIn(ctx, tx, accountID); err != nil {
		return cookie, err
	}
	token := secret.NewToken()
	_, err = db.Exec(ctx, tx, `
		INSERT INTO devices (id, token_hash, account_id, created_at, used_at, address, browser) VALUES ($1, $2, $3, $4, 0, $5, $6)`,
		secret.NewTimedID(now), secret.Hash(token.Reveal()), accountID, db.At{Time: now}, from.Address, from.UserAgent)
	if err != nil {
		return cookie, fmt.Errorf("let a browser in: %w", err)
	}
	tokens := tokensIn(from.Cookie)
	if len(tokens) == 0 {
		return token, nil
	}
	others, err := tokensOfOthers(ctx, tx, tokens, accountID, now)
	return secret.NewText(strings.Join(append([]string{token.Reveal()}, others...), separator)), err
}

// EndLetIn ends the permission that [LetIn] gave to a browser of the account.
func EndLetIn(ctx context.Context, tx *db.Tx, accountID string) error {
	if _, err := db.Exec(ctx, tx, `DELETE FROM devices WHERE account_id = $1 AND used_at = 0`, accountID); err != nil {
		return fmt.Errorf("end that a browser is let in: %w", err)
	}
	return nil
}

// ByCookieOrLetIn is like [ByCookie], but also returns a browser that mail let in: see
// [Device.IsLetIn]. Use it only for tries of passwords.
func ByCookieOrLetIn(ctx context.Context, q db.Querier, cookie, accountID string, now time.Time) (Device, error) {
	return byCookie(ctx, q, cookie, mayTry, accountID, db.At{Time: now.Add(-Life)}, db.At{Time: now.Add(-LetInLife)})
}
