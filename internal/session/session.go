// Package session owns sessions, visits and handoffs, the tables of these
// names: what a browser holds once a sign-in is done. A session exists only
// after every stage of an attempt (R12), and only package login opens one
// (R13); a visit is its admission to one panel, a handoff what carries it
// there. Tokens live in cookies; the database has their hashes.
package session

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Life says when sessions end by themselves.
type Life struct {
	Idle     time.Duration // without requests
	Absolute time.Duration // whatever happens
}

// seenEvery is how often a request moves a session's last use: a write for
// each would cost more than the request, and nobody reads seconds.
const seenEvery = time.Minute

// maxPerAccount sessions are open at once; the longest unused makes room. No
// person has so many browsers, and a list of them would be of no use.
const maxPerAccount = 100

// Session is a signed-in browser.
type Session struct {
	ID        string
	AccountID string
	Stamp     string // the account's, when the session was last changed
	Proofs    []authenticator.Proof
	CreatedAt time.Time
	SeenAt    time.Time
	ExpiresAt time.Time // absolute end
	Address   string
	Browser   string // User-Agent
}

const columns = `id, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser`

func read(scan db.Scan) (Session, error) {
	var (
		s                      Session
		proofs                 string
		created, seen, expires db.At
	)
	err := scan(&s.ID, &s.AccountID, &s.Stamp, &proofs, &created, &seen, &expires, &s.Address, &s.Browser)
	if err != nil {
		return Session{}, err
	}
	s.CreatedAt, s.SeenAt, s.ExpiresAt = created.Time, seen.Time, expires.Time
	s.Proofs, err = authenticator.ParseProofs(proofs)
	return s, err
}

// live reports whether the session still counts at now for an account with
// this stamp (R17).
func (s *Session) live(now time.Time, life Life, stamp string) bool {
	return now.Before(s.ExpiresAt) && now.Sub(s.SeenAt) < life.Idle && s.Stamp == stamp
}

// ByToken returns the live session with this token and its account, or
// [db.ErrNotFound]: for an unknown token, an ended session, a disabled account
// and an older stamp alike.
func ByToken(ctx context.Context, q db.Querier, token string, life Life, now time.Time) (Session, account.Account, error) {
	if token == "" {
		return Session{}, account.Account{}, db.ErrNotFound
	}
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM sessions WHERE token_hash = $1`, secret.Hash(token))
	if err != nil {
		return Session{}, account.Account{}, fmt.Errorf("read session: %w", err)
	}
	if len(all) == 0 {
		return Session{}, account.Account{}, db.ErrNotFound
	}
	s := all[0]
	owner, err := account.ByID(ctx, q, s.AccountID)
	if err != nil {
		return Session{}, account.Account{}, err
	}
	if owner.Disabled() || !s.live(now, life, owner.Stamp) {
		return Session{}, account.Account{}, db.ErrNotFound
	}
	return s, owner, nil
}

// List returns the account's live sessions, the last used first.
func List(ctx context.Context, q db.Querier, owner account.Account, life Life, now time.Time) ([]Session, error) {
	all, err := db.All(ctx, q, read, `SELECT `+columns+` FROM sessions WHERE account_id = $1 ORDER BY seen_at DESC, id`, owner.ID)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var live []Session
	for _, s := range all {
		if s.live(now, life, owner.Stamp) {
			live = append(live, s)
		}
	}
	return live, nil
}

// Browser is where a request came from.
type Browser struct {
	Address   string
	UserAgent string // printable and short: the door cleans it
}

// Create opens a session and returns its token; past [maxPerAccount] another
// ends. Only login's finish calls it.
func Create(ctx context.Context, tx *db.Tx, owner account.Account, proofs []authenticator.Proof, from Browser, life Life, now time.Time) (secret.Text, error) {
	var n int
	err := db.One(ctx, tx, `SELECT COUNT(*) FROM sessions WHERE account_id = $1`, []any{owner.ID}, &n)
	if err == nil && n >= maxPerAccount { // to count is much cheaper, and mostly all there is to do
		_, err = db.Exec(ctx, tx, `
			DELETE FROM sessions WHERE id IN (
				SELECT id FROM sessions WHERE account_id = $1 ORDER BY seen_at, id DESC LIMIT $2)`, owner.ID, n-maxPerAccount+1)
		tx.Changed(owner.ID)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("end longest unused session: %w", err)
	}
	token := secret.NewToken()
	_, err = db.Exec(ctx, tx, `
		INSERT INTO sessions (id, token_hash, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser)
		VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9)`,
		secret.NewID(), secret.Hash(token.Reveal()), owner.ID, owner.Stamp, authenticator.EncodeProofs(proofs),
		db.At{Time: now}, db.At{Time: now.Add(life.Absolute)}, from.Address, from.UserAgent)
	if err != nil {
		return secret.Text{}, fmt.Errorf("open session: %w", err)
	}
	return token, nil
}

// Renew gives the session a new token, these proofs and this stamp; the old
// token, by which s was read, is dead (R16). A session that was revoked or got another
// token since is not changed: [db.ErrNotFound]. A sign-in, unlike a reauthentication, begins its time
// anew: expires is its new end, or zero to leave it.
func Renew(ctx context.Context, tx *db.Tx, s Session, old, stamp string, proofs []authenticator.Proof, expires time.Time, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	tx.Changed(s.ID)
	n, err := db.Exec(ctx, tx, `
		UPDATE sessions SET token_hash = $2, security_stamp = $3, proofs = $4, seen_at = $5, expires_at = COALESCE($6, expires_at)
		WHERE id = $1 AND token_hash = $7`,
		s.ID, secret.Hash(token.Reveal()), stamp, authenticator.EncodeProofs(proofs), db.At{Time: now}, db.At{Time: expires}, secret.Hash(old))
	if err != nil {
		return secret.Text{}, fmt.Errorf("renew session: %w", err)
	}
	if n == 0 {
		return secret.Text{}, db.ErrNotFound
	}
	return token, nil
}

// SeenIsOld reports whether a use at now is to be noted.
func (s *Session) SeenIsOld(now time.Time) bool { return now.Sub(s.SeenAt) >= seenEvery }

// Seen stores that the session with this id was used, unless somebody changes it
// right now: one that ends or is renewed needs no such note.
func Seen(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE sessions SET seen_at = $2 WHERE id = (
			SELECT id FROM sessions WHERE id = $1 AND seen_at < $2`+tx.UnlessLocked()+`)`, id, db.At{Time: at})
	return err
}

// Revoke ends one session of the account and reports whether it was there.
func Revoke(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE id = $1 AND account_id = $2`, id, accountID)
	return n == 1, err
}

// RevokeOthers ends all sessions of the account but one, and returns how many;
// an empty id spares none.
func RevokeOthers(ctx context.Context, tx *db.Tx, accountID, except string) (int, error) {
	tx.Changed(accountID)
	n, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE account_id = $1 AND id <> $2`, accountID, except)
	return int(n), err
}

// Sweep deletes sessions that ended by themselves.
func Sweep(ctx context.Context, tx *db.Tx, life Life, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE expires_at <= $1 OR seen_at <= $2`, db.At{Time: now}, db.At{Time: now.Add(-life.Idle)})
	return err
}

// EndAll ends every session there is: the database came out of a backup, and
// may have forgotten which were ended since (F13).
func EndAll(ctx context.Context, tx *db.Tx) error {
	tx.Changed("")
	_, err := db.Exec(ctx, tx, `DELETE FROM sessions`)
	return err
}

// EndFuture ends sessions that a clock which was ahead opened, or renewed, after
// latest, and the handoffs that it made; it brings the last use of the others back to
// latest.
func EndFuture(ctx context.Context, tx *db.Tx, latest time.Time) error {
	tx.Changed("")
	// A sign-in may have renewed an older session; its proofs tell.
	all, err := db.All(ctx, tx, read, `SELECT `+columns+` FROM sessions WHERE created_at > $1 OR seen_at > $1`, db.At{Time: latest})
	if err != nil {
		return fmt.Errorf("find sessions of the future: %w", err)
	}
	for _, s := range all {
		if s.CreatedAt.After(latest) || len(authenticator.Since(s.Proofs, latest)) > 0 {
			_, err = db.Exec(ctx, tx, `DELETE FROM sessions WHERE id = $1`, s.ID)
		} else {
			_, err = db.Exec(ctx, tx, `UPDATE sessions SET seen_at = $2 WHERE id = $1`, s.ID, db.At{Time: latest})
		}
		if err != nil {
			return fmt.Errorf("end a session of the future: %w", err)
		}
	}
	if _, err := db.Exec(ctx, tx, `DELETE FROM handoffs WHERE expires_at > $1`, db.At{Time: latest.Add(handoffLife)}); err != nil {
		return fmt.Errorf("end handoffs of the future: %w", err)
	}
	return nil
}
