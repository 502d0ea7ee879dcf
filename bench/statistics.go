package main

import (
	"math"
	"slices"
	"time"
)

// sample is the result of one side in one round.
type sample struct {
	n    int     // operations
	cpu  float64 // µs of processor time for each operation
	rate float64 // operations per second
	p50  float64 // µs
	p99  float64
	p999 float64

	kernel float64 // µs of processor time in the kernel, for each operation
}

func cpuOf(s sample) float64  { return s.cpu }
func rateOf(s sample) float64 { return s.rate }
func p50Of(s sample) float64  { return s.p50 }
func p99Of(s sample) float64  { return s.p99 }
func p999Of(s sample) float64 { return s.p999 }

func kernelOf(s sample) float64 { return s.kernel }

// side runs one round of one of the sides of a comparison.
type side func() sample

// alternate runs the given number of rounds and returns the samples of each side. Each round runs
// all sides one after the other, so that other load on the machine slows all of them down. The order
// is reversed from round to round. An additional first round fills caches and doesn't count.
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

// medianOf returns the median of one value of the samples.
func medianOf(samples []sample, value func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return median(values)
}

// medianRatio returns the median of the ratios of ours to bare in each round.
func medianRatio(ours, bare []sample, value func(sample) float64) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = value(ours[i]) / value(bare[i])
	}
	return median(ratios)
}

func median[T float64 | time.Duration](all []T) T {
	return quantile(slices.Sorted(slices.Values(all)), 0.5)
}

// quantile returns the value below which the given share of the sorted values lies, or zero if
// there are no values.
func quantile[T any](sorted []T, share float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// timed returns the sample of a round. took has the time of each operation, and total is the time
// of the round.
func timed(took []time.Duration, total time.Duration) sample {
	slices.Sort(took)
	return sample{
		n: len(took), rate: float64(len(took)) / total.Seconds(),
		p50: microseconds(quantile(took, 0.5)), p99: microseconds(quantile(took, 0.99)), p999: microseconds(quantile(took, 0.999)),
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// isFinite reports whether x is a finite number.
func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
