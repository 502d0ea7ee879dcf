package authenticator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/label"
	"github.com/sallyport/sallyport/internal/secret"
)

// Kind is a kind of authenticator (SP 800-63B, "Authenticator Types"), and so of the proofs
// that it gives.
type Kind string

// The kinds. Reading any other kind is an error (F3).
const (
	Password   Kind = "password"    // something you know
	TOTP       Kind = "totp"        // something you have: a code of an authenticator app (RFC 6238)
	BackupCode Kind = "backup_code" // something you have: a look-up secret

	// WebAuthn is something you have. As a proof it means that the user touched a WebAuthn
	// authenticator, which signed a challenge. This version reads such rows, but verifies no
	// assertion, so it makes no such proof.
	WebAuthn Kind = "webauthn"

	// Passkey is a kind of proof, never of authenticator: in its ceremony the WebAuthn
	// authenticator also verified the user, with a PIN or a biometric, so it proves two
	// factors. The same authenticator may skip that verification the next time.
	Passkey Kind = "passkey"
)

// Kinds lists every kind.
var Kinds = []Kind{Password, TOTP, BackupCode, WebAuthn, Passkey}

// Limits on an account's confirmed authenticators.
const (
	// MaxTOTP is low because a guessed code is compared with every TOTP authenticator whose codes
	// have the same length, so each of them raises the chance of a guess.
	MaxTOTP = 5
	// MaxWebAuthn keeps the list readable for its owner. It isn't a limit on guessing, since a
	// WebAuthn credential can't be guessed.
	MaxWebAuthn = 10
)

// limitOf returns how many authenticators of the kind an account may have. It returns 0 for
// a kind of which the table authenticators has no rows.
func limitOf(k Kind) int {
	switch k {
	case TOTP:
		return MaxTOTP
	case WebAuthn:
		return MaxWebAuthn
	default:
		return 0
	}
}

// PendingLife is the time to complete an enrolment. A pending one is deleted afterwards.
const PendingLife = 15 * time.Minute

// maxPending limits the pending enrolments of one session.
const maxPending = 5

// MaxNameRunes is the maximum length of a name in code points.
const MaxNameRunes = 40

// Errors of this package.
var (
	ErrNameInvalid = errors.New("name of an authenticator: 1 to 40 printable characters")
	ErrLimit       = errors.New("account has as many authenticators as it may")
)

// Authenticator is an authenticator that an account enrolled besides its password.
type Authenticator struct {
	ID          string
	AccountID   string
	Kind        Kind
	Name        string // chosen by the owner
	CreatedAt   time.Time
	ConfirmedAt time.Time // zero while the enrolment is pending
	LastUsedAt  time.Time // as earlier versions stored it; see totp.UsedAt
}

// NormalizeName returns name as [label.Normalize] does, or [ErrNameInvalid] with its reason.
func NormalizeName(name string) (string, error) {
	name, err := label.Normalize(name, MaxNameRunes)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNameInvalid, err)
	}
	return name, nil
}

const columns = `id, account_id, kind, name, created_at, confirmed_at, last_used_at`

func scanAuthenticator(scan db.Scan) (Authenticator, error) {
	var (
		a                        Authenticator
		created, confirmed, used db.At
	)
	if err := scan(&a.ID, &a.AccountID, &a.Kind, &a.Name, &created, &confirmed, &used); err != nil {
		return Authenticator{}, err
	}
	if limitOf(a.Kind) == 0 {
		return Authenticator{}, fmt.Errorf("authenticator %s has the unknown kind %q", a.ID, a.Kind)
	}
	a.CreatedAt, a.ConfirmedAt, a.LastUsedAt = created.Time, confirmed.Time, used.Time
	return a, nil
}

// List returns the account's confirmed authenticators of all kinds, oldest first.
func List(ctx context.Context, q db.Querier, accountID string) ([]Authenticator, error) {
	all, err := db.All(ctx, q, `
		SELECT `+columns+` FROM authenticators
		WHERE account_id = $1 AND confirmed_at IS NOT NULL ORDER BY confirmed_at, id`, []any{accountID}, scanAuthenticator)
	if err != nil {
		return nil, fmt.Errorf("list authenticators: %w", err)
	}
	return all, nil
}

// Count returns the number of the account's confirmed authenticators, including those of kinds
// that [List] can't read.
func Count(ctx context.Context, q db.Querier, accountID string) (n int, err error) {
	err = db.One(ctx, q, `SELECT COUNT(*) FROM authenticators WHERE account_id = $1 AND confirmed_at IS NOT NULL`, []any{accountID}, &n)
	return n, err
}

// NameOf returns the name of the account's confirmed authenticator with this id, of any kind, or
// [db.ErrNotFound].
func NameOf(ctx context.Context, q db.Querier, accountID, id string) (name string, err error) {
	err = db.One(ctx, q, `SELECT name FROM authenticators WHERE id = $1 AND account_id = $2 AND confirmed_at IS NOT NULL`, []any{id, accountID}, &name)
	return name, err
}

// OfKind returns the authenticators of one kind, in the same order.
func OfKind(all []Authenticator, kind Kind) []Authenticator {
	var some []Authenticator
	for _, a := range all {
		if a.Kind == kind {
			some = append(some, a)
		}
	}
	return some
}

// Owners returns the ids of all accounts with a confirmed authenticator, in one statement.
func Owners(ctx context.Context, q db.Querier) (map[string]bool, error) {
	all, err := db.All(ctx, q, `SELECT DISTINCT account_id FROM authenticators WHERE confirmed_at IS NOT NULL`,
		nil, func(scan db.Scan) (id string, err error) {
			return id, scan(&id)
		})
	if err != nil {
		return nil, fmt.Errorf("list accounts with authenticators: %w", err)
	}
	owners := make(map[string]bool, len(all))
	for _, id := range all {
		owners[id] = true
	}
	return owners, nil
}

// ByID returns the account's confirmed authenticator with this id. It returns
// [db.ErrNotFound] both for an unknown id and for one of another account.
func ByID(ctx context.Context, q db.Querier, accountID, id string) (Authenticator, error) {
	return readOne(ctx, q, `SELECT `+columns+` FROM authenticators WHERE id = $1 AND account_id = $2 AND confirmed_at IS NOT NULL`, id, accountID)
}

// Pending returns the pending enrolment with this id if the session started it and it hasn't
// expired, else [db.ErrNotFound]. Another session of the same account can't read its secret
// (R28).
func Pending(ctx context.Context, q db.Querier, sessionID, id string, now time.Time) (Authenticator, error) {
	return readOne(ctx, q, `
		SELECT `+columns+` FROM authenticators
		WHERE id = $1 AND session_id = $2 AND confirmed_at IS NULL AND created_at > $3`,
		id, sessionID, db.At{Time: now.Add(-PendingLife)})
}

// OwnerOf returns the account id of an authenticator, confirmed or pending, or "" if it
// doesn't exist.
func OwnerOf(ctx context.Context, q db.Querier, id string) (accountID string, err error) {
	err = db.One(ctx, q, `SELECT account_id FROM authenticators WHERE id = $1`, []any{id}, &accountID)
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return accountID, err
}

func readOne(ctx context.Context, q db.Querier, query string, args ...any) (Authenticator, error) {
	all, err := db.All(ctx, q, query, args, scanAuthenticator)
	if err != nil {
		return Authenticator{}, fmt.Errorf("read authenticator: %w", err)
	}
	if len(all) == 0 {
		return Authenticator{}, db.ErrNotFound
	}
	return all[0], nil
}

// CreatePending starts an enrolment in a session. If the session then has too many pending
// enrolments, it removes the oldest. The kind is [TOTP] or [WebAuthn].
func CreatePending(ctx context.Context, tx *db.Tx, accountID, sessionID string, kind Kind, now time.Time) (Authenticator, error) {
	if limitOf(kind) == 0 {
		return Authenticator{}, fmt.Errorf("an account can't enrol an authenticator of kind %q", kind)
	}
	if _, err := db.Exec(ctx, tx, `
		DELETE FROM authenticators
		WHERE session_id = $1 AND confirmed_at IS NULL AND id NOT IN (
			SELECT id FROM authenticators WHERE session_id = $1 AND confirmed_at IS NULL
			ORDER BY created_at DESC LIMIT $2)`, sessionID, maxPending-1); err != nil {
		return Authenticator{}, fmt.Errorf("drop older enrolments: %w", err)
	}
	a := Authenticator{ID: secret.NewID(), AccountID: accountID, Kind: kind, CreatedAt: now}
	_, err := db.Exec(ctx, tx, `
		INSERT INTO authenticators (id, account_id, session_id, kind, name, created_at) VALUES ($1, $2, $3, $4, '', $5)`,
		a.ID, a.AccountID, sessionID, string(kind), db.At{Time: now})
	if err != nil {
		return Authenticator{}, fmt.Errorf("begin enrolment: %w", err)
	}
	return a, nil
}

// Confirm completes a pending enrolment of the session and gives it the name a.Name. Of
// several concurrent callers one succeeds; the others get [db.ErrNotFound]. If the account has
// as many authenticators of a.Kind as it may, Confirm returns [ErrLimit]. The caller must have
// locked the account's row (account.Lock).
func Confirm(ctx context.Context, tx *db.Tx, sessionID string, a Authenticator, now time.Time) error {
	var others int
	if err := db.One(ctx, tx, `SELECT COUNT(*) FROM authenticators WHERE account_id = $1 AND kind = $2 AND confirmed_at IS NOT NULL`,
		[]any{a.AccountID, string(a.Kind)}, &others); err != nil {
		return fmt.Errorf("count authenticators: %w", err)
	}
	if others >= limitOf(a.Kind) {
		return ErrLimit
	}
	return changeOne(ctx, tx, `
		UPDATE authenticators SET confirmed_at = $3, last_used_at = NULL, session_id = NULL, name = $4
		WHERE id = $1 AND session_id = $2 AND confirmed_at IS NULL`,
		a.ID, sessionID, db.At{Time: now}, a.Name)
}

// Cancel removes a pending enrolment of the session.
func Cancel(ctx context.Context, tx *db.Tx, sessionID, id string) error {
	return changeOne(ctx, tx, `DELETE FROM authenticators WHERE id = $1 AND session_id = $2 AND confirmed_at IS NULL`, id, sessionID)
}

// RemovePending removes the account's pending enrolments except those of one session. With an
// empty exceptSession it removes all.
func RemovePending(ctx context.Context, tx *db.Tx, accountID, exceptSession string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM authenticators WHERE account_id = $1 AND confirmed_at IS NULL AND session_id <> $2`, accountID, exceptSession)
	return err
}

// PurgePending deletes all pending enrolments, after the database was restored from a backup
// (F13).
func PurgePending(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM authenticators WHERE confirmed_at IS NULL`)
	return err
}

// RemoveFuturePending removes the pending enrolments that are dated after latest, since the clock
// was ahead when they began. Otherwise they would stay open for too long.
func RemoveFuturePending(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM authenticators WHERE confirmed_at IS NULL AND created_at > $1`, db.At{Time: latest})
	if err != nil {
		return fmt.Errorf("end enrolments of the future: %w", err)
	}
	return nil
}

// Rename changes the name of one of the account's confirmed authenticators.
func Rename(ctx context.Context, tx *db.Tx, accountID, id, name string) error {
	return changeOne(ctx, tx, `UPDATE authenticators SET name = $3 WHERE id = $1 AND account_id = $2 AND confirmed_at IS NOT NULL`, id, accountID, name)
}

// Remove deletes one of the account's confirmed authenticators, with its secret.
func Remove(ctx context.Context, tx *db.Tx, accountID, id string) error {
	return changeOne(ctx, tx, `DELETE FROM authenticators WHERE id = $1 AND account_id = $2 AND confirmed_at IS NOT NULL`, id, accountID)
}

// RemoveAll deletes all of the account's authenticators, including pending ones.
func RemoveAll(ctx context.Context, tx *db.Tx, accountID string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM authenticators WHERE account_id = $1`, accountID)
	return err
}

// ExpirePending deletes expired pending enrolments. It skips locked rows, as session.Expire does.
func ExpirePending(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM authenticators WHERE id IN (
		SELECT id FROM authenticators WHERE confirmed_at IS NULL AND created_at <= $1 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now.Add(-PendingLife)})
	return err
}

// changeOne runs a statement that must change one row, or returns [db.ErrNotFound].
func changeOne(ctx context.Context, tx *db.Tx, query string, args ...any) error {
	n, err := db.Exec(ctx, tx, query, args...)
	if err != nil {
		return fmt.Errorf("change authenticator: %w", err)
	}
	if n == 0 {
		return db.ErrNotFound
	}
	return nil
}
