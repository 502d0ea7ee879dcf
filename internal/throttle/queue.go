package throttle

import (
	"context"
	"errors"
	"sync/atomic"
)

// queueLength is how many wait for a hashing slot. At 50 ms a hash and two
// slots the last of them waits under two seconds; whoever comes after is told
// to come back rather than kept waiting (ATTACKS 25).
const queueLength = 64

// ErrQueueFull: too many passwords are being hashed; answer 503 with
// Retry-After, before hashing anything.
var ErrQueueFull = errors.New("hashing queue is full")

// Queue bounds the password hashes that run at once, each of which holds 19
// MiB and a core, and those that wait for it.
type Queue struct {
	slots   chan struct{}
	waiting atomic.Int64
}

// NewQueue returns a queue with so many slots; give it the number of cores.
func NewQueue(slots int) *Queue { return &Queue{slots: make(chan struct{}, slots)} }

// Enter waits for a slot and returns the function that leaves it. It returns
// [ErrQueueFull] at once where too many wait, and ctx's error where the caller
// gave up.
func (q *Queue) Enter(ctx context.Context) (leave func(), err error) {
	select {
	case q.slots <- struct{}{}:
		return func() { <-q.slots }, nil
	default:
	}
	if q.waiting.Add(1) > queueLength {
		q.waiting.Add(-1)
		return nil, ErrQueueFull
	}
	defer q.waiting.Add(-1)
	select {
	case q.slots <- struct{}{}:
		return func() { <-q.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
