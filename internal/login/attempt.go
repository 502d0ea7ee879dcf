package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Purpose is what an attempt is for.
type Purpose string

// The purposes. Reading an attempt with any other purpose is an error (F3).
const (
	SignIn           Purpose = "sign_in"
	Reauthentication Purpose = "reauthentication"
)

// attemptLife is the time a user has to find their phone and type a code.
const attemptLife = 10 * time.Minute

// maxAttempts limits how many attempts of one account are stored for one place, which is a known
// browser or a network. One more deletes the oldest attempt of that place. With one limit for all
// places, a thief who has the password could delete the owner's attempts. The number over all
// places is limited too, since every attempt costs a password hash and expires.
const maxAttempts = 100

// Attempt is a login under way. It is created after a right password, never before.
type Attempt struct {
	ID        string // empty for an attempt that isn't stored and ends with the request
	AccountID string
	Stamp     string // the account's stamp at the start; if it changed since, the attempt is invalid
	Purpose   Purpose
	Place     string // where it started: the id of a known browser, or else the network
	SessionID string // the session that a reauthentication renews; empty for a sign-in
	Proofs    []authenticator.Proof
	ReturnURL string // as CheckReturn returned it
	ExpiresAt time.Time
}

// unknownPurpose returns the error for an attempt whose purpose this version doesn't know.
func (a Attempt) unknownPurpose() error {
	return fmt.Errorf("attempt %s has the unknown purpose %q", a.ID, a.Purpose)
}

// tag returns the name under which the ledger groups the tries of this attempt.
func (a Attempt) tag() string {
	if a.ID == "" {
		return a.SessionID
	}
	return a.ID
}

// attempt returns the live attempt with this token and its account, or
// [ErrNoAttempt].
func (s *Service) attempt(ctx context.Context, q db.Querier, token string) (Attempt, account.Account, error) {
	if token == "" {
		return Attempt{}, account.Account{}, ErrNoAttempt
	}
	var (
		a       Attempt
		proofs  string
		expires db.At
	)
	err := db.One(ctx, q, `
		SELECT id, account_id, security_stamp, purpose, COALESCE(session_id, ''), proofs, return_url, expires_at
		FROM   attempts WHERE token_hash = $1`, []any{secret.Hash(token)},
		&a.ID, &a.AccountID, &a.Stamp, &a.Purpose, &a.SessionID, &proofs, &a.ReturnURL, &expires)
	if errors.Is(err, db.ErrNotFound) {
		return Attempt{}, account.Account{}, ErrNoAttempt
	}
	if err != nil {
		return Attempt{}, account.Account{}, fmt.Errorf("read attempt: %w", err)
	}
	a.ExpiresAt = expires.Time
	if a.Proofs, err = authenticator.ParseProofs(proofs); err != nil {
		return Attempt{}, account.Account{}, err
	}
	if a.Purpose != SignIn { // no other attempt is stored
		return Attempt{}, account.Account{}, a.unknownPurpose()
	}
	owner, err := account.ByID(ctx, q, a.AccountID)
	if errors.Is(err, db.ErrNotFound) { // it was removed after the first read
		return Attempt{}, account.Account{}, ErrNoAttempt
	}
	if err != nil {
		return Attempt{}, account.Account{}, err
	}
	if !s.Clock().Before(a.ExpiresAt) || owner.Disabled() || owner.Stamp != a.Stamp {
		return Attempt{}, account.Account{}, ErrNoAttempt
	}
	return a, owner, nil
}

// checkAttempt returns [ErrNoAttempt] if no attempt has this token. Callers check before they
// wait for the write lock, so that requests with invented tokens don't queue for the lock.
func (s *Service) checkAttempt(ctx context.Context, token string) error {
	var one int
	err := db.One(ctx, s.DB.Reader(), `SELECT 1 FROM attempts WHERE token_hash = $1`, []any{secret.Hash(token)}, &one)
	if errors.Is(err, db.ErrNotFound) {
		return ErrNoAttempt
	}
	return err
}

// store writes the attempt under a new token and returns that token. The earlier token stops
// working (R16).
func (a *Attempt) store(ctx context.Context, tx *db.Tx, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	if a.ID != "" {
		n, err := db.Exec(ctx, tx, `UPDATE attempts SET token_hash = $2, proofs = $3, security_stamp = $4 WHERE id = $1`,
			a.ID, secret.Hash(token.Reveal()), authenticator.EncodeProofs(a.Proofs), a.Stamp)
		if err == nil && n == 0 {
			err = ErrNoAttempt
		}
		return token, err
	}
	a.ID, a.ExpiresAt = secret.NewTimedID(now), now.Add(attemptLife)
	if _, err := db.Exec(ctx, tx, `
		DELETE FROM attempts WHERE account_id = $1 AND place = $2 AND id NOT IN (
			SELECT id FROM attempts WHERE account_id = $1 AND place = $2 ORDER BY created_at DESC LIMIT $3)`,
		a.AccountID, a.Place, maxAttempts-1); err != nil {
		return secret.Text{}, fmt.Errorf("drop older attempts: %w", err)
	}
	_, err := db.Exec(ctx, tx, `
		INSERT INTO attempts (id, token_hash, account_id, security_stamp, purpose, place, session_id, proofs, return_url, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, NULLIF($7, ''), $8, $9, $10, $11)`,
		a.ID, secret.Hash(token.Reveal()), a.AccountID, a.Stamp, string(a.Purpose), a.Place, a.SessionID,
		authenticator.EncodeProofs(a.Proofs), a.ReturnURL, db.At{Time: now}, db.At{Time: a.ExpiresAt})
	if err != nil {
		return secret.Text{}, fmt.Errorf("store attempt: %w", err)
	}
	return token, nil
}

// consume deletes the attempt. Of several concurrent callers, only one succeeds; the others get
// [ErrNoAttempt].
func (a Attempt) consume(ctx context.Context, tx *db.Tx) error {
	if a.ID == "" {
		return nil
	}
	n, err := db.Exec(ctx, tx, `DELETE FROM attempts WHERE id = $1`, a.ID)
	if err != nil {
		return fmt.Errorf("end attempt: %w", err)
	}
	if n == 0 {
		return ErrNoAttempt
	}
	return nil
}

func revokeAttempts(ctx context.Context, tx *db.Tx, accountID string) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM attempts WHERE account_id = $1`, accountID)
	return err
}

// Cancel ends the attempt with this token, if there is one.
func (s *Service) Cancel(ctx context.Context, token string) error {
	if err := s.checkAttempt(ctx, token); err != nil {
		if errors.Is(err, ErrNoAttempt) {
			return nil
		}
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `DELETE FROM attempts WHERE token_hash = $1`, secret.Hash(token))
		return err
	})
}

// ExpireAttempts deletes expired attempts. It skips locked rows, as session.Expire does.
func ExpireAttempts(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM attempts WHERE id IN (
		SELECT id FROM attempts WHERE expires_at <= $1 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now})
	return err
}

// PurgeAttempts deletes all attempts, after the database was restored from a backup (F13).
func PurgeAttempts(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM attempts`)
	return err
}
