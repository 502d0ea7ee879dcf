package throttle

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/testkit"
)

// simulation is a ledger row that tries fill at changing times. It is pruned as Reserve prunes
// rows.
type simulation struct {
	rule    rule
	row     []entry
	allowed []entry // all allowed tries
}

func (s *simulation) try(now time.Time, units int) Verdict {
	v := decide(now, s.row, s.rule, ask(units))
	if v.Answer != Allow {
		return v
	}
	if len(s.row) > 0 && s.row[len(s.row)-1].at.After(now) {
		now = s.row[len(s.row)-1].at
	}
	e := entry{id: uint32(len(s.allowed)), at: now, units: units}
	s.row = append(prune(now, s.row, s.rule), e)
	s.allowed = append(s.allowed, e)
	return v
}

// mostWithin returns the most units allowed in any window of the given length.
func mostWithin(allowed []entry, length time.Duration) int {
	best, sum, first := 0, 0, 0
	for _, e := range allowed {
		sum += e.units
		for !e.at.Before(allowed[first].at.Add(length)) {
			sum -= allowed[first].units
			first++
		}
		best = max(best, sum)
	}
	return best
}

// randomGap returns a random duration of up to some weeks, on a logarithmic scale.
func randomGap(r *rand.Rand) time.Duration {
	return time.Duration(math.Exp(r.Float64() * math.Log(float64(40*day))))
}

func TestThreeYearsOfGuessingStayWithinTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			r     = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "schedule"), 0))
			units = rapid.IntRange(1, 5).Draw(t, "authenticators")
			s     = simulation{rule: rules[CodeUnknownDevice]}
			now   = testkit.Start
		)
		for now.Before(testkit.Start.Add(3*year)) && len(s.allowed) < 1000 {
			for range r.IntN(12) { // a burst
				if v := s.try(now, units); v.Answer != Allow && v.Answer != NeedTwoCodes {
					t.Fatalf("verdict %+v, want Allow or NeedTwoCodes", v)
				}
			}
			now = now.Add(randomGap(r))
		}
		for _, l := range []limit{{5, day}, {10, 30 * day}, {25, year}} {
			if got := mostWithin(s.allowed, l.within); got > l.units {
				t.Fatalf("%d units allowed within %v, limit %d", got, l.within, l.units)
			}
		}
	})
}

func TestGreedyThiefGetsTwentyFiveCodesAYear(t *testing.T) {
	// Every half hour for three years, a thief enters wrong codes until one is refused (attack 11).
	for units := 1; units <= 5; units++ {
		s := simulation{rule: rules[CodeUnknownDevice]}
		for now := testkit.Start; now.Before(testkit.Start.Add(3 * year)); now = now.Add(30 * time.Minute) {
			for s.try(now, units).Answer == Allow {
			}
		}
		// With k authenticators a code costs k units.
		want := 25 / units * units
		if got := mostWithin(s.allowed, year); got > 25 || units == 1 && got != 25 || got == 0 {
			t.Errorf("%d authenticators: %d units in a year, want at most %d", units, got, want)
		}
		if got, want := len(s.allowed), 3*25/units; got > want {
			t.Errorf("%d authenticators: %d codes compared in three years, want at most %d", units, got, want)
		}
		for _, e := range s.allowed {
			if e.units != units {
				t.Fatalf("a code cost %d units, want %d", e.units, units)
			}
		}
	}
}

func TestYearlyBound(t *testing.T) {
	// The most that an attacker with the password can try in a year: all single codes and pairs
	// that the rules allow.
	codes, pairs := simulation{rule: rules[CodeUnknownDevice]}, simulation{rule: rules[TwoCodes]}
	for now := testkit.Start; now.Before(testkit.Start.Add(2 * year)); now = now.Add(time.Hour) {
		for codes.try(now, 1).Answer == Allow {
		}
		for pairs.try(now, 1).Answer == Allow {
		}
	}
	const (
		code  = 3e-6       // the codes of three steps, out of a million
		pair  = 21 * 1e-12 // 21 pairs of steps, out of 10¹² pairs of codes
		limit = 1e-4
	)
	singles, doubles := mostInAYear(codes.allowed), mostInAYear(pairs.allowed)
	bound := 1 - math.Pow(1-code, float64(singles))*math.Pow(1-pair, float64(doubles))
	t.Logf("the %d codes and %d pairs of a year contain a right one with p = %.2e; limit %.0e", singles, doubles, bound, limit)
	if bound >= limit || bound <= 0 {
		t.Errorf("p = %e a year, want below %e", bound, limit)
	}
}

// mostInAYear returns the most units allowed within a year.
func mostInAYear(allowed []entry) int { return mostWithin(allowed, year) }
