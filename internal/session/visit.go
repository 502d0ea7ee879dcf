package session

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// maxVisits limits the visits of one session to one panel; one more deletes the oldest.
	// A browser needs one visit, but tabs that are restored together start several.
	maxVisits = 5

	// handoffLife is the time a browser has from the portal to the panel: one redirect.
	handoffLife = time.Minute

	// maxHandoffs limits the open handoffs of one session; one more deletes the oldest. The
	// tabs of a restored window open many at once.
	maxHandoffs = 50
)

// Errors of [Enter].
var (
	// ErrHandoff means that there is no such handoff for this panel, that it has expired or
	// was redeemed, or that its session has ended.
	ErrHandoff = errors.New("no such handoff")
	// ErrState means that the handoff was made for another browser or an earlier try.
	ErrState = errors.New("handoff is another browser's")
)

// Visit is a session's admission to one panel. Its token is in a cookie of the panel's host
// and is valid for that panel only.
type Visit struct {
	ID      string
	Panel   string // the panel's origin
	Ended   bool   // the visit admits no requests, but a sign-out at the panel still finds the session by it
	Session Session
	Owner   account.Account
}

// VisitByToken returns the visit with this token. The parameter panel is the panel's origin. The
// visit may have ended; its field Ended says so. VisitByToken returns [db.ErrNotFound] if the token
// is unknown or for another panel, or if the visit's session isn't valid by the rules of [ByToken].
func VisitByToken(ctx context.Context, q db.Querier, token, panel string, life Life, now time.Time) (Visit, error) {
	if token == "" {
		return Visit{}, db.ErrNotFound
	}
	var (
		v                      = Visit{Panel: panel}
		proofs                 string
		created, seen, expires db.At
	)
	s := &v.Session
	err := db.One(ctx, q, `
		SELECT v.id, v.ended, s.id, s.account_id, s.security_stamp, s.proofs, s.created_at, s.seen_at, s.expires_at, s.address, s.browser
		FROM   visits v JOIN sessions s ON s.id = v.session_id
		WHERE  v.token_hash = $1 AND v.panel = $2`, []any{secret.Hash(token), panel},
		&v.ID, &v.Ended, &s.ID, &s.AccountID, &s.Stamp, &proofs, &created, &seen, &expires, &s.Address, &s.Browser)
	if err != nil {
		return Visit{}, err
	}
	s.CreatedAt, s.SeenAt, s.ExpiresAt = created.Time, seen.Time, expires.Time
	if s.Proofs, err = authenticator.ParseProofs(proofs); err != nil {
		return Visit{}, err
	}
	if v.Owner, err = account.ByID(ctx, q, s.AccountID); err != nil {
		return Visit{}, err
	}
	if !v.isSessionLive(life, now) {
		return Visit{}, db.ErrNotFound
	}
	return v, nil
}

// RevokeVisits ends the session's visits and deletes its handoffs. The session itself stays, so
// its browser gets new visits by redirects.
func RevokeVisits(ctx context.Context, tx *db.Tx, sessionID string) error {
	tx.Changed(sessionID)
	for _, statement := range []string{
		`DELETE FROM handoffs WHERE session_id = $1`,
		`UPDATE visits SET ended = TRUE WHERE session_id = $1 AND NOT ended`,
	} {
		if _, err := db.Exec(ctx, tx, statement, sessionID); err != nil {
			return fmt.Errorf("end visits: %w", err)
		}
	}
	return nil
}

// EndsAt returns when the visit ends by itself unless it is used before. If the visit or its
// session had ended when v was read, EndsAt returns a time in the past.
func (v *Visit) EndsAt(life Life) time.Time {
	if v.Ended || v.Owner.Disabled() {
		return time.Time{}
	}
	return v.Session.endsAt(life, v.Owner.Stamp)
}

func (v *Visit) isSessionLive(life Life, now time.Time) bool {
	return !v.Owner.Disabled() && v.Session.isLive(now, life, v.Owner.Stamp)
}

// Destination is where a handoff leads.
type Destination struct {
	Panel     string // its origin
	State     string // value of the browser's state cookie at the panel
	ReturnURL string // a path of the panel
}

// HandOff stores a handoff and returns its token. Within a minute, the token admits to the panel
// the one browser that holds dest.State.
func HandOff(ctx context.Context, tx *db.Tx, s Session, dest Destination, now time.Time) (secret.Text, error) {
	token := secret.NewToken()
	_, err := db.Exec(ctx, tx, `
		INSERT INTO handoffs (token_hash, session_id, panel, state_hash, return_url, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		secret.Hash(token.Reveal()), s.ID, dest.Panel, secret.Hash(dest.State), dest.ReturnURL, db.At{Time: now.Add(handoffLife)})
	if err == nil {
		_, err = db.Exec(ctx, tx, `
			DELETE FROM handoffs WHERE session_id = $1 AND token_hash NOT IN (
				SELECT token_hash FROM handoffs WHERE session_id = $1 ORDER BY expires_at DESC LIMIT $2)`, s.ID, maxHandoffs)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("hand off: %w", err)
	}
	return token, nil
}

// HandoffAccount returns the id of the account whose session made the handoff with this token.
// It doesn't redeem the handoff. It returns [ErrHandoff] if there is none with this token.
func HandoffAccount(ctx context.Context, q db.Querier, token string) (accountID string, err error) {
	err = db.One(ctx, q, `SELECT s.account_id FROM handoffs h JOIN sessions s ON s.id = h.session_id WHERE h.token_hash = $1`,
		[]any{secret.Hash(token)}, &accountID)
	if errors.Is(err, db.ErrNotFound) {
		err = ErrHandoff
	}
	return accountID, err
}

// Arrival is what a browser brings to a panel's host to redeem a handoff.
type Arrival struct {
	Handoff string // the handoff's token
	Panel   string // the panel's origin
	State   string // value of the browser's state cookie at the panel
}

// Entered is the result of a redemption.
type Entered struct {
	Visit     secret.Text // the visit's token
	ReturnURL string      // valid after [ErrState] too
	Refused   error       // [ErrHandoff] or [ErrState] if no visit was created, else nil
}

// Enter redeems a handoff and creates a visit. A refusal uses the handoff up too. So a refusal is
// a part of the result, not an error, after which the transaction would roll back.
func Enter(ctx context.Context, tx *db.Tx, a Arrival, now time.Time) (Entered, error) {
	var (
		sessionID, handoffPanel, returnURL string
		stateHash                          []byte
		expires                            db.At
	)
	hash := secret.Hash(a.Handoff)
	err := db.One(ctx, tx, `SELECT session_id, panel, state_hash, return_url, expires_at FROM handoffs WHERE token_hash = $1`, []any{hash},
		&sessionID, &handoffPanel, &stateHash, &returnURL, &expires)
	if errors.Is(err, db.ErrNotFound) {
		return Entered{Refused: ErrHandoff}, nil
	}
	if err != nil {
		return Entered{}, fmt.Errorf("read handoff: %w", err)
	}
	// Of several concurrent requests, the one whose DELETE removes the row redeems it.
	n, err := db.Exec(ctx, tx, `DELETE FROM handoffs WHERE token_hash = $1`, hash)
	switch {
	case err != nil:
		return Entered{}, fmt.Errorf("redeem handoff: %w", err)
	case n == 0 || handoffPanel != a.Panel || !now.Before(expires.Time):
		return Entered{Refused: ErrHandoff}, nil
	case subtle.ConstantTimeCompare(stateHash, secret.Hash(a.State)) != 1:
		return Entered{ReturnURL: returnURL, Refused: ErrState}, nil
	}
	visit := secret.NewToken()
	id := secret.NewTimedID(now)
	if _, err := db.Exec(ctx, tx, `INSERT INTO visits (id, token_hash, session_id, panel, created_at) VALUES ($1, $2, $3, $4, $5)`,
		id, secret.Hash(visit.Reveal()), sessionID, a.Panel, db.At{Time: now}); err != nil {
		return Entered{}, fmt.Errorf("create visit: %w", err)
	}
	n, err = db.Exec(ctx, tx, `
		DELETE FROM visits WHERE session_id = $1 AND panel = $2 AND id <> $3 AND id NOT IN (
			SELECT id FROM visits WHERE session_id = $1 AND panel = $2 ORDER BY created_at DESC, id LIMIT $4)`,
		sessionID, a.Panel, id, maxVisits)
	if err != nil {
		return Entered{}, fmt.Errorf("delete the oldest visits: %w", err)
	}
	if n > 0 {
		tx.Changed(sessionID)
	}
	return Entered{Visit: visit, ReturnURL: returnURL}, nil
}

// ExpireHandoffs deletes expired handoffs. It skips locked rows; see [Expire].
func ExpireHandoffs(ctx context.Context, tx *db.Tx, now time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM handoffs WHERE token_hash IN (
		SELECT token_hash FROM handoffs WHERE expires_at <= $1 FOR NO KEY UPDATE SKIP LOCKED)`, db.At{Time: now})
	return err
}
