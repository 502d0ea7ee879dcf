package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// TicketKind is the purpose of a one-time link.
type TicketKind string

// The kinds. A link of any other kind isn't valid (F3).
const (
	TicketSetup      TicketKind = "setup"      // creates the first account
	TicketInvitation TicketKind = "invitation" // sets the password of a new account
	TicketEnroll     TicketKind = "enroll"     // opens the wizard of an account that an operator reset
	TicketLetIn      TicketKind = "let_in"     // makes a browser known
)

// life returns how long a link of this kind is valid. Fifteen minutes suffice to walk to a
// browser, and are too short for a thief who finds the link in an old log. An invitation
// must survive a weekend.
func (k TicketKind) life() time.Duration {
	if k == TicketInvitation {
		return 72 * time.Hour
	}
	return MinLinkLife
}

// Limits for the life of a reset's link, which an operator may hand over on the spot or send
// in a letter.
const (
	MinLinkLife = 15 * time.Minute
	MaxLinkLife = 7 * 24 * time.Hour
)

// ErrLinkLife means that the chosen life of a link is outside these limits.
var ErrLinkLife = errors.New("a link may work from 15 minutes to 7 days")

// ErrTicket means that the link was redeemed, has expired, or never existed.
var ErrTicket = errors.New("one-time link is used, expired or unknown")

// Ticket is a stored one-time link.
type Ticket struct {
	Kind      TicketKind
	AccountID string // empty for [TicketSetup]
	ExpiresAt time.Time
	hash      []byte
}

// IssueTicket stores a new link and returns its token. Unused links of the same kind for the
// same account become invalid. accountID is empty for [TicketSetup]; those links stay valid
// side by side, since each node prints one.
func IssueTicket(ctx context.Context, tx *db.Tx, kind TicketKind, accountID string, now time.Time) (secret.Text, error) {
	return IssueTicketFor(ctx, tx, kind, accountID, kind.life(), now)
}

// IssueTicketFor is [IssueTicket] with a life that the caller chooses.
func IssueTicketFor(ctx context.Context, tx *db.Tx, kind TicketKind, accountID string, life time.Duration, now time.Time) (secret.Text, error) {
	if accountID != "" {
		if _, err := RevokeTickets(ctx, tx, kind, accountID); err != nil {
			return secret.Text{}, err
		}
	}
	token := secret.NewToken()
	_, err := db.Exec(ctx, tx, `
		INSERT INTO tickets (token_hash, kind, account_id, created_at, expires_at)
		VALUES ($1, $2, NULLIF($3, ''), $4, $5)`,
		secret.Hash(token.Reveal()), string(kind), accountID, db.At{Time: now}, db.At{Time: now.Add(life)})
	if err != nil {
		return secret.Text{}, fmt.Errorf("issue link: %w", err)
	}
	return token, nil
}

// RevokeTickets deletes the account's links of one kind and returns their number.
func RevokeTickets(ctx context.Context, tx *db.Tx, kind TicketKind, accountID string) (int, error) {
	n, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE kind = $1 AND account_id = $2`, string(kind), accountID)
	if err != nil {
		return 0, fmt.Errorf("end links: %w", err)
	}
	return int(n), nil
}

// Invitations returns when the invitations of accounts expire, by account id, in one
// statement.
func Invitations(ctx context.Context, q db.Querier, now time.Time) (map[string]time.Time, error) {
	type invitation struct {
		account string
		until   db.At
	}
	all, err := db.All(ctx, q, func(scan db.Scan) (one invitation, err error) {
		return one, scan(&one.account, &one.until)
	}, `SELECT account_id, expires_at FROM tickets WHERE kind = $1 AND used_at IS NULL AND expires_at > $2`, string(TicketInvitation), db.At{Time: now})
	if err != nil {
		return nil, fmt.Errorf("list invitations: %w", err)
	}
	until := make(map[string]time.Time, len(all))
	for _, one := range all {
		until[one.account] = one.until.Time
	}
	return until, nil
}

// TicketByToken returns the valid ticket with this token, or [ErrTicket]. Reading doesn't
// redeem it, since mail scanners and previews open links too.
func TicketByToken(ctx context.Context, q db.Querier, token string, now time.Time) (Ticket, error) {
	t := Ticket{hash: secret.Hash(token)}
	var expires, used db.At
	err := db.One(ctx, q, `SELECT kind, COALESCE(account_id, ''), expires_at, used_at FROM tickets WHERE token_hash = $1`,
		[]any{t.hash}, &t.Kind, &t.AccountID, &expires, &used)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return Ticket{}, ErrTicket
	case err != nil:
		return Ticket{}, fmt.Errorf("read link: %w", err)
	case !used.IsZero() || !now.Before(expires.Time):
		return Ticket{}, ErrTicket
	}
	switch t.Kind {
	case TicketSetup, TicketInvitation, TicketEnroll, TicketLetIn:
	default:
		return Ticket{}, ErrTicket
	}
	t.ExpiresAt = expires.Time
	return t, nil
}

// RedeemTicket uses the ticket up. A [TicketSetup] uses up all others of its kind too. Of
// several concurrent callers one succeeds; the others get [ErrTicket].
func RedeemTicket(ctx context.Context, tx *db.Tx, t Ticket, now time.Time) error {
	// Two setup links must not create two accounts. Each updates the other's row, so that
	// the second transaction waits for the first.
	where, key := `token_hash = $1`, any(t.hash)
	if t.Kind == TicketSetup {
		where, key = `kind = $1`, string(TicketSetup)
	}
	n, err := db.Exec(ctx, tx, `UPDATE tickets SET used_at = $2 WHERE `+where+` AND used_at IS NULL AND expires_at > $2`, key, db.At{Time: now})
	if err != nil {
		return fmt.Errorf("use link: %w", err)
	}
	if n == 0 {
		return ErrTicket
	}
	return nil
}

// ExpireTickets deletes expired and redeemed links.
func ExpireTickets(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE expires_at <= $1 OR used_at IS NOT NULL`, db.At{Time: now})
	return err
}

// PurgeTickets deletes all links, after the database was restored from a backup: some of
// them may have been redeemed since it was made (F13).
func PurgeTickets(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets`)
	return err
}

// RevokeFutureTickets deletes links that a clock which was ahead dated after latest: they would
// be valid for too long.
func RevokeFutureTickets(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM tickets WHERE created_at > $1`, db.At{Time: latest})
	return err
}
