package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueHoldsSoManyAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 2
		q, ctx := NewQueue(slots, time.Now), t.Context()
		var leave [slots]func(bool)
		for i := range leave {
			var err error
			if leave[i], err = q.Enter(ctx, Place{Known: true}); err != nil {
				t.Fatal(err)
			}
		}
		impatient, giveUp := context.WithCancel(ctx)
		entered, gaveUp := make(chan func(bool), queueLength), make(chan error, 1)
		wait := func(ctx context.Context, account int) {
			leave, err := q.Enter(ctx, Place{Account: fmt.Sprint(account), Known: account%2 == 0})
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
		if _, err := q.Enter(ctx, Place{Known: true}); !errors.Is(err, ErrQueueFull) {
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
		if _, err := q.Enter(ctx, Place{Known: true}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("after one gave up and one came: %v, want ErrQueueFull", err)
		}
		// Each that leaves lets one in, until all were in.
		for _, leave := range leave {
			leave(true)
			synctest.Wait()
		}
		if len(entered) != slots {
			t.Errorf("%d entered as %d left", len(entered), slots)
		}
		for range queueLength {
			(<-entered)(true)
		}
		synctest.Wait()
		for range slots {
			if _, err := q.Enter(ctx, Place{Known: true}); err != nil {
				t.Errorf("empty queue: %v", err)
			}
		}
	})
}

func TestQueueWithACancelledContextStillTakesAFreeSlotOrLeaves(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	q := NewQueue(1, time.Now)
	leave, err := q.Enter(context.Background(), Place{Known: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enter(cancelled, Place{Known: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("full queue, cancelled: %v", err)
	}
	if n := q.Waiting(); n != 0 {
		t.Errorf("%d are still counted as waiting", n)
	}
	leave(true)
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

// turn waits in the queue, sends its name once it has a slot, and leaves.
func turn(ctx context.Context, q *Queue, order chan<- string, name string, p Place) {
	leave, err := q.Enter(ctx, p)
	if err != nil {
		order <- err.Error()
		return
	}
	order <- name
	leave(true)
}

func TestQueueKeepsRoomForEachKindAndKnownBrowsersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, flooding := range []bool{false, true} {
			q, ctx := NewQueue(1, time.Now), t.Context()
			leave, err := q.Enter(ctx, Place{Account: "first", Known: flooding})
			if err != nil {
				t.Fatal(err)
			}
			order := make(chan string, queueLength)
			for n := range queueLength - queueForEach {
				go turn(ctx, q, order, "flood", Place{Account: fmt.Sprint(n), Known: flooding, Browser: "flood"})
			}
			synctest.Wait()
			if _, err := q.Enter(ctx, Place{Account: "last", Known: flooding, Browser: "flood"}); !errors.Is(err, ErrQueueFull) {
				t.Fatalf("known %v: they fill the queue to the last place: %v", flooding, err)
			}
			go turn(ctx, q, order, "other", Place{Account: "other", Known: !flooding, Browser: "other"})
			synctest.Wait()
			leave(true)
			synctest.Wait()
			for place := 0; ; place++ {
				if <-order != "other" {
					continue
				}
				if want := map[bool]int{false: 0, true: knownInARow}[flooding]; place != want {
					t.Errorf("known browsers flood %v: the other kind starts after %d, want %d", flooding, place, want)
				}
				break
			}
		}
	})
}

func TestQueueTakesNetworksInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1, time.Now), t.Context()
		leave, err := q.Enter(ctx, Place{Account: "first", Browser: "flood"})
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, queueLength)
		for n := range 40 {
			go turn(ctx, q, order, "flood", Place{Account: fmt.Sprint(n), Browser: "flood"})
		}
		synctest.Wait()
		go turn(ctx, q, order, "quiet", Place{Account: "ada", Browser: "quiet"})
		synctest.Wait()
		leave(true)
		if one, two := <-order, <-order; one != "quiet" && two != "quiet" {
			t.Error("a quiet network waits behind a flood from another")
		}
	})
}

func TestOneAccountShutsOutNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, known := range []bool{true, false} {
			q, ctx := NewQueue(1, time.Now), t.Context()
			eve, ada := Place{Account: "eve", Known: known, Browser: "b"}, Place{Account: "ada", Known: known, Browser: "b"}
			leave, err := q.Enter(ctx, eve)
			if err != nil {
				t.Fatal(err)
			}
			order := make(chan string, queueLength)
			for range queuePerBrowser {
				go turn(ctx, q, order, "eve", eve)
			}
			synctest.Wait()
			if _, err := q.Enter(ctx, eve); !errors.Is(err, ErrQueueFull) {
				t.Fatalf("known %v: eve's fifth: %v, want ErrQueueFull", known, err)
			}
			go turn(ctx, q, order, "ada", ada)
			synctest.Wait()
			leave(true)
			if one, two := <-order, <-order; one != "ada" && two != "ada" {
				t.Errorf("known %v: ada waits behind all of eve's", known)
			}
		}
	})
}

func TestOneHashOfAnAccountRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, known := range []bool{true, false} {
			q, ctx := NewQueue(4, time.Now), t.Context()
			eve := Place{Account: "eve", Known: known, Browser: "b"}
			leave, err := q.Enter(ctx, eve)
			if err != nil {
				t.Fatal(err)
			}
			entered := make(chan func(bool), 1)
			go func() {
				leave, err := q.Enter(ctx, eve)
				if err != nil {
					t.Error(err)
				}
				entered <- leave
			}()
			synctest.Wait()
			if len(entered) != 0 {
				t.Errorf("known %v: two hashes of one account run beside free slots", known)
			}
			// Others aren't kept from the free slots by the one that waits.
			other, err := q.Enter(ctx, Place{Account: "ada", Known: known, Browser: "b"})
			if err != nil {
				t.Fatal(err)
			}
			other(true)
			leave(true)
			(<-entered)(true)
			if q.free != 4 || len(q.known.running)+len(q.unknown.running)+len(q.known.order)+len(q.unknown.order) != 0 {
				t.Errorf("known %v: an empty queue has %d free slots and remembers somebody", known, q.free)
			}
		}
	})
}

// TestNobodyIsKeptOutByOneAccount counts how many hashes start before a stranger's,
// while twelve connections repeat one right password: in a known browser, in an
// unknown one of the stranger's network, and in both.
func TestNobodyIsKeptOutByOneAccount(t *testing.T) {
	const connections, longest = 12, 8
	for _, slots := range []int{1, 2, 4} {
		for what, eves := range map[string][]Place{
			"known":       {{Account: "eve", Known: true, Browser: "hers"}},
			"same office": {{Account: "eve", Browser: "office"}},
			"both":        {{Account: "eve", Known: true, Browser: "hers"}, {Account: "eve", Browser: "office"}},
		} {
			t.Run(fmt.Sprint(what, ", ", slots), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const hash = 50 * time.Millisecond
					begun := time.Now()
					q := NewQueue(slots, func() time.Time { return begun.Add(10000 * time.Since(begun)) }) // no pace
					ctx, stop := context.WithCancel(t.Context())
					var flood sync.WaitGroup
					defer flood.Wait()
					defer stop()
					started := make(chan bool, 10000) // true: the stranger's
					for n := range connections {
						flood.Go(func() {
							for ctx.Err() == nil {
								leave, err := q.Enter(ctx, eves[n%len(eves)])
								if err != nil {
									time.Sleep(hash) // 503: at once again
									continue
								}
								started <- false
								time.Sleep(hash)
								leave(true)
							}
						})
					}
					time.Sleep(10*hash + hash/2)
					for range 20 {
						for len(started) > 0 {
							<-started
						}
						leave, err := q.Enter(ctx, Place{Account: "ada", Browser: "office"})
						if err != nil {
							t.Fatal(err)
						}
						if before := len(started); before > longest {
							t.Errorf("%d hashes started before the stranger's, want at most %d", before, longest)
						}
						time.Sleep(hash)
						leave(true)
						time.Sleep(hash)
					}
				})
			})
		}
	}
}

func TestRightPasswordsHaveAPaceToo(t *testing.T) {
	now := time.Unix(1e9, 0)
	q, ctx := NewQueue(1, func() time.Time { return now }), context.Background()
	enter := func(p Place) error {
		leave, err := q.Enter(ctx, p)
		if err == nil {
			leave(true)
		}
		return err
	}
	eve := Place{Account: "eve", Known: true, Browser: "hers"}
	for range paceHashes {
		if err := enter(eve); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	var pace *PaceError
	if err := enter(eve); !errors.As(err, &pace) || pace.RetryAfter != paceWithin-paceHashes*time.Second {
		t.Errorf("one more: %v, %+v", err, pace)
	}
	// It concerns that browser alone.
	for _, other := range []Place{{Account: "eve", Known: true, Browser: "another"}, {Account: "eve", Browser: "hers"}, {Account: "ada", Known: true, Browser: "hers"}, {}} {
		if err := enter(other); err != nil {
			t.Errorf("%+v: %v", other, err)
		}
	}
	now = now.Add(pace.RetryAfter)
	if err := enter(eve); err != nil {
		t.Errorf("once the first is old: %v", err)
	}
	now = now.Add(2 * paceWithin)
	if err := enter(Place{Account: "ada", Known: true}); err != nil || len(q.matched) != 2 {
		t.Errorf("%v; %d paces are remembered, want those of ada's browser and of ada", err, len(q.matched))
	}
	// More browsers don't add up to more than a few in each.
	for n := range pacePerAccount {
		if err := enter(Place{Account: "bob", Known: true, Browser: fmt.Sprint(n % 18)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := enter(Place{Account: "bob", Known: true, Browser: "0"}); !errors.As(err, &pace) {
		t.Errorf("bob's other browsers used the account's pace up: %v", err)
	}
	for range paceForEach {
		if err := enter(Place{Account: "bob", Known: true, Browser: "quiet"}); err != nil {
			t.Errorf("bob's browser that had few: %v", err)
		}
	}
	if err := enter(Place{Account: "bob", Known: true, Browser: "quiet"}); !errors.As(err, &pace) {
		t.Errorf("once it had %d: %v", paceForEach, err)
	}
	if err := enter(Place{Account: "bob", Browser: "unknown"}); err != nil {
		t.Errorf("bob's unknown browser: %v", err)
	}
}

func TestWrongPasswordsAndGoneClientsUseUpNoPace(t *testing.T) {
	q := NewQueue(1, time.Now)
	ada := Place{Account: "ada", Browser: "office"}
	running, err := q.Enter(t.Context(), Place{Account: "other"})
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for range 2 * pacePerAccount {
		if _, err := q.Enter(gone, ada); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	running(true)
	for n := range 2 * pacePerAccount {
		for _, p := range []Place{ada, {Account: "ada", Browser: fmt.Sprint(n)}, {Account: fmt.Sprint("nobody-", n), Browser: "office"}} {
			leave, err := q.Enter(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			leave(false)
		}
	}
	if len(q.matched) != 2 {
		t.Errorf("%d paces are remembered, want those of the one password that matched", len(q.matched))
	}
}

func TestOneKnownBrowserShutsOutNoOtherOfItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1, time.Now), t.Context()
		eve := func(browser string) Place { return Place{Account: "eve", Known: true, Browser: browser} }
		leave, err := q.Enter(ctx, eve("flood"))
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, queueLength)
		for range queuePerBrowser {
			go turn(ctx, q, order, "flood", eve("flood"))
		}
		synctest.Wait()
		go turn(ctx, q, order, "quiet", eve("quiet"))
		synctest.Wait()
		if _, err := q.Enter(ctx, eve("quiet")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("a second of the quiet browser, past the account's first places: %v", err)
		}
		for n := range queuePerAccount - queuePerBrowser - 1 {
			go turn(ctx, q, order, "more", eve(fmt.Sprint(n)))
			synctest.Wait()
		}
		if _, err := q.Enter(ctx, eve("one more")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("past all places of an account: %v", err)
		}
		leave(true)
		if one, two := <-order, <-order; one != "quiet" && two != "quiet" {
			t.Error("a quiet known browser waits behind all of another's")
		}
	})
}
