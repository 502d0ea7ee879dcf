package throttle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// maxWaiting limits the hashes that wait for a slot. More are refused at once (attack 25).
	// If a hash takes 50 ms and there are two slots, the last one waits less than two seconds.
	maxWaiting = 64

	// placesPerKind is how many of the maxWaiting places are reserved for known browsers, and
	// how many for unknown ones, so that a flood of one kind doesn't shut out the other.
	placesPerKind = maxWaiting / 4

	// maxPerBrowser limits the waiting hashes for an account from one known browser or from
	// one network. One person's tabs need fewer, and more would shut out other people.
	maxPerBrowser = 4

	// maxPerAccount limits the waiting hashes for an account from all its known browsers. When
	// maxPerBrowser of them wait, only a browser without a waiting hash can add one. So a
	// browser can't shut out other browsers of the account, nor an account other accounts.
	maxPerAccount = 2 * maxPerBrowser

	// maxKnownInARow is how many hashes of known browsers start for each one of an unknown
	// browser while both kinds wait.
	maxKnownInARow = 3

	// paceMatches limits the right passwords for one account within paceWithin from one known
	// browser or network. That is eight a minute on average, and enough for all tabs of a
	// browser at once. Wrong passwords don't count here: the ledger counts them, and with them
	// a stranger could use up the owner's limit.
	paceMatches = 240
	paceWithin  = 30 * time.Minute

	// pacePerAccount limits the matches for an account from all its known browsers together, and
	// separately those from all unknown browsers. Without it, a user could avoid paceMatches,
	// since each sign-in can make a new known browser. Each sign-in writes events.
	pacePerAccount = 360

	// paceForEach is how many passwords can match from each browser or network even when the
	// account has reached pacePerAccount, so that other browsers can't shut this one out.
	paceForEach = 10
)

// ErrQueueFull means that too many hashes are waiting. Callers answer 503 with Retry-After.
var ErrQueueFull = errors.New("hashing queue is full")

// PaceError means that too many right passwords were submitted for the account within the last
// half hour, from the same browser or network or from all together.
type PaceError struct{ RetryAfter time.Duration }

func (e *PaceError) Error() string {
	return "too many passwords in one browser, or for one account"
}

// Place describes what a hash is for and where the request came from.
type Place struct {
	Account string // id of the account; empty for a hash without an account, which has no pace
	Known   bool   // the request came from a known browser of the account, or in a session
	Browser string // id of the known browser, or network of an unknown one
}

// names returns the two names by which a lane shares slots in turn: first among the outer
// names, then among the inner names of one outer name.
func (p Place) names() (outer, inner string) {
	if p.Known {
		return p.Account, p.Browser
	}
	return p.Browser, p.Account
}

// Queue limits how many password hashes run at once, since each uses 19 MiB and a core, and how
// many wait. An account has at most one running hash of known browsers and one of unknown ones.
// While both kinds wait, three hashes of known browsers start for each one of an unknown browser.
// Among the known browsers, accounts take turns, and so do the browsers of one account. Among the
// unknown browsers, networks take turns, and so do the accounts of one network. A Queue is safe
// for concurrent use.
type Queue struct {
	clock func() time.Time

	mu             sync.Mutex
	free           int // number of free slots
	known, unknown lane
	inARow         int                     // hashes of known browsers started in a row while unknown ones waited
	matched        map[paceKey][]time.Time // times of matches within paceWithin, oldest first
	swept          time.Time               // when old entries of matched were last deleted
}

// paceKey identifies what a limit on matches counts: one place, or all known or all unknown
// browsers of an account.
type paceKey struct {
	Place
	all bool
}

// waiter is a request in one of the lanes.
type waiter struct {
	Place
	ready chan struct{} // closed when the waiter gets a slot
}

// lane holds the waiters of one kind in the order of their arrival.
type lane struct {
	waiters []*waiter
	running map[string]bool   // accounts with a running hash
	order   map[[2]string]int // for each name that has waiters, its position in the round
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

// isBefore reports whether w starts before other according to their positions. It returns false
// if the positions are equal.
func (l *lane) isBefore(w, other *waiter) bool {
	for i, key := range w.keys() {
		if theirs := other.keys()[i]; l.order[key] != l.order[theirs] {
			return l.order[key] < l.order[theirs]
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

// isFull reports whether p can't wait in the lane because too many wait already: in all, from the
// same browser or network, or from known browsers of the same account.
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

// NewQueue returns a queue with the given number of slots, which should be the number of cores.
func NewQueue(slots int, clock func() time.Time) *Queue {
	return &Queue{clock: clock, free: slots, known: newLane(), unknown: newLane(), matched: map[paceKey][]time.Time{}}
}

// Acquire waits for a slot and returns the function release, which frees the slot. The caller
// tells release whether the password or code matched or was set, which counts for paceMatches.
// Acquire returns a [*PaceError] if too many matched, [ErrQueueFull] if too many wait, and the
// error of ctx if ctx ends before there is a slot.
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
		q.dispatch() // a waiter that w was ahead of may be able to start now
	}
	return nil, ctx.Err()
}

// enqueue adds w to the queue, or returns an error that says why it can't. If a slot is free and
// the account has no running hash of this kind, w gets the slot at once.
func (q *Queue) enqueue(w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, n := q.lane(w.Place), len(q.known.waiters)+len(q.unknown.waiters)
	if q.free == 0 || l.running[w.Account] { // otherwise w starts at once: no other waiter can start
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

// paceKeys returns the keys under which matches of p count: its own, and that of all known or all
// unknown browsers of the account.
func (p Place) paceKeys() (own, all paceKey) {
	return paceKey{Place: p}, paceKey{Place: Place{Account: p.Account, Known: p.Known}, all: true}
}

// isOld reports whether a match at the time at no longer counts at the time now.
func isOld(at, now time.Time) bool { return now.Sub(at) >= paceWithin || at.After(now) }

// checkPace returns a [*PaceError] if too many passwords have matched for p to hash one more
// now, and nil otherwise. It counts no match.
func (q *Queue) checkPace(p Place) error {
	if p.Account == "" {
		return nil
	}
	now := q.clock()
	recent := func(key paceKey) []time.Time {
		return slices.DeleteFunc(slices.Clone(q.matched[key]), func(at time.Time) bool { return isOld(at, now) })
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
