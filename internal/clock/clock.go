// Package clock owns the high-water mark of time, table clock, and says which
// time to believe. A server whose clock was set back behind the mark takes no
// codes, since old ones would be right again (F7). What counts, ends or deletes
// goes by the reference clock, so that no node's own clock decides for the others.
// The decisions are pure; the caller brings the time.
package clock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/db"
)

const (
	// tolerance is how far behind the mark a clock may be: the three steps
	// that a code is right for. Less than it replays nothing that the steps
	// don't allow anyway, and nodes differ by less.
	tolerance = 90 * time.Second

	// maxLeap is the most that the mark moves at once. A clock that jumps
	// ahead for a moment must not leave a mark that refuses every code once it
	// is set right.
	maxLeap = 10 * time.Minute

	// Slack is how far in the future a stored time may be and still be right:
	// nodes write down times by clocks that differ by less.
	Slack = tolerance

	// steady is how long a clock must run evenly after a leap to be believed:
	// longer than an operator who notices takes, or a time server.
	steady = time.Hour

	// MoveEvery is how often the mark is to be moved; it is how much a server
	// that starts with its clock set back can lose of the tolerance.
	MoveEvery = 10 * time.Second
)

// State is what is known of the time.
type State struct {
	HighWater time.Time // the latest believed; zero: nothing is known yet
	LeaptAt   time.Time // where a clock arrived by a leap that isn't believed yet; zero: there is none
	seenAt    time.Time // the latest since that leap
	version   int64
}

// Behind returns how far now is behind the mark, or 0 within the tolerance of
// 90 s: then codes may be checked.
func (s State) Behind(now time.Time) time.Duration {
	if by := s.HighWater.Sub(now); !s.HighWater.IsZero() && by > tolerance {
		return by
	}
	return 0
}

// IsAhead reports whether now is so far past the mark that it isn't believed:
// the clock leapt, or no server ran for that long.
func (s State) IsAhead(now time.Time) bool {
	return !s.HighWater.IsZero() && now.Sub(s.HighWater) > maxLeap
}

// Sure returns now, but no more than 10 minutes past the mark.
func (s State) Sure(now time.Time) time.Time {
	if s.IsAhead(now) {
		return s.HighWater.Add(maxLeap)
	}
	return now
}

// Believed returns the time to count budgets by when a clock says now. It is now
// itself, unless the mark contradicts: a clock that leapt neither ends a window
// early nor writes down a try in the future. In a leap that isn't believed yet,
// time goes on from the mark as it does since the leap, so that a short wait ends.
func (s State) Believed(now time.Time) time.Time {
	if s.Behind(now) > 0 {
		return s.HighWater
	}
	if !s.IsAhead(now) {
		return now
	}
	if s.isAnotherLeap(now) {
		return s.ran(now) // the next look begins another leap
	}
	return s.HighWater.Add(max(0, now.Sub(s.LeaptAt)))
}

// isAnotherLeap reports whether a clock that says now, which is past the mark by a leap,
// began that leap since the last look.
func (s State) isAnotherLeap(now time.Time) bool {
	return s.LeaptAt.IsZero() || s.wentBack(now) || now.Sub(s.seenAt) > maxLeap
}

// ran returns the mark, moved on by the time that servers ran since the leap, which is
// less than an hour, but no further than now.
func (s State) ran(now time.Time) time.Time {
	if mark := s.HighWater.Add(s.seenAt.Sub(s.LeaptAt)); mark.Before(now) {
		return mark
	}
	return now
}

// wentBack reports whether a clock that says now went back from a leap that isn't
// believed yet, all of the way or in part: a server that was off for weeks and started
// with a wrong date is still past the mark when the date is set right.
func (s State) wentBack(now time.Time) bool {
	return !s.LeaptAt.IsZero() && s.seenAt.Sub(now) > tolerance
}

// move returns the state after a look at the clock. The mark never goes back.
func (s State) move(now time.Time) State {
	next := s
	next.LeaptAt, next.seenAt = time.Time{}, time.Time{}
	switch {
	case s.HighWater.IsZero():
		next.HighWater = now
	case now.Before(s.HighWater):
	case now.Sub(s.HighWater) <= maxLeap:
		next.HighWater = now
	case s.isAnotherLeap(now): // the hour begins
		next.LeaptAt, next.seenAt = now, now
		// A server that never runs for an hour would keep its mark, and every try, for ever.
		next.HighWater = s.ran(now)
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

// Mark keeps the state in the database, shared by all nodes.
type Mark struct {
	DB *db.DB
	// Reference is the clock that moves the mark: the database's on
	// PostgreSQL, so that nodes agree, else the server's own.
	Reference func(context.Context) (time.Time, error)
	// WentBack, unless it is nil, is called in the transaction that notices that the
	// reference clock went back from a leap that was never believed, all of the way or in
	// part: once for each time, whichever nodes look. now is the clock's time, or the mark
	// where the clock went back behind it: nothing before the mark is from the future.
	WentBack func(ctx context.Context, tx *db.Tx, now time.Time) error
}

// Trusted returns the reference clock's time, and whether to delete and to end
// things by it. It is not trusted while own, this node's clock, is more than 30 s
// from it, nor in a leap that isn't believed yet.
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

// Ahead returns how far own is ahead of the reference; negative, behind it. An
// answer is taken to be from the middle of the wait for it.
func (m *Mark) Ahead(ctx context.Context, own func() time.Time) (time.Duration, error) {
	asked := own()
	reference, err := m.Reference(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the time from the database: %w", err)
	}
	return asked.Add(own().Sub(asked) / 2).Sub(reference), nil
}

// Read returns the state.
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

// Move looks at the reference clock once and returns the state before and
// after. Of several nodes that do so at once one writes; to the others nothing
// has changed.
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
		if n == 0 { // another node looked at the same time
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

// Accept forgets the mark: the next look at the clock is believed, be it back
// or ahead. It is for an operator who has set the clock right.
func Accept(ctx context.Context, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, `UPDATE clock SET high_water_at = NULL, leapt_at = NULL, seen_at = NULL, version = version + 1`)
	if err != nil {
		return fmt.Errorf("forget high-water mark: %w", err)
	}
	return nil
}
