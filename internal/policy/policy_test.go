package policy

import (
	"slices"
	"testing"
	"time"

	_ "time/tzdata"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestTheStrictestGroupCounts(t *testing.T) {
	var book Book
	if got := book.Of([]string{"ops"}); got != (Policy{}) || !book.IsEmpty() {
		t.Errorf("an empty book asks for %+v, want nothing", got)
	}
	soon, late := start.Add(time.Hour), start.Add(48*time.Hour)
	book.Set([]Item{
		{[]string{Everybody}, Policy{TwoFactor: Observe}},
		{[]string{"office"}, Policy{TwoFactor: Nudge, ByTicket: true}},
		{[]string{"late"}, Policy{TwoFactor: Required, From: late}},
		{[]string{"soon", "root"}, Policy{TwoFactor: Required, From: soon}},
		{[]string{"root"}, Policy{TwoFactor: Required}},
		{[]string{"free"}, Policy{}},
	})
	for _, test := range []struct {
		groups []string
		want   Policy
	}{
		{nil, Policy{TwoFactor: Observe}},
		{[]string{"free", "unknown"}, Policy{TwoFactor: Observe}},
		{[]string{"office"}, Policy{TwoFactor: Nudge, ByTicket: true}},
		{[]string{"late", "office"}, Policy{TwoFactor: Required, From: late, ByTicket: true}},
		{[]string{"late", "soon"}, Policy{TwoFactor: Required, From: soon}},
		{[]string{"soon", "root"}, Policy{TwoFactor: Required}},
	} {
		for range 2 { // in any order
			if got := book.Of(test.groups); got != test.want {
				t.Errorf("groups %v: %+v, want %+v", test.groups, got, test.want)
			}
			slices.Reverse(test.groups)
		}
	}
	groups, everybody := book.Groups(Required)
	slices.Sort(groups)
	if everybody || !slices.Equal(groups, []string{"late", "root", "soon"}) {
		t.Errorf("two-factor authentication is required of the groups %v, of everybody: %v; want late, root, soon, and false", groups, everybody)
	}
	if _, everybody := book.Groups(Observe); !everybody {
		t.Error("Groups(Observe) doesn't report everybody")
	}
	book.Set(nil)
	if got := book.Of([]string{"root"}); got != (Policy{}) || !book.IsEmpty() {
		t.Errorf("after a reload without items: %+v, want nothing", got)
	}
}

func TestRequiredBeginsAtTheMoment(t *testing.T) {
	p := Policy{TwoFactor: Required, From: start}
	if p.Requires(start.Add(-time.Nanosecond)) || !p.Requires(start) || !p.Requires(start.Add(time.Hour)) {
		t.Error("the policy must require from its date on, and not before")
	}
	if !(Policy{TwoFactor: Required}).Requires(start) {
		t.Error("a policy without a date requires nothing, want two-factor authentication required at once")
	}
	for _, level := range []Level{Off, Observe, Nudge} {
		if (Policy{TwoFactor: level}).Requires(start) {
			t.Errorf("a policy with the level %v requires two-factor authentication, want nothing", level)
		}
	}
}

func TestLaterHoldsForAWhile(t *testing.T) {
	never := time.Time{}
	nudge, dated := Policy{TwoFactor: Nudge}, Policy{TwoFactor: Required, From: start.Add(30 * 24 * time.Hour)}
	for _, test := range []struct {
		what      string
		p         Policy
		postponed time.Time
		want      bool
	}{
		{"nudge, first", nudge, never, true},
		{"nudge, 6 days after Later", nudge, start.Add(-6 * 24 * time.Hour), false},
		{"nudge, 7 days after Later", nudge, start.Add(-7 * 24 * time.Hour), true},
		{"nudge, Later in the future", nudge, start.Add(time.Hour), true},
		{"required, first", dated, never, true},
		{"required, 23 hours after Later", dated, start.Add(-23 * time.Hour), false},
		{"required, a day after Later", dated, start.Add(-24 * time.Hour), true},
		{"in force", Policy{TwoFactor: Required, From: start}, never, false},
		{"observe", Policy{TwoFactor: Observe}, never, false},
		{"off", Policy{}, never, false},
	} {
		if got := test.p.Reminds(test.postponed, start); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

// Attack 166: the day of a policy begins at the site's midnight, even in a night when clocks change.
func TestAttack166DaysStartAtMidnight(t *testing.T) {
	for _, test := range []struct {
		zone, day, want string
	}{
		{"UTC", "2027-02-01", "2027-02-01T00:00:00Z"},
		{"Europe/Berlin", "2027-02-01", "2027-01-31T23:00:00Z"},
		{"Europe/Berlin", "2027-03-28", "2027-03-27T23:00:00Z"}, // summer time begins at 02:00
		{"Europe/Berlin", "2027-03-29", "2027-03-28T22:00:00Z"},
		{"Europe/Berlin", "2027-10-31", "2027-10-30T22:00:00Z"}, // and ends at 03:00
		{"Europe/Berlin", "2027-11-01", "2027-10-31T23:00:00Z"},
		{"Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z"},    // 00:00 becomes 01:00
		{"America/Havana", "2026-03-08", "2026-03-08T05:00:00Z"},  // 00:00 becomes 01:00
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z"},  // 01:00 becomes 00:00: midnight twice
		{"Africa/Cairo", "2026-10-30", "2026-10-29T22:00:00Z"},    // 24:00 becomes 23:00: 23:00 twice
		{"America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z"}, // 23:30 becomes 00:30
		{"Pacific/Kiritimati", "2027-01-01", "2026-12-31T10:00:00Z"},
	} {
		zone, err := time.LoadLocation(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		got := StartOfDay(day.Year(), day.Month(), day.Day(), zone)
		if text := got.UTC().Format(time.RFC3339); text != test.want {
			t.Errorf("%s in %s starts at %s, want %s", test.day, test.zone, text, test.want)
		}
		if before := got.Add(-time.Nanosecond); before.Day() == day.Day() {
			t.Errorf("%s in %s starts at %s, but a moment before it is that day too", test.day, test.zone, got)
		}
	}
}
