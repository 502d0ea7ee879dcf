package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

// SubmitCode verifies a code of any of the account's TOTP authenticators, or two consecutive
// codes. The parameter next is empty for a single code. SubmitCode returns a [*CodeError],
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

// proveCode verifies a code for the attempt that the function open returns, and advances that
// attempt.
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
		return Progress{}, malformed(ctx, s.DB.Reader(), a.AccountID, next != "")
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
		// Check the clock first, since a code that can't be verified must not cost a try.
		if unsure, err = s.CheckClock(ctx, tx); err != nil {
			return nil, err
		}
		if loaded, err = loadTOTP(ctx, tx, s.Ring, a.AccountID); err != nil {
			return nil, err
		}
		if len(loaded) == 0 {
			return nil, ErrNoTOTP // no authenticator shows codes that could be compared
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
		// The browser counts as unknown from now on.
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

// codeTries returns the tries that a code counts as, and the id of the known browser that sent
// the code, or "" for an unknown browser. units is what a single code costs, or [twoCodes].
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

// loadTOTP loads the account's confirmed TOTP authenticators, without those that are removed while
// it reads. Authenticators of other kinds have no codes.
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
		// A used code ranks highest: it costs no try, so the answer must not reveal that the
		// code is right for another authenticator as well. An accepted code ranks next, then the
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

// rejectCode completes the try of a code that wasn't accepted, and returns the error for the user.
// For a right but used code it gives the reservation back. For any other code it keeps the
// reservation, so the try counts as wrong; too many wrong tries mean that a thief has the password.
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
