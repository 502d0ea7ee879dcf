// Command scaling plays people signing in through queues, to say what databases carry
// that nobody here has, and writes the tables of docs/scaling.md:
//
//	go run ./bench/scaling
//
// What each step takes is measured; docs/scaling.md says how.
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// What each step takes of a core.
const (
	hashTime     = 26 * time.Millisecond   // a password at the default costs, on a node
	codeNodeTime = 550 * time.Microsecond  // a code, on a node
	passwordTime = 850 * time.Microsecond  // the transactions of a password, on the database
	codeTime     = 1600 * time.Microsecond // those of a right code
	signInTime   = passwordTime + codeTime
	sealTime     = time.Second / 7000 // an event's place in the audit chain

	// syncTime passes until the disk has a commit, which keeps no core.
	syncTime = 300 * time.Microsecond

	passwordCommits, codeCommits = 2, 2
)

const (
	databaseCores = 4       // of each database
	nodeCores     = 16      // for each core of a database: more than it can use
	played        = 200_000 // sign-ins
	seed          = 1
)

// spread is a time around a mean, as varied as of those who come by chance.
func spread(rng *rand.Rand, mean time.Duration) float64 { return rng.ExpFloat64() * mean.Seconds() }

// changes are transactions, each of which ends with a wait for its commit.
func changes(rng *rand.Rand, at *station, takes time.Duration, commits int, standby time.Duration) (all []stop) {
	for range commits {
		all = append(all, stop{at, spread(rng, takes/time.Duration(commits)), (syncTime + standby).Seconds()})
	}
	return all
}

// signIns come to databases that share the accounts; standby is how far a commit's
// synchronous standby is, there and back.
func signIns(databases int, standby time.Duration, perSecond float64) load {
	nodes := newStation(databases * databaseCores * nodeCores)
	var all []*station
	for range databases {
		all = append(all, newStation(databaseCores))
	}
	return load{perSecond: perSecond, way: func(rng *rand.Rand) []stop {
		home := all[rng.IntN(databases)]
		way := append([]stop{{nodes, hashTime.Seconds(), 0}}, changes(rng, home, passwordTime, passwordCommits, standby)...)
		return append(way, changes(rng, home, codeTime, codeCommits, standby)...)
	}}
}

// most is how many sign-ins a second keep every core of so many databases busy.
func most(databases int) float64 { return float64(databases*databaseCores) / signInTime.Seconds() }

// codes are given by clients, one after the other, to a node of one core and a
// database of one.
func codes(clients int) load {
	node, database := newStation(1), newStation(1)
	return load{clients: clients, way: func(rng *rand.Rand) []stop {
		return append([]stop{{node, spread(rng, codeNodeTime), 0}}, changes(rng, database, codeTime, codeCommits, 0)...)
	}}
}

func ms(seconds float64) string { return fmt.Sprintf("%.1f ms", 1000*seconds) }

func main() { write(os.Stdout) }

func write(w io.Writer) {
	fmt.Fprint(w, "| standby answers in | load, of the maximum | sign-ins/s | median time | 99th percentile |\n|---|---|---|---|---|\n")
	for _, standby := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 30 * time.Millisecond} {
		for _, part := range []float64{.5, .8, .95} {
			o := signIns(1, standby, part*most(1)).play(played, seed)
			fmt.Fprintf(w, "| %v | %.0f %% | %.0f | %s | %s |\n", standby, 100*part, o.perSecond, ms(o.percentile(50)), ms(o.percentile(99)))
		}
	}
	fmt.Fprint(w, "\n| databases | sign-ins/s at 80 % load | 99th percentile | load of one audit chain | time until sealed, 99th percentile |\n|---|---|---|---|---|\n")
	for _, databases := range []int{1, 2, 4, 8, 16} {
		o := signIns(databases, time.Millisecond, .8*most(databases)).play(played, seed)
		busy, after := chain(o)
		sealed := "never: it falls behind"
		if busy < 1 {
			sealed = ms(after)
		}
		fmt.Fprintf(w, "| %d | %.0f | %s | %.0f %% | %s |\n", databases, o.perSecond, ms(o.percentile(99)), 100*busy, sealed)
	}
	fmt.Fprint(w, "\n| clients | right codes/s |\n|---|---|\n")
	for _, clients := range []int{1, 16, 64} {
		fmt.Fprintf(w, "| %d | %.0f |\n", clients, codes(clients).play(played, seed).perSecond)
	}
}

// chain has one place seal an event of each sign-in, and returns how much of its time
// that takes and after how long 99 of 100 are sealed.
func chain(o outcome) (busy, after float64) {
	sealer := newStation(1)
	var sealed outcome
	for _, at := range o.ends {
		sealed.took = append(sealed.took, sealer.serve(at, sealTime.Seconds())-at)
	}
	slices.Sort(sealed.took)
	return o.perSecond * sealTime.Seconds(), sealed.percentile(99)
}
