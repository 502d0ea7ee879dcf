package clock

import (
	"fmt"
	"testing"
	"time"
)

func TestOffsetIsTheMedianOfPhones(t *testing.T) {
	for _, test := range []struct {
		name  string
		ahead []time.Duration // in seconds
		want  time.Duration
	}{
		{"no phone", nil, 0},
		{"two phones", []time.Duration{120, 120}, 0},
		{"three phones", []time.Duration{120, 120, 120}, 120},
		{"one phone is wrong", []time.Duration{0, -30, 0, 300, 0}, 0},
		{"the server is ahead", []time.Duration{-90, -60, -60, 0}, -60},
		{"periods of 30 s and 60 s", []time.Duration{60, 30, 60, 30, 60}, 60},
	} {
		var w Watch
		for i, ahead := range test.ahead {
			w.Accepted(fmt.Sprint(i), ahead*time.Second)
		}
		if got := w.Offset(); got != test.want*time.Second {
			t.Errorf("%s: offset %v, want %v", test.name, got, test.want*time.Second)
		}
	}
}

func TestEachPhoneCountsOnce(t *testing.T) {
	var w Watch
	for i := range 4 {
		w.Accepted(fmt.Sprint(i), 0)
	}
	for range 500 {
		w.Accepted("wrong", 9*time.Minute)
	}
	if got := w.Offset(); got != 0 {
		t.Errorf("after 500 codes of one phone: offset %v, want 0", got)
	}
	for i := range 2 * maxOffsets {
		w.Accepted(fmt.Sprint("new ", i), time.Minute)
	}
	if got := w.Offset(); got != time.Minute || len(w.offsets) != maxOffsets {
		t.Errorf("offset %v from %d phones, want 1m from %d", got, len(w.offsets), maxOffsets)
	}
}

func TestOffAndAstrayAreZeroUpToTheirLimits(t *testing.T) {
	for ahead, want := range map[time.Duration]struct{ off, astray time.Duration }{
		0: {}, 5 * time.Second: {}, -5 * time.Second: {},
		5001 * time.Millisecond:   {off: 5001 * time.Millisecond},
		-30 * time.Second:         {off: -30 * time.Second},
		30001 * time.Millisecond:  {off: 30001 * time.Millisecond, astray: 30001 * time.Millisecond},
		-30001 * time.Millisecond: {off: -30001 * time.Millisecond, astray: -30001 * time.Millisecond},
	} {
		var w Watch
		w.Compared(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ahead, State{})
		if w.Off() != want.off || w.Astray() != want.astray || w.Ahead() != ahead {
			t.Errorf("%v ahead: Off %v, Astray %v, Ahead %v; want %v, %v", ahead, w.Off(), w.Astray(), w.Ahead(), want.off, want.astray)
		}
	}
}

func TestObserveFindsTheClockSetBack(t *testing.T) {
	var w Watch
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, one := range []struct{ at, want time.Duration }{
		{0, 0}, {10 * time.Second, 0}, {-time.Hour, time.Hour + 10*time.Second}, {-time.Hour, 0},
		{-time.Hour - time.Millisecond, 0}, {time.Hour, 0}, {time.Hour - time.Second, time.Second},
	} {
		if got := w.Observe(start.Add(one.at)); got != one.want {
			t.Errorf("observation %d: set back by %v, want %v", i, got, one.want)
		}
	}
	if got := w.SetsBack(); got != 2 {
		t.Errorf("set back %d times, want 2", got)
	}
}

func TestLeapChangesNoBudget(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for _, test := range []struct {
		name           string
		leapt, seen    time.Duration // after start; 0 if there was no leap
		now, want      time.Duration
		ahead, noState bool
	}{
		{name: "nothing is known", noState: true, now: year, want: year},
		{name: "at the mark"},
		{name: "ten minutes", now: 10 * time.Minute, want: 10 * time.Minute},
		{name: "a leap before the next move", now: year, ahead: true},
		{name: "a leap", leapt: year, seen: year, now: year, ahead: true},
		{name: "nine minutes after a leap", leapt: year, seen: year, now: year + 9*time.Minute, want: 9 * time.Minute, ahead: true},
		{name: "an hour after a leap", leapt: year, seen: year + 59*time.Minute, now: year + time.Hour, want: time.Hour, ahead: true},
		{name: "a leap after a leap", leapt: year, seen: year + 5*time.Minute, now: 2 * year, want: 5 * time.Minute, ahead: true},
		{name: "another leap, back into the first", leapt: 2 * year, seen: 2 * year, now: year, ahead: true},
		{name: "another leap, back in part", leapt: 2 * year, seen: 2*year + 5*time.Minute, now: year, want: 5 * time.Minute, ahead: true},
		{name: "another leap, back to shortly after the mark", leapt: year, seen: year + 50*time.Minute, now: 20 * time.Minute, want: 20 * time.Minute, ahead: true},
		{name: "behind, within the tolerance", now: -90 * time.Second, want: -90 * time.Second},
		{name: "set back", now: -time.Hour},
	} {
		s := State{HighWater: start}
		if test.leapt != 0 {
			s.LeaptAt, s.seenAt = start.Add(test.leapt), start.Add(test.seen)
		}
		if test.noState {
			s = State{}
		}
		now := start.Add(test.now)
		if got := s.Believed(now).Sub(start); got != test.want || s.IsAhead(now) != test.ahead {
			t.Errorf("%s: Believed %v, IsAhead %v; want %v, %v", test.name, got, s.IsAhead(now), test.want, test.ahead)
		}
	}
}

// The time between two comparisons is measured by the clock that can't be set, so it isn't taken
// for a leap when the machine sleeps.
func TestLeaptDistinguishesALeapFromSleep(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	running := time.Duration(0)
	w := Watch{}
	w.SetRunning(func() time.Duration { return running })
	now, mark := start, State{HighWater: start}
	compare := func(wall, ran time.Duration) time.Duration {
		now, running = now.Add(wall), running+ran
		mark = mark.move(now)
		w.Observe(now)
		w.Compared(now, 0, mark)
		return w.Leapt()
	}
	const day = 24 * time.Hour
	for i, one := range []struct{ wall, ran, want time.Duration }{
		{0, 0, 0}, {10 * time.Second, 10 * time.Second, 0}, {9 * time.Minute, 0, 0},
		{day, day, 0}, // the machine slept
		{-day, 0, 0},
		{-time.Hour, 0, 0}, {time.Hour, 10 * time.Second, 0}, // set back, and right again
		{2 * day, 0, 2 * day}, {5 * time.Minute, 5 * time.Minute, 2 * day}, {-2 * day, 0, 0},
	} {
		if got := compare(one.wall, one.ran).Round(time.Hour); got != one.want {
			t.Errorf("comparison %d: leapt by %v, want %v", i, got, one.want)
		}
	}
}

func TestBelievedTimeRunsOnBehindTheMark(t *testing.T) {
	mark := State{HighWater: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	running := time.Duration(0)
	w := Watch{}
	w.SetRunning(func() time.Duration { return running })
	now := mark.HighWater
	w.Compared(now, 0, mark)
	for i, one := range []struct {
		wall, ran, want time.Duration
		compared        bool
	}{
		{wall: -9 * time.Hour, compared: true},
		{wall: 5 * time.Second, ran: 5 * time.Second, want: 5 * time.Second},
		{wall: 5 * time.Second, ran: 5 * time.Second, want: 10 * time.Second, compared: true},
		{ran: 3 * time.Second, want: 13 * time.Second},
		{wall: -3 * time.Hour, want: 13 * time.Second, compared: true}, // set back once more
		{wall: time.Hour, ran: time.Hour, want: time.Hour + 13*time.Second, compared: true},
		{wall: 11*time.Hour + 2*time.Second, want: 12 * time.Second, compared: true}, // set right
		{wall: -time.Hour, compared: true},                                           // behind a second time
		{ran: time.Second, want: time.Second},
	} {
		now, running = now.Add(one.wall), running+one.ran
		if one.compared {
			w.Compared(now, 0, mark)
		}
		if got := w.Believed(now).Sub(mark.HighWater); got != one.want {
			t.Errorf("step %d: %v after the mark, want %v", i, got, one.want)
		}
	}
}

// Go's monotonic clock stops while a machine sleeps.
func TestReferenceRunsOnWhileTheMachineSleeps(t *testing.T) {
	running := time.Duration(0)
	w := Watch{}
	w.SetRunning(func() time.Duration { return running })
	own := time.Now()
	w.Compared(own, time.Second, State{})
	woken := own.Add(2 * time.Second) // by the monotonic clock
	running = 8 * time.Hour
	if got := w.Reference(woken).Sub(own.Round(0)); got != 8*time.Hour-time.Second {
		t.Errorf("the reference moved by %v, want %v", got, 8*time.Hour-time.Second)
	}
}

// TestSinceBootExtendsAReading checks that the monotonic clock extends a reading of the
// kernel's clock, and that the kernel is read again after a sleep.
func TestSinceBootExtendsAReading(t *testing.T) {
	var w Watch
	now := time.Now()
	first := w.sinceBoot(now, now)
	if got, want := w.sinceBoot(now.Add(40*time.Millisecond), now)-first, 40*time.Millisecond; got != want {
		t.Errorf("40 ms later, within the reading's life, %v had passed; want %v", got, want)
	}
	if got := w.sinceBoot(now.Add(-20*time.Millisecond), now) - first; got != -20*time.Millisecond {
		t.Errorf("a request that read its clock 20 ms before got %v, want -20ms", got)
	}
	// The kernel doesn't know the minute that this test claims to have passed.
	if got := w.sinceBoot(now.Add(time.Minute), now) - first; got >= time.Minute {
		t.Errorf("a reading that was too old was extended by %v, want the kernel's clock read again", got)
	}
	for _, c := range []struct {
		passed, wallPassed time.Duration
		want               bool
	}{
		{0, 0, true},
		{50 * time.Millisecond, 51 * time.Millisecond, true},
		{-time.Millisecond, -time.Millisecond, true},
		{time.Millisecond, time.Hour, false},              // the machine slept
		{time.Millisecond, -20 * time.Millisecond, false}, // the clock was set back
		{bootTimeLife, bootTimeLife, false},               // too old
		{-2 * bootTimeLife, -2 * bootTimeLife, false},     // another request's, much later
	} {
		if got := canExtend(c.passed, c.wallPassed); got != c.want {
			t.Errorf("canExtend(%v, %v) = %t, want %t", c.passed, c.wallPassed, got, c.want)
		}
	}
}
