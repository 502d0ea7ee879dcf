package throttle

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/testkit"
)

// tries returns one entry of one unit for each duration in ago, made that long before
// [testkit.Start].
func tries(ago ...time.Duration) []entry {
	var row []entry
	for i, d := range ago {
		row = append(row, entry{id: uint32(i), at: testkit.Start.Add(-d), units: 1})
	}
	return row
}

// ask returns a question in which only the units are set.
func ask(units int) question { return question{units: units} }

// times returns a slice of n durations, each of length d.
func times(n int, d time.Duration) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = d
	}
	return all
}

func join(parts ...[]time.Duration) []time.Duration {
	var all []time.Duration
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestRulesLineByLine(t *testing.T) {
	const ms = time.Millisecond
	allow, refuse, two := Verdict{Answer: Allow}, Verdict{Answer: Refuse}, Verdict{Answer: NeedTwoCodes}
	wait := func(d time.Duration) Verdict { return Verdict{Answer: Wait, RetryAfter: d} }
	for _, test := range []struct {
		name   string
		bucket Bucket
		row    []entry
		units  int
		want   Verdict
	}{
		{"code: the first", CodeUnknownDevice, nil, 1, allow},
		{"code: the fifth in 24 h", CodeUnknownDevice, tries(times(4, 0)...), 1, allow},
		{"code: the sixth in 24 h", CodeUnknownDevice, tries(times(5, 0)...), 1, two},
		{"code: a moment before 24 h are over", CodeUnknownDevice, tries(times(5, day-ms)...), 1, two},
		{"code: 24 h are over", CodeUnknownDevice, tries(times(5, day)...), 1, allow},
		{"code: fewer units left than authenticators", CodeUnknownDevice, tries(times(4, 0)...), 2, two},
		{"code: as many units left as authenticators", CodeUnknownDevice, tries(times(3, 0)...), 2, allow},
		{"code: five authenticators", CodeUnknownDevice, nil, 5, allow},
		{"code: five authenticators, the second try", CodeUnknownDevice, []entry{{units: 5, at: testkit.Start}}, 5, two},
		{"code: the tenth in 30 d", CodeUnknownDevice, tries(join(times(5, 29*day), times(4, 2*day))...), 1, allow},
		{"code: the eleventh in 30 d", CodeUnknownDevice, tries(join(times(5, 30*day-ms), times(5, day))...), 1, two},
		{"code: 30 d are over", CodeUnknownDevice, tries(join(times(5, 30*day), times(5, day))...), 1, allow},
		{"code: the 25th in 365 d", CodeUnknownDevice, tries(join(times(10, 364*day), times(10, 200*day), times(4, 31*day))...), 1, allow},
		{"code: the 26th in 365 d", CodeUnknownDevice, tries(join(times(10, 365*day-ms), times(10, 200*day), times(5, 31*day))...), 1, two},
		{"code: 365 d are over", CodeUnknownDevice, tries(join(times(10, 365*day), times(10, 200*day), times(5, 31*day))...), 1, allow},

		{"two codes: the tenth in 24 h", TwoCodes, tries(times(9, 0)...), 1, allow},
		{"two codes: the eleventh in 24 h", TwoCodes, tries(times(10, day-ms)...), 1, refuse},
		{"two codes: 24 h are over", TwoCodes, tries(times(10, day)...), 1, allow},

		{"backup code: the first", BackupCode, nil, 1, allow},
		{"backup code: at once again", BackupCode, tries(0), 1, wait(5 * time.Second)},
		{"backup code: a moment before 5 s are over", BackupCode, tries(5*time.Second - ms), 1, wait(ms)},
		{"backup code: 5 s are over", BackupCode, tries(5 * time.Second), 1, allow},
		{"backup code: without end", BackupCode, tries(times(200, 5*time.Second)...), 1, allow},

		{"new set: the third in an hour", BackupCodeIssue, tries(time.Minute, 0), 1, allow},
		{"new set: the fourth in an hour", BackupCodeIssue, tries(50*time.Minute, time.Minute, 0), 1, wait(10 * time.Minute)},
		{"new set: an hour is over", BackupCodeIssue, tries(time.Hour, time.Minute, 0), 1, allow},

		{"password: the fifth in 15 min", PasswordUnknownDevice, tries(times(4, 0)...), 1, allow},
		{"password: the sixth at once", PasswordUnknownDevice, tries(times(5, 0)...), 1, wait(5 * time.Second)},
		{"password: the sixth a moment early", PasswordUnknownDevice, tries(times(5, 5*time.Second-ms)...), 1, wait(ms)},
		{"password: the sixth after 5 s", PasswordUnknownDevice, tries(times(5, 5*time.Second)...), 1, allow},
		{"password: at once, 15 min after the first", PasswordUnknownDevice, tries(15*time.Minute, 0, 0, 0, 0), 1, allow},

		{"password: the hundredth in 24 h", PasswordUnknownDevice, tries(times(99, time.Hour)...), 1, allow},
		{"password: the 101st in 24 h", PasswordUnknownDevice, tries(times(100, time.Hour)...), 1, Verdict{Answer: Shielded}},
		{"password: 24 h are over", PasswordUnknownDevice, tries(times(100, day)...), 1, allow},

		{"known code: the tenth in 24 h", CodeKnownDevice, tries(times(9, 0)...), 1, allow},
		{"known code: the eleventh in 24 h", CodeKnownDevice, tries(times(10, 0)...), 1, Verdict{Answer: ForgetDevice}},
		{"known code: the 25th in 365 d", CodeKnownDevice, tries(join(times(10, 100*day), times(10, 50*day), times(4, 2*day))...), 1, allow},
		{"known code: the 26th in 365 d", CodeKnownDevice, tries(join(times(10, 100*day), times(10, 50*day), times(5, 2*day))...), 1, Verdict{Answer: ForgetDevice}},

		{"known password: the tenth in 15 min", PasswordKnownDevice, tries(times(9, 0)...), 1, allow},
		{"known password: the eleventh at once", PasswordKnownDevice, tries(times(10, 0)...), 1, wait(30 * time.Second)},
		{"known password: the eleventh after 30 s", PasswordKnownDevice, tries(times(10, 30*time.Second)...), 1, allow},
		{"known password: the twelfth", PasswordKnownDevice, tries(times(11, 0)...), 1, wait(time.Minute)},
		{"known password: the thirteenth", PasswordKnownDevice, tries(times(12, 0)...), 1, wait(2 * time.Minute)},
		{"known password: never longer than 15 min", PasswordKnownDevice, tries(times(100, 0)...), 1, wait(15 * time.Minute)},

		{"prefix: the 30th in 10 min", Prefix, tries(times(29, 0)...), 1, allow},
		{"prefix: the 31st in 10 min", Prefix, tries(times(30, time.Minute)...), 1, wait(9 * time.Minute)},
		{"prefix: 10 min are over", Prefix, tries(times(30, 10*time.Minute)...), 1, allow},
		{"wide prefix: the 120th in 10 min", WidePrefix, tries(times(119, 0)...), 1, allow},
		{"wide prefix: the 121st in 10 min", WidePrefix, tries(times(120, 0)...), 1, wait(10 * time.Minute)},

		{"a bucket without a rule", "unknown", nil, 1, refuse},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := decide(testkit.Start, test.row, rules[test.bucket], ask(test.units)); got != test.want {
				t.Errorf("decide = %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestClockSetBackNeverReopensAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
		for bucket, rule := range rules {
			s, now := simulation{rule: rule}, testkit.Start
			for range 300 {
				s.try(now, 1)
				if r.IntN(4) == 0 {
					now = now.Add(-randomGap(r)) // set the clock back by any amount
				} else {
					now = now.Add(randomGap(r) / 16)
				}
			}
			for _, l := range rule.limits {
				if rule.pace > 0 {
					continue
				}
				if got := mostWithin(s.allowed, l.within); got > l.units {
					t.Fatalf("%s: %d units within %v, limit %d", bucket, got, l.within, l.units)
				}
			}
			for i := 1; i < len(s.allowed); i++ {
				if s.allowed[i].at.Before(s.allowed[i-1].at) {
					t.Fatalf("%s: the allowed tries aren't in the order of their times", bucket)
				}
			}
		}
	})
	// A full window stays full at any earlier time.
	full := tries(times(5, 0)...)
	for _, back := range []time.Duration{time.Nanosecond, time.Hour, day, 30 * day, 100 * year} {
		if got := decide(testkit.Start.Add(-back), full, rules[CodeUnknownDevice], ask(1)); got.Answer != NeedTwoCodes {
			t.Errorf("clock %v back, code: %+v, want NeedTwoCodes", back, got)
		}
		if got := decide(testkit.Start.Add(-back), tries(0), rules[BackupCode], ask(1)); got != (Verdict{Answer: Wait, RetryAfter: 5 * time.Second}) {
			t.Errorf("clock %v back, backup code: %+v, want Wait for 5 s", back, got)
		}
	}
}

func TestPasswordsArePacedNotLocked(t *testing.T) {
	s := simulation{rule: rules[PasswordUnknownDevice]}
	now, allowed := testkit.Start, []time.Duration{}
	for now.Before(testkit.Start.Add(7 * time.Minute)) {
		if s.try(now, 1).Answer == Allow {
			allowed = append(allowed, now.Sub(testkit.Start))
			continue
		}
		now = now.Add(time.Second)
	}
	for i, at := range allowed {
		want := max(0, time.Duration(i-4)) * 5 * time.Second
		if at != want {
			t.Fatalf("password %d allowed after %v, want %v", i+1, at, want)
		}
	}
	// Five at once, then one per 5 s: at 5 s, 10 s, and so on until 6 min 55 s.
	if want := 5 + 7*60/5 - 1; len(allowed) != want {
		t.Errorf("%d passwords in seven minutes, want %d", len(allowed), want)
	}
	// After 15 minutes without tries, five are free again.
	now = now.Add(15 * time.Minute)
	for i := range 6 {
		if got := s.try(now, 1).Answer; (got == Allow) != (i < 5) {
			t.Errorf("after 15 quiet minutes, password %d: %v, want Allow", i+1, got)
		}
	}
}

func TestRetryAfterIsWhenTheTryIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bucket := rapid.SampledFrom([]Bucket{BackupCode, BackupCodeIssue, PasswordUnknownDevice, PasswordKnownDevice, Prefix}).Draw(t, "bucket")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
		s, now, waited := simulation{rule: rules[bucket]}, testkit.Start, 0
		for range 100 {
			v := s.try(now, 1)
			if v.Answer == Wait {
				waited++
				if v.RetryAfter <= 0 || v.RetryAfter > max(s.rule.pace, time.Hour) {
					t.Fatalf("%s: RetryAfter = %v, want more than 0 and at most %v", bucket, v.RetryAfter, max(s.rule.pace, time.Hour))
				}
				if got := decide(now.Add(v.RetryAfter), s.row, s.rule, ask(1)); got.Answer != Allow {
					t.Fatalf("%s: after waiting %v as told: %+v, want Allow", bucket, v.RetryAfter, got)
				}
				if early := decide(now.Add(v.RetryAfter-1), s.row, s.rule, ask(1)); s.rule.pace == 0 && early.Answer == Allow {
					t.Fatalf("%s: RetryAfter = %v is longer than needed", bucket, v.RetryAfter)
				}
			}
			now = now.Add(randomGap(r) / 1e6)
		}
		if waited == 0 {
			t.Fatalf("%s: 100 tries in quick succession never had to wait", bucket)
		}
	})
}

func TestPruneKeepsWhatARuleReaches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
		for bucket, rule := range rules {
			var row []entry
			now := testkit.Start
			for i := range 200 {
				now = now.Add(randomGap(r) / 4)
				row = append(row, entry{id: uint32(i), at: now, units: 1})
			}
			now = now.Add(randomGap(r))
			whole, pruned := decide(now, row, rule, ask(1)), decide(now, prune(now, row, rule), rule, ask(1))
			if whole != pruned {
				t.Fatalf("%s: decide = %+v before prune and %+v after it, want no difference", bucket, whole, pruned)
			}
		}
	})
	// A network makes failing tries for an hour, as fast as the rule allows. All accounts of that
	// hour still count.
	wide, row := rules[WidePrefix], []entry(nil)
	per := wide.limits[0].within / time.Duration(wide.limits[0].units)
	for i := range int(wide.accounts.within / per) {
		now := testkit.Start.Add(time.Duration(i) * per)
		row = append(prune(now, row, wide), entry{id: uint32(i), at: now, units: 1, tag: uint64(1 + min(i, wide.accounts.units-1))})
	}
	if got := decide(row[len(row)-1].at, row, wide, question{units: 1, tag: 1000}); got.Answer != Wait {
		t.Errorf("an account too many for a network, row of %d entries: %+v, want Wait", len(row), got)
	}
	many := tries(times(3*maxEntries, 0)...)
	if got := prune(testkit.Start, many, rules[PasswordUnknownDevice]); len(got) != maxEntries-1 || got[0].id != uint32(2*maxEntries+1) {
		t.Errorf("prune keeps %d entries from id %d on, want the newest %d", len(got), got[0].id, maxEntries-1)
	}
}

func TestPrefixCountsAccounts(t *testing.T) {
	var row []entry
	for account := range uint64(10) {
		if got := decide(testkit.Start, row, rules[Prefix], question{units: 1, tag: account + 1}); got.Answer != Allow {
			t.Fatalf("account %d of the first ten: %+v, want Allow", account+1, got)
		}
		row = append(row, entry{id: uint32(account), at: testkit.Start, units: 1, tag: account + 1})
	}
	if got, want := decide(testkit.Start.Add(50*time.Minute), row, rules[Prefix], question{units: 1, tag: 11}), (Verdict{Answer: Wait, RetryAfter: 10 * time.Minute}); got != want {
		t.Errorf("the eleventh account: %+v, want %+v", got, want)
	}
	if got := decide(testkit.Start.Add(50*time.Minute), row, rules[Prefix], question{units: 1, tag: 1}); got.Answer != Allow {
		t.Errorf("another try for one of the ten accounts: %+v, want Allow", got)
	}
	if got := decide(testkit.Start.Add(time.Hour), row, rules[Prefix], question{units: 1, tag: 11}); got.Answer != Allow {
		t.Errorf("an hour later: %+v, want Allow", got)
	}
}

func TestAHundredPairsForOnePassword(t *testing.T) {
	rule := rules[TwoCodes]
	var row []entry
	set := testkit.Start
	now := set
	for i := range 100 {
		now = now.Add(3 * time.Hour)
		if got := decide(now, row, rule, question{units: 1, passwordSet: set}); got.Answer != Allow {
			t.Fatalf("pair %d: %+v, want Allow", i+1, got)
		}
		row = append(row, entry{id: uint32(i), at: now, units: 1})
	}
	now = now.Add(2 * day)
	if got := decide(now, row, rule, question{units: 1, passwordSet: set}); got.Answer != Refuse {
		t.Errorf("pair 101: %+v, want Refuse", got)
	}
	if got := decide(now, row, rule, question{units: 1, passwordSet: now}); got.Answer != Allow {
		t.Errorf("after a new password: %+v, want Allow", got)
	}
}

func TestHotInstanceAsksForTwoCodes(t *testing.T) {
	hot := question{units: 1, instanceHot: true}
	for bucket, want := range map[Bucket]Answer{CodeUnknownDevice: NeedTwoCodes, CodeKnownDevice: Allow, TwoCodes: Allow, BackupCode: Allow, PasswordUnknownDevice: Allow} {
		if got := decide(testkit.Start, nil, rules[bucket], hot); got.Answer != want {
			t.Errorf("%s: %v, want %v", bucket, got.Answer, want)
		}
	}
	for _, test := range []struct {
		lastDay, lastYear, accounts int
		want                        bool
	}{
		{29, 29, 10, false}, {30, 30, 10, true}, {99, 99, 1000, false}, {100, 100, 1000, true},
		{0, 99, 10, false}, {0, 100, 10, true}, {0, 2999, 1000, false}, {0, 3000, 1000, true},
	} {
		if got := instanceHot(test.lastDay, test.lastYear, test.accounts); got != test.want {
			t.Errorf("instanceHot for %+v = %v, want %v", test, got, test.want)
		}
	}
}

func TestSuspicion(t *testing.T) {
	row := tries(31*day, 29*day, 3*day, day, time.Hour)
	row[3].owned = true // the owner's own mistake
	for _, test := range []struct {
		name string
		set  time.Duration // how long before testkit.Start the password was set
		rows [][]entry
		want Suspicion
	}{
		{"nothing", 400 * day, nil, Suspicion{}},
		{"three in 30 days that aren't the owner's", 400 * day, [][]entry{row}, Suspicion{Codes: 3, Notice: true}},
		{"pairs count too", 400 * day, [][]entry{row, tries(day, 0)}, Suspicion{Codes: 5, Notice: true, Suspect: true}},
		{"none from before the password was set", 2 * day, [][]entry{row}, Suspicion{Codes: 1}},
	} {
		if got := suspicion(testkit.Start, testkit.Start.Add(-test.set), test.rows...); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
