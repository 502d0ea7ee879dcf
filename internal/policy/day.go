package policy

import "time"

// StartOfDay returns the first moment of a day in a time zone: midnight, or in a night in which the
// clocks skip midnight, the moment at which they are set ahead. If the clocks show midnight twice,
// it is the first time.
func StartOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	start := time.Date(year, month, day, 0, 0, 0, 0, zone)
	began, ends := start.ZoneBounds() // of the offset that applies at start
	switch {
	case start.Day() != day: // a time before the clocks skip midnight, since Date may choose either side
		return ends
	case start.Hour() != 0 || start.Minute() != 0: // a time after that
		return began
	case began.IsZero():
		return start
	}
	_, offset := start.Zone()
	_, earlier := began.Add(-1).Zone()
	first := start.Add(time.Duration(offset-earlier) * time.Second) // midnight by the offset before
	if first.Before(began) {
		return first
	}
	return start
}
