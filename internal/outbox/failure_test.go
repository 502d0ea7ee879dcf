package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestFailuresAreRetriedByPlan(t *testing.T) {
	for name, test := range map[string]struct {
		brief bool
		class Class
		due   []time.Duration // the pause before each next try
		ends  bool            // after these tries the message is given up
	}{
		"temporary": {class: Temporary, due: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, time.Hour}},
		"brief":     {class: Temporary, brief: true, due: []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 8 * time.Minute}, ends: true},
		"permanent": {class: Permanent, ends: true},
		"unsure":    {class: Unsure, due: []time.Duration{15 * time.Minute}, ends: true},
		"paused":    {class: Paused, due: []time.Duration{15 * time.Minute, 15 * time.Minute}},
		"needless":  {class: Needless},
		"elsewhere": {class: Elsewhere, due: []time.Duration{time.Minute, time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Each(t, func(t *testing.T, d *db.DB) {
				ring, clock := secret.NewRing(), testkit.NewClock()
				n := newNode(t, d, ring, clock, Sender{}, func(Message) error { return Fail(test.class, errors.New("no\x1b[31m")) })
				m := mail("ada", "test", "hello")
				m.Brief = test.brief
				add(t, d, ring, clock, m)
				n.drive(t)
				tries := 1
				for _, pause := range test.due {
					all := stored(t, d)
					if len(all) != 1 || all[0].DueAt.Sub(clock.Now()) != pause || !all[0].ClaimedUntil.IsZero() || all[0].LastError != "no [31m" {
						t.Fatalf("after %d tries: %+v; want it due in %v", tries, all, pause)
					}
					clock.Move(pause - time.Second)
					n.drive(t)
					if n.total() != tries {
						t.Fatalf("tried %d times before it was due, want %d", n.total(), tries)
					}
					clock.Move(time.Second)
					n.drive(t)
					if tries++; n.total() != tries {
						t.Fatalf("tried %d times, want %d", n.total(), tries)
					}
				}
				if left := len(stored(t, d)); (left == 0) != (test.ends || test.class == Needless) || (len(n.gaveUp) == 1) != test.ends {
					t.Errorf("%d messages are left, gave up %q; want that the message is given up: %v", left, n.gaveUp, test.ends)
				}
			})
		})
	}
}

// total returns the number of calls of [Pump.Count].
func (n *node) total() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := 0
	for _, count := range n.counts {
		all += count
	}
	return all
}

func TestOthersAreSentWhileOneFails(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		n := newNode(t, d, ring, clock, Sender{}, func(m Message) error {
			if m.AccountID == "eve" {
				return errors.New("mailbox full")
			}
			return nil
		})
		add(t, d, ring, clock, mail("eve", "test", "1"), mail("ada", "test", "2"), mail("bob", "test", "3"))
		n.drive(t)
		if got := strings.Join(sorted(n.take()), " "); got != "2 3" {
			t.Errorf("sent the messages %s, want 2 3", got)
		}
	})
}

// After the server refuses the password, no mail is sent until the pause ends or the pump gets
// another sender.
func TestRefusedSenderPausesItsKind(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		n := newNode(t, d, ring, clock, Sender{}, func(Message) error { return Fail(Paused, errors.New("535 wrong password")) })
		for i := range 10 {
			add(t, d, ring, clock, mail(fmt.Sprint(i), "test", "hello"))
		}
		n.drive(t)
		if n.total() > atOnce || !strings.Contains(n.Faults()[Mail], "is refused") {
			t.Errorf("tried %d times, fault %q; want at most %d", n.total(), n.Faults()[Mail], atOnce)
		}
		before := n.total()
		clock.Move(14 * time.Minute)
		n.drive(t)
		if n.total() != before {
			t.Errorf("tried %d times in the pause, want none", n.total()-before)
		}
		n.Set(Mail, &Sender{Timeout: time.Minute, Send: func(context.Context, Message) error { return nil }})
		clock.Move(time.Minute)
		n.drive(t)
		if left := stored(t, d); len(left) != 0 || n.Faults()[Mail] != "" {
			t.Errorf("with another sender: %d messages left, fault %q; want none", len(left), n.Faults()[Mail])
		}
	})
}

func TestStatusOfWebhooks(t *testing.T) {
	for status, want := range map[int]Class{200: "", 204: "", 301: Temporary, 400: Temporary, 401: Temporary, 403: Temporary, 404: Temporary, 408: Temporary, 410: Permanent, 429: Temporary, 500: Temporary, 503: Temporary} {
		err := OfStatus(status)
		if got := classOf(err); err != nil && got != want || (err == nil) != (want == "") {
			t.Errorf("%d: %v, class %q, want %q", status, err, got, want)
		}
	}
}

func TestRefusalsOfWebhooksAreShown(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		status := 401
		n := newNode(t, d, ring, clock, Sender{}, func(Message) error { return OfStatus(status) })
		add(t, d, ring, clock, mail("", "test", "hello"))
		n.drive(t)
		if got := n.Faults()[Mail]; got != "the receiver answered 401; check its secret" {
			t.Errorf("fault %q, want one that names the status and the secret", got)
		}
		status = 200
		clock.Move(time.Minute)
		n.drive(t)
		if got := n.Faults()[Mail]; got != "" {
			t.Errorf("fault %q after the message was sent, want none", got)
		}
	})
}
