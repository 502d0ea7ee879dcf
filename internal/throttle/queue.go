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

	// queuePerAccount wait at once for an account in known browsers, or from one
	// network: more than one person's tabs, too few to shut out other people.
	queuePerAccount = 4

	// knownInARow hashes of known browsers start before one of the others, while
	// both kinds wait. Known browsers get most of the machine, and nobody all of it.
	knownInARow = 3

	// paceHashes may begin within paceWithin for one account in one known browser, or
	// from one network: eight a minute for long, where a person needs few. All of a
	// browser's tabs may sign in at once. The rules for wrong passwords are stricter,
	// so that only right ones meet this.
	paceHashes = 240
	paceWithin = 30 * time.Minute

	// pacePerAccount is the same for all known browsers of an account together, and
	// for all others together: each sign-in leaves events, and a sign-in makes its
	// browser known, with a pace of its own.
	pacePerAccount = 360
)

// ErrQueueFull: too many passwords are being hashed; answer 503 with
// Retry-After, before hashing anything.
var ErrQueueFull = errors.New("hashing queue is full")

// PaceError: the same browser had too many passwords hashed of late.
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

// turns returns what takes turns with its like: first the outer, then the inner.
func (p Place) turns() (outer, inner string) {
	if p.Known {
		return p.Account, ""
	}
	return p.Browser, p.Account
}

// Queue bounds the password hashes that run at once, each of which holds 19
// MiB and a core, and those that wait for it. Of one account a single hash runs at
// a time, or two, where one is of a known browser and one isn't. While hashes of
// known browsers and of others wait, three of those start, then one of these. Among
// the known browsers accounts take turns; among the others networks do, and within
// a network accounts. It is safe for concurrent use.
type Queue struct {
	clock func() time.Time

	mu             sync.Mutex
	free           int // slots
	known, unknown lane
	inARow         int                   // hashes of known browsers that started while others waited
	begun          map[pacer][]time.Time // hashes within paceWithin, oldest first
	swept          time.Time             // when old entries of begun were dropped
}

// pacer is what has a pace: a place, or all places of an account of one kind.
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

// start takes out a waiter; those it takes turns with go before its like.
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

// waiting returns how many wait for the account, and come from the network where
// they aren't from known browsers.
func (l *lane) waiting(p Place) int {
	n := 0
	for _, w := range l.waiters {
		if w.keys() == p.keys() {
			n++
		}
	}
	return n
}

// NewQueue returns a queue with so many slots; give it the number of cores.
func NewQueue(slots int, clock func() time.Time) *Queue {
	return &Queue{clock: clock, free: slots, known: newLane(), unknown: newLane(), begun: map[pacer][]time.Time{}}
}

// Enter waits for a slot and returns the function that leaves it. It returns a
// [*PaceError] where the browser came too often, [ErrQueueFull] at once where too
// many wait, and ctx's error where the caller gave up.
func (q *Queue) Enter(ctx context.Context, p Place) (leave func(), err error) {
	w := &waiter{Place: p, ready: make(chan struct{})}
	if err := q.admit(w); err != nil {
		return nil, err
	}
	leave = func() { q.leave(p) }
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
		if n >= queueLength || len(mine.waiters) >= queueLength-queueForEach || mine.waiting(w.Place) >= queuePerAccount {
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

// pace notes a hash, or says when the next may begin.
func (q *Queue) pace(p Place) error {
	if p.Account == "" {
		return nil
	}
	now := q.clock()
	old := func(at time.Time) bool { return now.Sub(at) >= paceWithin || at.After(now) }
	if old(q.swept) {
		for place, begun := range q.begun {
			if len(begun) == 0 || old(begun[len(begun)-1]) {
				delete(q.begun, place)
			}
		}
		q.swept = now
	}
	paces := map[pacer]int{{Place: p}: paceHashes, {Place: Place{Account: p.Account, Known: p.Known}, all: true}: pacePerAccount}
	for one, most := range paces {
		if q.begun[one] = slices.DeleteFunc(q.begun[one], old); len(q.begun[one]) >= most {
			return &PaceError{RetryAfter: paceWithin - now.Sub(q.begun[one][0])}
		}
	}
	for one := range paces {
		q.begun[one] = append(q.begun[one], now)
	}
	return nil
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

func (q *Queue) leave(p Place) {
	q.mu.Lock()
	defer q.mu.Unlock()
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
