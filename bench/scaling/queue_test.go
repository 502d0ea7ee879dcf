package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Of one core, where people come and take times by chance, theory knows all (M/M/1):
// they are there for 1/(μ-λ), and 99 of 100 for ln 100 times that.
func TestOneQueueIsAsInTheory(t *testing.T) {
	const mean = 1.0
	for _, busy := range []float64{.5, .8} {
		one := newStation(1)
		l := load{perSecond: busy / mean, way: func(rng *rand.Rand) []stop { return []stop{{one, mean * rng.ExpFloat64(), 0}} }}
		o := l.play(400_000, 1)
		sum := 0.0
		for _, took := range o.took {
			sum += took
		}
		want := mean / (1 - busy)
		for what, pair := range map[string][2]float64{
			"mean": {sum / float64(len(o.took)), want}, "99 of 100": {o.percentile(99), math.Log(100) * want}, "rate": {o.perSecond, busy / mean},
		} {
			if math.Abs(pair[0]/pair[1]-1) > .05 {
				t.Errorf("busy %v: %s is %v, in theory %v", busy, what, pair[0], pair[1])
			}
		}
	}
}

// Clients who come again at once keep the slower station busy all the time.
func TestTheSlowestStationBoundsTheRate(t *testing.T) {
	got, want := codes(64).play(100_000, 1).perSecond, 1/codeTime.Seconds()
	if math.Abs(got/want-1) > .02 {
		t.Errorf("%v a second, want %v", got, want)
	}
}
