package secret

import (
	"slices"
	"testing"
	"time"
)

func TestTimedIDsSortByTimeAndHaveTheFormOfIDs(t *testing.T) {
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var ids []string
	for after := range 1000 {
		ids = append(ids, NewTimedID(start.Add(time.Duration(after)*timedUnit)))
	}
	for _, later := range []time.Duration{time.Hour, 24 * time.Hour, 365 * 24 * time.Hour, 100 * 365 * 24 * time.Hour} {
		ids = append(ids, NewTimedID(start.Add(later)))
	}
	if !slices.IsSorted(ids) {
		t.Error("ids of later times don't sort after earlier ones")
	}
	// A clock may be wrong by any amount.
	for _, odd := range []time.Time{{}, time.UnixMilli(0), time.UnixMilli(-1), time.UnixMilli(1 << 62)} {
		ids = append(ids, NewTimedID(odd))
	}
	for _, id := range ids {
		if !IsID(id) || len(id) != len(NewID()) {
			t.Errorf("NewTimedID = %q, which has another form than %q", id, NewID())
		}
	}
}

func TestTimedIDsOfOneMomentDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		seen[NewTimedID(time.UnixMilli(1_800_000_000_000))[timedChars:]] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d different ids of 10,000", len(seen))
	}
}
