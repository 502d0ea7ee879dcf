package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// running returns how long the machine has run, including sleep, so that a laptop that
// wakes up doesn't look like a leap. If the kernel has no such clock, running returns
// now - began by Go's monotonic clock, which stops during sleep.
func running(now, began time.Time) time.Duration {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return now.Sub(began)
	}
	return time.Duration(at.Nano())
}
