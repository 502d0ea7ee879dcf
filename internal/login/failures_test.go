package login

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/testkit"
)

// TestFailuresOfAnHourAreCountedInFewEvents: the first are events of their own, and
// then one stands for as many as all before it.
func TestFailuresOfAnHourAreCountedInFewEvents(t *testing.T) {
	now, f := time.Unix(1e9, 0), failures{}
	of := failure{account: "ada", kind: audit.CodeReused}
	var numbers []int
	for range 1000 {
		if number, _, event := f.note(now, of, false); event {
			numbers = append(numbers, number)
		}
	}
	want := make([]int, failuresSingly)
	if got := fmt.Sprint(numbers); got != fmt.Sprint(append(want, 40, 80, 160, 320, 640)) {
		t.Errorf("events of a thousand failures: %s", got)
	}
	if number, _, event := f.note(now.Add(time.Hour), of, false); number != 0 || !event {
		t.Error("the next hour begins with a count")
	}
}

// TestStrangersFailuresOfAnHourAreBounded, however many networks and names they come
// with, in events and in what is remembered.
func TestStrangersFailuresOfAnHourAreBounded(t *testing.T) {
	now, f, events := time.Unix(1e9, 0), failures{}, 0
	for n := range 100000 {
		_, ofAll, event := f.note(now, failure{account: fmt.Sprint(n), network: fmt.Sprint(n % 77), kind: audit.SignInFailed}, true)
		if event {
			events++
		}
		if ofAll != (n >= strangersFailures) {
			t.Fatalf("failure %d: of all accounts %v", n, ofAll)
		}
	}
	if events < strangersFailures || events > strangersFailures+6 || len(f.counts) > strangersFailures {
		t.Errorf("%d events and %d counts of 100,000 failures, want some %d", events, len(f.counts), strangersFailures)
	}
	// An account's own browsers are told of all the same.
	if _, _, event := f.note(now, failure{account: "ada", kind: audit.SignInFailed}, false); !event {
		t.Error("strangers' failures hide those of a known browser")
	}
}

// TestEventsOfAllAccountsNameNone: past the bound of an hour an event stands for wrong
// passwords of all accounts, and must not look like one account's.
func TestEventsOfAllAccountsNameNone(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := &Service{DB: d}, context.Background()
		from := Browser{Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "a browser"}
		for range 2 * strangersFailures {
			s.failures.note(testkit.Start, failure{account: "bob", network: fmt.Sprint(s.failures.strangers)}, true)
		}
		for range 2 * strangersFailures {
			if err := s.failed(ctx, from.event(testkit.Start, "ada", audit.SignInFailed), device.Device{}, from); err != nil {
				t.Fatal(err)
			}
		}
		var accountID, address, browser string
		var number int
		if err := db.One(ctx, d.Reader(), `SELECT account_id, address, browser, number FROM events`, nil, &accountID, &address, &browser, &number); err != nil {
			t.Fatal(err)
		}
		if accountID+address+browser != "" || number != 4*strangersFailures {
			t.Errorf("an event of %d failures of all accounts names %q, %q, %q", number, accountID, address, browser)
		}
	})
}
