package policy

import "time"

// StartOfDay returns the first moment of a day in a time zone. Usually that is midnight. If the clocks
// are set ahead over midnight, it is the moment at which that happens. If the clocks show midnight
// twice, it is the first of the two.
func StartOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	start := time.Date(year, month, day, 0, 0, 0, 0, zone)
	began, ends := start.ZoneBounds() // when the offset that applies at start began, and when it ends
	switch {
	case start.Day() != day: // the clocks skip midnight, and Date chose a time before the skip
		return ends
	case start.Hour() != 0 || start.Minute() != 0: // the clocks skip midnight, and Date chose a time after the skip
		return began
	case began.IsZero():
		return start
	}
	_, offset := start.Zone()
	_, earlier := began.Add(-1).Zone()
	first := start.Add(time.Duration(offset-earlier) * time.Second) // midnight by the offset that applied before
	if first.Before(began) {
		return first
	}
	return start
}
