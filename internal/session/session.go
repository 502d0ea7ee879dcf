package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Life is how long sessions last if nobody ends them.
type Life struct {
	Idle     time.Duration // maximum time without a request
	Absolute time.Duration // maximum time since the sign-in
}

// seenResolution is the shortest time between two writes of a session's last use. A write for
// every request would cost more than the request itself.
const seenResolution = time.Minute

// maxPerAccount limits the sessions of an account; one more ends the session that was unused for
// longest. No person has so many browsers, and nobody would read a longer list.
const maxPerAccount = 100

// Session is a signed-in browser.
type Session struct {
	ID        string
	AccountID string
	Stamp     string // the account's stamp when the session was created or renewed
	Proofs    []authenticator.Proof
	CreatedAt time.Time
	SeenAt    time.Time
	ExpiresAt time.Time // absolute end
	Address   string
	Browser   string // User-Agent
}

const columns = `id, account_id, security_stamp, proofs, created_at, seen_at, expires_at, address, browser`

func scanSession(scan db.Scan) (Session, error) {
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

// endsAt returns when the session ends by itself unless it is used before. The parameter stamp is
// the account's. If the session's own is different, the session is void and endsAt returns the
// zero time (R17).
func (s *Session) endsAt(life Life, stamp string) time.Time {
	idle := s.SeenAt.Add(life.Idle)
	switch {
	case s.Stamp != stamp:
		return time.Time{}
	case idle.Before(s.ExpiresAt):
		return idle
	default:
		return s.ExpiresAt
	}
}

// isLive reports whether the session is valid at the time now if the account has this stamp.
func (s *Session) isLive(now time.Time, life Life, stamp string) bool {
	return now.Before(s.endsAt(life, stamp))
}

// ByToken returns the valid session with this token, and its account. It returns the same
// [db.ErrNotFound] whether the token is unknown, the session has ended, its account is disabled
// or the account has a new stamp.
func ByToken(ctx context.Context, q db.Querier, token string, life Life, now time.Time) (Session, account.Account, error) {
	if token == "" {
		return Session{}, account.Account{}, db.ErrNotFound
	}
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM sessions WHERE token_hash = $1`,
		[]any{secret.Hash(token)}, scanSession)
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
	if owner.Disabled() || !s.isLive(now, life, owner.Stamp) {
		return Session{}, account.Account{}, db.ErrNotFound
	}
	return s, owner, nil
}

// List returns the account's valid sessions, the last used first.
func List(ctx context.Context, q db.Querier, owner account.Account, life Life, now time.Time) ([]Session, error) {
	all, err := db.All(ctx, q, `SELECT `+columns+` FROM sessions WHERE account_id = $1 ORDER BY seen_at DESC, id`,
		[]any{owner.ID}, scanSession)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var live []Session
	for _, s := range all {
		if s.isLive(now, life, owner.Stamp) {
			live = append(live, s)
		}
	}
	return live, nil
}

// Browser describes the client of a request.
type Browser struct {
	Address   string
	UserAgent string // printable text of limited length, cleaned by the caller
}

// Opening describes a new session.
type Opening struct {
	Proofs  []authenticator.Proof
	Browser Browser
	Life    Life
}

// Create stores a new session and returns its token. If the account has [maxPerAccount] sessions
// already, Create ends the one that was unused for longest. Only finish of package login calls it.
func Create(ctx context.Context, tx *db.Tx, owner account.Account, opening Opening, now time.Time) (secret.Text, error) {
	var n int
	err := db.One(ctx, tx, `SELECT COUNT(*) FROM sessions WHERE account_id = $1`, []any{owner.ID}, &n)
	if err == nil && n >= maxPerAccount { // counted first, since a DELETE each time would cost more
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
		secret.NewTimedID(now), secret.Hash(token.Reveal()), owner.ID, owner.Stamp, authenticator.EncodeProofs(opening.Proofs),
		db.At{Time: now}, db.At{Time: now.Add(opening.Life.Absolute)}, opening.Browser.Address, opening.Browser.UserAgent)
	if err != nil {
		return secret.Text{}, fmt.Errorf("open session: %w", err)
	}
	return token, nil
}

// Renewal describes how [Renew] changes a session.
type Renewal struct {
	Old     string // the token by which the session was read
	Stamp   string // the account's stamp
	Proofs  []authenticator.Proof
	Expires time.Time // the new absolute end after a sign-in; zero keeps the present end
}

// Renew changes the token, proofs and stamp of a session and returns the new token. The token
// r.Old stops working (R16). Renew drops proofs with a time in the future, which come from a
// wrong clock; see [authenticator.Since]. If the session was revoked, or got another token since
// r.Old was read, Renew returns [db.ErrNotFound] and has no effect.
func Renew(ctx context.Context, tx *db.Tx, s Session, r Renewal, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	tx.Changed(s.ID)
	n, err := db.Exec(ctx, tx, `
		UPDATE sessions SET token_hash = $2, security_stamp = $3, proofs = $4, seen_at = $5, expires_at = COALESCE($6, expires_at)
		WHERE id = $1 AND token_hash = $7`,
		s.ID, secret.Hash(token.Reveal()), r.Stamp, authenticator.EncodeProofs(authenticator.Since(r.Proofs, time.Time{}, now)), db.At{Time: now}, db.At{Time: r.Expires}, secret.Hash(r.Old))
	if err != nil {
		return secret.Text{}, fmt.Errorf("renew session: %w", err)
	}
	if n == 0 {
		return secret.Text{}, db.ErrNotFound
	}
	return token, nil
}

// SeenIsOld reports whether SeenAt is so old that a use at the time now must be written.
func (s *Session) SeenIsOld(now time.Time) bool { return now.Sub(s.SeenAt) >= seenResolution }

// NoteUse writes the last use of the session with this id. If another transaction has locked the
// row, NoteUse skips it: that transaction ends or renews the session, which needs no such write.
func NoteUse(ctx context.Context, tx *db.Tx, id string, at time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE sessions SET seen_at = $2 WHERE id = (
			SELECT id FROM sessions WHERE id = $1 AND seen_at < $2 FOR NO KEY UPDATE SKIP LOCKED)`, id, db.At{Time: at})
	return err
}

// Revoke ends one session of the account and reports whether it existed.
func Revoke(ctx context.Context, tx *db.Tx, accountID, id string) (bool, error) {
	tx.Changed(id)
	n, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE id = $1 AND account_id = $2`, id, accountID)
	return n == 1, err
}

// RevokeOthers ends all sessions of the account except the kept one and returns their number. If
// kept is empty, it ends all sessions.
func RevokeOthers(ctx context.Context, tx *db.Tx, accountID, kept string) (int, error) {
	tx.Changed(accountID)
	n, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE account_id = $1 AND id <> $2`, accountID, kept)
	return int(n), err
}

// Expire deletes sessions past their idle or absolute end. It skips locked sessions: other
// transactions may lock sessions in another order, so that waiting could cause a deadlock. It
// does wait for a transaction that has locked a visit or handoff of an expired session.
func Expire(ctx context.Context, tx *db.Tx, life Life, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM sessions WHERE id IN (
		SELECT id FROM sessions WHERE expires_at <= $1 OR seen_at <= $2 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now}, db.At{Time: now.Add(-life.Idle)})
	return err
}

// Purge deletes all sessions. It is for a database that was restored from a backup: some of its
// sessions may have ended after the backup was made (F13).
func Purge(ctx context.Context, tx *db.Tx) error {
	tx.Changed("")
	_, err := db.Exec(ctx, tx, `DELETE FROM sessions`)
	return err
}

// RevokeFuture corrects rows with a time after latest, which come from a clock that was ahead. It
// deletes sessions that were created or renewed after latest, and handoffs that were made after
// it. For other sessions, it sets a last use after latest back to latest.
func RevokeFuture(ctx context.Context, tx *db.Tx, latest time.Time) error {
	tx.Changed("")
	// A sign-in can renew a session that was created before latest. Then only its proofs show a
	// time after latest. A session with unreadable proofs counts as renewed after latest.
	type row struct {
		id, proofs string
		created    db.At
	}
	all, err := db.All(ctx, tx, `SELECT id, proofs, created_at FROM sessions WHERE created_at > $1 OR seen_at > $1`,
		[]any{db.At{Time: latest}}, func(scan db.Scan) (r row, err error) { return r, scan(&r.id, &r.proofs, &r.created) })
	if err != nil {
		return fmt.Errorf("find sessions of the future: %w", err)
	}
	for _, r := range all {
		proofs, unreadable := authenticator.ParseProofs(r.proofs)
		isFuture := func(p authenticator.Proof) bool { return p.At.After(latest) }
		if unreadable != nil || r.created.After(latest) || slices.ContainsFunc(proofs, isFuture) {
			_, err = db.Exec(ctx, tx, `DELETE FROM sessions WHERE id = $1`, r.id)
		} else {
			_, err = db.Exec(ctx, tx, `UPDATE sessions SET seen_at = $2 WHERE id = $1`, r.id, db.At{Time: latest})
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
