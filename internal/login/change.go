package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Me is who asks for a change: a live session with its token, its account and
// the browser it is used in. The door has checked what the route requires.
type Me struct {
	Session session.Session
	Token   string
	Account account.Account
	From    Browser
}

// holding runs what me asks for in one transaction that holds the account's row, so that
// changes of one account come one after the other. It reads session and account
// again: the request may have waited, and its session may have ended or got a new
// token meanwhile. Then, and where edit finds nothing, it returns [ErrGone].
func (s *Service) holding(ctx context.Context, me *Me, edit func(tx *db.Tx) error) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, me.Account.ID); err != nil {
			return err
		}
		held, owner, err := session.ByToken(ctx, tx, me.Token, s.Life, s.Clock())
		if err != nil {
			return err
		}
		me.Session, me.Account = held, owner
		return edit(tx)
	})
	if errors.Is(err, db.ErrNotFound) {
		return ErrGone
	}
	return err
}

// changing is [Service.holding] for what an owner may do again and again, each time
// with an event or a row: each kind has a pace for the account, so that none fills
// the disk. Past it nothing happens, and the answer is a [*WaitError].
func (s *Service) changing(ctx context.Context, me *Me, kind audit.Kind, edit func(tx *db.Tx) error) error {
	return s.holding(ctx, me, func(tx *db.Tx) error {
		try := throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.Change, Subject: string(kind)}, Units: 1}
		verdict, err := s.Ledger.Spend(ctx, tx, try)
		if err != nil {
			return err
		}
		if err := s.refusal(verdict); err != nil {
			return err
		}
		return edit(tx)
	})
}

// endOthers gives the account a new stamp and ends every attempt, every machine
// pass, every pending enrolment, every session but one and every known browser but
// the one that holds the device cookie. Empty ones spare none. Links that make
// browsers known end too: a thief may have made one in a session that ends now.
// It holds the account's row until tx ends.
func (s *Service) endOthers(ctx context.Context, tx *db.Tx, accountID, exceptSession, exceptDevice string) (stamp string, err error) {
	if stamp, err = account.Restamp(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := endAttempts(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := pass.RevokeAll(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := authenticator.RemovePending(ctx, tx, accountID, exceptSession); err != nil {
		return "", err
	}
	if _, err := session.RevokeOthers(ctx, tx, accountID, exceptSession); err != nil {
		return "", err
	}
	// First the links, then the browsers that they made known.
	if _, err := account.RevokeTickets(ctx, tx, account.TicketLetIn, accountID); err != nil {
		return "", err
	}
	_, err = device.RemoveOthers(ctx, tx, accountID, exceptDevice)
	return stamp, err
}

// change runs what changes how me signs in: edit works on the rows and returns
// the session's proofs afterwards; then everything else of the account ends,
// but for the browser that me.From.Device names by then, and the session gets a
// new token, which is returned. Its visits to panels end too: a thief who copied the old
// session cookie may have opened them.
func (s *Service) change(ctx context.Context, me *Me, edit func(tx *db.Tx) ([]authenticator.Proof, error)) (secret.Text, error) {
	var token secret.Text
	err := s.holding(ctx, me, func(tx *db.Tx) error {
		proofs, err := edit(tx)
		if err != nil {
			return err
		}
		stamp, err := s.endOthers(ctx, tx, me.Account.ID, me.Session.ID, me.From.Device)
		if err != nil {
			return err
		}
		if err := session.RevokeVisits(ctx, tx, me.Session.ID); err != nil {
			return err
		}
		token, err = session.Renew(ctx, tx, me.Session, me.Token, stamp, proofs, time.Time{}, s.Clock())
		return err
	})
	return token, err
}

// ChangePassword sets a new password after comparing the current one, from
// the same budget as at sign-in. It returns [ErrWrongPassword],
// [ErrSamePassword] or an error of password.Check.
func (s *Service) ChangePassword(ctx context.Context, me Me, current, typed string) (secret.Text, error) {
	if err := s.checkNew(me.Account, typed); err != nil {
		return secret.Text{}, err
	}
	v, err := s.tryPassword(ctx, me.Account.ID, me.Account, current, me.From)
	if err != nil {
		return secret.Text{}, err
	}
	if !v.Match {
		ctx, done := regardless(ctx)
		defer done()
		if err := s.failed(ctx, me.From.event(s.Clock(), me.Account.ID, audit.SignInFailed), v.known, me.From); err != nil {
			return secret.Text{}, err
		}
		return secret.Text{}, ErrWrongPassword
	}
	phc, err := s.hashNew(ctx, me.Account, typed)
	if err != nil {
		return secret.Text{}, errors.Join(err, s.giveBack(ctx, v.reservation))
	}
	token, err := s.change(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
		now := s.Clock()
		if err := throttle.GiveBack(ctx, tx, v.reservation); err != nil {
			return nil, err
		}
		if err := password.Set(ctx, tx, s.Ring, me.Account.ID, phc, now); err != nil {
			return nil, err
		}
		fresh := []authenticator.Proof{{Kind: authenticator.Password, At: now}}
		return authenticator.Merge(me.Session.Proofs, fresh), audit.Append(ctx, tx, me.From.event(now, me.Account.ID, audit.PasswordChanged))
	})
	if err != nil {
		return secret.Text{}, errors.Join(err, s.giveBack(ctx, v.reservation))
	}
	return token, nil
}

// Rename gives one of my authenticators another name. Past the pace of changes it
// returns a [*WaitError].
func (s *Service) Rename(ctx context.Context, me Me, id, name string) error {
	name, err := authenticator.NormalizeName(name)
	if err != nil {
		return err
	}
	if one, err := authenticator.ByID(ctx, s.DB.Reader(), me.Account.ID, id); err == nil && one.Name == name {
		return nil
	}
	return s.changing(ctx, &me, audit.AuthenticatorRenamed, func(tx *db.Tx) error {
		if err := authenticator.Rename(ctx, tx, me.Account.ID, id, name); err != nil {
			return err
		}
		event := me.From.event(s.Clock(), me.Account.ID, audit.AuthenticatorRenamed)
		event.Detail, event.AuthenticatorID = name, id
		return audit.Append(ctx, tx, event)
	})
}

// RemoveAuthenticator removes one of my authenticators. With the last one the
// backup codes go too (R10); while the password is suspect that is [ErrSuspect].
func (s *Service) RemoveAuthenticator(ctx context.Context, me Me, id string) (secret.Text, error) {
	return s.change(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
		gone, err := authenticator.ByID(ctx, tx, me.Account.ID, id)
		if err != nil {
			return nil, err
		}
		if err := authenticator.Remove(ctx, tx, me.Account.ID, id); err != nil {
			return nil, err
		}
		left, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return nil, err
		}
		event := me.From.event(s.Clock(), me.Account.ID, audit.AuthenticatorRemoved)
		event.Detail, event.AuthenticatorID = gone.Name, id
		if err := audit.Append(ctx, tx, event); err != nil {
			return nil, err
		}
		if len(left) == 0 {
			return s.disabled(ctx, tx, me)
		}
		return authenticator.Without(me.Session.Proofs, func(p authenticator.Proof) bool { return p.ID == id }), nil
	})
}

// DisableTwoFactor removes all my authenticators and backup codes. While the
// password is suspect it returns [ErrSuspect].
func (s *Service) DisableTwoFactor(ctx context.Context, me Me) (secret.Text, error) {
	return s.change(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
		left, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return nil, err
		}
		if len(left) == 0 {
			return nil, ErrGone
		}
		if err := authenticator.RemoveAll(ctx, tx, me.Account.ID); err != nil {
			return nil, err
		}
		return s.disabled(ctx, tx, me)
	})
}

// disabled takes away what dies with the last authenticator and returns the
// proofs that are left.
func (s *Service) disabled(ctx context.Context, tx *db.Tx, me Me) ([]authenticator.Proof, error) {
	// Without a second factor a suspect password opens nothing, and the owner would
	// need an operator: the owner changes it before.
	if suspect, err := password.SuspectSince(ctx, tx, me.Account.ID); err != nil {
		return nil, err
	} else if !suspect.IsZero() {
		return nil, ErrSuspect
	}
	if err := backupcode.RemoveAll(ctx, tx, me.Account.ID); err != nil {
		return nil, err
	}
	if err := account.SetTwoFactor(ctx, tx, me.Account.ID, time.Time{}); err != nil {
		return nil, err
	}
	left := authenticator.Without(me.Session.Proofs, func(p authenticator.Proof) bool { return p.Kind != authenticator.Password })
	return left, audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.TwoFactorDisabled))
}

// IssueBackupCodes replaces my backup codes and returns the new ones, which
// exist nowhere else. replaces names the set that the page showed: where
// another one is in force by now, as when the answer is reloaded, it is
// [ErrReplaced] and nothing changes; empty stands for any. Without two-factor
// authentication it is [ErrGone] (R10); past three sets an hour a [*WaitError].
func (s *Service) IssueBackupCodes(ctx context.Context, me Me, replaces string) ([]string, error) {
	have, err := authenticator.List(ctx, s.DB.Reader(), me.Account.ID)
	if err != nil {
		return nil, err
	}
	if len(have) == 0 {
		return nil, ErrGone
	}
	reservation, verdict, err := s.Ledger.Reserve(ctx, throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.BackupCodeIssue}, Units: 1})
	if err != nil {
		return nil, err
	}
	if err := s.refusal(verdict); err != nil {
		return nil, err
	}
	set, err := s.newSet(ctx, me.Account.ID)
	if err != nil {
		return nil, errors.Join(err, s.giveBack(ctx, reservation))
	}
	err = s.holding(ctx, &me, func(tx *db.Tx) error {
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return ErrGone
		}
		if current, err := backupcode.SetID(ctx, tx, me.Account.ID); err != nil {
			return err
		} else if replaces != "" && replaces != current {
			return ErrReplaced
		}
		if err := backupcode.Issue(ctx, tx, s.Ring, me.Account.ID, set, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.BackupCodesIssued))
	})
	if err != nil {
		return nil, errors.Join(err, s.giveBack(ctx, reservation))
	}
	return set.Codes, nil
}

// newSet makes a set of backup codes in a hashing slot.
func (s *Service) newSet(ctx context.Context, accountID string) (backupcode.Set, error) {
	leave, err := s.queue(ctx, throttle.Place{Account: accountID, Known: true})
	if err != nil {
		return backupcode.Set{}, err
	}
	defer leave(true)
	return backupcode.NewSet(s.Passwords), nil
}

// SetDisplayName changes what I am called. Past the pace of changes it returns a
// [*WaitError].
func (s *Service) SetDisplayName(ctx context.Context, me Me, name string) error {
	name, err := account.NormalizeDisplayName(name)
	if err != nil || name == me.Account.DisplayName {
		return err
	}
	return s.changing(ctx, &me, audit.ProfileChanged, func(tx *db.Tx) error {
		if err := account.SetDisplayName(ctx, tx, me.Account.ID, name); err != nil {
			return err
		}
		return audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, audit.ProfileChanged))
	})
}

// SignOut ends my session.
func (s *Service) SignOut(ctx context.Context, me Me) error {
	return s.revoke(ctx, me, me.Session.ID, audit.SignedOut)
}

// RevokeSession ends one of my sessions, or returns [ErrGone].
func (s *Service) RevokeSession(ctx context.Context, me Me, id string) error {
	return s.revoke(ctx, me, id, audit.SessionEnded)
}

func (s *Service) revoke(ctx context.Context, me Me, id string, kind audit.Kind) error {
	return s.holding(ctx, &me, func(tx *db.Tx) error { return s.revokeIn(ctx, tx, me, id, kind) })
}

// revokeIn ends one of my sessions, or returns [ErrGone].
func (s *Service) revokeIn(ctx context.Context, tx *db.Tx, me Me, id string, kind audit.Kind) error {
	there, err := session.Revoke(ctx, tx, me.Account.ID, id)
	if err != nil {
		return err
	}
	if !there {
		return ErrGone
	}
	return audit.Append(ctx, tx, me.From.event(s.Clock(), me.Account.ID, kind))
}

// RevokeOthers ends all my sessions but this one and returns how many.
func (s *Service) RevokeOthers(ctx context.Context, me Me) (int, error) {
	var n int
	err := s.holding(ctx, &me, func(tx *db.Tx) error {
		var err error
		if n, err = session.RevokeOthers(ctx, tx, me.Account.ID, me.Session.ID); err != nil || n == 0 {
			return err
		}
		event := me.From.event(s.Clock(), me.Account.ID, audit.SessionsEnded)
		event.Number = n
		return audit.Append(ctx, tx, event)
	})
	return n, err
}
