package outbox

import "time"

const (
	// keepTime is how long a message is tried: so long that a mail server that is down over a
	// weekend still gets its mails.
	keepTime = 3 * 24 * time.Hour
	// briefTime is how long a brief message is tried: as long as the link in it works.
	briefTime = 30 * time.Minute

	// maxTries is more than the number of tries in keepTime. It ends the tries of a message whose
	// times were stored by a clock that was far ahead.
	maxTries = 100

	// longestPause is the longest time from when a message was stored or last tried until it is
	// due: a day, because of a quota, plus a margin.
	longestPause = 25 * time.Hour

	// pauseTime is how long no messages of a kind are sent after the other side refused the
	// credentials: after more tries it might lock the account that Sallyport uses there.
	pauseTime = 15 * time.Minute

	// unsureTime is the pause after which a message that may have arrived is repeated, once.
	unsureTime = 15 * time.Minute

	// leaveTime is the pause after which a message that this node can't send is due again.
	leaveTime = time.Minute
)

// pauses and briefPauses have the pause after the first failed try, after the second, and so on. The
// last pause repeats.
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

// pauseAfter returns the pause after this number of tries, which must be at least 1.
func pauseAfter(tries int, brief bool) time.Duration {
	all := pauses
	if brief {
		all = briefPauses
	}
	return all[min(max(tries, 1), len(all))-1]
}
