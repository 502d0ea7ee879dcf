package login

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// lock locks the account, and that of the browser's session, which finish may end. The
// account with the lower id comes first, so that two browsers which change over between
// the same accounts don't deadlock. It precedes every other statement of tx.
func (s *Service) lock(ctx context.Context, tx *db.Tx, accountID, sessionToken string) error {
	ids := []string{accountID}
	_, holder, err := session.ByToken(ctx, tx, sessionToken, s.Life, s.Clock())
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if holder.ID != "" && holder.ID != accountID {
		ids = append(ids, holder.ID)
		slices.Sort(ids)
	}
	for _, id := range ids {
		err := account.Lock(ctx, tx, id)
		if id != accountID && errors.Is(err, db.ErrNotFound) {
			continue // it was removed, and its sessions with it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish ends an attempt at [StageDone] and returns the token of its session
// and, for a sign-in, of the device cookie. It is the only place where a
// session begins (R13). One transaction: attempt gone, session open, browser
// known under a new token, event written. An attempt that is gone, or whose
// account, as tx read it, changed since, is [ErrNoAttempt]. tx holds [Service.lock]: a
// reset that runs meanwhile finds the session and the known browser, or ends the attempt.
func (s *Service) finish(ctx context.Context, tx *db.Tx, a Attempt, owner account.Account, sessionToken string, from Browser) (token, deviceToken secret.Text, err error) {
	if err := a.end(ctx, tx); err != nil {
		return token, deviceToken, err
	}
	if owner.Disabled() || owner.Stamp != a.Stamp {
		return token, deviceToken, ErrNoAttempt
	}
	now := s.Clock()
	held, holder, err := session.ByToken(ctx, tx, sessionToken, s.Life, now)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return token, deviceToken, err
	}
	if err := throttle.MarkOwned(ctx, tx, owner.ID, a.tag()); err != nil {
		return token, deviceToken, err
	}
	event := from.event(now, owner.ID, audit.SignedIn)
	event.Detail = How(a.Proofs)
	for _, p := range a.Proofs {
		if p.ID != "" {
			event.AuthenticatorID = p.ID
		}
	}
	switch {
	case a.Purpose == Reauthentication:
		if held.ID == "" || held.ID != a.SessionID {
			return token, deviceToken, ErrNoAttempt
		}
		event.Kind = audit.Reauthenticated
		token, err = session.Renew(ctx, tx, held, sessionToken, owner.Stamp, authenticator.Merge(held.Proofs, a.Proofs), time.Time{}, now)
	case held.ID != "" && holder.ID == owner.ID:
		// The browser was signed in already: same row, new token.
		token, err = session.Renew(ctx, tx, held, sessionToken, owner.Stamp, a.Proofs, now.Add(s.Life.Absolute), now)
	default:
		if held.ID != "" {
			// It leaves the session of another account behind; nobody holds
			// that token any more.
			if _, err := session.Revoke(ctx, tx, holder.ID, held.ID); err != nil {
				return token, deviceToken, err
			}
		}
		token, err = session.Create(ctx, tx, owner, a.Proofs, from.session(), s.Life, now)
	}
	if errors.Is(err, db.ErrNotFound) {
		err = ErrGone // the session ended or got another token meanwhile
	}
	if err != nil {
		return token, deviceToken, err
	}
	if a.Purpose == SignIn {
		if deviceToken, err = device.Remember(ctx, tx, from.Device, owner.ID, from.device(), now); err != nil {
			return token, deviceToken, err
		}
	}
	return token, deviceToken, audit.Append(ctx, tx, event)
}

// How names the proofs of a session: the end of a key of the message
// catalogue.
func How(proofs []authenticator.Proof) string {
	how := "password"
	for _, p := range proofs {
		switch p.Kind {
		case authenticator.TOTP:
			return "password_totp"
		case authenticator.BackupCode:
			how = "password_backup_code"
		}
	}
	return how
}
