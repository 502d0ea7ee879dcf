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
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// editAccount runs edit in a transaction that has locked the account's row, so that changes of
// one account run one after the other. It reads session and account again, because the
// session may have ended or got a new token while the request waited. In that case, or if
// edit returns db.ErrNotFound, it returns [ErrGone].
func (s *Service) editAccount(ctx context.Context, me *Me, edit func(tx *db.Tx) error) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, me.Account.ID); err != nil {
			return err
		}
		held, owner, err := session.ByToken(ctx, tx, me.From.Session, s.Life, s.Clock())
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

// editAccountPaced is [Service.editAccount] for changes that an owner may repeat and that write
// an event or a row each time. A limit per account and kind of change keeps them from filling
// the disk. Past the limit nothing is changed and it returns a [*WaitError].
func (s *Service) editAccountPaced(ctx context.Context, me *Me, kind audit.Kind, edit func(tx *db.Tx) error) error {
	return s.editAccount(ctx, me, func(tx *db.Tx) error {
		try := throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.Change, Subject: string(kind)}, Units: 1}
		verdict, err := s.Ledger.Spend(ctx, tx, try)
		if err != nil {
			return err
		}
		if err := s.RefusalError(verdict); err != nil {
			return err
		}
		return edit(tx)
	})
}

// editCredentials runs a change of the owner's credentials and returns the session's new token.
// edit changes the rows and returns the proofs that the session keeps. Afterwards everything
// else of the account ends, except the browser with the cookie me.From.Device, which edit may
// have replaced. The session's visits to panels end too: a thief who copied the old session
// cookie may have started them.
func (s *Service) editCredentials(ctx context.Context, me *Me, edit func(tx *db.Tx) ([]authenticator.Proof, error)) (secret.Text, error) {
	var token secret.Text
	err := s.editAccount(ctx, me, func(tx *db.Tx) error {
		proofs, err := edit(tx)
		if err != nil {
			return err
		}
		stamp, err := s.EndOthers(ctx, tx, me.Account.ID, me.Session.ID, me.From.Device)
		if err != nil {
			return err
		}
		if err := session.RevokeVisits(ctx, tx, me.Session.ID); err != nil {
			return err
		}
		token, err = session.Renew(ctx, tx, me.Session, me.From.Session, stamp, proofs, time.Time{}, s.Clock())
		return err
	})
	return token, err
}

// ChangePassword sets a new password if current is right, and returns the session's new
// token. Tries count against the same budget as at sign-in. It returns [ErrWrongPassword],
// [ErrSamePassword] or an error of password.Check.
func (s *Service) ChangePassword(ctx context.Context, me Me, current, typed string) (secret.Text, error) {
	if err := s.CheckNew(me.Account, typed); err != nil {
		return secret.Text{}, err
	}
	reservation, err := s.VerifyPassword(ctx, me, current)
	if err != nil {
		return secret.Text{}, err
	}
	phc, err := s.HashNew(ctx, me.Account, typed)
	if err != nil {
		return secret.Text{}, errors.Join(err, s.GiveBack(ctx, reservation))
	}
	token, err := s.editCredentials(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
		now := s.Clock()
		if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
			return nil, err
		}
		if err := password.Set(ctx, tx, s.Ring, me.Account.ID, phc, now); err != nil {
			return nil, err
		}
		fresh := []authenticator.Proof{{Kind: authenticator.Password, At: now}}
		return authenticator.Merge(me.Session.Proofs, fresh), audit.Append(ctx, tx, me.From.Event(now, me.Account.ID, audit.PasswordChanged))
	})
	if err != nil {
		return secret.Text{}, errors.Join(err, s.GiveBack(ctx, reservation))
	}
	return token, nil
}

// RenameAuthenticator changes the name of one of the owner's authenticators. Past the limit of
// changes it returns a [*WaitError].
func (s *Service) RenameAuthenticator(ctx context.Context, me Me, id, name string) error {
	name, err := authenticator.NormalizeName(name)
	if err != nil {
		return err
	}
	if one, err := authenticator.ByID(ctx, s.DB.Reader(), me.Account.ID, id); err == nil && one.Name == name {
		return nil
	}
	return s.editAccountPaced(ctx, &me, audit.AuthenticatorRenamed, func(tx *db.Tx) error {
		if err := authenticator.Rename(ctx, tx, me.Account.ID, id, name); err != nil {
			return err
		}
		event := me.From.Event(s.Clock(), me.Account.ID, audit.AuthenticatorRenamed)
		event.Detail, event.AuthenticatorID = name, id
		return audit.Append(ctx, tx, event)
	})
}

// RemoveAuthenticator removes one of the owner's authenticators and returns the session's
// new token. Removing the last one removes the backup codes too (R10), and returns
// [ErrSuspect] while the password is suspect.
func (s *Service) RemoveAuthenticator(ctx context.Context, me Me, id string) (secret.Text, error) {
	return s.editCredentials(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
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
		event := me.From.Event(s.Clock(), me.Account.ID, audit.AuthenticatorRemoved)
		event.Detail, event.AuthenticatorID = gone.Name, id
		if err := audit.Append(ctx, tx, event); err != nil {
			return nil, err
		}
		if len(left) == 0 {
			return s.endTwoFactor(ctx, tx, me)
		}
		return authenticator.Without(me.Session.Proofs, func(p authenticator.Proof) bool { return p.ID == id }), nil
	})
}

// DisableTwoFactor removes all of the owner's authenticators and backup codes, and returns
// the session's new token. While the password is suspect it returns [ErrSuspect].
func (s *Service) DisableTwoFactor(ctx context.Context, me Me) (secret.Text, error) {
	return s.editCredentials(ctx, &me, func(tx *db.Tx) ([]authenticator.Proof, error) {
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
		return s.endTwoFactor(ctx, tx, me)
	})
}

// endTwoFactor removes what can't exist without an authenticator and returns the proofs that the
// session keeps.
func (s *Service) endTwoFactor(ctx context.Context, tx *db.Tx, me Me) ([]authenticator.Proof, error) {
	// A suspect password without a second factor can't sign in at all, and only an operator
	// could help. So the owner must change the password first.
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
	return left, audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.TwoFactorDisabled))
}

// IssueBackupCodes replaces the owner's backup codes and returns the new ones, which are
// stored only as hashes. replaces is the id of the set that the page showed. If another set
// is in force, as after a reload of the answer, it returns [ErrReplaced] and changes
// nothing; an empty replaces matches any set. Without two-factor authentication it returns
// [ErrGone] (R10), after three sets in an hour a [*WaitError].
func (s *Service) IssueBackupCodes(ctx context.Context, me Me, replaces string) (backupcode.Set, error) {
	have, err := authenticator.List(ctx, s.DB.Reader(), me.Account.ID)
	if err != nil {
		return backupcode.Set{}, err
	}
	if len(have) == 0 {
		return backupcode.Set{}, ErrGone
	}
	reservation, verdict, err := s.Ledger.Reserve(ctx, throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.BackupCodeIssue}, Units: 1})
	if err != nil {
		return backupcode.Set{}, err
	}
	if err := s.RefusalError(verdict); err != nil {
		return backupcode.Set{}, err
	}
	set, err := s.NewBackupCodes(ctx, me.Account.ID)
	if err != nil {
		return backupcode.Set{}, errors.Join(err, s.GiveBack(ctx, reservation))
	}
	err = s.editAccount(ctx, &me, func(tx *db.Tx) error {
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return ErrGone
		}
		if current, _, err := backupcode.Current(ctx, tx, me.Account.ID); err != nil {
			return err
		} else if replaces != "" && replaces != current {
			return ErrReplaced
		}
		if err := backupcode.Issue(ctx, tx, s.Ring, me.Account.ID, set, s.Clock()); err != nil {
			return err
		}
		return audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.BackupCodesIssued))
	})
	if err != nil {
		return backupcode.Set{}, errors.Join(err, s.GiveBack(ctx, reservation))
	}
	return set, nil
}

// ConfirmBackupCodes records that the owner has saved the codes of the set with that id. If
// another set has replaced it, nothing changes.
func (s *Service) ConfirmBackupCodes(ctx context.Context, me Me, set string) error {
	return s.editAccount(ctx, &me, func(tx *db.Tx) error { return backupcode.Confirm(ctx, tx, me.Account.ID, set) })
}

// SetDisplayName changes the owner's display name. Past the limit of changes it returns a
// [*WaitError].
func (s *Service) SetDisplayName(ctx context.Context, me Me, name string) error {
	name, err := account.NormalizeDisplayName(name)
	if err != nil || name == me.Account.DisplayName {
		return err
	}
	return s.editAccountPaced(ctx, &me, audit.ProfileChanged, func(tx *db.Tx) error {
		if err := account.SetDisplayName(ctx, tx, me.Account.ID, name); err != nil {
			return err
		}
		return audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, audit.ProfileChanged))
	})
}

// SignOut revokes the session that me uses.
func (s *Service) SignOut(ctx context.Context, me Me) error {
	return s.revoke(ctx, me, me.Session.ID, audit.SignedOut)
}

// RevokeSession revokes one of the owner's sessions, or returns [ErrGone].
func (s *Service) RevokeSession(ctx context.Context, me Me, id string) error {
	return s.revoke(ctx, me, id, audit.SessionEnded)
}

func (s *Service) revoke(ctx context.Context, me Me, id string, kind audit.Kind) error {
	return s.editAccount(ctx, &me, func(tx *db.Tx) error { return s.revokeTx(ctx, tx, me, id, kind) })
}

// revokeTx revokes one of the owner's sessions in tx, or returns [ErrGone].
func (s *Service) revokeTx(ctx context.Context, tx *db.Tx, me Me, id string, kind audit.Kind) error {
	there, err := session.Revoke(ctx, tx, me.Account.ID, id)
	if err != nil {
		return err
	}
	if !there {
		return ErrGone
	}
	return audit.Append(ctx, tx, me.From.Event(s.Clock(), me.Account.ID, kind))
}

// RevokeOtherSessions revokes all of the owner's sessions except the one in use and returns their
// number.
func (s *Service) RevokeOtherSessions(ctx context.Context, me Me) (int, error) {
	var n int
	err := s.editAccount(ctx, &me, func(tx *db.Tx) error {
		var err error
		if n, err = session.RevokeOthers(ctx, tx, me.Account.ID, me.Session.ID); err != nil || n == 0 {
			return err
		}
		event := me.From.Event(s.Clock(), me.Account.ID, audit.SessionsEnded)
		event.Number = n
		return audit.Append(ctx, tx, event)
	})
	return n, err
}
