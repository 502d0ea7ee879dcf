package outbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Reference clocks differ by some milliseconds. The node whose clock is behind must not take
// the times that the other node stored as a sign that a clock was set back.
func TestClaimsHoldBetweenClocksThatDiffer(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		holding, let := make(chan struct{}), make(chan struct{})
		one := Sender{Limits: func(string) []Limit { return []Limit{{N: 1, Per: time.Hour}} }}
		ahead := newNode(t, d, ring, clock, one, func(Message) error { close(holding); <-let; return nil })
		ahead.Clock = func() time.Time { return clock.Now().Add(5 * time.Millisecond) }
		behind := newNode(t, d, ring, clock, one, nil)
		testkit.Check(t, ahead.Run(t.Context()))
		<-holding
		add(t, d, ring, clock, mail("ada", "test", "hello again"))
		behind.drive(t)
		if got := behind.take(); len(got) != 0 {
			t.Errorf("the other node sent %q, in spite of the claim or the quota, want none", got)
		}
		close(let)
		ahead.Wait()
		if got := ahead.take(); len(got) != 1 {
			t.Errorf("the node with the claim sent %q, want one message", got)
		}
	})
}

// A message whose sending panics is tried again as after any failure, and the other messages are
// sent.
func TestPanicIsAFailedTry(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		n := newNode(t, d, ring, clock, Sender{}, func(m Message) error {
			if m.AccountID == "eve" {
				panic("at the disco")
			}
			return nil
		})
		add(t, d, ring, clock, mail("eve", "test", "1"), mail("ada", "test", "2"))
		n.drive(t)
		left := stored(t, d)
		if got := n.take(); len(got) != 1 || len(left) != 1 || left[0].Tries != 1 || !left[0].ClaimedUntil.IsZero() {
			t.Errorf("sent %q, left %+v; want one that waits for its next try", got, left)
		}
	})
}

// After an operator has corrected the setting that the other side refused, a node that was
// restarted sends at once, and another node stops reporting the fault when its pause has ended.
func TestPauseEnds(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		refused := newNode(t, d, ring, clock, Sender{}, func(Message) error { return Fail(Paused, errors.New("535 wrong password")) })
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		refused.drive(t)
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
			n, err := Retry(context.Background(), tx, "", clock.Now())
			if n != 1 {
				t.Errorf("%d messages are tried again, want 1", n)
			}
			return err
		}))
		n := newNode(t, d, ring, clock, Sender{}, nil)
		n.drive(t)
		if got := n.take(); len(got) != 1 {
			t.Errorf("sent %q after the retry, want one message", got)
		}
		if refused.Faults()[Mail] == "" {
			t.Error("no fault during the pause")
		}
		clock.Move(pauseTime)
		if got := refused.Faults()[Mail]; got != "" {
			t.Errorf("fault after the pause: %q, want none", got)
		}
	})
}
