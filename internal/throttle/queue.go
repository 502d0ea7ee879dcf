package throttle

import (
	"context"
	"errors"
	"slices"
	"sync"
)

const (
	// queueLength is how many wait for a hashing slot. At 50 ms a hash and two
	// slots the last of them waits under two seconds; whoever comes after is
	// told to come back rather than kept waiting (ATTACKS 25).
	queueLength = 64

	// queueForKnown of them are kept for known browsers, which a flood from
	// elsewhere must not shut out.
	queueForKnown = queueLength / 4

	// queuePerAccount of known browsers wait at once: more than one person's
	// tabs, too few to shut out the known browsers of others.
	queuePerAccount = 4
)

// ErrQueueFull: too many passwords are being hashed; answer 503 with
// Retry-After, before hashing anything.
var ErrQueueFull = errors.New("hashing queue is full")

// Queue bounds the password hashes that run at once, each of which holds 19
// MiB and a core, and those that wait for it. Known browsers go first, their
// accounts in turn, then the networks of the others in turn. It is safe for
// concurrent use.
type Queue struct {
	mu             sync.Mutex
	free           int // slots
	known, unknown lane
}

// waiter waits in one of the queue's lanes.
type waiter struct {
	ready chan struct{} // closed once it has a slot
}

// lane holds waiters and takes whom they wait for, accounts or networks, in
// turn.
type lane struct {
	turns []string             // whoever has waiters, in their turn
	of    map[string][]*waiter // never an empty list
	n     int
}

func (l *lane) add(whose string, w *waiter) {
	if len(l.of[whose]) == 0 {
		l.turns = append(l.turns, whose)
	}
	l.of[whose] = append(l.of[whose], w)
	l.n++
}

// drop takes out a waiter that gave up.
func (l *lane) drop(whose string, w *waiter) {
	l.n--
	l.of[whose] = slices.DeleteFunc(l.of[whose], func(other *waiter) bool { return other == w })
	if len(l.of[whose]) == 0 {
		delete(l.of, whose)
		l.turns = slices.DeleteFunc(l.turns, func(turn string) bool { return turn == whose })
	}
}

// next takes out the waiter whose turn it is, or returns nil.
func (l *lane) next() *waiter {
	if l.n == 0 {
		return nil
	}
	l.n--
	whose := l.turns[0]
	l.turns = l.turns[1:]
	list := l.of[whose]
	if len(list) > 1 {
		l.of[whose] = list[1:]
		l.turns = append(l.turns, whose) // to the end: the others first
	} else {
		delete(l.of, whose)
	}
	return list[0]
}

// NewQueue returns a queue with so many slots; give it the number of cores.
func NewQueue(slots int) *Queue {
	return &Queue{free: slots, known: lane{of: map[string][]*waiter{}}, unknown: lane{of: map[string][]*waiter{}}}
}

// Enter waits for a slot and returns the function that leaves it. whose is the
// account of a known browser, the network of another. It returns
// [ErrQueueFull] at once where too many wait, and ctx's error where the caller
// gave up.
func (q *Queue) Enter(ctx context.Context, whose string, known bool) (leave func(), err error) {
	q.mu.Lock()
	if q.free > 0 && q.known.n+q.unknown.n == 0 {
		q.free--
		q.mu.Unlock()
		return q.leave, nil
	}
	mine, full := &q.unknown, q.unknown.n >= queueLength-queueForKnown
	if known {
		mine, full = &q.known, len(q.known.of[whose]) >= queuePerAccount
	}
	if full || q.known.n+q.unknown.n >= queueLength {
		q.mu.Unlock()
		return nil, ErrQueueFull
	}
	w := &waiter{ready: make(chan struct{})}
	mine.add(whose, w)
	q.mu.Unlock()

	select {
	case <-w.ready:
		return q.leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // it came at the same moment
		q.pass()
	default:
		mine.drop(whose, w)
	}
	return nil, ctx.Err()
}

// Waiting returns how many wait for a slot.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.known.n + q.unknown.n
}

func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
}

// pass hands a slot to whoever's turn it is, or keeps it.
func (q *Queue) pass() {
	w := q.known.next()
	if w == nil {
		w = q.unknown.next()
	}
	if w == nil {
		q.free++
		return
	}
	close(w.ready)
}
