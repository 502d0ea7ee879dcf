package login

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
)

// TestFailuresOfAnHourAreCountedInFewEvents: the first are events of their own, and
// then one stands for as many as all before it.
func TestFailuresOfAnHourAreCountedInFewEvents(t *testing.T) {
	now, f := time.Unix(1e9, 0), failures{}
	of := failure{account: "ada", kind: audit.CodeReused}
	var numbers []int
	for range 1000 {
		if number, event := f.note(now, of, false); event {
			numbers = append(numbers, number)
		}
	}
	want := make([]int, failuresSingly)
	if got := fmt.Sprint(numbers); got != fmt.Sprint(append(want, 40, 80, 160, 320, 640)) {
		t.Errorf("events of a thousand failures: %s", got)
	}
	if number, event := f.note(now.Add(time.Hour), of, false); number != 0 || !event {
		t.Error("the next hour begins with a count")
	}
}

// TestStrangersFailuresOfAnHourAreBounded, however many networks and names they come
// with, in events and in what is remembered.
func TestStrangersFailuresOfAnHourAreBounded(t *testing.T) {
	now, f, events := time.Unix(1e9, 0), failures{}, 0
	for n := range 100000 {
		if _, event := f.note(now, failure{account: fmt.Sprint(n), network: fmt.Sprint(n % 77), kind: audit.SignInFailed}, true); event {
			events++
		}
	}
	if events < strangersFailures || events > strangersFailures+6 || len(f.counts) > strangersFailures {
		t.Errorf("%d events and %d counts of 100,000 failures, want some %d", events, len(f.counts), strangersFailures)
	}
	// An account's own browsers are told of all the same.
	if _, event := f.note(now, failure{account: "ada", kind: audit.SignInFailed}, false); !event {
		t.Error("strangers' failures hide those of a known browser")
	}
}
