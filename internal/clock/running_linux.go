package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// running returns how long the machine has run at now, the time that it slept
// included: a laptop that wakes up has not leapt. Go's monotonic clock, which stands
// still meanwhile, is the answer where the kernel has none: since began, then.
func running(now, began time.Time) time.Duration {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return now.Sub(began)
	}
	return time.Duration(at.Nano())
}
