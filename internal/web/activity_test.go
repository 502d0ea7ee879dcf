package web

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestActivityIsGroupedByDaysInUTC(t *testing.T) {
	// 2026-11-24 in CET begins at 23:00 of the day before in UTC.
	cet := time.FixedZone("CET", 3600)
	at := func(day, hour, minute int) activityRow {
		return activityRow{At: time.Date(2026, 11, day, hour, minute, 0, 0, cet)}
	}
	rows := []activityRow{at(24, 9, 0), at(24, 1, 0), at(24, 0, 59), at(23, 1, 0), at(20, 12, 0)}
	want := []activityDay{
		{rows[0].At, rows[:2]},
		{rows[2].At, rows[2:4]},
		{rows[4].At, rows[4:]},
	}
	if diff := cmp.Diff(want, groupByDay(rows)); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
	if got := groupByDay(nil); got != nil {
		t.Errorf("no events: got %v, want no days", got)
	}
}
