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
	"github.com/sallyport/sallyport/internal/throttle"
)

// SubmitCode gives the attempt a code of any of the account's TOTP
// authenticators, or two consecutive ones; next is empty for one. It returns a
// [*CodeError], [ErrNeedTwoCodes], [ErrNoMoreCodes], [ErrClock] or
// [ErrNoAttempt].
func (s *Service) SubmitCode(ctx context.Context, token, code, next, sessionToken string, from Browser) (Progress, error) {
	if err := s.isAttempt(ctx, token); err != nil {
		return Progress{}, err
	}
	progress, err := s.proveCode(ctx, func(q db.Querier) (Attempt, error) {
		a, _, err := s.attempt(ctx, q, token)
		return a, err
	}, code, next, sessionToken, from)
	s.Metrics.goneOn(progress, err)
	return progress, err
}

// proveCode verifies a code for the attempt that open reads, and advances it.
func (s *Service) proveCode(ctx context.Context, open func(db.Querier) (Attempt, error), code, next, sessionToken string, from Browser) (Progress, error) {
	progress, err := s.tryCode(ctx, open, code, next, sessionToken, from)
	s.Metrics.secondFactor(authenticator.TOTP, err)
	return progress, err
}

func (s *Service) tryCode(ctx context.Context, open func(db.Querier) (Attempt, error), code, next, sessionToken string, from Browser) (Progress, error) {
	first, err := totp.Normalize(code)
	second := ""
	if err == nil && next != "" {
		second, err = totp.Normalize(next)
	}
	if err != nil {
		if _, err := open(s.DB.Reader()); err != nil {
			return Progress{}, err
		}
		return Progress{}, &CodeError{Malformed: true, Pair: next != ""}
	}
	var (
		a      Attempt
		phones []phone
		known  string
		unsure bool // the clock may be ahead
	)
	// What the try needs is read where it is reserved: one transaction is
	// cheaper than seven queries beside it.
	reservation, verdict, err := s.Ledger.ReserveFunc(ctx, func(tx *db.Tx) (tries []throttle.Try, err error) {
		if a, err = open(tx); err != nil {
			return nil, err
		}
		// Before the rest: what isn't looked at costs nothing.
		if unsure, err = s.checkClock(ctx, tx); err != nil {
			return nil, err
		}
		if phones, err = s.phones(ctx, tx, a.AccountID); err != nil {
			return nil, err
		}
		tries, known, err = s.codeTries(ctx, tx, a, a.AccountID, len(phones), second != "", from)
		return tries, err
	})
	if err != nil {
		return Progress{}, err
	}
	if verdict.Answer == throttle.ForgetDevice {
		if err := s.forgetDevice(ctx, a.AccountID, known, from); err != nil {
			return Progress{}, err
		}
		// From now on it is an unknown browser like any other.
		return s.tryCode(ctx, open, code, next, sessionToken, from)
	}
	if err := s.refusal(verdict); err != nil {
		return Progress{}, err
	}
	by, check := compare(phones, first, second, s.Clock())
	ctx, done := regardless(ctx)
	defer done()
	var progress Progress
	if check.Result == totp.Accepted {
		now := s.Clock()
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			if err := s.lock(ctx, tx, a.AccountID, sessionToken); err != nil {
				return err
			}
			if err := totp.Claim(ctx, tx, by.ID, check, unsure); err != nil {
				return err
			}
			if err := authenticator.NoteUse(ctx, tx, by.ID, now); err != nil {
				return err
			}
			if err := throttle.GiveBack(ctx, tx, reservation); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.TOTP, ID: by.ID, At: now}})
			progress, err = s.advance(ctx, tx, proven, sessionToken, from)
			return err
		})
		if err == nil {
			s.Watch.Accepted(by.ID, check.Step-totp.Step(now))
		}
		if !errors.Is(err, totp.ErrReused) {
			return progress, err
		}
		check = totp.Check{Result: totp.Reused} // another request was faster
	}
	return Progress{}, s.rejectCode(ctx, a.AccountID, reservation, check, second != "", from)
}

// codeTries are the tries that a code counts as, and the id of the known
// browser that it comes from, or "".
func (s *Service) codeTries(ctx context.Context, q db.Querier, a Attempt, accountID string, authenticators int, pair bool, from Browser) ([]throttle.Try, string, error) {
	known, err := device.ByCookie(ctx, q, from.Device, accountID, s.Clock())
	if err != nil {
		return nil, "", err
	}
	try := throttle.Try{Key: throttle.Key{Account: accountID, Subject: known.ID}, Units: authenticators, Tag: a.tag()}
	switch {
	case pair:
		try.Bucket, try.Units = throttle.TwoCodes, 1
		if try.PasswordSet, err = password.ChangedAt(ctx, q, accountID); err != nil {
			return nil, "", err
		}
	case known.ID != "":
		try.Bucket = throttle.CodeKnownDevice
	default:
		try.Bucket = throttle.CodeUnknownDevice
	}
	tries := []throttle.Try{try}
	if known.ID == "" {
		tries = append(tries, throttle.PrefixTries(from.Address, accountID)...)
	}
	return tries, known.ID, nil
}

// forgetDevice makes a browser unknown that gave too many wrong codes: its
// cookie may be a copy.
func (s *Service) forgetDevice(ctx context.Context, accountID, id string, from Browser) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := device.Remove(ctx, tx, accountID, id); err != nil {
			return err
		}
		return audit.Append(ctx, tx, from.event(s.Clock(), accountID, audit.DeviceForgotten))
	})
}

// phone is an authenticator with what its codes are compared with.
type phone struct {
	authenticator.Authenticator
	totp.State
}

func (s *Service) phones(ctx context.Context, q db.Querier, accountID string) ([]phone, error) {
	authenticators, err := authenticator.List(ctx, q, accountID)
	if err != nil {
		return nil, err
	}
	phones := make([]phone, len(authenticators))
	for i, one := range authenticators {
		phones[i].Authenticator = one
		if phones[i].State, err = totp.Load(ctx, q, s.Ring, one); err != nil {
			return nil, err
		}
	}
	return phones, nil
}

// compare holds the codes against each phone and returns the best result with
// the one that gave it.
func compare(phones []phone, first, second string, now time.Time) (by phone, best totp.Check) {
	for _, one := range phones {
		var check totp.Check
		if second == "" {
			check = one.Verify(first, now)
		} else {
			check = one.VerifyPair(first, second, now)
		}
		// All are compared whatever was found. A used code wins: it costs
		// nothing, so it must not tell whether it is right for another
		// authenticator. Then an accepted one, then the first that had
		// anything to say.
		if weight(check) > weight(best) {
			by, best = one, check
		}
	}
	return by, best
}

// weight ranks what authenticators say to one code.
func weight(c totp.Check) int {
	switch {
	case used(c):
		return 3
	case c.Result == totp.Accepted:
		return 2
	case c.Result != totp.Wrong:
		return 1
	default:
		return 0
	}
}

// used reports whether the code was right, but for a step that is used up.
func used(c totp.Check) bool { return c.Result == totp.Reused || c.Result == totp.SetBack }

// rejectCode settles a code that opened nothing. One that was right but used
// costs nothing; everything else stays reserved, and so counts. Too many wrong
// ones tell that somebody else has the password.
func (s *Service) rejectCode(ctx context.Context, accountID string, r throttle.Reservation, check totp.Check, pair bool, from Browser) error {
	now := s.Clock()
	if used(check) {
		if err := s.Ledger.GiveBack(ctx, r); err != nil {
			return err
		}
		if err := s.failed(ctx, from.event(now, accountID, audit.CodeReused), device.Device{}, from); err != nil {
			return err
		}
		return &CodeError{Pair: pair, Result: check.Result, Minutes: check.Minutes}
	}
	ended := false
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := audit.Append(ctx, tx, refused(from.event(now, accountID, audit.CodeFailed))); err != nil {
			return err
		}
		var err error
		ended, err = s.suspect(ctx, tx, accountID, from)
		return err
	})
	if err != nil {
		return err
	}
	if ended {
		return ErrEnded
	}
	return &CodeError{Pair: pair, Result: check.Result, Minutes: check.Minutes}
}

// suspect looks at an account's wrong codes after one more. From the third on the
// owner is told, once; from the fifth on the password counts as known to somebody: it
// must be changed at the next sign-in, and every sign-in under way is ended.
func (s *Service) suspect(ctx context.Context, tx *db.Tx, accountID string, from Browser) (ended bool, err error) {
	changed, err := password.ChangedAt(ctx, tx, accountID)
	if err != nil {
		return false, err
	}
	suspicion, err := s.Ledger.Suspect(ctx, tx, accountID, changed)
	if err != nil {
		return false, err
	}
	if !suspicion.Notice {
		return false, nil
	}
	// Of several wrong codes at once one tells the owner.
	if err := account.Lock(ctx, tx, accountID); err != nil {
		return false, err
	}
	event := from.event(s.Clock(), accountID, audit.WrongCodesNoticed)
	event.Number = suspicion.Codes
	told, err := audit.Happened(ctx, tx, accountID, event.Kind,
		later(changed, event.At.Add(-throttle.SuspectWithin)), event.At.Add(clock.Slack))
	if err != nil {
		return false, err
	}
	if !told {
		if err := audit.Append(ctx, tx, event); err != nil {
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
	if err := audit.Append(ctx, tx, event); err != nil {
		return false, err
	}
	return true, endAttempts(ctx, tx, accountID)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SubmitBackupCode gives the attempt a backup code. It returns [ErrRejected],
// [ErrMalformedBackupCode], a [*WaitError] or [ErrNoAttempt].
func (s *Service) SubmitBackupCode(ctx context.Context, token, typed, sessionToken string, from Browser) (Progress, error) {
	a, owner, err := s.attempt(ctx, s.DB.Reader(), token)
	if err != nil {
		return Progress{}, err
	}
	progress, err := s.proveBackupCode(ctx, a, owner, typed, sessionToken, from)
	s.Metrics.goneOn(progress, err)
	return progress, err
}

// proveBackupCode verifies a backup code for the attempt and advances it.
func (s *Service) proveBackupCode(ctx context.Context, a Attempt, owner account.Account, typed, sessionToken string, from Browser) (Progress, error) {
	progress, err := s.tryBackupCode(ctx, a, owner, typed, sessionToken, from)
	s.Metrics.secondFactor(authenticator.BackupCode, err)
	return progress, err
}

func (s *Service) tryBackupCode(ctx context.Context, a Attempt, owner account.Account, typed, sessionToken string, from Browser) (Progress, error) {
	code, err := backupcode.Normalize(typed)
	if err != nil {
		return Progress{}, ErrMalformedBackupCode
	}
	// The pace counts for the prefix as well, so that a thief elsewhere can't
	// keep the owner waiting.
	known, err := device.ByCookie(ctx, s.DB.Reader(), from.Device, owner.ID, s.Clock())
	if err != nil {
		return Progress{}, err
	}
	try := throttle.Try{Key: throttle.Key{Account: owner.ID, Bucket: throttle.BackupCode, Subject: throttle.WidePrefixOf(from.Address)}, Units: 1}
	if verdict, err := s.Ledger.Peek(ctx, try); err != nil {
		return Progress{}, err
	} else if err := s.refusal(verdict); err != nil {
		return Progress{}, err
	}
	leave, err := s.enter(ctx, owner.ID, known, from)
	if err != nil {
		return Progress{}, err
	}
	matched := false
	defer func() { leave(matched) }()
	reservation, verdict, err := s.Ledger.Reserve(ctx, try)
	if err != nil {
		return Progress{}, err
	}
	if err := s.refusal(verdict); err != nil {
		return Progress{}, err
	}
	id, err := backupcode.Match(ctx, s.DB.Reader(), s.Ring, s.Passwords, owner.ID, code)
	if err != nil {
		return Progress{}, err
	}
	matched = id != ""
	ctx, done := regardless(ctx)
	defer done()
	var progress Progress
	if matched {
		err = s.DB.Write(ctx, func(tx *db.Tx) error {
			now := s.Clock()
			if err := s.lock(ctx, tx, owner.ID, sessionToken); err != nil {
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
			event := from.event(now, owner.ID, audit.BackupCodeUsed)
			event.Number = left
			if err := audit.Append(ctx, tx, event); err != nil {
				return err
			}
			proven := a
			proven.Proofs = authenticator.Merge(a.Proofs, []authenticator.Proof{{Kind: authenticator.BackupCode, At: now}})
			progress, err = s.advance(ctx, tx, proven, sessionToken, from)
			progress.CodesLeft = left
			return err
		})
		if !errors.Is(err, backupcode.ErrUsed) {
			return progress, err
		}
	}
	if err := s.failed(ctx, from.event(s.Clock(), owner.ID, audit.BackupCodeFailed), known, from); err != nil {
		return Progress{}, err
	}
	return Progress{}, ErrRejected
}
