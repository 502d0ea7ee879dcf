package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/throttle"
)

// checkSuspicion evaluates the account's wrong codes after one more. From the third wrong code on
// it notifies the owner, once. From the fifth on it marks the password as suspect, so that the next
// sign-in must change it, and ends all attempts. The result ended reports that it did so.
func (s *Service) checkSuspicion(ctx context.Context, tx *db.Tx, accountID string, from Browser) (ended bool, err error) {
	suspicion, _, err := s.suspicionOf(ctx, tx, accountID)
	if err != nil || !suspicion.Notice {
		return false, err
	}
	// Under the lock, only one of several concurrent wrong codes writes the notice. A new password
	// may have been set before the lock was free; the wrong codes say nothing about that password.
	if err := account.Lock(ctx, tx, accountID); errors.Is(err, db.ErrNotFound) {
		return false, nil // the account was removed together with its password
	} else if err != nil {
		return false, err
	}
	suspicion, changed, err := s.suspicionOf(ctx, tx, accountID)
	if err != nil || !suspicion.Notice {
		return false, err
	}
	event := from.Event(s.Clock(), accountID, audit.WrongCodesNoticed)
	event.Number = suspicion.Codes
	notified, err := audit.Happened(ctx, tx, accountID, event.Kind,
		later(changed, event.At.Add(-throttle.SuspectWithin)), event.At.Add(clock.Slack))
	if err != nil {
		return false, err
	}
	if !notified {
		if err := s.Journal.Record(ctx, tx, event); err != nil {
			return false, err
		}
	}
	if !suspicion.Suspect {
		return false, nil
	}
	marked, err := password.MarkSuspect(ctx, tx, accountID, s.Clock())
	if err != nil || !marked {
		return false, err
	}
	event.Kind = audit.PasswordSuspected
	if err := s.Journal.Record(ctx, tx, event); err != nil {
		return false, err
	}
	return true, revokeAttempts(ctx, tx, accountID)
}

// suspicionOf evaluates the wrong codes since the account's password was set. It also returns when
// the password was set.
func (s *Service) suspicionOf(ctx context.Context, q db.Querier, accountID string) (throttle.Suspicion, time.Time, error) {
	changed, err := password.ChangedAt(ctx, q, accountID)
	if err != nil {
		return throttle.Suspicion{}, changed, err
	}
	suspicion, err := s.Ledger.Suspect(ctx, q, accountID, changed)
	return suspicion, changed, err
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// WrongCodes returns how many wrong codes after a right password the account's owner must be
// notified of, or 0.
func (s *Service) WrongCodes(ctx context.Context, owner account.Account) (int, error) {
	suspicion, _, err := s.suspicionOf(ctx, s.DB.Reader(), owner.ID)
	if err != nil || !suspicion.Notice {
		return 0, err
	}
	return suspicion.Codes, nil
}
