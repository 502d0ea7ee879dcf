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

func TestQueueHasALimitedLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 2
		q, ctx := NewQueue(slots, time.Now), t.Context()
		var releases [slots]func(bool)
		for i := range releases {
			var err error
			if releases[i], err = q.Acquire(ctx, Place{Known: true}); err != nil {
				t.Fatal(err)
			}
		}
		impatient, giveUp := context.WithCancel(ctx)
		entered, gaveUp := make(chan func(bool), maxWaiting), make(chan error, 1)
		wait := func(ctx context.Context, account int) {
			release, err := q.Acquire(ctx, Place{Account: fmt.Sprint(account), Known: account%2 == 0})
			if err != nil {
				gaveUp <- err
				return
			}
			entered <- release
		}
		go wait(impatient, 0)
		for account := range maxWaiting - 1 {
			go wait(ctx, 1+account)
		}
		synctest.Wait()
		if len(entered) != 0 {
			t.Fatalf("%d waiters got a slot while all %d were in use, want none", len(entered), slots)
		}
		// The next caller is refused at once. If it waited, this call would hang.
		if _, err := q.Acquire(ctx, Place{Known: true}); !errors.Is(err, ErrQueueFull) {
			t.Fatalf("with %d waiting: %v, want ErrQueueFull", maxWaiting, err)
		}
		// A waiter whose context ends makes room for another one.
		giveUp()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v, want context.Canceled", err)
		}
		synctest.Wait()
		go wait(ctx, 0)
		synctest.Wait()
		if _, err := q.Acquire(ctx, Place{Known: true}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("after one waiter left and another came: %v, want ErrQueueFull", err)
		}
		// Each slot that is freed goes to one waiter, until all have had one.
		for _, release := range releases {
			release(true)
			synctest.Wait()
		}
		if len(entered) != slots {
			t.Errorf("%d waiters got one of the %d freed slots, want one for each slot", len(entered), slots)
		}
		for range maxWaiting {
			(<-entered)(true)
		}
		synctest.Wait()
		for range slots {
			if _, err := q.Acquire(ctx, Place{Known: true}); err != nil {
				t.Errorf("empty queue: %v, want a slot", err)
			}
		}
	})
}

func TestQueueWithACancelledContextStillTakesAFreeSlotOrLeaves(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	q := NewQueue(1, time.Now)
	release, err := q.Acquire(context.Background(), Place{Known: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Acquire(cancelled, Place{Known: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("full queue, cancelled context: %v, want context.Canceled", err)
	}
	if n := q.Len(); n != 0 {
		t.Errorf("%d are still counted as waiters, want none", n)
	}
	release(true)
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
		t.Errorf("PrefixOf of the invalid address = %q, want an empty text", got)
	}
}

// acquireAndRelease waits for a slot, sends its name, and frees the slot.
func acquireAndRelease(ctx context.Context, q *Queue, order chan<- string, name string, p Place) {
	release, err := q.Acquire(ctx, p)
	if err != nil {
		order <- err.Error()
		return
	}
	order <- name
	release(true)
}

func TestQueueKeepsRoomForEachKindAndKnownBrowsersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, flooding := range []bool{false, true} {
			q, ctx := NewQueue(1, time.Now), t.Context()
			release, err := q.Acquire(ctx, Place{Account: "first", Known: flooding})
			if err != nil {
				t.Fatal(err)
			}
			order := make(chan string, maxWaiting)
			for n := range maxWaiting - placesPerKind {
				go acquireAndRelease(ctx, q, order, "flood", Place{Account: fmt.Sprint(n), Known: flooding, Browser: "flood"})
			}
			synctest.Wait()
			if _, err := q.Acquire(ctx, Place{Account: "last", Known: flooding, Browser: "flood"}); !errors.Is(err, ErrQueueFull) {
				t.Fatalf("known %v: refused before the queue is full: %v", flooding, err)
			}
			go acquireAndRelease(ctx, q, order, "other", Place{Account: "other", Known: !flooding, Browser: "other"})
			synctest.Wait()
			release(true)
			synctest.Wait()
			for place := 0; ; place++ {
				if <-order != "other" {
					continue
				}
				if want := map[bool]int{false: 0, true: maxKnownInARow}[flooding]; place != want {
					t.Errorf("flood of known %v: the other kind starts after %d hashes, want %d", flooding, place, want)
				}
				break
			}
		}
	})
}

func TestQueueServesNetworksInRoundRobinOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1, time.Now), t.Context()
		release, err := q.Acquire(ctx, Place{Account: "first", Browser: "flood"})
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, maxWaiting)
		for n := range 40 {
			go acquireAndRelease(ctx, q, order, "flood", Place{Account: fmt.Sprint(n), Browser: "flood"})
		}
		synctest.Wait()
		go acquireAndRelease(ctx, q, order, "quiet", Place{Account: "ada", Browser: "quiet"})
		synctest.Wait()
		release(true)
		if one, two := <-order, <-order; one != "quiet" && two != "quiet" {
			t.Error("a quiet network waits behind all of another network's flood")
		}
	})
}

func TestOneAccountShutsOutNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, known := range []bool{true, false} {
			q, ctx := NewQueue(1, time.Now), t.Context()
			eve, ada := Place{Account: "eve", Known: known, Browser: "b"}, Place{Account: "ada", Known: known, Browser: "b"}
			release, err := q.Acquire(ctx, eve)
			if err != nil {
				t.Fatal(err)
			}
			order := make(chan string, maxWaiting)
			for range maxPerBrowser {
				go acquireAndRelease(ctx, q, order, "eve", eve)
			}
			synctest.Wait()
			if _, err := q.Acquire(ctx, eve); !errors.Is(err, ErrQueueFull) {
				t.Fatalf("known %v: eve's fifth hash: %v, want ErrQueueFull", known, err)
			}
			go acquireAndRelease(ctx, q, order, "ada", ada)
			synctest.Wait()
			release(true)
			if one, two := <-order, <-order; one != "ada" && two != "ada" {
				t.Errorf("known %v: ada waits behind all of eve's hashes", known)
			}
		}
	})
}

func TestOneHashOfAnAccountRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, known := range []bool{true, false} {
			q, ctx := NewQueue(4, time.Now), t.Context()
			eve := Place{Account: "eve", Known: known, Browser: "b"}
			release, err := q.Acquire(ctx, eve)
			if err != nil {
				t.Fatal(err)
			}
			entered := make(chan func(bool), 1)
			go func() {
				release, err := q.Acquire(ctx, eve)
				if err != nil {
					t.Error(err)
				}
				entered <- release
			}()
			synctest.Wait()
			if len(entered) != 0 {
				t.Errorf("known %v: two hashes of one account run at once", known)
			}
			// The waiting hash doesn't keep other accounts from the free slots.
			other, err := q.Acquire(ctx, Place{Account: "ada", Known: known, Browser: "b"})
			if err != nil {
				t.Fatal(err)
			}
			other(true)
			release(true)
			(<-entered)(true)
			if q.free != 4 || len(q.known.running)+len(q.unknown.running)+len(q.known.order)+len(q.unknown.order) != 0 {
				t.Errorf("known %v: after the last hash the queue has %d free slots, want 4, or still has state of an account", known, q.free)
			}
		}
	})
}

// A flood for one account must not delay others for long. Twelve connections repeat one account's
// right password: in a known browser, in an unknown browser of a stranger's network, or in both.
// The test counts the hashes that start before the stranger's.
func TestOneAccountDelaysOthersBriefly(t *testing.T) {
	const connections, longest = 12, 8
	for _, slots := range []int{1, 2, 4} {
		for what, eves := range map[string][]Place{
			"known":       {{Account: "eve", Known: true, Browser: "hers"}},
			"same office": {{Account: "eve", Browser: "office"}},
			"both":        {{Account: "eve", Known: true, Browser: "hers"}, {Account: "eve", Browser: "office"}},
		} {
			t.Run(fmt.Sprintf("%s, %d slots", what, slots), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const hash = 50 * time.Millisecond
					begun := time.Now()
					q := NewQueue(slots, func() time.Time { return begun.Add(10000 * time.Since(begun)) }) // so fast a clock that the pace refuses nothing
					ctx, stop := context.WithCancel(t.Context())
					var flood sync.WaitGroup
					defer flood.Wait()
					defer stop()
					started := make(chan bool, 10000) // true for the stranger's hash
					for n := range connections {
						flood.Go(func() {
							for ctx.Err() == nil {
								release, err := q.Acquire(ctx, eves[n%len(eves)])
								if err != nil {
									time.Sleep(hash) // refused: try again at once
									continue
								}
								started <- false
								time.Sleep(hash)
								release(true)
							}
						})
					}
					time.Sleep(10*hash + hash/2)
					for range 20 {
						for len(started) > 0 {
							<-started
						}
						release, err := q.Acquire(ctx, Place{Account: "ada", Browser: "office"})
						if err != nil {
							t.Fatal(err)
						}
						if before := len(started); before > longest {
							t.Errorf("%d hashes started before the stranger's, want at most %d", before, longest)
						}
						time.Sleep(hash)
						release(true)
						time.Sleep(hash)
					}
				})
			})
		}
	}
}

func TestOneKnownBrowserShutsOutNoOtherOfItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := NewQueue(1, time.Now), t.Context()
		eve := func(browser string) Place { return Place{Account: "eve", Known: true, Browser: browser} }
		release, err := q.Acquire(ctx, eve("flood"))
		if err != nil {
			t.Fatal(err)
		}
		order := make(chan string, maxWaiting)
		for range maxPerBrowser {
			go acquireAndRelease(ctx, q, order, "flood", eve("flood"))
		}
		synctest.Wait()
		go acquireAndRelease(ctx, q, order, "quiet", eve("quiet"))
		synctest.Wait()
		if _, err := q.Acquire(ctx, eve("quiet")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("second hash of the quiet browser while the account has many: %v, want ErrQueueFull", err)
		}
		for n := range maxPerAccount - maxPerBrowser - 1 {
			go acquireAndRelease(ctx, q, order, "more", eve(fmt.Sprint(n)))
			synctest.Wait()
		}
		if _, err := q.Acquire(ctx, eve("one more")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("past the limit of the account: %v, want ErrQueueFull", err)
		}
		release(true)
		if one, two := <-order, <-order; one != "quiet" && two != "quiet" {
			t.Error("another known browser waits behind all hashes of the first")
		}
	})
}
