package clock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

const (
	// tolerance is how far behind the mark a clock may be. A code is right for three steps of 30 s
	// or more, so the same codes are right after a clock was set back by less than that. The
	// clocks of nodes differ by less, too.
	tolerance = 90 * time.Second

	// maxLeap is the most that the mark moves at once. A clock that jumps ahead for
	// a moment must not leave a mark that makes the server refuse every code once
	// the clock is set right.
	maxLeap = 10 * time.Minute

	// Slack is how far in the future a stored time may be without being an error:
	// the clocks with which nodes write times differ by less.
	Slack = tolerance

	// steady is how long a clock must run evenly after a leap before the leap is
	// believed. An operator or a time server corrects a wrong clock sooner than that.
	steady = time.Hour

	// MoveEvery is the interval at which callers should call [Mark.Move]. The stored mark
	// may be this much too early when a server starts with its clock set back.
	MoveEvery = 10 * time.Second
)

// State is what the database knows about the time.
type State struct {
	HighWater time.Time // the latest time that was believed; zero if none was stored yet
	LeaptAt   time.Time // the time to which the clock leapt; zero unless a leap isn't believed yet
	seenAt    time.Time // the latest time since that leap
	version   int64
}

// Behind returns how far now is behind the mark, or 0 within the tolerance of 90 s.
// Codes may be checked only if it is 0.
func (s State) Behind(now time.Time) time.Duration {
	if by := s.HighWater.Sub(now); !s.HighWater.IsZero() && by > tolerance {
		return by
	}
	return 0
}

// IsAhead reports whether now is more than 10 minutes past the mark. Either the clock
// leapt or no server ran for that long.
func (s State) IsAhead(now time.Time) bool {
	return !s.HighWater.IsZero() && now.Sub(s.HighWater) > maxLeap
}

// Capped returns the time now, but at most 10 minutes past the mark.
func (s State) Capped(now time.Time) time.Time {
	if s.IsAhead(now) {
		return s.HighWater.Add(maxLeap)
	}
	return now
}

// Believed returns the time to use for budgets when the clock shows now. It returns now itself,
// unless that is too far from the mark: a leap must neither end a window early nor record an
// attempt in the future. After a leap that isn't believed yet, it returns the mark plus the time
// since the leap, so that short waits end.
func (s State) Believed(now time.Time) time.Time {
	if s.Behind(now) > 0 {
		return s.HighWater
	}
	if !s.IsAhead(now) {
		return now
	}
	if s.isAnotherLeap(now) {
		return s.markPlusRunTime(now) // the next move begins another leap
	}
	return s.HighWater.Add(max(0, now.Sub(s.LeaptAt)))
}

// isAnotherLeap reports whether the time now is past the mark because of a leap since the
// last [Mark.Move].
func (s State) isAnotherLeap(now time.Time) bool {
	return s.LeaptAt.IsZero() || s.wentBack(now) || now.Sub(s.seenAt) > maxLeap
}

// markPlusRunTime returns the mark plus the time that servers have run since the leap,
// which is less than an hour. If that sum is later than now, it returns now.
func (s State) markPlusRunTime(now time.Time) time.Time {
	if mark := s.HighWater.Add(s.seenAt.Sub(s.LeaptAt)); mark.Before(now) {
		return mark
	}
	return now
}

// wentBack reports whether the clock, which shows now, was set back after a forward leap that
// isn't accepted yet. It needn't have returned to where it was before the leap: if a server was
// off for weeks and then started with a wrong date, the right date is past the mark too.
func (s State) wentBack(now time.Time) bool {
	return !s.LeaptAt.IsZero() && s.seenAt.Sub(now) > tolerance
}

// move returns the state after the reference clock showed now. The mark never goes
// back.
func (s State) move(now time.Time) State {
	next := s
	next.LeaptAt, next.seenAt = time.Time{}, time.Time{}
	switch {
	case s.HighWater.IsZero():
		next.HighWater = now
	case now.Before(s.HighWater):
	case now.Sub(s.HighWater) <= maxLeap:
		next.HighWater = now
	case s.isAnotherLeap(now): // the steady hour begins
		next.LeaptAt, next.seenAt = now, now
		// Without this, a server that is always restarted within an hour would never move
		// its mark, and recorded attempts would never expire.
		next.HighWater = s.markPlusRunTime(now)
	case now.Sub(s.LeaptAt) >= steady:
		next.HighWater = now
	default:
		next.LeaptAt, next.seenAt = s.LeaptAt, later(s.seenAt, now)
	}
	return next
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Mark keeps the state in the database, which all nodes share.
type Mark struct {
	DB *db.DB
	// Reference returns the time that moves the mark: the database's on PostgreSQL,
	// so that nodes agree, else the server's own.
	Reference func(context.Context) (time.Time, error)
	// WentBack, if not nil, is called by [Mark.Move] each time the reference clock is set back,
	// fully or in part, after a forward leap that was never believed. The call is in Move's
	// transaction, and on one node only. The argument now is the clock's time, or the mark if the
	// clock is behind the mark. Stored times after now were written during the leap.
	WentBack func(ctx context.Context, tx *db.Tx, now time.Time) error
}

// Trusted returns the reference clock's time, and whether rows may be expired or deleted by it.
// They must not be if own, this node's clock, differs from it by more than 30 s, or after a leap
// that isn't believed yet.
func (m *Mark) Trusted(ctx context.Context, own func() time.Time) (now time.Time, trusted bool, err error) {
	ahead, err := m.Ahead(ctx, own)
	if err != nil {
		return time.Time{}, false, err
	}
	if ahead.Abs() > astray {
		return time.Time{}, false, nil
	}
	state, err := Read(ctx, m.DB.Reader())
	if err != nil {
		return time.Time{}, false, err
	}
	now = own().Add(-ahead)
	return now, state.LeaptAt.IsZero() && !state.IsAhead(now), nil
}

// Ahead returns how far own is ahead of the reference clock; negative if it is behind.
// It assumes that the reference clock was read in the middle of the wait for the answer.
func (m *Mark) Ahead(ctx context.Context, own func() time.Time) (time.Duration, error) {
	asked := own()
	reference, err := m.Reference(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the time from the database: %w", err)
	}
	return asked.Add(own().Sub(asked) / 2).Sub(reference), nil
}

// Read returns the stored state, or the zero State if none was stored.
func Read(ctx context.Context, q db.Querier) (State, error) {
	var (
		s                      State
		highWater, leapt, seen db.At
	)
	err := db.One(ctx, q, `SELECT high_water_at, leapt_at, seen_at, version FROM clock WHERE id = 1`, nil, &highWater, &leapt, &seen, &s.version)
	if errors.Is(err, db.ErrNotFound) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read high-water mark: %w", err)
	}
	s.HighWater, s.LeaptAt, s.seenAt = highWater.Time, leapt.Time, seen.Time
	return s, nil
}

// Move reads the reference clock, moves the mark, and returns the state before and
// after. If several nodes call it at the same time, one of them writes, and the others
// return the stored state as before and after.
func (m *Mark) Move(ctx context.Context) (before, after State, err error) {
	now, err := m.Reference(ctx)
	if err != nil {
		return before, after, fmt.Errorf("read the time from the database: %w", err)
	}
	err = m.DB.Write(ctx, func(tx *db.Tx) error {
		if before, err = Read(ctx, tx); err != nil {
			return err
		}
		after = before.move(now)
		n, err := db.Exec(ctx, tx, `
			INSERT INTO clock (id, high_water_at, leapt_at, seen_at, version) VALUES (1, $1, $2, $3, 1)
			ON CONFLICT (id) DO UPDATE SET high_water_at = $1, leapt_at = $2, seen_at = $3, version = clock.version + 1
			WHERE clock.version = $4`,
			db.At{Time: after.HighWater}, db.At{Time: after.LeaptAt}, db.At{Time: after.seenAt}, before.version)
		if err != nil {
			return fmt.Errorf("move high-water mark: %w", err)
		}
		if n == 0 { // another node moved the mark in between
			after, err = Read(ctx, tx)
			before = after
			return err
		}
		if m.WentBack != nil && before.wentBack(now) {
			return m.WentBack(ctx, tx, later(now, after.HighWater))
		}
		return nil
	})
	return before, after, err
}

// Accept deletes the mark, so that the next [Mark.Move] accepts the time of the clock. It is
// called when an operator has stated that the clock is right.
func Accept(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `UPDATE clock SET high_water_at = NULL, leapt_at = NULL, seen_at = NULL, version = version + 1`)
	if err != nil {
		return fmt.Errorf("forget high-water mark: %w", err)
	}
	return nil
}
