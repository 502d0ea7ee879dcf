package login

import (
	"context"
	"errors"
	"slices"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/notice"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// lockAccounts locks the account's row. It also locks the row of the account whose session the
// browser holds, since finish may end that session. It locks in the order of ids, so that two
// browsers that switch between the same accounts in opposite directions don't deadlock. It must be
// the first statement of tx. It returns the account as read under the lock, or [ErrNoAttempt] if
// the account was removed.
func (s *Service) lockAccounts(ctx context.Context, tx *db.Tx, accountID string, from Browser) (owner account.Account, err error) {
	ids := []string{accountID}
	_, holder, err := session.ByToken(ctx, tx, from.Session, s.Life, s.Clock())
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return account.Account{}, err
	}
	if holder.ID != "" && holder.ID != accountID {
		ids = append(ids, holder.ID)
		slices.Sort(ids)
	}
	for _, id := range ids {
		if id == accountID {
			owner, err = lockAccount(ctx, tx, id)
		} else if err = account.Lock(ctx, tx, id); errors.Is(err, db.ErrNotFound) {
			err = nil // the account was removed together with its sessions
		}
		if err != nil {
			return account.Account{}, err
		}
	}
	return owner, nil
}

// lockAccount locks the account's row until tx ends and returns the account. It returns
// [ErrNoAttempt] if the account was removed together with its attempts.
func lockAccount(ctx context.Context, tx *db.Tx, id string) (account.Account, error) {
	owner, err := account.LockAndRead(ctx, tx, id)
	if errors.Is(err, db.ErrNotFound) {
		err = ErrNoAttempt
	}
	return owner, err
}

// finish ends an attempt at [StageDone] and returns the browser's new cookies. It is the only
// function that creates a session (R13). In one transaction it deletes the attempt, creates the
// session, makes the browser known under a new token and writes the event. It returns
// [ErrNoAttempt] if the attempt is gone or the account changed since it began. owner is what
// [Service.lockAccounts] returned in tx. Because of that lock, a concurrent reset either ends the
// new session and known browser, or deletes the attempt before they are made.
func (s *Service) finish(ctx context.Context, tx *db.Tx, a Attempt, owner account.Account, from Browser) (opened Opened, err error) {
	if err := a.consume(ctx, tx); err != nil {
		return opened, err
	}
	if owner.Disabled() || owner.Stamp != a.Stamp {
		return opened, ErrNoAttempt
	}
	if err := throttle.MarkOwned(ctx, tx, owner.ID, a.tag()); err != nil {
		return opened, err
	}
	event := from.Event(s.Clock(), owner.ID, audit.SignedIn)
	event.Detail = ProofsName(a.Proofs)
	for _, p := range a.Proofs {
		if p.ID != "" {
			event.AuthenticatorID = p.ID
		}
	}
	known := true
	switch a.Purpose {
	case SignIn:
		if opened.Session, err = s.openSession(ctx, tx, a, owner, from); err == nil {
			opened.Device, known, err = device.Remember(ctx, tx, owner.ID, from.AsDevice(), event.At)
		}
	case Reauthentication:
		event.Kind = audit.Reauthenticated
		opened.Session, err = s.renewSession(ctx, tx, a, owner, from)
	default:
		err = a.unknownPurpose()
	}
	if err != nil {
		return Opened{}, err
	}
	return opened, s.Journal.RecordWith(ctx, tx, event, notice.Facts{NewBrowser: !known})
}

// openSession opens the session of a completed sign-in and returns its token. If the browser
// already holds a session of the same account, that session stays and gets a new token. If it
// holds a session of another account, that session ends.
func (s *Service) openSession(ctx context.Context, tx *db.Tx, a Attempt, owner account.Account, from Browser) (secret.Text, error) {
	now := s.Clock()
	held, holder, err := session.ByToken(ctx, tx, from.Session, s.Life, now)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return secret.Text{}, err
	}
	if held.ID != "" && holder.ID == owner.ID {
		return renewed(session.Renew(ctx, tx, held, session.Renewal{Old: from.Session, Stamp: owner.Stamp, Proofs: a.Proofs, Expires: now.Add(s.Life.Absolute)}, now))
	}
	if held.ID != "" {
		// The browser loses the cookie of this session, so it could neither use nor end it.
		if _, err := session.Revoke(ctx, tx, holder.ID, held.ID); err != nil {
			return secret.Text{}, err
		}
	}
	return session.Create(ctx, tx, owner, session.Opening{Proofs: a.Proofs, Browser: from.session(), Life: s.Life}, now)
}

// renewSession adds the proofs of reauthentication a to the session a.SessionID, and returns that
// session's new token. It returns [ErrNoAttempt] if the browser holds another session.
func (s *Service) renewSession(ctx context.Context, tx *db.Tx, a Attempt, owner account.Account, from Browser) (secret.Text, error) {
	now := s.Clock()
	held, _, err := session.ByToken(ctx, tx, from.Session, s.Life, now)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return secret.Text{}, err
	}
	if held.ID == "" || held.ID != a.SessionID {
		return secret.Text{}, ErrNoAttempt
	}
	return renewed(session.Renew(ctx, tx, held, session.Renewal{Old: from.Session, Stamp: owner.Stamp, Proofs: authenticator.Merge(held.Proofs, a.Proofs)}, now))
}

// renewed returns the results of session.Renew, with [ErrGone] if the session ended or got
// another token in between.
func renewed(token secret.Text, err error) (secret.Text, error) {
	if errors.Is(err, db.ErrNotFound) {
		err = ErrGone
	}
	return token, err
}

// ProofsName returns a name for the strongest of a session's proofs. The catalogue's message keys
// end in this name (how.password, how.password_totp and so on).
func ProofsName(proofs []authenticator.Proof) string {
	proven := map[authenticator.Kind]bool{}
	for _, p := range proofs {
		proven[p.Kind] = true
	}
	switch {
	case proven[authenticator.Passkey]:
		return "passkey"
	case proven[authenticator.WebAuthn]:
		return "password_webauthn"
	case proven[authenticator.TOTP]:
		return "password_totp"
	case proven[authenticator.BackupCode]:
		return "password_backup_code"
	default:
		return "password"
	}
}
