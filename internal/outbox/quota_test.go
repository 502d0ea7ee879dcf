package outbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

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
			t.Errorf("sent %q of the flood, which goes on; want none", got)
		}
		clock.Move(24*time.Hour - time.Minute)
		if got := drive(); len(got) != 0 {
			t.Errorf("sent %q before the day was over, want none", got)
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
		clock.Set(-48 * time.Hour) // the clock had been ahead
		add(t, d, ring, clock, mail("eve", "test", "hello"))
		n.drive(t)
		if got := n.take(); len(got) != 4 {
			t.Errorf("sent %d after the clock was set back, want 4: the new message and the 3 that waited", len(got))
		}
	})
}
