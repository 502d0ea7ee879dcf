package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Queueing theory gives exact results for one core with exponentially distributed
// arrivals and service times (M/M/1): the mean time is 1/(μ-λ), and 99 of 100 jobs take
// less than ln 100 times that.
func TestOneQueueMatchesTheory(t *testing.T) {
	const mean = 1.0
	for _, busy := range []float64{.5, .8} {
		one := newStation(1)
		l := load{perSecond: busy / mean, steps: func(rng *rand.Rand) []step { return []step{{one, mean * rng.ExpFloat64(), 0}} }}
		o := l.simulate(400_000, 1)
		sum := 0.0
		for _, took := range o.took {
			sum += took
		}
		want := mean / (1 - busy)
		for what, pair := range map[string][2]float64{
			"mean": {sum / float64(len(o.took)), want}, "99 of 100": {o.percentile(99), math.Log(100) * want}, "rate": {o.perSecond, busy / mean},
		} {
			if math.Abs(pair[0]/pair[1]-1) > .05 {
				t.Errorf("at a load of %v: %s is %v, want %v", busy, what, pair[0], pair[1])
			}
		}
	}
}

// Clients that start the next job at once keep the slowest station busy all the time.
func TestSlowestStationLimitsTheRate(t *testing.T) {
	got, want := codes(64).simulate(100_000, 1).perSecond, 1/codeTime.Seconds()
	if math.Abs(got/want-1) > .02 {
		t.Errorf("%v codes per second, want %v", got, want)
	}
}
