package clock

import (
	"fmt"
	"testing"
	"time"
)

func TestOffsetIsTheMedianOfPhones(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []int64
		want  int64
	}{
		{"nobody", nil, 0},
		{"too few", []int64{4, 4}, 0},
		{"three", []int64{4, 4, 4}, 4},
		{"one phone is wrong", []int64{0, -1, 0, 10, 0}, 0},
		{"the server is fast", []int64{-3, -2, -2, 0}, -2},
	} {
		var w Watch
		for i, steps := range test.steps {
			w.Accepted(fmt.Sprint(i), steps)
		}
		if got := w.Offset(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestOnePhoneHasOneVoice(t *testing.T) {
	var w Watch
	for i := range 4 {
		w.Accepted(fmt.Sprint(i), 0)
	}
	for range 500 {
		w.Accepted("wrong", 9)
	}
	if got := w.Offset(); got != 0 {
		t.Errorf("500 codes of one phone: %d", got)
	}
	for i := range 2 * watched {
		w.Accepted(fmt.Sprint("new ", i), 2)
	}
	if got := w.Offset(); got != 2 || len(w.offsets) != watched {
		t.Errorf("median %d of %d", got, len(w.offsets))
	}
}

func TestOffAndAstrayBeginPastTheirBounds(t *testing.T) {
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
			t.Errorf("%v ahead: off by %v, astray by %v", ahead, w.Off(), w.Astray())
		}
	}
}

func TestLookSeesTheClockSetBack(t *testing.T) {
	var w Watch
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, one := range []struct{ at, want time.Duration }{
		{0, 0}, {10 * time.Second, 0}, {-time.Hour, time.Hour + 10*time.Second}, {-time.Hour, 0},
		{-time.Hour - time.Millisecond, 0}, {time.Hour, 0}, {time.Hour - time.Second, time.Second},
	} {
		if got := w.Look(start.Add(one.at)); got != one.want {
			t.Errorf("look %d: %v, want %v", i, got, one.want)
		}
	}
	if got := w.SetsBack(); got != 2 {
		t.Errorf("%d times, want 2", got)
	}
}
