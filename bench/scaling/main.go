// Command scaling simulates sign-ins as jobs in queues, for databases that are too large
// to measure here, and writes the tables of docs/scaling.md:
//
//	go run ./bench/scaling
//
// The time of each step is measured; docs/scaling.md says how. With -standby 5ms it measures
// changes on a PostgreSQL server with a synchronous standby, and doesn't simulate.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// The time that each step occupies a core.
const (
	hashTime     = 26 * time.Millisecond   // a password hash at the default costs, on a node
	codeNodeTime = 550 * time.Microsecond  // a code, on a node
	passwordTime = 850 * time.Microsecond  // the transactions of a password, on the database
	codeTime     = 1600 * time.Microsecond // the transactions of a right code, on the database
	signInTime   = passwordTime + codeTime
	sealTime     = time.Second / 7000 // sealing an event in the audit chain

	// syncTime is the wait until the disk has a commit. It occupies no core.
	syncTime = 300 * time.Microsecond

	passwordCommits, codeCommits = 2, 2
)

const (
	databaseCores = 4       // cores of each database
	nodeCores     = 16      // cores of nodes for each core of a database: more than the database needs
	simulated     = 200_000 // sign-ins
	seed          = 1
)

// randomTime returns an exponentially distributed time with the given mean, in seconds.
func randomTime(rng *rand.Rand, mean time.Duration) float64 {
	return rng.ExpFloat64() * mean.Seconds()
}

// transactions returns one step at the station database for each commit. The mean of their times
// together is total. Each step ends with the wait for its commit.
func transactions(rng *rand.Rand, database *station, total time.Duration, commits int, standby time.Duration) (all []step) {
	for range commits {
		all = append(all, step{database, randomTime(rng, total/time.Duration(commits)), (syncTime + standby).Seconds()})
	}
	return all
}

// signIns returns a load of sign-ins. The accounts are divided among the given number of databases.
// standby is the round-trip time to a database's synchronous standby.
func signIns(databases int, standby time.Duration, perSecond float64) load {
	nodes := newStation(databases * databaseCores * nodeCores)
	var all []*station
	for range databases {
		all = append(all, newStation(databaseCores))
	}
	return load{perSecond: perSecond, steps: func(rng *rand.Rand) []step {
		database := all[rng.IntN(databases)]
		steps := append([]step{{nodes, hashTime.Seconds(), 0}}, transactions(rng, database, passwordTime, passwordCommits, standby)...)
		return append(steps, transactions(rng, database, codeTime, codeCommits, standby)...)
	}}
}

// maxRate returns the sign-ins per second that keep every core of the databases busy.
func maxRate(databases int) float64 {
	return float64(databases*databaseCores) / signInTime.Seconds()
}

// codes returns a load of codes. Each client submits one code after the other, to a node and a
// database with one core each.
func codes(clients int) load {
	node, database := newStation(1), newStation(1)
	return load{clients: clients, steps: func(rng *rand.Rand) []step {
		return append([]step{{node, randomTime(rng, codeNodeTime), 0}}, transactions(rng, database, codeTime, codeCommits, 0)...)
	}}
}

func ms(seconds float64) string { return fmt.Sprintf("%.1f ms", 1000*seconds) }

func main() {
	standby := flag.Duration("standby", -1, "measure changes with a synchronous standby whose answers take this much longer; 0 means none")
	flag.Parse()
	if *standby < 0 {
		write(os.Stdout)
		return
	}
	if err := measureChanges(context.Background(), os.Stdout, *standby); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func write(w io.Writer) {
	fmt.Fprint(w, "| standby answers in | load, of the maximum | sign-ins/s | median time | 99th percentile |\n|---|---|---|---|---|\n")
	for _, standby := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 30 * time.Millisecond} {
		for _, part := range []float64{.5, .8, .95} {
			o := signIns(1, standby, part*maxRate(1)).simulate(simulated, seed)
			fmt.Fprintf(w, "| %v | %.0f %% | %.0f | %s | %s |\n", standby, 100*part, o.perSecond, ms(o.percentile(50)), ms(o.percentile(99)))
		}
	}
	fmt.Fprint(w, "\n| databases | sign-ins/s at 80 % load | 99th percentile | load of one audit chain | time until sealed, 99th percentile |\n|---|---|---|---|---|\n")
	for _, databases := range []int{1, 2, 4, 8, 16} {
		o := signIns(databases, time.Millisecond, .8*maxRate(databases)).simulate(simulated, seed)
		busy, after := chain(o)
		sealed := "never: it falls behind"
		if busy < 1 {
			sealed = ms(after)
		}
		fmt.Fprintf(w, "| %d | %.0f | %s | %.0f %% | %s |\n", databases, o.perSecond, ms(o.percentile(99)), 100*busy, sealed)
	}
	fmt.Fprint(w, "\n| clients | right codes/s |\n|---|---|\n")
	for _, clients := range []int{1, 16, 64} {
		fmt.Fprintf(w, "| %d | %.0f |\n", clients, codes(clients).simulate(simulated, seed).perSecond)
	}
}

// chain simulates one sealer that seals an event of each sign-in. It returns the share of
// time in which the sealer is busy, and the time within which 99 of 100 events are sealed.
func chain(o outcome) (busy, after float64) {
	sealer := newStation(1)
	var sealed outcome
	for _, at := range o.ends {
		sealed.took = append(sealed.took, sealer.serve(at, sealTime.Seconds())-at)
	}
	slices.Sort(sealed.took)
	return o.perSecond * sealTime.Seconds(), sealed.percentile(99)
}
