package outbox

import "time"

const (
	// keepTime is how long a message is tried. A mail server that is down over a weekend
	// still gets its mails.
	keepTime = 3 * 24 * time.Hour
	// briefTime is how long a brief message is tried: as long as the link in it works.
	briefTime = 30 * time.Minute

	// maxTries is more than a message is tried in that time. It ends one whose times were
	// stored by a clock far ahead.
	maxTries = 100

	// longestPause is the longest time from the storing of a message, or from a try, to the
	// next try: a day, for one that waits for quota, and some more.
	longestPause = 25 * time.Hour

	// pauseTime is how long nothing of a kind is sent after the other side refused the
	// credentials: more tries would only lock the account there.
	pauseTime = 15 * time.Minute

	// unsureTime is the wait before the only repetition of a message that may have arrived.
	unsureTime = 15 * time.Minute

	// leaveTime is how long a node leaves a message alone that only another node can send.
	leaveTime = time.Minute
)

// pauses and briefPauses are the pauses after each failed try; the last one repeats.
var (
	pauses      = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	briefPauses = []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute}
)

// lifeOf returns how long a message is tried.
func lifeOf(brief bool) time.Duration {
	if brief {
		return briefTime
	}
	return keepTime
}

// pauseAfter returns the pause after so many tries, at least one.
func pauseAfter(tries int, brief bool) time.Duration {
	all := pauses
	if brief {
		all = briefPauses
	}
	return all[min(max(tries, 1), len(all))-1]
}
