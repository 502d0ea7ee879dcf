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
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// SubmitCode verifies a code of any of the account's TOTP authenticators, or two
// consecutive codes; next is empty for a single code. It returns a [*CodeError],
// [ErrNeedTwoCodes], [ErrNoMoreCodes], [ErrNoTOTP], [ErrClock], [ErrEnded] or [ErrNoAttempt].
func (s *Service) SubmitCode(ctx context.Context, token, code, next string, from Browser) (Progress, error) {
	if err := s.checkAttempt(ctx, token); err != nil {
		return Progress{}, err
	}
	progress, err := s.proveCode(ctx, func(q db.Querier) (Attempt, error) {
		a, _, err := s.attempt(ctx, q, token)
		return a, err
	}, code, next, from)
	s.Metrics.countLaterStep(progress, err)
	return progress, err
}

// proveCode verifies a code for the attempt that open reads, and advances the attempt.
func (s *Service) proveCode(ctx context.Context, open func(db.Querier) (Attempt, error), code, next string, from Browser) (Progress, error) {
	progress, err := s.tryCode(ctx, open, code, next, from)
	s.Metrics.countSecondFactor(authenticator.TOTP, err)
	return progress, err
}

func (s *Service) tryCode(ctx context.Context, open func(db.Querier) (Attempt, error), code, next string, from Browser) (Progress, error) {
	first, err := totp.Normalize(code)
	second := ""
	if err == nil && next != "" {
		second, err = totp.Normalize(next)
	}
	if err != nil {
		a, err := open(s.DB.Reader())
		if err != nil {
			return Progress{}, err
		}
		return Progress{}, s.malformed(ctx, a.AccountID, next != "")
	}
	var (
		a      Attempt
		loaded []loadedTOTP
		format CodeFormat
		known  string
		unsure bool // the clock may be ahead
	)
	// Read the attempt in the transaction of the reservation: that is cheaper than seven
	// separate queries.
	reservation, verdict, err := s.Ledger.ReserveFunc(ctx, func(tx *db.Tx) (tries []throttle.Try, err error) {
		if a, err = open(tx); err != nil {
			return nil, err
		}
		// This comes first, since a code that can't be verified must not cost anything.
		if unsure, err = s.CheckClock(ctx, tx); err != nil {
			return nil, err
		}
		if loaded, err = loadTOTP(ctx, tx, s.Ring, a.AccountID); err != nil {
			return nil, err
		}
		if len(loaded) == 0 {
			return nil, ErrNoTOTP // no authenticator shows codes, so there is nothing to compare
		}
		all := parametersOf(loaded)
		format = formatOf(all)
		if !format.accepts(first, second) {
			return nil, &CodeError{Malformed: true, Pair: second != "", Format: format}
		}
		units := unitsOf(all, len(first))
		if second != "" {
			units = twoCodes
		}
		tries, known, err = s.codeTries(ctx, tx, a, units, from)
		return tries, err
	})
	if err != nil {
		return Progress{}, err
	}
	if verdict.Answer == throttle.ForgetDevice {
		if err := s.removeDevice(ctx, a.AccountID, known, from); err != nil {
			return Progress{}, err
		}
		// Now it counts as an unknown browser.
		return s.tryCode(ctx, open, code, next, from)
	}
	if err := s.RefusalError(verdict); err != nil {
		return Progress{}, err
	}
	by, check := compare(loaded, first, second, s.Clock())
	ctx, done := detached(ctx)
	defer done()
	var progress Progress
	if check.Result == totp.Accepted {
		now := s.Clock()
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			owner, err := s.lockAccounts(ctx, tx, a.AccountID, from)
			if err != nil {
				return err
			}
			if err := totp.Claim(ctx, tx, by.ID, check, unsure, now); err != nil {
				return err
			}
			if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.TOTP, ID: by.ID, At: now}})
			progress, err = s.advance(ctx, tx, proven, owner, from)
			return err
		})
		if err == nil {
			s.Watch.Accepted(by.ID, time.Duration(check.Step-totp.Step(now, by.Period))*by.Period)
		}
		if !errors.Is(err, totp.ErrReused) {
			return progress, err
		}
		check = totp.Check{Result: totp.Reused} // a concurrent request claimed the step first
	}
	rejected := &CodeError{Pair: second != "", Result: check.Result, Minutes: check.Minutes, Format: format}
	return Progress{}, s.rejectCode(ctx, a.AccountID, reservation, rejected, from)
}

// twoCodes stands for two codes in a row, which cost one unit of another bucket.
const twoCodes = -1

// codeTries returns the tries that a code counts as, and the id of the known browser that
// sent it, or "". units is what a single code costs, or twoCodes.
func (s *Service) codeTries(ctx context.Context, q db.Querier, a Attempt, units int, from Browser) ([]throttle.Try, string, error) {
	known, err := device.ByCookie(ctx, q, from.Device, a.AccountID, s.Clock())
	if err != nil {
		return nil, "", err
	}
	try := throttle.Try{Key: throttle.Key{Account: a.AccountID, Subject: known.ID}, Units: units, Tag: a.tag()}
	switch {
	case units == twoCodes:
		try.Bucket, try.Units = throttle.TwoCodes, 1
		if try.PasswordSet, err = password.ChangedAt(ctx, q, a.AccountID); err != nil {
			return nil, "", err
		}
	case known.ID != "":
		try.Bucket = throttle.CodeKnownDevice
	default:
		try.Bucket = throttle.CodeUnknownDevice
	}
	tries := []throttle.Try{try}
	if known.ID == "" {
		tries = append(tries, throttle.PrefixTries(from.Address, a.AccountID)...)
	}
	return tries, known.ID, nil
}

// removeDevice makes a known browser unknown after too many wrong codes from it: the cookie
// may be a thief's copy.
func (s *Service) removeDevice(ctx context.Context, accountID, id string, from Browser) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := device.Remove(ctx, tx, accountID, id); err != nil {
			return err
		}
		return s.Journal.Record(ctx, tx, from.Event(s.Clock(), accountID, audit.DeviceForgotten))
	})
}

// loadedTOTP is a TOTP authenticator with its secret and used steps.
type loadedTOTP struct {
	authenticator.Authenticator
	totp.State
}

// loadTOTP loads the account's confirmed TOTP authenticators, without those that are removed
// meanwhile. Those of other kinds have no codes.
func loadTOTP(ctx context.Context, q db.Querier, ring *secret.Ring, accountID string) ([]loadedTOTP, error) {
	all, err := authenticator.List(ctx, q, accountID)
	if err != nil {
		return nil, err
	}
	var loaded []loadedTOTP
	for _, one := range authenticator.OfKind(all, authenticator.TOTP) {
		state, err := totp.Load(ctx, q, ring, one)
		if errors.Is(err, db.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, loadedTOTP{one, state})
	}
	return loaded, nil
}

// parametersOf returns the parameters of the authenticators, in their order.
func parametersOf(loaded []loadedTOTP) []totp.Parameters {
	all := make([]totp.Parameters, len(loaded))
	for i, one := range loaded {
		all[i] = one.Parameters
	}
	return all
}

// compare verifies the codes against each authenticator and returns the best result with the
// authenticator that gave it.
func compare(loaded []loadedTOTP, first, second string, now time.Time) (by loadedTOTP, best totp.Check) {
	for _, one := range loaded {
		// Compare with all of them, so that the time taken doesn't tell which one matched.
		var check totp.Check
		if second == "" {
			check = one.Verify(first, now)
		} else {
			check = one.VerifyPair(first, second, now)
		}
		// A used code wins, since it costs nothing: the answer must not reveal that the code
		// is right for another authenticator as well. Next comes an accepted code, then the
		// first result with an explanation.
		if rank(check) > rank(best) {
			by, best = one, check
		}
	}
	return by, best
}

// rank ranks the results of several authenticators for one code.
func rank(c totp.Check) int {
	switch {
	case isUsed(c.Result):
		return 3
	case c.Result == totp.Accepted:
		return 2
	case c.Result != totp.Wrong:
		return 1
	default:
		return 0
	}
}

// isUsed reports whether the code was right, but for a step that is already used.
func isUsed(r totp.Result) bool { return r == totp.Reused || r == totp.SetBack }

// rejectCode completes the try of a code that wasn't accepted and returns its error. A right
// but used code gives its reservation back. Any other keeps it, which counts the try as
// wrong; too many of those mean that somebody else has the password.
func (s *Service) rejectCode(ctx context.Context, accountID string, r throttle.Reservation, rejected *CodeError, from Browser) error {
	now := s.Clock()
	if isUsed(rejected.Result) {
		if err := s.Ledger.GiveBack(ctx, r); err != nil {
			return err
		}
		if err := s.recordFailure(ctx, from.Event(now, accountID, audit.CodeReused), device.Device{}, from); err != nil {
			return err
		}
		return rejected
	}
	ended := false
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := s.Journal.Record(ctx, tx, asRefused(from.Event(now, accountID, audit.CodeFailed))); err != nil {
			return err
		}
		var err error
		ended, err = s.checkSuspicion(ctx, tx, accountID, from)
		return err
	})
	if err != nil {
		return err
	}
	if ended {
		return ErrEnded
	}
	return rejected
}

// checkSuspicion evaluates the account's wrong codes after a further one. From the third on it
// notifies the owner, once. From the fifth on it marks the password as suspect, so that the
// next sign-in must change it, and ends all attempts; ended reports that.
func (s *Service) checkSuspicion(ctx context.Context, tx *db.Tx, accountID string, from Browser) (ended bool, err error) {
	suspicion, _, err := s.suspicionOf(ctx, tx, accountID)
	if err != nil || !suspicion.Notice {
		return false, err
	}
	// Under the lock, one of several concurrent wrong codes writes the notice. Another password
	// may have been set before the lock was free; the wrong codes say nothing about that one.
	if err := account.Lock(ctx, tx, accountID); errors.Is(err, db.ErrNotFound) {
		return false, nil // the account was removed, and its password with it
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

// suspicionOf returns what the wrong codes since the account's password was set mean, and when
// that was.
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

// WrongCodes returns the number of wrong codes after a right password of which the account's
// owner must be notified, or 0.
func (s *Service) WrongCodes(ctx context.Context, owner account.Account) (int, error) {
	suspicion, _, err := s.suspicionOf(ctx, s.DB.Reader(), owner.ID)
	if err != nil || !suspicion.Notice {
		return 0, err
	}
	return suspicion.Codes, nil
}
