package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// Every is the pause between two runs of [Pump.Run].
const Every = time.Second

// atOnce is how many messages of a kind a node sends concurrently: enough that one slow message
// doesn't delay the others, and within the limits of mail servers on connections.
const atOnce = 4

// Sender sends messages of one kind.
type Sender struct {
	// Send sends one message. Its error may be a [*Failure]. Send returns soon after ctx ends. A
	// message has the same ID in each try, so that the other side can recognize a repetition.
	Send func(ctx context.Context, m Message) error
	// Timeout limits one call of Send.
	Timeout time.Duration
	// Sent is called in the transaction that deletes a sent message. It may be nil.
	Sent func(ctx context.Context, tx *db.Tx, m Message) error
	// Wants reports whether messages with the topic are stored at all. If Wants is nil, all are.
	Wants func(topic string) bool
	// Limits returns the quotas of a topic. If Limits is nil, topics have no quotas.
	Limits func(topic string) []Limit
	// Rate limits all messages together.
	Rate Rate
}

// Pump sends the messages that are due, on one node. Callers set every exported field. It is safe
// for concurrent use.
type Pump struct {
	DB    *db.DB
	Ring  *secret.Ring
	Clock func() time.Time // the reference clock
	Log   *slog.Logger
	// GaveUp is called in the transaction that deletes a message that won't be sent. The argument
	// now is the time of the reference clock.
	GaveUp func(ctx context.Context, tx *db.Tx, m Message, why error, now time.Time) error
	// Count is called after each try. class is empty if the message was sent.
	Count func(kind Kind, class Class)

	mu       sync.Mutex
	lanes    map[Kind]*lane
	sending  context.Context // its end cancels the calls of Send that are in progress
	end      context.CancelFunc
	stopped  bool
	underWay sync.WaitGroup
}

// lane is the part of a pump that sends messages of one kind. The pump's mutex protects its
// fields, except sender, which doesn't change.
type lane struct {
	kind        Kind
	sender      Sender
	workers     int
	pausedUntil time.Time // end of the pause after a [Paused] failure
	heldUntil   time.Time // only urgent messages are sent until then
	fault       string    // for operators; empty if the last try succeeded
}

// Set makes the pump send messages of the kind with the sender s, or not at all if s is nil. It ends
// a pause of that kind.
func (p *Pump) Set(kind Kind, s *Sender) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes == nil {
		p.lanes = map[Kind]*lane{}
	}
	delete(p.lanes, kind)
	if s != nil {
		p.lanes[kind] = &lane{kind: kind, sender: *s}
	}
}

// Has reports whether there is a sender for the kind.
func (p *Pump) Has(kind Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lanes[kind] != nil
}

// Wants reports whether messages of the kind with this topic are to be stored.
func (p *Pump) Wants(kind Kind, topic string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[kind]
	return l != nil && (l.sender.Wants == nil || l.sender.Wants(topic))
}

// Run begins to send the messages that are due and returns without waiting for them. It is a job
// of every node.
func (p *Pump) Run(ctx context.Context) error {
	now := p.Clock()
	p.mu.Lock()
	var ready []*lane
	for _, l := range p.lanes {
		if l.workers < atOnce && !l.isPaused(now) {
			ready = append(ready, l)
		}
	}
	p.mu.Unlock()
	var failed []error
	for _, l := range ready {
		n, err := p.due(ctx, l, now)
		failed = append(failed, err)
		for range n {
			p.start(l)
		}
	}
	return errors.Join(failed...)
}

// due returns how many messages of the lane can be sent now, at most atOnce. It changes no row.
func (p *Pump) due(ctx context.Context, l *lane, now time.Time) (n int, err error) {
	err = db.One(ctx, p.DB.Reader(), `
		SELECT count(*) FROM (SELECT id FROM outbox WHERE `+ready+` LIMIT $6) AS found`,
		append(readyArgs(l.kind, p.lowest(l, now), l.life(), now), atOnce), &n)
	if err != nil {
		return 0, fmt.Errorf("look for messages: %w", err)
	}
	return n, nil
}

// life returns how long a claim of the lane lasts.
func (l *lane) life() time.Duration { return l.sender.Timeout + claimSlack }

// isPaused reports whether the lane is in the pause after a [Paused] failure.
func (l *lane) isPaused(now time.Time) bool { return lasts(l.pausedUntil, pauseTime, now) }

// lasts reports whether a wait of the given length, which ends at the time until, is still going on.
// If more than its length remains, the wait was begun by a clock that has been set back since, and
// lasts returns false.
func lasts(until time.Time, length time.Duration, now time.Time) bool {
	return now.Before(until) && !until.After(now.Add(length))
}

// lowest returns the lowest priority that the lane sends now.
func (p *Pump) lowest(l *lane, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lasts(l.heldUntil, l.sender.Rate.Every, now) {
		return urgent
	}
	return normal
}

// start starts a worker for the lane, unless it has enough.
func (p *Pump) start(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || l.workers >= atOnce {
		return
	}
	if p.sending == nil {
		p.sending, p.end = context.WithCancel(context.Background())
	}
	l.workers++
	p.underWay.Go(func() {
		defer func() {
			p.mu.Lock()
			l.workers--
			p.mu.Unlock()
		}()
		p.work(l)
	})
}

// Wait returns when no message is being sent.
func (p *Pump) Wait() { p.underWay.Wait() }

// Stop waits for the messages that are being sent. When ctx ends, it cancels those that aren't
// finished. Afterwards the pump sends no messages.
func (p *Pump) Stop(ctx context.Context) {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() { p.underWay.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		p.mu.Lock()
		end := p.end
		p.mu.Unlock()
		if end != nil {
			end()
		}
		<-done
	}
}

// work sends messages of the lane until no message is due.
func (p *Pump) work(l *lane) {
	for {
		p.mu.Lock()
		done := p.stopped || p.lanes[l.kind] != l || l.isPaused(p.Clock())
		p.mu.Unlock()
		if done {
			return
		}
		m, err := p.claim(p.sending, l)
		switch {
		case errors.Is(err, db.ErrNotFound):
			return
		case errors.Is(err, errLost):
		case err != nil:
			p.Log.Warn("messages couldn't be read; this will be tried again", "kind", string(l.kind), "reason", err.Error())
			return
		case m.ID != "":
			p.settle(l, m, p.send(l, m))
		}
	}
}

// claim claims the message that is to be sent first. It returns the zero Message if it gave that
// message up or folded it, and [db.ErrNotFound] if no message is due.
func (p *Pump) claim(ctx context.Context, l *lane) (m Message, err error) {
	now := p.Clock()
	late := false
	err = p.DB.Write(ctx, func(tx *db.Tx) error {
		var err error
		if m, err = next(ctx, tx, l.kind, p.lowest(l, now), l.life(), now); err != nil {
			return err
		}
		if err := claim(ctx, tx, &m, l.life(), now); err != nil {
			return err
		}
		if late = !now.Before(m.GivesUpAt) || m.Tries > maxTries; late {
			return p.giveUp(ctx, tx, m, errTooLate, now)
		}
		return admit(ctx, tx, m, l.sender, now)
	})
	switch full := isFull(err); {
	case full != nil && full.all:
		p.mu.Lock()
		l.heldUntil = full.until
		p.mu.Unlock()
		return Message{}, nil
	case full != nil:
		return Message{}, p.DB.Write(ctx, func(tx *db.Tx) error { return fold(ctx, tx, m, full.until) })
	case err != nil || late:
		return Message{}, err
	}
	return m, nil
}

// giveUp deletes a claimed message that won't be sent.
func (p *Pump) giveUp(ctx context.Context, tx *db.Tx, m Message, why error, now time.Time) error {
	if err := giveUp(ctx, tx, m); err != nil {
		return err
	}
	p.Log.Error("a message was given up", "kind", string(m.Kind), "topic", m.Topic, "account", m.AccountID, "tries", m.Tries, "reason", clean(why.Error()))
	return p.GaveUp(ctx, tx, m, why, now)
}

// send opens the message's sealed body and sends the message. A panic counts as a failed try:
// otherwise one message could crash this server, and then every node that takes the message over.
func (p *Pump) send(l *lane, m Message) (err error) {
	defer func() {
		if crash := recover(); crash != nil {
			p.Log.Error("panic", "kind", string(m.Kind), "id", m.ID, "panic", fmt.Sprint(crash), "stack", string(debug.Stack()))
			err = errors.New("sending it panicked; see the log")
		}
	}()
	if m.Body, err = p.Ring.Open(place(m), m.sealed); errors.Is(err, secret.ErrUnknownKey) {
		return Fail(Elsewhere, err)
	} else if err != nil {
		return Fail(Permanent, err)
	}
	ctx, cancel := context.WithTimeout(p.sending, l.sender.Timeout)
	defer cancel()
	return l.sender.Send(ctx, m)
}

const (
	// settleTime limits one attempt to record the result of a try.
	settleTime = 10 * time.Second
	// settleTries is how often the result of a message is tried to be recorded. A message without a
	// recorded result is sent again, so these tries outlast a failover of the database.
	settleTries = 4
)

// settle records the result of a try.
func (p *Pump) settle(l *lane, m Message, result error) {
	class := Class("")
	if result != nil {
		class = classOf(result)
		if class == Unsure && m.Unsure { // the message was repeated once already
			class = Permanent
		}
	}
	p.note(l, class, result)
	p.Count(l.kind, class)
	var err error
	for range settleTries {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.sending), settleTime)
		err = p.DB.Write(ctx, func(tx *db.Tx) error { return p.record(ctx, tx, l, m, class, result) })
		cancel()
		if err == nil || errors.Is(err, errLost) {
			return
		}
		select {
		case <-p.sending.Done():
		case <-time.After(Every):
		}
	}
	p.Log.Warn("the result of sending a message couldn't be recorded, so it may be sent again", "kind", string(l.kind), "id", m.ID, "reason", err.Error())
}

// note stores the result in the lane, for [Pump.Faults], and pauses the lane if the other side
// refuses the sender.
func (p *Pump) note(l *lane, class Class, result error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status StatusError
	switch {
	case result == nil:
		l.fault = ""
	case class == Paused:
		if now := p.Clock(); !l.isPaused(now) { // log once for messages that were sent concurrently
			l.pausedUntil = now.Add(pauseTime)
			p.Log.Error("the other side refuses this server; nothing of this kind is sent for 15 minutes", "kind", string(l.kind), "reason", clean(result.Error()))
		}
	case errors.As(result, &status) && status.advice() != "":
		l.fault = status.Error() + "; " + status.advice()
	}
}

// record writes the result of a try. class is empty if the message was sent.
func (p *Pump) record(ctx context.Context, tx *db.Tx, l *lane, m Message, class Class, result error) error {
	now := p.Clock()
	if class == "" || class == Needless {
		there, err := sent(ctx, tx, m)
		if err != nil || !there || class == Needless || l.sender.Sent == nil {
			return err
		}
		return l.sender.Sent(ctx, tx, m)
	}
	m.LastError = clean(result.Error())
	due := now.Add(pauseAfter(m.Tries, m.Brief))
	switch class {
	case Permanent:
		return p.giveUp(ctx, tx, m, result, now)
	case Paused:
		m.Tries--
		due = now.Add(pauseTime)
	case Elsewhere:
		m.Tries--
		due = now.Add(leaveTime)
	case Unsure:
		m.Unsure = true
		due = now.Add(unsureTime)
	}
	if !due.Before(m.GivesUpAt) {
		return p.giveUp(ctx, tx, m, result, now)
	}
	return release(ctx, tx, m, due)
}

// Faults returns the kinds whose last try failed for a reason that an operator has to correct,
// with the reason.
func (p *Pump) Faults() map[Kind]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	faults, now := map[Kind]string{}, p.Clock()
	for kind, l := range p.lanes {
		switch {
		case l.isPaused(now):
			// Leave out the other side's answer, since /readyz is public.
			faults[kind] = "this server is refused, so nothing is sent for 15 minutes; see the log"
		case l.fault != "":
			faults[kind] = l.fault
		}
	}
	return faults
}
