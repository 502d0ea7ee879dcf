package clock_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// move is the reference clock's offset from the start at a call of Move, and the state
// that must follow.
type move struct {
	at    time.Duration
	mark  time.Duration
	leapt bool
}

// evenly returns the moves of a clock that has leapt and runs from the offset start to the offset
// end. The mark stays where it is, at the offset mark.
func evenly(start, end, mark time.Duration) []move {
	var all []move
	for at := start; at <= end; at += 5 * time.Minute {
		all = append(all, move{at, mark, true})
	}
	return all
}

func TestMarkFollowsTheClockButNoLeap(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	day := 24 * h
	for name, moves := range map[string][]move{
		"runs":             {{0, 0, false}, {10 * s, 10 * s, false}, {20 * s, 20 * s, false}},
		"never back":       {{0, 0, false}, {10 * s, 10 * s, false}, {-h, 10 * s, false}, {20 * s, 20 * s, false}},
		"ten minutes":      {{0, 0, false}, {10 * m, 10 * m, false}},
		"a leap":           {{0, 0, false}, {10*m + s, 0, true}},
		"a leap and back":  {{0, 0, false}, {day, 0, true}, {20 * s, 20 * s, false}},
		"an even hour":     append(append([]move{{0, 0, false}}, evenly(day, day+55*m, 0)...), move{day + h, day + h, false}),
		"leap upon leap":   append(append([]move{{0, 0, false}}, evenly(day, day+50*m, 0)...), move{2 * day, 50 * m, true}, move{2*day + 5*m, 50 * m, true}),
		"set back in leap": append(append([]move{{0, 0, false}}, evenly(day, day+50*m, 0)...), move{day, 50 * m, true}, move{day + 5*m, 50 * m, true}),
		"runs for short times": append(append(append([]move{{0, 0, false}}, evenly(day, day+30*m, 0)...), evenly(2*day, 2*day+40*m, 30*m)...),
			evenly(3*day, 3*day+10*m, 70*m)...),
		"back to shortly after": append(append([]move{{0, 0, false}}, evenly(day, day+50*m, 0)...), move{20 * m, 20 * m, true}, move{21 * m, 21 * m, false}),
		"nodes in disorder":     append(append([]move{{0, 0, false}}, evenly(day, day+55*m, 0)...), move{day + 54*m, 0, true}, move{day + h, day + h, false}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Each(t, func(t *testing.T, d *db.DB) {
				now := testkit.Start
				mark := &clock.Mark{DB: d, Reference: func(context.Context) (time.Time, error) { return now, nil }}
				for i, one := range moves {
					now = testkit.Start.Add(one.at)
					if _, _, err := mark.Move(t.Context()); err != nil {
						t.Fatal(err)
					}
					state, err := clock.Read(t.Context(), d.Reader())
					if err != nil {
						t.Fatal(err)
					}
					if got := state.HighWater.Sub(testkit.Start); got != one.mark || state.LeaptAt.IsZero() == one.leapt {
						t.Fatalf("move %d at %v: mark %v, leapt at %v; want %v, leapt: %v", i, one.at, got, state.LeaptAt, one.mark, one.leapt)
					}
				}
			})
		})
	}
}

// A server that was off for weeks may start with a wrong date. Once the date is set
// right, the clock is still far past the mark.
func TestEachWayBackFromALeapIsNoticedOnce(t *testing.T) {
	const week, day = 7 * 24 * time.Hour, 24 * time.Hour
	for name, test := range map[string]struct {
		moves []time.Duration
		back  []int // indices of the moves that call WentBack
	}{
		"no leap":                {[]time.Duration{0, time.Minute, 0}, nil},
		"all of the way":         {[]time.Duration{0, day, time.Minute, 2 * time.Minute}, []int{2}},
		"in part":                {[]time.Duration{0, 3*week + 400*day, 3*week + time.Minute, 3*week + 2*time.Minute}, []int{2}},
		"in two parts":           {[]time.Duration{0, 400 * day, 3 * week, time.Minute, 2 * time.Minute}, []int{2, 3}},
		"back behind the mark":   {[]time.Duration{0, day, -time.Hour, 0}, []int{2}},
		"back before the leap":   {[]time.Duration{0, 12 * time.Minute, 11 * time.Minute, 9 * time.Minute}, []int{3}},
		"ahead once more":        {[]time.Duration{0, day, 2 * day, 3 * day}, nil},
		"back from the last one": {[]time.Duration{0, day, 2 * day, day + time.Minute}, []int{3}},
		"nodes that differ":      {[]time.Duration{0, day, day - time.Minute, day}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Each(t, func(t *testing.T, d *db.DB) {
				now, index := testkit.Start, 0
				var back []int
				mark := &clock.Mark{
					DB: d, Reference: func(context.Context) (time.Time, error) { return now, nil },
					WentBack: func(_ context.Context, _ *db.Tx, at time.Time) error {
						want := now
						if now.Before(testkit.Start) { // the mark, since a right clock wrote the rows after it
							want = testkit.Start
						}
						if back = append(back, index); !at.Equal(want) {
							t.Errorf("WentBack got the time %v, want %v", at, want)
						}
						return nil
					},
				}
				for i, at := range test.moves {
					now, index = testkit.Start.Add(at), i
					if _, _, err := mark.Move(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(back, test.back) {
					t.Errorf("the moves %v called WentBack, want %v", back, test.back)
				}
			})
		})
	}
}

func TestBehindIsZeroUpToNinetySeconds(t *testing.T) {
	for off, want := range map[time.Duration]time.Duration{
		time.Hour: 0, 0: 0, -90 * time.Second: 0,
		-90*time.Second - time.Millisecond: 90*time.Second + time.Millisecond,
		-10 * time.Minute:                  10 * time.Minute,
	} {
		if got := (clock.State{HighWater: testkit.Start}).Behind(testkit.Start.Add(off)); got != want {
			t.Errorf("clock off by %v: behind by %v, want %v", off, got, want)
		}
	}
	if got := (clock.State{}).Behind(testkit.Start); got != 0 {
		t.Errorf("without a mark: behind by %v, want 0", got)
	}
}

func TestAfterAcceptTheNextMoveIsBelieved(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		now := testkit.Start
		mark := &clock.Mark{DB: d, Reference: func(context.Context) (time.Time, error) { return now, nil }}
		for _, off := range []time.Duration{0, -time.Hour, 48 * time.Hour, -time.Minute} {
			if err := d.Write(t.Context(), func(tx *db.Tx) error { return clock.Accept(t.Context(), tx) }); err != nil {
				t.Fatal(err)
			}
			now = testkit.Start.Add(off)
			if state, err := clock.Read(t.Context(), d.Reader()); err != nil || state.Behind(now) > 0 {
				t.Errorf("before the next move: state %+v, %v; want that now isn't behind", state, err)
			}
			if _, _, err := mark.Move(t.Context()); err != nil {
				t.Fatal(err)
			}
			if state, err := clock.Read(t.Context(), d.Reader()); err != nil || !state.HighWater.Equal(now) {
				t.Errorf("after Accept and a move to %v: mark %v, %v; want the mark there", off, state.HighWater.Sub(testkit.Start), err)
			}
		}
	})
}

func TestNodesMoveOneMark(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		count := testkit.Race(8, func(i int) string {
			mark := &clock.Mark{DB: d, Reference: func(context.Context) (time.Time, error) {
				return testkit.Start.Add(time.Duration(i) * time.Second), nil
			}}
			_, _, err := mark.Move(context.Background())
			return testkit.Outcome(err)
		})
		if fmt.Sprint(count) != "map[ok:8]" {
			t.Errorf("outcomes: %v, want 8 ok", count)
		}
	})
}

// On PostgreSQL the database's clock is the reference, so that a node whose own clock
// is years behind doesn't move the mark.
func TestReferenceOnPostgresIsTheDatabasesClock(t *testing.T) {
	own := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			d := testkit.Open(t, testkit.DatabaseURL(t, engine))
			got, err := d.Clock(t.Context(), own)
			if err != nil {
				t.Fatal(err)
			}
			if off := time.Since(got).Abs(); engine == "postgres" && off > time.Minute {
				t.Errorf("on PostgreSQL Clock returns %v, off by %v; want off by at most a minute", got, off)
			}
			if engine == "sqlite" && !got.Equal(own) {
				t.Errorf("on SQLite Clock returns %v, want the server's own time", got)
			}
		})
	}
}
