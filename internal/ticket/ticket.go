// Package ticket issues and redeems one-time links: the setup link of the first account,
// invitations, the link of a reset, the link with which an owner makes another browser known, and
// mailed links (mailed.go). It owns the table tickets, which has only the SHA-256 of a link's
// token. Reading a ticket doesn't redeem it. If several requests redeem a ticket concurrently, only
// one succeeds. The callers decide what a redeemed link permits.
package ticket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Kind is the purpose of a one-time link.
type Kind string

// The kinds. A link of any other kind isn't valid (F3).
const (
	Setup      Kind = "setup"      // creates the first account
	Invitation Kind = "invitation" // sets the password of a new account
	Enroll     Kind = "enroll"     // opens the wizard of an account that an operator reset
	LetIn      Kind = "let_in"     // makes a browser known

	// The following are always mailed, and package recovery decides what they permit.
	Reset       Kind = "reset"        // sets a new password
	Unlock      Kind = "unlock"       // makes the browser that asked for it known
	VerifyEmail Kind = "verify_email" // confirms an address
	UndoEmail   Kind = "undo_email"   // restores the former address
)

// kinds are all kinds.
var kinds = []Kind{Setup, Invitation, Enroll, LetIn, Reset, Unlock, VerifyEmail, UndoEmail}

// Life returns how long a link of this kind is valid if it isn't mailed. Fifteen minutes are enough
// to walk to a browser, but not for a thief who finds the link in an old log. An invitation must
// last over a weekend.
func (k Kind) Life() time.Duration {
	if k == Invitation {
		return 72 * time.Hour
	}
	return MinLife
}

// Limits for the life of a link if the issuer chooses it.
const (
	// MinLife is enough for a user who is on the phone with an operator.
	MinLife = 15 * time.Minute

	// MaxLife is enough for a link in a letter, or in a mail that is read after a holiday. An
	// unused link must not be valid for longer, since others may get to see the mailbox.
	MaxLife = 7 * 24 * time.Hour
)

// ErrLife means that the chosen life of a link is not between [MinLife] and [MaxLife].
var ErrLife = errors.New("a link may work from 15 minutes to 7 days")

// ErrInvalid means that the link was redeemed, has expired, or never existed.
var ErrInvalid = errors.New("one-time link is used, expired or unknown")

// Ticket is a stored one-time link.
type Ticket struct {
	Kind      Kind
	AccountID string // empty for [Setup]
	ExpiresAt time.Time
	hash      []byte

	// Browser is the SHA-256 of the cookie of the browser that asked for an [Unlock], else empty.
	Browser []byte
	sealed  []byte // see [Ticket.Data]
}

// Issue stores a new link and returns its token. Earlier links of the same kind for the same
// account become invalid. accountID is empty for [Setup]. Several setup links can be valid at
// once, since each node prints one.
func Issue(ctx context.Context, tx *db.Tx, kind Kind, accountID string, now time.Time) (secret.Text, error) {
	return IssueUntil(ctx, tx, Ticket{Kind: kind, AccountID: accountID, ExpiresAt: now.Add(kind.Life())}, now)
}

// IssueUntil is like [Issue], but the link expires at t.ExpiresAt. It returns [ErrLife] if that is
// earlier than [MinLife] or later than [MaxLife] from now.
func IssueUntil(ctx context.Context, tx *db.Tx, t Ticket, now time.Time) (secret.Text, error) {
	if life := t.ExpiresAt.Sub(now); life < MinLife || life > MaxLife {
		return secret.Text{}, ErrLife
	}
	if t.AccountID != "" {
		if _, err := Revoke(ctx, tx, t.Kind, t.AccountID); err != nil {
			return secret.Text{}, err
		}
	}
	token := secret.NewToken()
	_, err := db.Exec(ctx, tx, `
		INSERT INTO tickets (token_hash, kind, account_id, created_at, expires_at)
		VALUES ($1, $2, NULLIF($3, ''), $4, $5)`,
		secret.Hash(token.Reveal()), string(t.Kind), t.AccountID, db.At{Time: now}, db.At{Time: t.ExpiresAt})
	if err != nil {
		return secret.Text{}, fmt.Errorf("issue link: %w", err)
	}
	return token, nil
}

// Revoke deletes the account's links of one kind and returns their number.
func Revoke(ctx context.Context, tx *db.Tx, kind Kind, accountID string) (int, error) {
	n, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE kind = $1 AND account_id = $2`, string(kind), accountID)
	if err != nil {
		return 0, fmt.Errorf("end links: %w", err)
	}
	return int(n), nil
}

// Invitations returns when the valid invitations expire, by account id. It reads them with one
// statement.
func Invitations(ctx context.Context, q db.Querier, now time.Time) (map[string]time.Time, error) {
	type invitation struct {
		account string
		until   db.At
	}
	all, err := db.All(ctx, q, `SELECT account_id, expires_at FROM tickets WHERE kind = $1 AND used_at IS NULL AND expires_at > $2`,
		[]any{string(Invitation), db.At{Time: now}}, func(scan db.Scan) (one invitation, err error) {
			return one, scan(&one.account, &one.until)
		})
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	until := make(map[string]time.Time, len(all))
	for _, one := range all {
		until[one.account] = one.until.Time
	}
	return until, nil
}

// ByToken returns the valid ticket with this token, or [ErrInvalid]. It doesn't redeem the
// ticket, since mail scanners and previews open links too.
func ByToken(ctx context.Context, q db.Querier, token string, now time.Time) (Ticket, error) {
	t := Ticket{hash: secret.Hash(token)}
	var expires, used db.At
	err := db.One(ctx, q, `SELECT kind, COALESCE(account_id, ''), expires_at, used_at, data, browser_hash FROM tickets WHERE token_hash = $1`,
		[]any{t.hash}, &t.Kind, &t.AccountID, &expires, &used, &t.sealed, &t.Browser)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return Ticket{}, ErrInvalid
	case err != nil:
		return Ticket{}, fmt.Errorf("read link: %w", err)
	case !used.IsZero() || !now.Before(expires.Time):
		return Ticket{}, ErrInvalid
	}
	if !slices.Contains(kinds, t.Kind) {
		return Ticket{}, ErrInvalid
	}
	t.ExpiresAt = expires.Time
	return t, nil
}

// Redeem uses the ticket up. If it is a [Setup], Redeem uses up all other tickets of that kind too.
// If several callers redeem a ticket concurrently, one succeeds and the others get [ErrInvalid].
func Redeem(ctx context.Context, tx *db.Tx, t Ticket, now time.Time) error {
	// Two setup links must not create two accounts. So redeeming one updates the rows of both,
	// and the second transaction waits for the first.
	where, key := `token_hash = $1`, any(t.hash)
	if t.Kind == Setup {
		where, key = `kind = $1`, string(Setup)
	}
	n, err := db.Exec(ctx, tx, `UPDATE tickets SET used_at = $2 WHERE `+where+` AND used_at IS NULL AND expires_at > $2`, key, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("use link: %w", err)
	}
	if n == 0 {
		return ErrInvalid
	}
	return nil
}

// Expire deletes expired and redeemed links. It skips locked rows, as session.Expire does.
func Expire(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE token_hash IN (
		SELECT token_hash FROM tickets WHERE expires_at <= $1 OR used_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now})
	return err
}

// Purge deletes all links. It is for a database that was restored from a backup: some of its
// links may have been redeemed after the backup was made (F13).
func Purge(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets`)
	return err
}

// RevokeFuture deletes links with a time of issue after latest, which come from a clock that was
// ahead. They would be valid for too long.
func RevokeFuture(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE created_at > $1`, db.At{Time: latest})
	return err
}

// Invited returns the ids of up to n accounts that have a valid invitation, in order and beginning
// after the id after.
func Invited(ctx context.Context, q db.Querier, after string, now time.Time, n int) ([]string, error) {
	all, err := db.All(ctx, q, `
		SELECT account_id FROM tickets
		WHERE  kind = $1 AND account_id > $2 AND used_at IS NULL AND expires_at > $3
		ORDER  BY account_id
		LIMIT  $4`, []any{string(Invitation), after, db.At{Time: now}, n}, func(scan db.Scan) (id string, err error) {
		return id, scan(&id)
	})
	if err != nil {
		return nil, fmt.Errorf("list invited accounts: %w", err)
	}
	return all, nil
}
