package throttle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// maxWaiting limits the hashes that wait for a slot. With 50 ms a hash and two slots the
	// last one waits under two seconds. Further requests are refused at once (attack 25).
	maxWaiting = 64

	// placesPerKind places are reserved for known browsers, and as many for unknown ones, so
	// that a flood of one kind doesn't shut out the other.
	placesPerKind = maxWaiting / 4

	// maxPerBrowser limits the waiting hashes of an account for one known browser or one
	// network. One person's tabs need fewer, and more would shut out other people.
	maxPerBrowser = 4

	// maxPerAccount limits the waiting hashes of all known browsers of an account. From
	// maxPerBrowser on, only a browser without a waiting hash may add one. So one browser
	// can't shut out the account's others, nor one account the others.
	maxPerAccount = 2 * maxPerBrowser

	// maxKnownInARow is how many hashes of known browsers start before one of an unknown
	// browser, while both kinds wait.
	maxKnownInARow = 3

	// paceMatches limits the right passwords of one account within paceWithin from one known
	// browser or network: eight a minute on average, and enough for all tabs of a browser at
	// once. Wrong passwords don't count here, since the ledger counts them, and a stranger must
	// not use up the owner's limit.
	paceMatches = 240
	paceWithin  = 30 * time.Minute

	// pacePerAccount limits the matches from all known browsers of an account together, and
	// separately from all unknown ones. Without it, a user could exceed the limit by making more
	// known browsers, which each sign-in can do, and each sign-in writes events.
	pacePerAccount = 360

	// paceForEach is the number of passwords that may match from each browser or network even
	// when the account has reached pacePerAccount, so that other browsers can't shut it out.
	paceForEach = 10
)

// ErrQueueFull means that too many hashes are waiting. Callers answer 503 with Retry-After.
var ErrQueueFull = errors.New("hashing queue is full")

// PaceError means that too many passwords of the account matched from the same browser or
// network within the last half hour.
type PaceError struct{ RetryAfter time.Duration }

func (e *PaceError) Error() string {
	return "too many passwords in one browser, or for one account"
}

// Place describes what a hash is for and where the request came from.
type Place struct {
	Account string // id of the account; empty for a hash without an account, which has no pace
	Known   bool   // from a known browser of the account, or a session
	Browser string // id of the known browser, or network of an unknown one
}

// names returns the two names by which slots are shared out in round-robin order: first among
// the outer names, then among the inner names of one outer name.
func (p Place) names() (outer, inner string) {
	if p.Known {
		return p.Account, p.Browser
	}
	return p.Browser, p.Account
}

// Queue limits the password hashes that run at once, each of which uses 19 MiB and a core, and
// those that wait. An account has at most one running hash of known browsers and one of unknown
// ones. While both kinds wait, three hashes of known browsers start for each one of an unknown
// browser. Accounts take turns among the known browsers, and so do the browsers of one account.
// Networks take turns among the unknown browsers, and so do the accounts of one network. A Queue
// is safe for concurrent use.
type Queue struct {
	clock func() time.Time

	mu             sync.Mutex
	free           int // number of free slots
	known, unknown lane
	inARow         int                     // hashes of known browsers started in a row while unknown ones waited
	matched        map[paceKey][]time.Time // times of matches within paceWithin, oldest first
	swept          time.Time               // when old entries of matched were last deleted
}

// paceKey is the key of a pace: a place, or all places of one kind of an account.
type paceKey struct {
	Place
	all bool
}

// waiter is a request in one of the lanes.
type waiter struct {
	Place
	ready chan struct{} // closed when it gets a slot
}

// lane holds the waiters of one kind in the order of their arrival.
type lane struct {
	waiters []*waiter
	running map[string]bool   // accounts with a running hash
	order   map[[2]string]int // position in the round of each name that has waiters
	last    int               // the highest position so far
}

func newLane() lane { return lane{running: map[string]bool{}, order: map[[2]string]int{}} }

// keys returns the keys of p's outer and inner name in lane.order.
func (p Place) keys() [2][2]string {
	outer, inner := p.names()
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

// remove removes a waiter, and the positions of names without another waiter.
func (l *lane) remove(w *waiter) {
	l.waiters = slices.DeleteFunc(l.waiters, func(other *waiter) bool { return other == w })
	for i, key := range w.keys() {
		if !slices.ContainsFunc(l.waiters, func(other *waiter) bool { return other.keys()[i] == key }) {
			delete(l.order, key)
		}
	}
}

// next returns the waiter that starts next, or nil. It skips waiters whose account has a
// running hash.
func (l *lane) next() *waiter {
	var first *waiter
	for _, w := range l.waiters {
		if !l.running[w.Account] && (first == nil || l.isBefore(w, first)) {
			first = w
		}
	}
	return first
}

// isBefore reports whether the waiter a starts before the waiter b by their positions. It is false
// for equal positions.
func (l *lane) isBefore(a, b *waiter) bool {
	for i, key := range a.keys() {
		if other := b.keys()[i]; l.order[key] != l.order[other] {
			return l.order[key] < l.order[other]
		}
	}
	return false
}

// start removes w from the lane and moves its outer and inner name to the end of the round.
func (l *lane) start(w *waiter) {
	for _, key := range w.keys() {
		l.last++
		l.order[key] = l.last
	}
	l.remove(w)
	l.markRunning(w.Place)
}

func (l *lane) markRunning(p Place) {
	if p.Account != "" {
		l.running[p.Account] = true
	}
}

// isFull reports whether p can't wait in the lane, because too many wait in total, for the
// same browser or network, or for the same account in known browsers.
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
	return len(l.waiters) >= maxWaiting-placesPerKind || ofBrowser >= maxPerBrowser ||
		ofAccount >= maxPerAccount || ofAccount >= maxPerBrowser && ofBrowser > 0
}

// NewQueue returns a queue with that many slots, which should be the number of cores.
func NewQueue(slots int, clock func() time.Time) *Queue {
	return &Queue{clock: clock, free: slots, known: newLane(), unknown: newLane(), matched: map[paceKey][]time.Time{}}
}

// Acquire waits for a slot and returns the function that frees it. The argument of that function
// says whether the password or code matched or was set, which counts for [paceMatches]. Acquire
// returns a [*PaceError] if too many matched, [ErrQueueFull] at once if too many wait, and the
// context's error if ctx ends first.
func (q *Queue) Acquire(ctx context.Context, p Place) (release func(matched bool), err error) {
	w := &waiter{Place: p, ready: make(chan struct{})}
	if err := q.enqueue(w); err != nil {
		return nil, err
	}
	release = func(matched bool) { q.finish(p, matched) }
	select {
	case <-w.ready:
		return release, nil
	default:
	}
	select {
	case <-w.ready:
		return release, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // the slot came at the same moment
		q.release(p)
	default:
		q.lane(p).remove(w)
		q.dispatch() // w may have been ahead of a waiter that can start
	}
	return nil, ctx.Err()
}

// enqueue adds w to the queue or returns why it can't. If a slot is free, w gets it at once.
func (q *Queue) enqueue(w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, n := q.lane(w.Place), len(q.known.waiters)+len(q.unknown.waiters)
	if q.free == 0 || l.running[w.Account] { // otherwise w starts at once, as no waiter can
		if n >= maxWaiting || l.isFull(w.Place) {
			return ErrQueueFull
		}
	}
	if err := q.checkPace(w.Place); err != nil {
		return err
	}
	l.add(w)
	q.dispatch()
	return nil
}

// paceKeys returns the keys of the paces that p counts for: its own, and that of all places of
// the account and kind.
func (p Place) paceKeys() (own, all paceKey) {
	return paceKey{Place: p}, paceKey{Place: Place{Account: p.Account, Known: p.Known}, all: true}
}

// isOld reports whether a match at that time no longer counts at now.
func isOld(at, now time.Time) bool { return now.Sub(at) >= paceWithin || at.After(now) }

// checkPace returns a [*PaceError] if p must wait before it hashes another password, or nil. It
// doesn't count p.
func (q *Queue) checkPace(p Place) error {
	if p.Account == "" {
		return nil
	}
	now := q.clock()
	recent := func(of paceKey) []time.Time {
		return slices.DeleteFunc(slices.Clone(q.matched[of]), func(at time.Time) bool { return isOld(at, now) })
	}
	own, all := p.paceKeys()
	inBrowser, inAll := recent(own), recent(all)
	switch {
	case len(inBrowser) >= paceMatches:
		return &PaceError{RetryAfter: paceWithin - now.Sub(inBrowser[0])}
	case len(inBrowser) >= paceForEach && len(inAll) >= pacePerAccount:
		return &PaceError{RetryAfter: paceWithin - now.Sub(inAll[0])}
	default:
		return nil
	}
}

// countMatch counts a match at p.
func (q *Queue) countMatch(p Place) {
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
	own, all := p.paceKeys()
	for _, of := range []paceKey{own, all} {
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

// Len returns the number of waiters.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.known.waiters) + len(q.unknown.waiters)
}

func (q *Queue) finish(p Place, matched bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if matched {
		q.countMatch(p)
	}
	q.release(p)
}

// release frees p's slot.
func (q *Queue) release(p Place) {
	q.free++
	delete(q.lane(p).running, p.Account)
	q.dispatch()
}

// dispatch gives free slots to the next waiters.
func (q *Queue) dispatch() {
	for q.free > 0 {
		known, unknown := q.known.next(), q.unknown.next()
		switch {
		case known == nil && unknown == nil:
			return
		case unknown == nil || known != nil && q.inARow < maxKnownInARow:
			if q.inARow++; unknown == nil {
				q.inARow = 0
			}
			q.startNext(known)
		default:
			q.inARow = 0
			q.startNext(unknown)
		}
	}
}

func (q *Queue) startNext(w *waiter) {
	q.free--
	q.lane(w.Place).start(w)
	close(w.ready)
}
