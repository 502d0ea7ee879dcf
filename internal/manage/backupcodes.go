package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/throttle"
)

// IssueBackupCodes replaces the owner's backup codes and returns the new ones, which are stored
// only as hashes. The parameter replaces is the id of the set that the page showed; "" stands for
// any set. If another set is in force, as after a reload of the answer, that set stays, and
// IssueBackupCodes returns [ErrReplaced]. It returns [login.ErrGone] if two-factor authentication
// is off (R10), and a [*login.WaitError] after three sets in an hour.
func (m Authenticators) IssueBackupCodes(ctx context.Context, me login.Me, replaces string) (backupcode.Set, error) {
	have, err := authenticator.List(ctx, m.login.DB.Reader(), me.Account.ID)
	if err != nil {
		return backupcode.Set{}, err
	}
	if len(have) == 0 {
		return backupcode.Set{}, login.ErrGone
	}
	reservation, verdict, err := m.login.Ledger.Reserve(ctx, throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.BackupCodeIssue}, Units: 1})
	if err != nil {
		return backupcode.Set{}, err
	}
	if err := m.login.RefusalError(verdict); err != nil {
		return backupcode.Set{}, err
	}
	set, err := m.login.NewBackupCodes(ctx, me.Account.ID)
	if err != nil {
		return backupcode.Set{}, errors.Join(err, m.login.GiveBack(ctx, reservation))
	}
	err = m.edit(ctx, me, func(tx *db.Tx, me login.Me) error {
		have, err := authenticator.List(ctx, tx, me.Account.ID)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return login.ErrGone
		}
		if current, _, err := backupcode.Current(ctx, tx, me.Account.ID); err != nil {
			return err
		} else if replaces != "" && replaces != current {
			return ErrReplaced
		}
		if err := backupcode.Issue(ctx, tx, m.login.Ring, me.Account.ID, set, m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, audit.BackupCodesIssued))
	})
	if err != nil {
		return backupcode.Set{}, errors.Join(err, m.login.GiveBack(ctx, reservation))
	}
	return set, nil
}

// ConfirmBackupCodes records that the owner has saved the codes of the set with that id. If
// another set has replaced it, the call has no effect.
func (m Authenticators) ConfirmBackupCodes(ctx context.Context, me login.Me, set string) error {
	return m.edit(ctx, me, func(tx *db.Tx, me login.Me) error { return backupcode.Confirm(ctx, tx, me.Account.ID, set) })
}
