package login

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	"github.com/sallyport/sallyport/internal/ticket"
)

// AcceptClock accepts the reference clock as right (see clock.Accept) and corrects the rows that
// were written while a clock was ahead of the reference clock.
func (s *Service) AcceptClock(ctx context.Context) error {
	now, err := s.Mark.Reference(ctx)
	if err != nil {
		return err
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := clock.Accept(ctx, tx); err != nil {
			return err
		}
		event := audit.Event{At: s.Clock(), Actor: audit.ByOperator, Kind: audit.ClockAccepted}
		if event.Number, err = correctFutureRows(ctx, tx, now); err != nil {
			return err
		}
		return s.Journal.Record(ctx, tx, event)
	})
}

// ClockWentBack corrects the rows that were written while the clock was ahead; see
// clock.Mark.WentBack.
func (s *Service) ClockWentBack(ctx context.Context, tx *db.Tx, now time.Time) error {
	n, err := correctFutureRows(ctx, tx, now)
	if err != nil {
		return err
	}
	return s.Journal.Record(ctx, tx, audit.Event{At: now, Actor: audit.ByServer, Kind: audit.ClockWentBack, Number: n})
}

// correctFutureRows corrects rows with times later than now, which come from a clock that was
// ahead. Uncorrected, they would live longer than allowed, or lock an owner out. It deletes such
// sessions, links, handoffs, attempts and pending enrolments, and sets used steps, tries, last uses
// and the times of passwords back to now. It returns how many authenticators accept codes again.
func correctFutureRows(ctx context.Context, tx *db.Tx, now time.Time) (int, error) {
	latest := now.Add(clock.Slack)
	for _, end := range []func(context.Context, *db.Tx, time.Time) error{
		revokeFutureAttempts, ticket.RevokeFuture, authenticator.RemoveFuturePending, session.RevokeFuture,
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

// CheckClock returns [ErrClock] if the server's clock is so wrong that codes of another time
// would be accepted. The result unsure reports that the clock may be ahead: it is more than ten
// minutes past the high-water mark, either because no server ran for that long or because the
// machine's date is wrong.
func (s *Service) CheckClock(ctx context.Context, q db.Querier) (unsure bool, err error) {
	if off := s.Watch.Astray(); off != 0 {
		return false, fmt.Errorf("%w: it is %s", ErrClock, clock.DescribeOffset(off))
	}
	state, err := clock.Read(ctx, q)
	if err != nil {
		return false, err
	}
	now := s.Clock()
	if by := state.Behind(now); by > 0 {
		return false, fmt.Errorf("%w: it is %v behind", ErrClock, by.Round(time.Second))
	}
	unsure = state.IsAhead(now)
	if by := s.Watch.Leapt(); unsure && by > 0 {
		return true, fmt.Errorf("%w: it was set %v ahead", ErrClock, by.Round(time.Second))
	}
	return unsure, nil
}

// CodesRefused reports whether codes are refused because the server's clock is wrong.
func (s *Service) CodesRefused(ctx context.Context) (bool, error) {
	_, err := s.CheckClock(ctx, s.DB.Reader())
	if errors.Is(err, ErrClock) {
		return true, nil
	}
	return false, err
}
