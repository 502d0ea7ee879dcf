package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// node is a pump with what it sent and gave up.
type node struct {
	*Pump
	mu     sync.Mutex
	sent   []string // bodies, in order
	gaveUp []string // bodies' topics with the reasons
	counts map[Class]int
}

// newNode returns a node that sends mails with answer, which may be nil: all are accepted.
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
				t.Errorf("%s", cmp.Diff(want, m, cmp.AllowUnexported(Message{})))
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
			t.Errorf("sent %q, accepted %d, counted %v", got, accepted, n.counts)
		}
		if all := stored(t, d); len(all) != 1 || all[0].Kind != Webhook {
			t.Errorf("left %+v; want the message without a sender", all)
		}
		clock.Move(keepTime)
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error { return n.Expire(t.Context(), tx, clock.Now()) }))
		if all := stored(t, d); len(all) != 0 || len(n.gaveUp) != 1 {
			t.Errorf("left after three days: %+v, gave up %q", all, n.gaveUp)
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
			t.Errorf("%v, stored %v", err, stored(t, d))
		}
	})
}

// Ten nodes race for each message.
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
			t.Errorf("first: %v", got)
		}
		clock.Move(time.Minute)
		if got := race(); got["lost"] != 10 {
			t.Errorf("while it is claimed: %v", got)
		}
		clock.Move(time.Minute)
		if got := race(); !cmp.Equal(want, got) {
			t.Errorf("after the node died: %v", got)
		}
		clock.Set(-24 * time.Hour) // the first node's clock had been ahead
		if got := race(); !cmp.Equal(want, got) {
			t.Errorf("after the clock was set back: %v", got)
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

func TestFailuresAreRetriedByPlan(t *testing.T) {
	for name, test := range map[string]struct {
		brief bool
		class Class
		due   []time.Duration // of each next try, after the one before
		ends  bool            // and then it is given up
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
					t.Errorf("left %d, gave up %q; given up: %v", left, n.gaveUp, test.ends)
				}
			})
		})
	}
}

// total returns how many tries were counted.
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
			t.Errorf("sent %s", got)
		}
	})
}

// A refused password pauses everything, and ends with a new sender.
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
			t.Errorf("tried %d times in the pause", n.total()-before)
		}
		n.Set(Mail, &Sender{Timeout: time.Minute, Send: func(context.Context, Message) error { return nil }})
		clock.Move(time.Minute)
		n.drive(t)
		if left := stored(t, d); len(left) != 0 || n.Faults()[Mail] != "" {
			t.Errorf("left %d, fault %q", len(left), n.Faults()[Mail])
		}
	})
}

func TestFloodIsFolded(t *testing.T) {
	limits := func(topic string) []Limit {
		return []Limit{{N: 3, Per: 24 * time.Hour, Topic: true}, {N: 5, Per: 24 * time.Hour}}
	}
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		nodes := []*node{newNode(t, d, ring, clock, Sender{Limits: limits}, nil), newNode(t, d, ring, clock, Sender{Limits: limits}, nil)}
		drive := func() (all []string) {
			for _, n := range nodes {
				testkit.Check(t, n.Run(t.Context()))
			}
			for _, n := range nodes {
				n.Wait()
				all = append(all, n.take()...)
			}
			return sorted(all)
		}
		for i := range 20 {
			add(t, d, ring, clock, mail("ada", "codes", fmt.Sprintf("code %02d", i)))
			clock.Move(time.Second)
		}
		add(t, d, ring, clock, mail("bob", "codes", "bob's"))
		urgent := mail("ada", "codes", "password")
		urgent.Urgent = true
		add(t, d, ring, clock, urgent, urgent, urgent, urgent)
		if got := drive(); len(got) != 8 {
			t.Errorf("sent %q; want three of ada's, bob's and the urgent ones", got)
		}
		if left := stored(t, d); len(left) != 1 || left[0].More != 16 {
			t.Errorf("left %+v; want one that stands for 17", left)
		}
		add(t, d, ring, clock, mail("ada", "passes", "pass 1"), mail("ada", "passes", "pass 2"), mail("ada", "passes", "pass 3"))
		if got := drive(); len(got) != 2 {
			t.Errorf("sent %q; want two, which are the last of the day", got)
		}
		add(t, d, ring, clock, mail("ada", "codes", "code 21"))
		if got := drive(); len(got) != 0 {
			t.Errorf("sent %q of the flood that goes on", got)
		}
		clock.Move(24*time.Hour - time.Minute)
		if got := drive(); len(got) != 0 {
			t.Errorf("sent %q before the day was over", got)
		}
		clock.Move(2 * time.Minute)
		if got := drive(); len(got) != 2 || !strings.HasSuffix(got[0], " and 17 more") || !strings.HasPrefix(got[1], "pass") {
			t.Errorf("sent %q; want one code that stands for 18, and a pass", got)
		}
	})
}

func TestRateHoldsAllButUrgentMessages(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		n := newNode(t, d, ring, clock, Sender{Rate: Rate{Every: 10 * time.Second, Burst: 5}}, nil)
		for i := range 12 {
			add(t, d, ring, clock, mail(fmt.Sprint(i), "test", "hello"))
		}
		n.drive(t)
		if got := n.take(); len(got) != 5 {
			t.Errorf("sent %d at once, want 5", len(got))
		}
		urgent := mail("ada", "test", "urgent")
		urgent.Urgent = true
		add(t, d, ring, clock, urgent)
		n.drive(t)
		if got := n.take(); len(got) != 1 || got[0] != "urgent" {
			t.Errorf("sent %q, want the urgent one", got)
		}
		for range 4 {
			clock.Move(10 * time.Second)
			n.drive(t)
		}
		if got := n.take(); len(got) != 4 {
			t.Errorf("sent %d in 40 s, want 4", len(got))
		}
		clock.Set(-48 * time.Hour) // it had been ahead
		add(t, d, ring, clock, mail("eve", "test", "hello"))
		n.drive(t)
		if got := n.take(); len(got) != 4 {
			t.Errorf("sent %d after the clock was set back, want it and the 3 that waited", len(got))
		}
	})
}

// One node has a key ring that lacks the newest key, or a body was changed.
func TestBodiesThatDoNotOpen(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring, clock := secret.NewRing(), testkit.NewClock()
		behind := newNode(t, d, secret.NewRing(), clock, Sender{}, nil)
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		behind.drive(t)
		if got := behind.take(); len(got) != 0 || behind.counts[Elsewhere] != 1 {
			t.Errorf("sent %q, counted %v", got, behind.counts)
		}
		clock.Move(time.Minute)
		n := newNode(t, d, ring, clock, Sender{}, nil)
		n.drive(t)
		if got := n.take(); len(got) != 1 {
			t.Errorf("another node sent %q", got)
		}
		add(t, d, ring, clock, mail("ada", "test", "hello"))
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := db.Exec(t.Context(), tx, `UPDATE outbox SET account_id = 'eve'`)
			return err
		}))
		n.drive(t)
		if got := n.take(); len(got) != 0 || len(n.gaveUp) != 1 {
			t.Errorf("of another account's row: sent %q, gave up %q", got, n.gaveUp)
		}
	})
}

func TestAddressesStayThoseOfTheirTime(t *testing.T) {
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
			t.Errorf("fault %q", got)
		}
		status = 200
		clock.Move(time.Minute)
		n.drive(t)
		if got := n.Faults()[Mail]; got != "" {
			t.Errorf("fault %q when all is well", got)
		}
	})
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}
