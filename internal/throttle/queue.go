package throttle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// queueLength is how many wait for a hashing slot. At 50 ms a hash and two
	// slots the last of them waits under two seconds; whoever comes after is
	// told to come back rather than kept waiting (ATTACKS 25).
	queueLength = 64

	// queueForEach of them are kept for known browsers, and as many for the
	// others: a flood of the one kind must not shut out the other.
	queueForEach = queueLength / 4

	// queuePerBrowser hashes of an account wait at once for one known browser, or for
	// one network: more than one person's tabs, too few to shut out other people.
	queuePerBrowser = 4

	// queuePerAccount hashes wait at once for all known browsers of an account. From
	// queuePerBrowser on, only a browser of which none waits adds one: so one browser
	// doesn't shut out the account's others, nor the account the other accounts.
	queuePerAccount = 2 * queuePerBrowser

	// knownInARow hashes of known browsers start before one of the others, while
	// both kinds wait. Known browsers get most of the machine, and nobody all of it.
	knownInARow = 3

	// paceHashes passwords of one account may match within paceWithin in one known
	// browser, or from one network: eight a minute for long, where a person needs few.
	// All of a browser's tabs may sign in at once. Wrong passwords don't count here,
	// since the ledger counts them: a stranger must not use up the owner's pace.
	paceHashes = 240
	paceWithin = 30 * time.Minute

	// pacePerAccount is the same for all known browsers of an account together, and
	// for all its other browsers together: each sign-in writes events, and makes its
	// browser known, with a pace of its own.
	pacePerAccount = 360

	// paceForEach passwords may match in each browser, or from each network, even if
	// the account's other browsers have used up pacePerAccount: so they don't shut it
	// out.
	paceForEach = 10
)

// ErrQueueFull: too many passwords are being hashed; answer 503 with
// Retry-After, before hashing anything.
var ErrQueueFull = errors.New("hashing queue is full")

// PaceError: too many passwords of the account matched lately in the same browser.
type PaceError struct{ RetryAfter time.Duration }

func (e *PaceError) Error() string {
	return "too many passwords in one browser, or for one account"
}

// Place is what a hash is for, and where it comes from.
type Place struct {
	Account string // its id; empty for a hash that concerns no account yet, which has no pace
	Known   bool   // it comes from a known browser of the account, or a session
	Browser string // the id of the known browser, or the network of another
}

// turns returns by what the queue is shared out, in round-robin order: first among the
// outer names, then among the inner names of one outer name.
func (p Place) turns() (outer, inner string) {
	if p.Known {
		return p.Account, p.Browser
	}
	return p.Browser, p.Account
}

// Queue bounds the password hashes that run at once, each of which holds 19
// MiB and a core, and those that wait for it. Of one account a single hash runs at
// a time, or two, where one is of a known browser and one isn't. While hashes of
// known browsers and of others wait, three of those start, then one of these. Among
// the known browsers accounts take turns, and within an account its browsers; among
// the others networks do, and within a network accounts. It is safe for concurrent use.
type Queue struct {
	clock func() time.Time

	mu             sync.Mutex
	free           int // slots
	known, unknown lane
	inARow         int                   // hashes of known browsers that started while others waited
	matched        map[pacer][]time.Time // when passwords matched within paceWithin, oldest first
	swept          time.Time             // when old entries of matched were dropped
}

// pacer has a pace: a place, or all places of an account of one kind.
type pacer struct {
	Place
	all bool
}

// waiter waits in one of the queue's lanes.
type waiter struct {
	Place
	ready chan struct{} // closed once it has a slot
}

// lane holds the waiters of one kind, in the order in which they came.
type lane struct {
	waiters []*waiter
	running map[string]bool   // accounts of which a hash runs
	order   map[[2]string]int // where in the round those stand that have waiters
	last    int               // the end of the round
}

func newLane() lane { return lane{running: map[string]bool{}, order: map[[2]string]int{}} }

// keys returns under which names p's outer and inner turn are kept.
func (p Place) keys() [2][2]string {
	outer, inner := p.turns()
	return [2][2]string{{outer}, {outer, "/" + inner}}
}

func (l *lane) add(w *waiter) {
	for _, key := range w.keys() {
		if _, there := l.order[key]; !there {
			l.last++
			l.order[key] = l.last
		}
	}
	l.waiters = append(l.waiters, w)
}

// remove takes out a waiter, and forgets the turns of those that have none left.
func (l *lane) remove(w *waiter) {
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
	for i, key := range w.keys() {
		if !slices.ContainsFunc(l.waiters, func(other *waiter) bool { return other.keys()[i] == key }) {
			delete(l.order, key)
		}
	}
}

// next returns the waiter whose turn it is, or nil. Those wait on of whose account a
// hash runs.
func (l *lane) next() *waiter {
	var first *waiter
	for _, w := range l.waiters {
		if !l.running[w.Account] && (first == nil || l.before(w, first)) {
			first = w
		}
	}
	return first
}

// before reports whether a's turn comes before b's; where both have the same it
// doesn't.
func (l *lane) before(a, b *waiter) bool {
	for i, key := range a.keys() {
		if other := b.keys()[i]; l.order[key] != l.order[other] {
			return l.order[key] < l.order[other]
		}
	}
	return false
}

// start removes w from the lane and moves its outer and inner name to the end of the
// round.
func (l *lane) start(w *waiter) {
	for _, key := range w.keys() {
		l.last++
		l.order[key] = l.last
	}
	l.remove(w)
	l.run(w.Place)
}

func (l *lane) run(p Place) {
	if p.Account != "" {
		l.running[p.Account] = true
	}
}

// isFull reports whether p can't wait in the lane, because too many wait already: in
// all, for the same browser or network, or for the same account in known browsers.
func (l *lane) isFull(p Place) bool {
	ofBrowser, ofAccount := 0, 0
	for _, w := range l.waiters {
		if w.keys() == p.keys() {
			ofBrowser++
		}
		if p.Known && w.Account == p.Account {
			ofAccount++
		}
	}
	return len(l.waiters) >= queueLength-queueForEach || ofBrowser >= queuePerBrowser ||
		ofAccount >= queuePerAccount || ofAccount >= queuePerBrowser && ofBrowser > 0
}

// NewQueue returns a queue with so many slots; give it the number of cores.
func NewQueue(slots int, clock func() time.Time) *Queue {
	return &Queue{clock: clock, free: slots, known: newLane(), unknown: newLane(), matched: map[pacer][]time.Time{}}
}

// Enter waits for a slot and returns the function that leaves it; its argument says
// whether the password or code matched, or was set, which counts for the pace. Enter
// returns a [*PaceError] where too many matched, [ErrQueueFull] at once where too
// many wait, and ctx's error where the caller gave up.
func (q *Queue) Enter(ctx context.Context, p Place) (leave func(matched bool), err error) {
	w := &waiter{Place: p, ready: make(chan struct{})}
	if err := q.admit(w); err != nil {
		return nil, err
	}
	leave = func(matched bool) { q.leave(p, matched) }
	select {
	case <-w.ready:
		return leave, nil
	default:
	}
	select {
	case <-w.ready:
		return leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // it came at the same moment
		q.end(p)
	default:
		q.lane(p).remove(w)
		q.pass() // it may have stood before one that can start
	}
	return nil, ctx.Err()
}

// admit puts w into the queue, or says why not. It has a slot already where one is
// free.
func (q *Queue) admit(w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine, n := q.lane(w.Place), len(q.known.waiters)+len(q.unknown.waiters)
	if q.free == 0 || mine.running[w.Account] { // else it starts at once: whoever waits can't
		if n >= queueLength || mine.isFull(w.Place) {
			return ErrQueueFull
		}
	}
	if err := q.pace(w.Place); err != nil {
		return err
	}
	mine.add(w)
	q.pass()
	return nil
}

// pacers returns whose pace p counts for: its own, and that of all places of the
// account and kind.
func (p Place) pacers() (own, all pacer) {
	return pacer{Place: p}, pacer{Place: Place{Account: p.Account, Known: p.Known}, all: true}
}

// isOld reports whether a password that matched at the given time no longer counts.
func isOld(at, now time.Time) bool { return now.Sub(at) >= paceWithin || at.After(now) }

// pace says when the next password may be hashed at p, or nil for now. It notes
// nothing.
func (q *Queue) pace(p Place) error {
	if p.Account == "" {
		return nil
	}
	now := q.clock()
	recent := func(of pacer) []time.Time {
		return slices.DeleteFunc(slices.Clone(q.matched[of]), func(at time.Time) bool { return isOld(at, now) })
	}
	own, all := p.pacers()
	inBrowser, inAll := recent(own), recent(all)
	switch {
	case len(inBrowser) >= paceHashes:
		return &PaceError{RetryAfter: paceWithin - now.Sub(inBrowser[0])}
	case len(inBrowser) >= paceForEach && len(inAll) >= pacePerAccount:
		return &PaceError{RetryAfter: paceWithin - now.Sub(inAll[0])}
	default:
		return nil
	}
}

// note counts a password that matched at p.
func (q *Queue) note(p Place) {
	if p.Account == "" {
		return
	}
	now := q.clock()
	if isOld(q.swept, now) {
		for of, times := range q.matched {
			if isOld(times[len(times)-1], now) {
				delete(q.matched, of)
			}
		}
		q.swept = now
	}
	own, all := p.pacers()
	for _, of := range []pacer{own, all} {
		times := slices.DeleteFunc(q.matched[of], func(at time.Time) bool { return isOld(at, now) })
		q.matched[of] = append(times, now)
	}
}

func (q *Queue) lane(p Place) *lane {
	if p.Known {
		return &q.known
	}
	return &q.unknown
}

// Waiting returns how many wait for a slot.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.known.waiters) + len(q.unknown.waiters)
}

func (q *Queue) leave(p Place, matched bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if matched {
		q.note(p)
	}
	q.end(p)
}

// end gives p's slot back.
func (q *Queue) end(p Place) {
	q.free++
	delete(q.lane(p).running, p.Account)
	q.pass()
}

// pass hands free slots to those whose turn it is.
func (q *Queue) pass() {
	for q.free > 0 {
		known, unknown := q.known.next(), q.unknown.next()
		switch {
		case known == nil && unknown == nil:
			return
		case unknown == nil || known != nil && q.inARow < knownInARow:
			if q.inARow++; unknown == nil {
				q.inARow = 0
			}
			q.begin(known)
		default:
			q.inARow = 0
			q.begin(unknown)
		}
	}
}

func (q *Queue) begin(w *waiter) {
	q.free--
	q.lane(w.Place).start(w)
	close(w.ready)
}
