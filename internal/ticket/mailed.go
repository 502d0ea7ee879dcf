package ticket

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// place returns the place to which a ticket's data is bound: its row, its kind and its account.
func (t Ticket) place() secret.Place {
	return secret.Place{Table: "tickets", Column: "data", Row: hex.EncodeToString(t.hash) + "/" + string(t.Kind) + "/" + t.AccountID}
}

// IsMailed reports whether [Mail] stored the link. The data of a mailed [Invitation], [Enroll] or
// [LetIn] is the address that the mail went to.
func (t Ticket) IsMailed() bool { return len(t.sealed) > 0 }

// Data returns what [Mail] stored with the ticket, or nil if it stored no data.
func (t Ticket) Data(ring *secret.Ring) ([]byte, error) {
	if len(t.sealed) == 0 {
		return nil, nil
	}
	data, err := ring.Open(t.place(), t.sealed)
	if err != nil {
		return nil, fmt.Errorf("open the data of a link: %w", err)
	}
	return data, nil
}

// Mail stores a link that is about to be mailed, and reports whether the link is new. The caller
// has made its token and stored the token in a message. Mail takes Kind, AccountID, ExpiresAt and
// Browser from t. Each try to send the mail calls Mail again: if the link exists and is unused, Mail
// changes only its end. Other links of the account stay valid, so that a request by a stranger
// doesn't end the owner's link.
func Mail(ctx context.Context, tx *db.Tx, ring *secret.Ring, t Ticket, token secret.Text, data []byte, now time.Time) (bool, error) {
	t.hash = secret.Hash(token.Reveal())
	n, err := db.Exec(ctx, tx, `
		INSERT INTO tickets (token_hash, kind, account_id, created_at, expires_at, data, browser_hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (token_hash) DO NOTHING`,
		t.hash, string(t.Kind), t.AccountID, db.At{Time: now}, db.At{Time: t.ExpiresAt}, ring.Seal(t.place(), data), t.Browser)
	if err == nil && n == 0 {
		_, err = db.Exec(ctx, tx, `UPDATE tickets SET expires_at = $2 WHERE token_hash = $1 AND used_at IS NULL`, t.hash, db.At{Time: t.ExpiresAt})
	}
	if err != nil {
		return false, fmt.Errorf("store a mailed link: %w", err)
	}
	return n == 1, nil
}

// maxCodes is how many typed codes are compared for an [Unlock]. It leaves room for typing errors,
// and is safe, since a code has 40 bits.
const maxCodes = 3

// TryCode counts a typed code as a try for each valid [Unlock] that the browser asked for. It returns
// the links that have tries left, with whose codes the caller compares the typed code. The caller
// must commit before it compares.
func TryCode(ctx context.Context, tx *db.Tx, browser []byte, now time.Time) ([]Ticket, error) {
	all, err := db.All(ctx, tx, `
		UPDATE tickets SET tries = tries + 1
		WHERE  kind = $1 AND browser_hash = $2 AND used_at IS NULL AND expires_at > $3 AND tries < $4
		RETURNING token_hash, kind, account_id, expires_at, data, browser_hash`,
		[]any{string(Unlock), browser, db.At{Time: now}, maxCodes}, func(scan db.Scan) (t Ticket, err error) {
			var expires db.At
			err = scan(&t.hash, &t.Kind, &t.AccountID, &expires, &t.sealed, &t.Browser)
			t.ExpiresAt = expires.Time
			return t, err
		})
	if err != nil {
		return nil, fmt.Errorf("count a code: %w", err)
	}
	return all, nil
}

// Exists reports whether the account has a valid link of the given kind.
func Exists(ctx context.Context, q db.Querier, kind Kind, accountID string, now time.Time) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM tickets WHERE kind = $1 AND account_id = $2 AND used_at IS NULL AND expires_at > $3)`,
		[]any{string(kind), accountID, db.At{Time: now}}, &some)
	if err != nil {
		return false, fmt.Errorf("look for a link: %w", err)
	}
	return some, nil
}

// Holds reports whether the link with this token is stored and unused.
func Holds(ctx context.Context, q db.Querier, token secret.Text) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM tickets WHERE token_hash = $1 AND used_at IS NULL)`, []any{secret.Hash(token.Reveal())}, &some)
	if err != nil {
		return false, fmt.Errorf("look for a link: %w", err)
	}
	return some, nil
}

// Sealed returns the sealed data of at most [secret.SealedBatch] tickets, in the order of their ids
// and beginning after the id after. The result is empty if there are no more. An id is the hash of
// a token in hexadecimal digits.
func Sealed(ctx context.Context, q db.Querier, after string) ([]secret.Sealed, error) {
	from, err := hex.DecodeString(after)
	if err != nil {
		return nil, fmt.Errorf("read the hash of a link: %w", err)
	}
	return db.All(ctx, q, `
		SELECT token_hash, kind, COALESCE(account_id, ''), data FROM tickets
		WHERE  data IS NOT NULL AND token_hash > $1 ORDER BY token_hash LIMIT $2`, []any{from, secret.SealedBatch}, func(scan db.Scan) (secret.Sealed, error) {
		var t Ticket
		err := scan(&t.hash, &t.Kind, &t.AccountID, &t.sealed)
		return secret.Sealed{ID: hex.EncodeToString(t.hash), Place: t.place(), Bytes: t.sealed}, err
	})
}

// Reseal replaces the sealed bytes of a ticket's data by the bytes resealed, which are the same data
// sealed under another key. If the row has changed since old was read, Reseal leaves it unchanged
// and returns false.
func Reseal(ctx context.Context, tx *db.Tx, old secret.Sealed, resealed []byte) (bool, error) {
	hash, err := hex.DecodeString(old.ID)
	if err != nil {
		return false, fmt.Errorf("read the hash of a link: %w", err)
	}
	n, err := db.Exec(ctx, tx, `UPDATE tickets SET data = $3 WHERE token_hash = $1 AND data = $2`, hash, old.Bytes, resealed)
	return n == 1, err
}
