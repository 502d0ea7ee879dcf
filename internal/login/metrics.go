package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Metrics holds callbacks that count what happens. Any of them may be nil. They receive no data
// about accounts or clients.
type Metrics struct {
	SignIn       func(Outcome)
	SecondFactor func(authenticator.Kind, Outcome)
	Refusal      func(throttle.Bucket)
	Waited       func(time.Duration) // time spent in the hashing queue
}

// Outcome is the result of a try.
type Outcome string

// The outcomes.
const (
	OutcomeAccepted Outcome = "accepted"
	OutcomeRejected Outcome = "rejected" // the credential was wrong, or the new password isn't allowed
	OutcomeRefused  Outcome = "refused"  // not verified: a budget is used up, or the account has no such authenticator
	OutcomeClock    Outcome = "clock"    // not verified: the server's clock is wrong
	OutcomeExpired  Outcome = "expired"  // the attempt doesn't exist any more
	OutcomeBusy     Outcome = "busy"     // the hashing queue is full, or too many tries write one ledger row
	OutcomeFailed   Outcome = "failed"   // any other error, such as one of the database
)

// Outcomes lists every outcome.
var Outcomes = []Outcome{OutcomeAccepted, OutcomeRejected, OutcomeRefused, OutcomeClock, OutcomeExpired, OutcomeBusy, OutcomeFailed}

// OutcomeOf returns the outcome of a try that returned err.
func OutcomeOf(err error) Outcome {
	var wait *WaitError
	switch {
	case err == nil:
		return OutcomeAccepted
	case errors.Is(err, ErrRejected), errors.Is(err, ErrEnded), errors.Is(err, ErrPasswordEnded), errors.Is(err, ErrSamePassword),
		errors.Is(err, password.ErrShort), errors.Is(err, password.ErrLong), errors.Is(err, password.ErrInvalid), errors.Is(err, password.ErrCommon):
		return OutcomeRejected
	case errors.As(err, &wait), errors.Is(err, ErrNeedTwoCodes), errors.Is(err, ErrNoMoreCodes), errors.Is(err, ErrNoTOTP), errors.Is(err, ErrShielded):
		return OutcomeRefused
	case errors.Is(err, ErrClock):
		return OutcomeClock
	case errors.Is(err, ErrNoAttempt):
		return OutcomeExpired
	case errors.Is(err, throttle.ErrQueueFull), errors.Is(err, throttle.ErrBusy):
		return OutcomeBusy
	default:
		return OutcomeFailed
	}
}

// countPassword counts a sign-in that ended at its password step, with a session or an error.
func (m Metrics) countPassword(p Progress, err error) {
	if m.SignIn != nil && (err != nil || p.Stage == StageDone) {
		m.SignIn(OutcomeOf(err))
	}
}

// countLaterStep counts a sign-in that was completed at a later step. It doesn't count an error,
// since the user can try again after a wrong code.
func (m Metrics) countLaterStep(p Progress, err error) {
	if err == nil {
		m.countPassword(p, nil)
	}
}

func (m Metrics) countSecondFactor(kind authenticator.Kind, err error) {
	if m.SecondFactor != nil {
		m.SecondFactor(kind, OutcomeOf(err))
	}
}

func (m Metrics) countRefusal(bucket throttle.Bucket) {
	if m.Refusal != nil {
		m.Refusal(bucket)
	}
}

// placeOf returns the place that a password or backup code of the account takes in the hashing
// queue. known is the known browser that sent the credential, or zero for an unknown browser.
func placeOf(accountID string, known device.Device, from Browser) throttle.Place {
	if known.ID == "" {
		return throttle.Place{Account: accountID, Browser: throttle.PrefixOf(from.Address)}
	}
	return throttle.Place{Account: accountID, Known: true, Browser: known.ID}
}

// acquireSlot calls [throttle.Queue.Acquire] and measures the wait. If the account's tries come
// too fast, it returns a [*WaitError].
func (s *Service) acquireSlot(ctx context.Context, p throttle.Place) (release func(matched bool), err error) {
	begin := s.Clock()
	release, err = s.Queue.Acquire(ctx, p)
	if pace := (*throttle.PaceError)(nil); errors.As(err, &pace) {
		return nil, &WaitError{RetryAfter: pace.RetryAfter}
	}
	if s.Metrics.Waited != nil && err == nil {
		s.Metrics.Waited(s.Clock().Sub(begin))
	}
	return release, err
}
