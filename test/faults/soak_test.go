package faults

import (
	"strconv"
	"strings"
	"time"
)

const (
	// soakers keep two cores busy.
	soakers = 4

	// unansweredAtMost of an account: with five its password would count as known
	// to somebody, since a try that nobody could give back counts as failed.
	unansweredAtMost = 2

	// restsAtMost is the pause between two faults.
	restsAtMost = 2 * time.Second

	// goroutinesMore may run after the soak than before: connections that the
	// pool opened since, and one that is being closed.
	goroutinesMore = 8

	// memoryMore is what the process may have more than before: two passwords that
	// are hashed, of 19 MiB each, twice, since the collector lets the heap double
	// before it looks; and stacks and connections. What kept four kilobytes of each
	// sign-in would be more within ten minutes.
	memoryMore = 96 << 20
)

// vital is what a node says about itself.
type vital struct{ goroutines, memory float64 }

// reading returns what a metric says.
func reading(text, name string) float64 {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(line, 64)
	return n
}
