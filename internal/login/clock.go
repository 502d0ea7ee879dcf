package login

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// AcceptClock accepts the reference clock as right (see clock.Accept) and corrects what was
// written while a clock was ahead of it.
func (s *Service) AcceptClock(ctx context.Context) error {
	now, err := s.Mark.Reference(ctx)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := clock.Accept(ctx, tx); err != nil {
			return err
		}
		event := s.byOperator("", audit.ClockAccepted, "")
		if event.Number, err = s.correctFutureRows(ctx, tx, now); err != nil {
			return err
		}
		return audit.Append(ctx, tx, event)
	})
}

// ClockWentBack corrects what was written while the clock was ahead; see
// clock.Mark.WentBack.
func (s *Service) ClockWentBack(ctx context.Context, tx *db.Tx, now time.Time) error {
	n, err := s.correctFutureRows(ctx, tx, now)
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Event{At: now, Actor: audit.ByServer, Kind: audit.ClockWentBack, Number: n})
}

// correctFutureRows corrects rows that a clock which was ahead dated later than now. Otherwise they
// would live longer than allowed, or lock an owner out. It deletes sessions, links,
// handoffs, attempts and pending enrolments, and sets used steps, tries, last uses and the
// times of passwords back to now. It returns how many authenticators accept codes again.
func (s *Service) correctFutureRows(ctx context.Context, tx *db.Tx, now time.Time) (int, error) {
	latest := now.Add(clock.Slack)
	for _, end := range []func(context.Context, *db.Tx, time.Time) error{
		revokeFutureAttempts, account.RevokeFutureTickets, authenticator.RemoveFuturePending, session.RevokeFuture,
		device.ClampTimes, pass.ClampTimes, password.ClampTimes, throttle.ClampTimes,
	} {
		if err := end(ctx, tx, latest); err != nil {
			return 0, err
		}
	}
	return totp.BringBack(ctx, tx, now)
}

func revokeFutureAttempts(ctx context.Context, tx *db.Tx, latest time.Time) error {
	_, err := db.Exec(ctx, tx, `DELETE FROM attempts WHERE created_at > $1`, db.At{Time: latest})
	return err
}
