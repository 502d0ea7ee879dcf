//go:build !linux

package clock

import "time"

// running returns now - began by Go's monotonic clock. That clock stops while a machine
// sleeps, so waking up looks like a leap.
func running(now, began time.Time) time.Duration { return now.Sub(began) }
