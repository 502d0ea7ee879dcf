package main

import (
	"math"
	"slices"
	"time"
)

// sample is what one side did in one round.
type sample struct {
	n    int     // pieces of work
	cpu  float64 // µs of processor time for each piece of work
	rate float64 // pieces of work per second
	p50  float64 // µs
	p99  float64
}

func cpuOf(s sample) float64  { return s.cpu }
func rateOf(s sample) float64 { return s.rate }
func p50Of(s sample) float64  { return s.p50 }
func p99Of(s sample) float64  { return s.p99 }

// side does one round of what one of those who are compared does.
type side func() sample

// alternate has the sides take turns, the order turned round each time, and
// returns the samples of each. What slows the machine down slows all of a
// round. The first round fills caches and isn't kept.
func alternate(rounds int, sides ...side) [][]sample {
	all := make([][]sample, len(sides))
	for round := range rounds + 1 {
		for i := range sides {
			if round%2 == 1 {
				i = len(sides) - 1 - i
			}
			if s := sides[i](); round > 0 {
				all[i] = append(all[i], s)
			}
		}
	}
	return all
}

// middle is the median of what of the samples.
func middle(of []sample, what func(sample) float64) float64 {
	values := make([]float64, len(of))
	for i, s := range of {
		values[i] = what(s)
	}
	return median(values)
}

// paired is the median of the ratios of the rounds, ours to bare.
func paired(ours, bare []sample, what func(sample) float64) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = what(ours[i]) / what(bare[i])
	}
	return median(ratios)
}

func median[T float64 | time.Duration](all []T) T {
	return quantile(slices.Sorted(slices.Values(all)), 0.5)
}

// quantile returns the value below which that share of sorted lies, zero of
// none.
func quantile[T any](sorted []T, share float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// timed makes a sample of how long each piece of work took.
func timed(took []time.Duration, over time.Duration) sample {
	slices.Sort(took)
	return sample{
		n: len(took), rate: float64(len(took)) / over.Seconds(),
		p50: microseconds(quantile(took, 0.5)), p99: microseconds(quantile(took, 0.99)),
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sound reports whether a number can be shown at all.
func sound(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
