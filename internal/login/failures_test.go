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

// The first failures of an hour get an event each. A later event stands for all failures so far.
func TestFailuresOfAnHourAreCountedInFewEvents(t *testing.T) {
	now, f := time.Unix(1e9, 0), failures{}
	of := failure{account: "ada", kind: audit.CodeReused}
	var numbers []int
	for range 1000 {
		if number, _, event := f.count(now, of, false); event {
			numbers = append(numbers, number)
		}
	}
	want := make([]int, maxSingleEvents)
	if got := fmt.Sprint(numbers); got != fmt.Sprint(append(want, 40, 80, 160, 320, 640)) {
		t.Errorf("numbers in the events of a thousand failures: %s; want 0 for each single event, then 40 80 160 320 640", got)
	}
	if number, _, event := f.count(now.Add(time.Hour), of, false); number != 0 || !event {
		t.Error("the next hour doesn't start with a new count")
	}
}

// Wrong passwords from unknown browsers write a limited number of events and use a limited
// amount of memory, however many networks and names they come with.
func TestUnknownBrowsersWriteFewEvents(t *testing.T) {
	now, f, events := time.Unix(1e9, 0), failures{}, 0
	for n := range 100000 {
		_, ofAll, event := f.count(now, failure{account: fmt.Sprint(n), network: fmt.Sprint(n % 77), kind: audit.SignInFailed}, true)
		if event {
			events++
		}
		if ofAll != (n >= maxUnknownEvents) {
			t.Fatalf("failure %d: counted over all accounts %v, want true from the limit on", n, ofAll)
		}
	}
	if events < maxUnknownEvents || events > maxUnknownEvents+6 || len(f.counts) > maxUnknownEvents {
		t.Errorf("%d events and %d counts of 100,000 failures, want about %d", events, len(f.counts), maxUnknownEvents)
	}
	// Failures in an account's known browsers still get an event.
	if _, _, event := f.count(now, failure{account: "ada", kind: audit.SignInFailed}, false); !event {
		t.Error("failures in unknown browsers suppress the event of a known one")
	}
}

// Past the hourly limit, an event stands for wrong passwords of all accounts, so it must not name
// one of them.
func TestEventsOfAllAccountsNameNone(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		s, ctx := &Service{DB: d}, context.Background()
		from := Browser{Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "a browser"}
		for range 2 * maxUnknownEvents {
			s.failures.count(testkit.Start, failure{account: "bob", network: fmt.Sprint(s.failures.unknown)}, true)
		}
		for range 2 * maxUnknownEvents {
			if err := s.recordFailure(ctx, from.Event(testkit.Start, "ada", audit.SignInFailed), device.Device{}, from); err != nil {
				t.Fatal(err)
			}
		}
		var accountID, address, browser string
		var number int
		if err := db.One(ctx, d.Reader(), `SELECT account_id, address, browser, number FROM events`, nil, &accountID, &address, &browser, &number); err != nil {
			t.Fatal(err)
		}
		if accountID+address+browser != "" || number != 4*maxUnknownEvents {
			t.Errorf("the event of %d failures of all accounts names %q, %q, %q; want 4 times the limit, and no names", number, accountID, address, browser)
		}
	})
}
