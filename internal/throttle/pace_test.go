package throttle

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestRightPasswordsHaveAPaceToo(t *testing.T) {
	now := time.Unix(1e9, 0)
	q, ctx := NewQueue(1, func() time.Time { return now }), context.Background()
	enter := func(p Place) error {
		release, err := q.Acquire(ctx, p)
		if err == nil {
			release(true)
		}
		return err
	}
	eve := Place{Account: "eve", Known: true, Browser: "hers"}
	for range paceMatches {
		if err := enter(eve); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	var pace *PaceError
	if err := enter(eve); !errors.As(err, &pace) || pace.RetryAfter != paceWithin-paceMatches*time.Second {
		t.Errorf("a match past the pace: %v, %+v; want a PaceError", err, pace)
	}
	// The pace applies only to that browser.
	for _, other := range []Place{{Account: "eve", Known: true, Browser: "another"}, {Account: "eve", Browser: "hers"}, {Account: "ada", Known: true, Browser: "hers"}, {}} {
		if err := enter(other); err != nil {
			t.Errorf("another place %+v: %v, want a slot", other, err)
		}
	}
	now = now.Add(pace.RetryAfter)
	if err := enter(eve); err != nil {
		t.Errorf("after the first match is old: %v, want a slot", err)
	}
	now = now.Add(2 * paceWithin)
	if err := enter(Place{Account: "ada", Known: true}); err != nil || len(q.matched) != 2 {
		t.Errorf("%v; the queue has %d paces, want those of ada's browser and of ada", err, len(q.matched))
	}
	// Once many browsers have used up the account's pace, each browser is allowed only a few more
	// matches.
	for n := range pacePerAccount {
		if err := enter(Place{Account: "bob", Known: true, Browser: fmt.Sprint(n % 18)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := enter(Place{Account: "bob", Known: true, Browser: "0"}); !errors.As(err, &pace) {
		t.Errorf("bob's browser after others used up the account's pace: %v, want a PaceError", err)
	}
	for range paceForEach {
		if err := enter(Place{Account: "bob", Known: true, Browser: "quiet"}); err != nil {
			t.Errorf("bob's browser with few matches: %v, want a slot", err)
		}
	}
	if err := enter(Place{Account: "bob", Known: true, Browser: "quiet"}); !errors.As(err, &pace) {
		t.Errorf("bob's browser after %d matches: %v, want a PaceError", paceForEach, err)
	}
	if err := enter(Place{Account: "bob", Browser: "unknown"}); err != nil {
		t.Errorf("bob's unknown browser: %v, want a slot", err)
	}
}

func TestWrongPasswordsAndEndedRequestsUseUpNoPace(t *testing.T) {
	q := NewQueue(1, time.Now)
	ada := Place{Account: "ada", Browser: "office"}
	running, err := q.Acquire(t.Context(), Place{Account: "other"})
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for range 2 * pacePerAccount {
		if _, err := q.Acquire(gone, ada); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	running(true)
	for n := range 2 * pacePerAccount {
		for _, p := range []Place{ada, {Account: "ada", Browser: fmt.Sprint(n)}, {Account: fmt.Sprint("nobody-", n), Browser: "office"}} {
			release, err := q.Acquire(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			release(false)
		}
	}
	if len(q.matched) != 2 {
		t.Errorf("the queue has %d paces, want those of the one password that matched", len(q.matched))
	}
}
