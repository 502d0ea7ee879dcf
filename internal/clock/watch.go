package clock

import (
	"slices"
	"sync"
	"sync/atomic"
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
// against itself: no time server is asked. It knows this process alone. Its zero
// value is ready, and it is safe for concurrent use.
type Watch struct {
	// running returns how long the machine has run; see [Watch.SetRunning].
	running atomic.Pointer[func() time.Duration]

	mu       sync.Mutex
	offsets  []offset  // the newest last, one for each authenticator
	began    time.Time // the first look
	last     time.Time
	setsBack int
	even     reading // the last one that the mark doesn't contradict, or the first one
	behind   reading // of the first comparison since the clock has been behind the mark
	isBehind bool

	now atomic.Pointer[comparison]
}

// reading is the wall clock and the clock that can't be set, at one moment.
type reading struct {
	wall    time.Time
	running time.Duration
}

// comparison is what was found when the clock was held against the database's.
type comparison struct {
	own    time.Time
	at     reading // of own
	began  time.Time
	ahead  time.Duration
	mark   State
	leapt  time.Duration // see [Watch.Leapt]
	behind time.Duration // how long the clock had been behind the mark
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
func (w *Watch) Look(at time.Time) time.Duration {
	now := at.Round(0) // the wall clock: the monotonic one never goes back
	w.mu.Lock()
	defer w.mu.Unlock()
	by := w.last.Sub(now)
	set := !w.last.IsZero() && by >= leastStep
	w.last = now
	if w.began.IsZero() {
		w.began = at
	}
	if !set {
		return 0
	}
	w.setsBack++
	return by
}

// Compared notes that the clock was ahead of the database's by so much when it
// said own, and the mark of then.
func (w *Watch) Compared(own time.Time, ahead time.Duration, mark State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.read(own, w.began)
	c := &comparison{own: own, at: r, began: w.began, ahead: ahead, mark: mark}
	now := own.Add(-ahead)
	isBehind := mark.Behind(now) > 0
	switch {
	case isBehind && !w.isBehind:
		w.behind = r
	case isBehind:
		c.behind = r.running - w.behind.running
	case w.even == reading{} || !mark.IsAhead(now):
		w.even = r
	default:
		if by := r.wall.Sub(w.even.wall) - (r.running - w.even.running); by > maxLeap {
			c.leapt = by
		}
	}
	w.isBehind = isBehind
	w.now.Store(c)
}

// Mark returns the mark of the last comparison.
func (w *Watch) Mark() State {
	if c := w.now.Load(); c != nil {
		return c.mark
	}
	return State{}
}

// Ahead returns how far the clock was ahead of the database's when it was last
// looked at; negative, behind it.
func (w *Watch) Ahead() time.Duration {
	if c := w.now.Load(); c != nil {
		return c.ahead
	}
	return 0
}

// Reference returns what the reference clock says when this server's clock says
// now: as far as that is from the last comparison, by a clock that can't be set. It
// is now itself until there was one.
func (w *Watch) Reference(now time.Time) time.Time {
	c := w.now.Load()
	if c == nil {
		return now
	}
	return c.at.wall.Add(w.since(c, now) - c.ahead)
}

// since returns how long after the comparison now is, by a clock that can't be set. The
// time that the machine slept counts: the database's clock went on meanwhile.
func (w *Watch) since(c *comparison, now time.Time) time.Duration {
	return w.read(now, c.began).running - c.at.running
}

// Believed returns the time to count budgets by; see [State.Believed]. While the clock
// is behind the mark, time goes on from the mark as it does since this process first
// saw so: a short wait must end, since backup codes are the only way in then.
func (w *Watch) Believed(now time.Time) time.Time {
	c := w.now.Load()
	if c == nil {
		return now
	}
	reference := w.Reference(now)
	believed := c.mark.Believed(reference)
	if c.mark.Behind(reference) > 0 {
		believed = believed.Add(c.behind + w.since(c, now))
	}
	return believed
}

// Leapt returns how far the clock was set ahead while this process runs, if it isn't
// believed yet and is more than 10 minutes; else 0. A machine that slept, or was off
// before the process began, has not leapt.
func (w *Watch) Leapt() time.Duration {
	if c := w.now.Load(); c != nil {
		return c.leapt
	}
	return 0
}

// SetRunning has the watch go by a function that returns how long the machine has run, by a
// clock that can't be set, in place of the kernel's. Without one, times that have no
// monotonic reading, which are those of tests, are taken for such a clock.
func (w *Watch) SetRunning(running func() time.Duration) { w.running.Store(&running) }

func (w *Watch) read(now, began time.Time) reading {
	wall := now.Round(0)
	switch {
	case w.running.Load() != nil:
		return reading{wall, (*w.running.Load())()}
	case wall == now:
		return reading{wall, time.Duration(wall.UnixNano())}
	default:
		return reading{wall, running(now, began)}
	}
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
