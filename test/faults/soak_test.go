package faults

import (
	"strconv"
	"strings"
	"time"
)

const (
	// soakers is the number of clients, enough to keep two cores busy.
	soakers = 4

	// unansweredAtMost is how many codes of an account may go unanswered. A try whose unit
	// couldn't be given back counts as failed, and five would make the password suspect.
	unansweredAtMost = 2

	// restsAtMost is the longest pause between two faults.
	restsAtMost = 2 * time.Second

	// goroutinesMore is how many more goroutines a node may have after the soak than before: for
	// connections that the pool has opened, and for one that is being closed.
	goroutinesMore = 8

	// memoryMore is by how many bytes the memory of a process may grow. Two hashes of passwords
	// take 19 MiB each, the garbage collector lets the heap double, and the rest is for stacks
	// and connections. A leak of four kilobytes in each sign-in would exceed it within ten
	// minutes.
	memoryMore = 96 << 20
)

// vital has figures of a node from its metrics.
type vital struct{ goroutines, memory float64 }

// metric returns the value of a metric in the text of a scrape.
func metric(text, name string) float64 {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(line, 64)
	return n
}
