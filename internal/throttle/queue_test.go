package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
)

func TestQueueHoldsSoManyAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 2
		q, ctx := NewQueue(slots), t.Context()
		var leave [slots]func()
		for i := range leave {
			var err error
			if leave[i], err = q.Enter(ctx, "", true); err != nil {
				t.Fatal(err)
			}
		}
		impatient, giveUp := context.WithCancel(ctx)
		entered, gaveUp := make(chan func(), queueLength), make(chan error, 1)
		wait := func(ctx context.Context, account int) {
			leave, err := q.Enter(ctx, fmt.Sprint(account), true)
			if err != nil {
				gaveUp <- err
				return
			}
			entered <- leave
		}
		go wait(impatient, 0)
		for account := range queueLength - 1 {
			go wait(ctx, 1+account)
		}
		synctest.Wait()
		if len(entered) != 0 {
			t.Fatalf("%d entered beside %d slots", len(entered), slots)
		}
		// The 65th is told at once: were it to wait, this would hang.
		if _, err := q.Enter(ctx, "", true); !errors.Is(err, ErrQueueFull) {
			t.Fatalf("with %d waiting: %v, want ErrQueueFull", queueLength, err)
		}
		// Who gives up makes room for one to wait.
		giveUp()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("gave up: %v", err)
		}
		synctest.Wait()
		go wait(ctx, 0)
		synctest.Wait()
		if _, err := q.Enter(ctx, "", true); !errors.Is(err, ErrQueueFull) {
			t.Errorf("after one gave up and one came: %v, want ErrQueueFull", err)
		}
		// Each that leaves lets one in, until all were in.
		for _, leave := range leave {
			leave()
			synctest.Wait()
		}
		if len(entered) != slots {
			t.Errorf("%d entered as %d left", len(entered), slots)
		}
		for range queueLength {
			(<-entered)()
		}
		synctest.Wait()
		for range slots {
			if _, err := q.Enter(ctx, "", true); err != nil {
				t.Errorf("empty queue: %v", err)
			}
		}
	})
}

func TestQueueWithACancelledContextStillTakesAFreeSlotOrLeaves(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	q := NewQueue(1)
	leave, err := q.Enter(context.Background(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enter(cancelled, "", true); !errors.Is(err, context.Canceled) {
		t.Errorf("full queue, cancelled: %v", err)
	}
	if n := q.Waiting(); n != 0 {
		t.Errorf("%d are still counted as waiting", n)
	}
	leave()
}

func TestPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.77":              "192.0.2.0/24",
		"192.0.2.255":             "192.0.2.0/24",
		"192.0.3.0":               "192.0.3.0/24",
		"0.0.0.0":                 "0.0.0.0/24",
		"::ffff:192.0.2.77":       "192.0.2.0/24",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1::/56",
		"2001:db8:1:ffff::1":      "2001:db8:1:ff00::/56",
		"2001:db8:2::1":           "2001:db8:2::/56",
		"fe80::1%eth0":            "fe80::/56",
		"::1":                     "::/56",
		"::ffff:0:192.0.2.77":     "::/56",
		"64:ff9b::192.0.2.77":     "64:ff9b::/56",
		"2001:0DB8:0001:0:0::0:1": "2001:db8:1::/56",
	} {
		if got := PrefixOf(netip.MustParseAddr(in)); got != want {
			t.Errorf("PrefixOf(%s) = %s, want %s", in, got, want)
		}
	}
	if got := PrefixOf(netip.Addr{}); got != "" {
		t.Errorf("PrefixOf of no address = %q", got)
	}
}

func TestQueueKeepsRoomForKnownBrowsersAndLetsThemGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1), t.Context()
		leave, err := q.Enter(ctx, "flood", false)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, queueLength)
		wait := func(name, prefix string, known bool) {
			leave, err := q.Enter(ctx, prefix, known)
			if err != nil {
				order <- err.Error()
				return
			}
			order <- name
			leave()
		}
		for range queueLength - queueForKnown {
			go wait("flood", "flood", false)
		}
		synctest.Wait()
		if _, err := q.Enter(ctx, "flood", false); !errors.Is(err, ErrQueueFull) {
			t.Fatalf("unknown browsers fill the queue to the last place: %v", err)
		}
		go wait("known", "", true)
		synctest.Wait()
		leave()
		if first := <-order; first != "known" {
			t.Errorf("first was %s, want the known browser", first)
		}
	})
}

func TestQueueTakesPrefixesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1), t.Context()
		leave, err := q.Enter(ctx, "flood", false)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, queueLength)
		wait := func(prefix string) {
			leave, err := q.Enter(ctx, prefix, false)
			if err != nil {
				order <- err.Error()
				return
			}
			order <- prefix
			leave()
		}
		for range 40 {
			go wait("flood")
		}
		synctest.Wait()
		go wait("quiet")
		synctest.Wait()
		leave()
		for i := range 2 {
			if <-order == "quiet" {
				return
			} else if i == 1 {
				t.Error("a quiet network waits behind a flood from another")
			}
		}
	})
}

func TestOneAccountShutsOutNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1), t.Context()
		leave, err := q.Enter(ctx, "eve", true)
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, queueLength)
		wait := func(account string) {
			leave, err := q.Enter(ctx, account, true)
			if err != nil {
				order <- err.Error()
				return
			}
			order <- account
			leave()
		}
		for range queuePerAccount {
			go wait("eve")
		}
		synctest.Wait()
		if _, err := q.Enter(ctx, "eve", true); !errors.Is(err, ErrQueueFull) {
			t.Fatalf("eve's fifth: %v, want ErrQueueFull", err)
		}
		go wait("ada")
		synctest.Wait()
		leave()
		for i := range 2 {
			if <-order == "ada" {
				return
			} else if i == 1 {
				t.Error("ada waits behind all of eve's")
			}
		}
	})
}
