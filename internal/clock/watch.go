package clock

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxOffsets is how many authenticators the median offset counts.
	maxOffsets = 100

	// minOffsets is the fewest authenticators for a median. With fewer, one phone
	// with a wrong clock would make the server's clock look wrong.
	minOffsets = 3

	// noticed is how far a node's clock may differ from the database's without a report.
	// Time servers keep both much closer.
	noticed = 5 * time.Second

	// astray is how far these two clocks may differ before the node refuses codes: the shortest
	// step of a code. With a greater difference, one node would accept codes that all others refuse.
	astray = 30 * time.Second

	// minStep is how far a clock must go back between two observations to count as
	// set back. A time server that slews a clock moves it by less.
	minStep = time.Second

	// bootTimeLife is how long a reading of the kernel's boot-time clock is extended by
	// Go's monotonic clock. Each reading is a system call, and every request needs the
	// reference clock.
	bootTimeLife = 100 * time.Millisecond

	// maxDrift is how far the wall clock may move from the monotonic clock during that
	// time. If it moves further, the machine has slept or its clock was set, so the kernel's
	// clock is read again at once.
	maxDrift = 10 * time.Millisecond
)

// Watch compares this process's clock with three others: those of the phones of users, which the
// telephone network sets and codes reveal; the database's; and the machine's monotonic clock,
// which can't be set. It doesn't query time servers. Its zero value is ready to use, and it is
// safe for concurrent use.
type Watch struct {
	// running returns how long the machine has run; see [Watch.SetRunning].
	running  atomic.Pointer[func() time.Duration]
	bootTime atomic.Pointer[bootTime] // the latest reading of the kernel's clock

	mu          sync.Mutex
	offsets     []offset  // one for each authenticator, the newest last
	began       time.Time // the first observation
	last        time.Time // the last observation
	setsBack    int
	lastEven    reading // the last one that wasn't too far past the mark, or else the first
	behindSince reading // at the comparison that first found the clock behind the mark
	isBehind    bool

	latest atomic.Pointer[comparison]
}

// reading is the time on the wall clock and on the clock that can't be set, at one
// moment.
type reading struct {
	wall    time.Time
	running time.Duration
}

// comparison is the result of comparing this clock with the database's.
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
	ahead         time.Duration
}

// Accepted records how far the phone with an authenticator is ahead of the server. An accepted
// code has shown this, in whole steps of the code.
func (w *Watch) Accepted(authenticator string, ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Keep one offset for each authenticator, so that a phone with a wrong clock counts once
	// even if it signs in often.
	w.offsets = slices.DeleteFunc(w.offsets, func(o offset) bool { return o.authenticator == authenticator })
	w.offsets = append(w.offsets, offset{authenticator, ahead})
	if over := len(w.offsets) - maxOffsets; over > 0 {
		w.offsets = slices.Delete(w.offsets, 0, over)
	}
}

// Offset returns the median of the times by which phones are ahead of the server; 0
// with fewer than three phones. It compares times, not steps, since the steps of two
// authenticators may differ in length.
func (w *Watch) Offset() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.offsets) < minOffsets {
		return 0
	}
	ahead := make([]time.Duration, 0, maxOffsets)
	for _, o := range w.offsets {
		ahead = append(ahead, o.ahead)
	}
	slices.Sort(ahead)
	return ahead[len(ahead)/2]
}

// Observe records the time that the clock shows. It returns how far the clock was set
// back since the last call, or 0.
func (w *Watch) Observe(at time.Time) time.Duration {
	now := at.Round(0) // the wall clock: the monotonic one never goes back
	w.mu.Lock()
	defer w.mu.Unlock()
	by := w.last.Sub(now)
	set := !w.last.IsZero() && by >= minStep
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

// Compared records a comparison: when this node's clock showed own, it was ahead of the
// database's clock by the duration ahead, and mark was the state of the mark.
func (w *Watch) Compared(own time.Time, ahead time.Duration, mark State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.read(own, w.began)
	c := &comparison{own: own, at: r, began: w.began, ahead: ahead, mark: mark}
	now := own.Add(-ahead)
	isBehind := mark.Behind(now) > 0
	switch {
	case isBehind && !w.isBehind:
		w.behindSince = r
	case isBehind:
		c.behind = r.running - w.behindSince.running
	case w.lastEven == reading{} || !mark.IsAhead(now):
		w.lastEven = r
	default:
		if by := r.wall.Sub(w.lastEven.wall) - (r.running - w.lastEven.running); by > maxLeap {
			c.leapt = by
		}
	}
	w.isBehind = isBehind
	w.latest.Store(c)
}

// Mark returns the mark at the last comparison; the zero State before the first.
func (w *Watch) Mark() State {
	if c := w.latest.Load(); c != nil {
		return c.mark
	}
	return State{}
}

// Ahead returns how far the clock was ahead of the database's at the last comparison;
// negative if it was behind.
func (w *Watch) Ahead() time.Duration {
	if c := w.latest.Load(); c != nil {
		return c.ahead
	}
	return 0
}

// Reference returns the reference clock's time when this server's clock shows now: its
// time at the last comparison plus the time since then, by a clock that can't be set.
// Before the first comparison it returns now.
func (w *Watch) Reference(now time.Time) time.Time {
	c := w.latest.Load()
	if c == nil {
		return now
	}
	return c.at.wall.Add(w.since(c, now) - c.ahead)
}

// since returns the time from the comparison c to now, by a monotonic clock. Time that the machine
// slept counts, because the database's clock went on.
func (w *Watch) since(c *comparison, now time.Time) time.Duration {
	return w.read(now, c.began).running - c.at.running
}

// Believed returns the time to use for budgets; see [State.Believed]. While the clock is
// behind the mark, it is the mark plus the time since this process first saw that, so
// that short waits end. Users can then sign in with backup codes only, and must not
// wait without end.
func (w *Watch) Believed(now time.Time) time.Time {
	c := w.latest.Load()
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

// Leapt returns how far the clock was set ahead during this process, if that is more
// than 10 minutes and isn't believed yet; else 0. Sleep of the machine is no leap, and
// neither is the time before the process began.
func (w *Watch) Leapt() time.Duration {
	if c := w.latest.Load(); c != nil {
		return c.leapt
	}
	return 0
}

// SetRunning replaces the kernel's clock by a function that returns how long the machine
// has run. Without such a function, a time that has no monotonic reading, as in tests,
// stands for that clock itself.
func (w *Watch) SetRunning(running func() time.Duration) { w.running.Store(&running) }

// read returns the reading at the time now. began is the time of the first observation.
func (w *Watch) read(now, began time.Time) reading {
	wall := now.Round(0)
	switch {
	case w.running.Load() != nil:
		return reading{wall, (*w.running.Load())()}
	case wall == now:
		return reading{wall, time.Duration(wall.UnixNano())}
	default:
		return reading{wall, w.sinceBoot(now, began)}
	}
}

// bootTime is a reading of the kernel's boot-time clock.
type bootTime struct {
	at      time.Time // with a monotonic reading
	running time.Duration
}

// canExtend reports whether a bootTime can still be extended. Since its reading, the
// monotonic clock has advanced by passed, and the wall clock by wallPassed.
func canExtend(passed, wallPassed time.Duration) bool {
	return passed.Abs() < bootTimeLife && (wallPassed-passed).Abs() < maxDrift
}

// sinceBoot returns how long the machine has run at now, by the kernel's boot-time clock.
func (w *Watch) sinceBoot(now, began time.Time) time.Duration {
	if b := w.bootTime.Load(); b != nil {
		passed := now.Sub(b.at)
		if canExtend(passed, now.Round(0).Sub(b.at.Round(0))) {
			return b.running + passed
		}
	}
	b := &bootTime{now, running(now, began)}
	w.bootTime.Store(b)
	return b.running
}

// Off returns [Watch.Ahead] if it is more than 5 s either way, else 0.
func (w *Watch) Off() time.Duration {
	if ahead := w.Ahead(); ahead.Abs() > noticed {
		return ahead
	}
	return 0
}

// Astray returns [Watch.Ahead] if it is more than 30 s either way, else 0. Codes may be
// checked only if it is 0.
func (w *Watch) Astray() time.Duration {
	if ahead := w.Ahead(); ahead.Abs() > astray {
		return ahead
	}
	return 0
}

// SetsBack returns how often [Watch.Observe] found the clock set back.
func (w *Watch) SetsBack() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.setsBack
}

// DescribeOffset describes how far a clock is ahead of the database's, or behind it if
// ahead is negative.
func DescribeOffset(ahead time.Duration) string {
	if ahead < 0 {
		return fmt.Sprintf("%v behind the database's", -ahead.Round(time.Second))
	}
	return fmt.Sprintf("%v ahead of the database's", ahead.Round(time.Second))
}
