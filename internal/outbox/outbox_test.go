package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// node is a pump that records the messages which it sent and gave up.
type node struct {
	*Pump
	mu     sync.Mutex
	sent   []string // bodies, in order
	gaveUp []string // the topics of the bodies, with the reasons
	counts map[Class]int
}

// newNode returns a node that sends each mail by a call of the function answer, which returns the
// result. If answer is nil, all mails are accepted.
func newNode(t *testing.T, d *db.DB, ring *secret.Ring, clock *testkit.Clock, s Sender, answer func(Message) error) *node {
	t.Helper()
	n := &node{counts: map[Class]int{}}
	n.Pump = &Pump{
		DB: d, Ring: ring, Clock: clock.Now, Log: slog.New(slog.DiscardHandler),
		GaveUp: func(_ context.Context, _ *db.Tx, m Message, why error, _ time.Time) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.gaveUp = append(n.gaveUp, m.Topic+": "+why.Error())
			return nil
		},
		Count: func(_ Kind, c Class) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.counts[c]++
		},
	}
	s.Send = func(_ context.Context, m Message) error {
		if answer != nil {
			if err := answer(m); err != nil {
				return err
			}
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		text := string(m.Body)
		if m.More > 0 {
			text += fmt.Sprint(" and ", m.More, " more")
		}
		n.sent = append(n.sent, text)
		return nil
	}
	if s.Timeout == 0 {
		s.Timeout = time.Minute
	}
	n.Set(Mail, &s)
	t.Cleanup(func() { n.Stop(context.Background()) })
	return n
}

// drive sends what is due now.
func (n *node) drive(t *testing.T) {
	t.Helper()
	testkit.Check(t, n.Run(t.Context()))
	n.Wait()
}

// take returns what was sent since the last call.
func (n *node) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.sent
	n.sent = nil
	return all
}

func add(t *testing.T, d *db.DB, ring *secret.Ring, clock *testkit.Clock, messages ...Message) {
	t.Helper()
	testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
		for _, m := range messages {
			if m.Kind == "" {
				m.Kind = Mail
			}
			if err := Add(t.Context(), tx, ring, m, clock.Now()); err != nil {
				return err
			}
		}
		return nil
	}))
}

func mail(target, topic, body string) Message {
	return Message{AccountID: target, Topic: topic, Body: []byte(body)}
}

func stored(t *testing.T, d *db.DB) []Message {
	t.Helper()
	all, err := List(t.Context(), d.Reader(), "", 1000)
	testkit.Check(t, err)
	return all
}

func TestSentMessagesAreDeleted(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		accepted := 0
		n := newNode(t, d, ring, clock, Sender{Sent: func(_ context.Context, tx *db.Tx, m Message) error {
			accepted++
			return nil
		}}, func(m Message) error {
			want := Message{ID: m.ID, Kind: Mail, AccountID: "ada", Address: "ada@example.com", Topic: "test", Body: []byte("hello"), Urgent: true, Brief: true,
				Tries: 1, DueAt: clock.Now(), CreatedAt: clock.Now(), GivesUpAt: clock.Now().Add(30 * time.Minute), ClaimedUntil: clock.Now().Add(2 * time.Minute), admitted: true}
			if m.sealed = nil; m.ID == "" || !cmp.Equal(want, m, cmp.AllowUnexported(Message{})) {
				t.Errorf("message to send (-want +got):\n%s", cmp.Diff(want, m, cmp.AllowUnexported(Message{})))
			}
			return nil
		})
		add(t, d, ring, clock, Message{AccountID: "ada", Address: "ada@example.com", Topic: "test", Body: []byte("hello"), Urgent: true, Brief: true})
		if all := stored(t, d); len(all) != 1 || bytes.Contains(all[0].sealed, []byte("hello")) {
			t.Errorf("stored %+v; want one, sealed", all)
		}
		add(t, d, ring, clock, Message{Kind: Webhook, Topic: "test", Body: []byte("for nobody")})
		n.drive(t)
		if got := n.take(); len(got) != 1 || accepted != 1 || n.counts[""] != 1 {
			t.Errorf("sent %q, called Sent %d times, counted %v; want one of each", got, accepted, n.counts)
		}
		if all := stored(t, d); len(all) != 1 || all[0].Kind != Webhook {
			t.Errorf("left %+v; want the message without a sender", all)
		}
		clock.Move(keepTime)
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error { return n.Expire(t.Context(), tx, clock.Now()) }))
		if all := stored(t, d); len(all) != 0 || len(n.gaveUp) != 1 {
			t.Errorf("left after three days: %+v, gave up %q; want none left and one given up", all, n.gaveUp)
		}
	})
}

func TestChangeThatIsUndoneSendsNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		undone := errors.New("undone")
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			m := mail("ada", "test", "hello")
			m.Kind = Mail
			testkit.Check(t, Add(t.Context(), tx, ring, m, clock.Now()))
			return undone
		})
		if !errors.Is(err, undone) || len(stored(t, d)) != 0 {
			t.Errorf("a change that is rolled back: %v, stored %v; want no message", err, stored(t, d))
		}
	})
}

// Ten nodes claim each message at the same time.
func TestClaimIsGivenOnce(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		m := stored(t, d)[0]
		race := func() map[string]int {
			return testkit.Race(10, func(int) string {
				mine := m
				err := d.Write(context.Background(), func(tx *db.Tx) error {
					return claim(context.Background(), tx, &mine, 2*time.Minute, clock.Now())
				})
				switch {
				case errors.Is(err, errLost):
					return "lost"
				case err != nil:
					return err.Error()
				}
				return "claimed"
			})
		}
		want := map[string]int{"claimed": 1, "lost": 9}
		if got := race(); !cmp.Equal(want, got) {
			t.Errorf("ten nodes claim the message: %v, want %v", got, want)
		}
		clock.Move(time.Minute)
		if got := race(); got["lost"] != 10 {
			t.Errorf("ten nodes while it is claimed: %v, want 10 lost", got)
		}
		clock.Move(time.Minute)
		if got := race(); !cmp.Equal(want, got) {
			t.Errorf("ten nodes after the claim has ended: %v, want %v", got, want)
		}
		clock.Set(-24 * time.Hour) // the first node's clock had been ahead
		if got := race(); !cmp.Equal(want, got) {
			t.Errorf("ten nodes after the clock was set back: %v, want %v", got, want)
		}
	})
}

func TestThreeNodesSendEachMessageOnce(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		var want []string
		for i := range 60 {
			want = append(want, fmt.Sprintf("%02d", i))
			add(t, d, ring, clock, mail(fmt.Sprint("account ", i), "test", want[i]))
		}
		var nodes []*node
		for range 3 {
			nodes = append(nodes, newNode(t, d, ring, clock, Sender{}, nil))
		}
		for _, n := range nodes {
			testkit.Check(t, n.Run(t.Context()))
		}
		var got []string
		for _, n := range nodes {
			n.Wait()
			got = append(got, n.take()...)
		}
		if diff := cmp.Diff(want, sorted(got)); diff != "" || len(stored(t, d)) != 0 {
			t.Errorf("sent (-want +got), left %d:\n%s", len(stored(t, d)), diff)
		}
	})
}

// A node whose key ring lacks the newest key leaves the message to another node. A body that opens
// with no key is given up.
func TestBodiesThatDoNotOpen(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		behind := newNode(t, d, secret.NewRing(), clock, Sender{}, nil)
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		behind.drive(t)
		if got := behind.take(); len(got) != 0 || behind.counts[Elsewhere] != 1 {
			t.Errorf("the node without the key sent %q and counted %v; want none sent and one Elsewhere", got, behind.counts)
		}
		clock.Move(time.Minute)
		n := newNode(t, d, ring, clock, Sender{}, nil)
		n.drive(t)
		if got := n.take(); len(got) != 1 {
			t.Errorf("the node with the key sent %q, want one message", got)
		}
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := db.Exec(t.Context(), tx, `UPDATE outbox SET account_id = 'eve'`)
			return err
		}))
		n.drive(t)
		if got := n.take(); len(got) != 0 || len(n.gaveUp) != 1 {
			t.Errorf("a body that was moved to another account: sent %q, gave up %q; want it given up", got, n.gaveUp)
		}
	})
}

func TestWaitingMailsKeepTheFormerAddress(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		pin := func(former string) {
			t.Helper()
			testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error { return PinAddress(t.Context(), tx, "ada", former) }))
		}
		addresses := func() (all []string) {
			for _, m := range stored(t, d) {
				all = append(all, m.AccountID+" "+m.Address)
			}
			return sorted(all)
		}
		add(t, d, ring, clock, mail("ada", "test", "1"), mail("bob", "test", "2"))
		pin("first@example.com")
		add(t, d, ring, clock, mail("ada", "test", "3"))
		pin("second@example.com")
		if diff := cmp.Diff([]string{"ada first@example.com", "ada second@example.com", "bob "}, addresses()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		add(t, d, ring, clock, mail("ada", "test", "4"))
		pin("")
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error { return RemoveAccount(t.Context(), tx, "bob") }))
		if diff := cmp.Diff([]string{"ada first@example.com", "ada second@example.com"}, addresses()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}
