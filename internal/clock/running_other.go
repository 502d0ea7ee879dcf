//go:build !linux

package clock

import "time"

// running returns how long the process has run at now. The clock behind it stands
// still while a machine sleeps, so waking up looks like a leap.
func running(now, began time.Time) time.Duration { return now.Sub(began) }
