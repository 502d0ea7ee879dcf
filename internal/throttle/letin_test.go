package throttle

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestMayLetInWhileItHelps(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		clock := testkit.NewClock()
		ledger := NewLedger(d, clock.Now)
		spend := func(subject string, units int) {
			t.Helper()
			_, v, err := ledger.Reserve(context.Background(), Try{Key: Key{Account: "ada", Bucket: PasswordUnknownDevice, Subject: subject}, Units: units})
			if err != nil || v.Answer != Allow {
				t.Fatalf("%d units of %q: %+v, %v; want Allow", units, subject, v, err)
			}
		}
		check := func(when string, want bool) {
			t.Helper()
			if got, err := ledger.MayLetIn(context.Background(), d.Reader(), "ada"); got != want || err != nil {
				t.Errorf("%s: MayLetIn = %v, %v; want %v", when, got, err, want)
			}
		}
		check("at first", false)
		spend("", 99)
		check("one try is left", false)
		clock.Move(time.Minute)
		spend("", 1)
		check("shielded", true)
		spend(LetIn, 100)
		check("browsers that are let in are shielded too", false)
		clock.Move(day)
		check("a day later", false)
	})
}

// TestPasswordsOfADay counts the passwords that a guesser who reads the owner's mails can try in a
// day: those in unknown browsers, and those in browsers that mail let in, however many browsers.
// The guesser tries at the pace of the rule for three days, since its windows are a day long.
func TestPasswordsOfADay(t *testing.T) {
	unknown, letIn := simulation{rule: rules[PasswordUnknownDevice]}, simulation{rule: rules[PasswordUnknownDevice]}
	for now := testkit.Start; now.Before(testkit.Start.Add(3 * day)); now = now.Add(5 * time.Second) {
		unknown.try(now, 1)
		letIn.try(now, 1)
	}
	if got := mostWithin(unknown.allowed, day) + mostWithin(letIn.allowed, day); got != 200 {
		t.Errorf("%d passwords in a day, want 200", got)
	}
}
