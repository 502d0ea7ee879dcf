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
)

// ErrQueueFull: too many passwords are being hashed; answer 503 with
// Retry-After, before hashing anything.
var ErrQueueFull = errors.New("hashing queue is full")

// Queue bounds the password hashes that run at once, each of which holds 19
// MiB and a core, and those that wait for it. Known browsers go first, then
// the prefixes in turn. It is safe for concurrent use.
type Queue struct {
	mu       sync.Mutex
	free     int // slots
	known    []*waiter
	turns    []string             // prefixes that have waiters, in their turn
	prefixes map[string][]*waiter // of unknown browsers
	unknown  int                  // how many those are
}

// waiter waits in one of the queue's lists.
type waiter struct {
	ready chan struct{} // closed once it has a slot
}

// NewQueue returns a queue with so many slots; give it the number of cores.
func NewQueue(slots int) *Queue {
	return &Queue{free: slots, prefixes: map[string][]*waiter{}}
}

// Enter waits for a slot and returns the function that leaves it. It returns
// [ErrQueueFull] at once where too many wait, and ctx's error where the caller
// gave up.
func (q *Queue) Enter(ctx context.Context, prefix string, known bool) (leave func(), err error) {
	q.mu.Lock()
	if q.free > 0 && len(q.known)+q.unknown == 0 {
		q.free--
		q.mu.Unlock()
		return q.leave, nil
	}
	if len(q.known)+q.unknown >= queueLength || !known && q.unknown >= queueLength-queueForKnown {
		q.mu.Unlock()
		return nil, ErrQueueFull
	}
	w := &waiter{ready: make(chan struct{})}
	if known {
		q.known = append(q.known, w)
	} else {
		if len(q.prefixes[prefix]) == 0 {
			q.turns = append(q.turns, prefix)
		}
		q.prefixes[prefix] = append(q.prefixes[prefix], w)
		q.unknown++
	}
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
		q.drop(w, prefix, known)
	}
	return nil, ctx.Err()
}

// drop takes out a waiter that gave up.
func (q *Queue) drop(w *waiter, prefix string, known bool) {
	same := func(other *waiter) bool { return other == w }
	if known {
		q.known = slices.DeleteFunc(q.known, same)
		return
	}
	q.unknown--
	if q.prefixes[prefix] = slices.DeleteFunc(q.prefixes[prefix], same); len(q.prefixes[prefix]) == 0 {
		delete(q.prefixes, prefix)
		q.turns = slices.DeleteFunc(q.turns, func(turn string) bool { return turn == prefix })
	}
}

// Waiting returns how many wait for a slot.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.known) + q.unknown
}

func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
}

// pass hands a slot to whoever's turn it is, or keeps it.
func (q *Queue) pass() {
	if w := q.next(); w != nil {
		close(w.ready)
		return
	}
	q.free++
}

// next takes out the waiter whose turn it is.
func (q *Queue) next() *waiter {
	if len(q.known) > 0 {
		w := q.known[0]
		q.known = q.known[1:]
		return w
	}
	if len(q.turns) == 0 {
		return nil
	}
	prefix := q.turns[0]
	q.turns = q.turns[1:]
	list := q.prefixes[prefix]
	if len(list) > 1 {
		q.prefixes[prefix] = list[1:]
		q.turns = append(q.turns, prefix) // to the end: the others first
	} else {
		delete(q.prefixes, prefix)
	}
	q.unknown--
	return list[0]
}
