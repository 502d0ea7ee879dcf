package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Metrics is told what happens, to count it; a field may be nil. It is told
// nothing about whom.
type Metrics struct {
	SignIn       func(Outcome)
	SecondFactor func(authenticator.Kind, Outcome)
	Refusal      func(throttle.Bucket)
	Waited       func(time.Duration) // in the hashing queue

	// Checked is told of each request for a panel that was held against what the
	// panel demands; err is not nil where the database didn't answer.
	Checked func(verdict access.Verdict, err error)
}

// Outcome is how a try ended.
type Outcome string

// The outcomes.
const (
	OutcomeAccepted Outcome = "accepted"
	OutcomeRejected Outcome = "rejected" // the credential was wrong, or can't be the new password
	OutcomeRefused  Outcome = "refused"  // it wasn't looked at: a budget is used up
	OutcomeClock    Outcome = "clock"    // it wasn't looked at: the server's clock is wrong
	OutcomeExpired  Outcome = "expired"  // the attempt is gone
	OutcomeBusy     Outcome = "busy"     // the hashing queue is full, or the ledger contended
	OutcomeFailed   Outcome = "failed"   // everything else, such as the database
)

// Outcomes are all of them.
var Outcomes = []Outcome{OutcomeAccepted, OutcomeRejected, OutcomeRefused, OutcomeClock, OutcomeExpired, OutcomeBusy, OutcomeFailed}

// OutcomeOf returns how a try ended that returned err.
func OutcomeOf(err error) Outcome {
	var wait *WaitError
	switch {
	case err == nil:
		return OutcomeAccepted
	case errors.Is(err, ErrRejected), errors.Is(err, ErrEnded), errors.Is(err, ErrPasswordEnded), errors.Is(err, ErrSamePassword),
		errors.Is(err, password.ErrShort), errors.Is(err, password.ErrLong), errors.Is(err, password.ErrInvalid), errors.Is(err, password.ErrCommon):
		return OutcomeRejected
	case errors.As(err, &wait), errors.Is(err, ErrNeedTwoCodes), errors.Is(err, ErrNoMoreCodes), errors.Is(err, ErrShielded):
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

// begun counts a sign-in that ended with its password, by a session or a
// refusal.
func (m Metrics) begun(p Progress, err error) {
	if m.SignIn != nil && (err != nil || p.Stage == StageDone) {
		m.SignIn(OutcomeOf(err))
	}
}

// goneOn counts a sign-in that ended with a later step: only a session ends
// it, since after a wrong code another may be given.
func (m Metrics) goneOn(p Progress, err error) {
	if err == nil {
		m.begun(p, nil)
	}
}

func (m Metrics) secondFactor(kind authenticator.Kind, err error) {
	if m.SecondFactor != nil {
		m.SecondFactor(kind, OutcomeOf(err))
	}
}

func (m Metrics) refused(bucket throttle.Bucket) {
	if m.Refusal != nil {
		m.Refusal(bucket)
	}
}

// enter waits for a hashing slot for a password or backup code of the account that was
// typed in the known browser or, where its id is empty, in an unknown one.
func (s *Service) enter(ctx context.Context, accountID string, known device.Device, from Browser) (leave func(matched bool), err error) {
	if known.ID == "" {
		return s.queue(ctx, throttle.Place{Account: accountID, Browser: throttle.PrefixOf(from.Address)})
	}
	return s.queue(ctx, throttle.Place{Account: accountID, Known: true, Browser: known.ID})
}

// queue is [throttle.Queue.Acquire] with a measure of the wait. Past the pace it
// returns a [*WaitError].
func (s *Service) queue(ctx context.Context, p throttle.Place) (leave func(matched bool), err error) {
	begin := s.Clock()
	leave, err = s.Queue.Acquire(ctx, p)
	if pace := (*throttle.PaceError)(nil); errors.As(err, &pace) {
		return nil, &WaitError{RetryAfter: pace.RetryAfter}
	}
	if s.Metrics.Waited != nil && err == nil {
		s.Metrics.Waited(s.Clock().Sub(begin))
	}
	return leave, err
}
