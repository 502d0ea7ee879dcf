// Package bench measures how fast Sallyport is, as a ratio to the bare work
// that nothing can do without, and how small the shipped binary is and stays.
// README.md says what is held against what.
package bench

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// compare runs ours and bare in turn, a round of so many calls of each at a
// time, until b's time is over, and reports the median of the paired ratios of
// their processor time. What slows the machine down slows both rounds of a
// pair. A round should make enough garbage to be collected within it: then
// each side pays for its own, as it would in a server.
func compare(b *testing.B, calls int, ours, bare func()) {
	ours() // fills caches and opens connections; not measured
	bare()
	var ratios, mine, least []float64
	for b.Loop() {
		var our, limit time.Duration
		if len(ratios)%2 == 0 {
			our, limit = spent(calls, ours), spent(calls, bare)
		} else {
			limit, our = spent(calls, bare), spent(calls, ours)
		}
		ratios = append(ratios, float64(our)/float64(limit))
		mine, least = append(mine, float64(our)), append(least, float64(limit))
	}
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	b.ReportMetric(median(mine), "ours-ns")
	b.ReportMetric(median(least), "bare-ns")
	b.ReportMetric(median(ratios), "ratio")
}

// spent returns the processor time, user and system, that a call of work took
// in all threads, the mean of so many.
func spent(calls int, work func()) time.Duration {
	begin := processor()
	for range calls {
		work()
	}
	return (processor() - begin) / time.Duration(calls)
}

func processor() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // it has no other error than a bad argument
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func median[T float64 | time.Duration](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
