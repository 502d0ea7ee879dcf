package login

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/throttle"
)

// SubmitBackupCode verifies a backup code for the attempt. It returns [ErrRejected],
// [ErrMalformedBackupCode], a [*WaitError] or [ErrNoAttempt].
func (s *Service) SubmitBackupCode(ctx context.Context, token, typed string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	progress, err := s.proveBackupCode(ctx, a, owner, typed, from)
	s.Metrics.countLaterStep(progress, err)
	return progress, err
}

// proveBackupCode verifies a backup code for the attempt and advances the attempt.
func (s *Service) proveBackupCode(ctx context.Context, a Attempt, owner account.Account, typed string, from Browser) (Progress, error) {
	progress, err := s.tryBackupCode(ctx, a, owner, typed, from)
	s.Metrics.countSecondFactor(authenticator.BackupCode, err)
	return progress, err
}

func (s *Service) tryBackupCode(ctx context.Context, a Attempt, owner account.Account, typed string, from Browser) (Progress, error) {
	code, err := backupcode.Normalize(typed)
	if err != nil {
		return Progress{}, ErrMalformedBackupCode
	}
	known, err := device.ByCookie(ctx, s.DB.Reader(), from.Device, owner.ID, s.Clock())
	if err != nil {
		return Progress{}, err
	}
	// The budget is per account and network prefix, so that a thief elsewhere can't make the
	// owner wait.
	try := throttle.Try{Key: throttle.Key{Account: owner.ID, Bucket: throttle.BackupCode, Subject: throttle.WidePrefixOf(from.Address)}, Units: 1}
	if verdict, err := s.Ledger.Peek(ctx, try); err != nil {
		return Progress{}, err
	} else if err := s.RefusalError(verdict); err != nil {
		return Progress{}, err
	}
	release, err := s.acquireSlot(ctx, placeOf(owner.ID, known, from))
	if err != nil {
		return Progress{}, err
	}
	matched := false
	defer func() { release(matched) }()
	reservation, verdict, err := s.Ledger.Reserve(ctx, try)
	if err != nil {
		return Progress{}, err
	}
	if err := s.RefusalError(verdict); err != nil {
		return Progress{}, err
	}
	id, err := backupcode.Match(ctx, s.DB.Reader(), s.Ring, s.Passwords, owner.ID, code)
	if err != nil {
		return Progress{}, err
	}
	matched = id != ""
	ctx, done := detached(ctx)
	defer done()
	var progress Progress
	if matched {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			now := s.Clock()
			locked, err := s.lockAccounts(ctx, tx, owner.ID, from)
			if err != nil {
				return err
			}
			if err := backupcode.Redeem(ctx, tx, owner.ID, id, now); err != nil {
				return err
			}
			if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
				return err
			}
			left, err := backupcode.Left(ctx, tx, owner.ID)
			if err != nil {
				return err
			}
			event := from.Event(now, owner.ID, audit.BackupCodeUsed)
			event.Number = left
			if err := s.Journal.Record(ctx, tx, event); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.BackupCode, At: now}})
			progress, err = s.advance(ctx, tx, proven, locked, from)
			progress.CodesLeft = left
			return err
		})
		if !errors.Is(err, backupcode.ErrUsed) {
			return progress, err
		}
	}
	if err := s.recordFailure(ctx, from.Event(s.Clock(), owner.ID, audit.BackupCodeFailed), known, from); err != nil {
		return Progress{}, err
	}
	return Progress{}, ErrRejected
}
