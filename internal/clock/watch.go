package clock

import (
	"slices"
	"sync"
	"time"
)

const (
	// watched is how many authenticators the offset is the median of.
	watched = 100

	// leastWatched is how many it takes to say anything: with fewer, one phone
	// that is wrong would accuse the server.
	leastWatched = 3

	// noticed is how far a node's clock may be from the database's; time servers
	// keep both within much less.
	noticed = 5 * time.Second

	// astray is one step of a code: farther off, one node would take the codes
	// that all others refuse.
	astray = 30 * time.Second

	// leastStep is how far back a clock must go between two looks to be set
	// back, not slewed.
	leastStep = time.Second
)

// Watch holds the server's clock against those of the phones that sign in,
// which get theirs from the telephone network, against that of the database, and
// against itself: no time server is asked. It is of this process alone. Its zero value is ready, and it
// is safe for concurrent use.
type Watch struct {
	mu       sync.Mutex
	offsets  []offset // the newest last, one for each authenticator
	last     time.Time
	setsBack int
	ahead    time.Duration // of the database's clock
}

type offset struct {
	authenticator string
	steps         int64
}

// Accepted notes that a code of an authenticator was right for so many steps
// ahead of the server's own.
func (w *Watch) Accepted(authenticator string, steps int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// One each: a phone that is wrong and signs in often has no more voice.
	w.offsets = slices.DeleteFunc(w.offsets, func(o offset) bool { return o.authenticator == authenticator })
	w.offsets = append(w.offsets, offset{authenticator, steps})
	if over := len(w.offsets) - watched; over > 0 {
		w.offsets = slices.Delete(w.offsets, 0, over)
	}
}

// Offset returns how many steps the phones are ahead of the server, by the
// median; 0 while there are fewer than three.
func (w *Watch) Offset() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.offsets) < leastWatched {
		return 0
	}
	steps := make([]int64, 0, watched)
	for _, o := range w.offsets {
		steps = append(steps, o.steps)
	}
	slices.Sort(steps)
	return steps[len(steps)/2]
}

// Look notes the time and returns how far the clock went back since the last
// look, or 0.
func (w *Watch) Look(now time.Time) time.Duration {
	now = now.Round(0) // the wall clock: the monotonic one never goes back
	w.mu.Lock()
	defer w.mu.Unlock()
	by := w.last.Sub(now)
	set := !w.last.IsZero() && by >= leastStep
	w.last = now
	if !set {
		return 0
	}
	w.setsBack++
	return by
}

// Differs notes how far the clock is ahead of the database's; see [Mark.Ahead].
func (w *Watch) Differs(ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = ahead
}

// Ahead returns how far the clock was ahead of the database's when it was last
// looked at; negative, behind it.
func (w *Watch) Ahead() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ahead
}

// Off returns what [Watch.Ahead] does, or 0 up to 5 s.
func (w *Watch) Off() time.Duration {
	if ahead := w.Ahead(); ahead.Abs() > noticed {
		return ahead
	}
	return 0
}

// Astray returns what [Watch.Ahead] does, or 0 up to 30 s: then codes may be
// checked.
func (w *Watch) Astray() time.Duration {
	if ahead := w.Ahead(); ahead.Abs() > astray {
		return ahead
	}
	return 0
}

// SetsBack returns how often [Watch.Look] saw the clock go back.
func (w *Watch) SetsBack() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.setsBack
}
