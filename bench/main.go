// Command bench measures how fast Sallyport is, compared with the least work that any
// implementation must do, and how much memory it needs and how large the binary is:
//
//	go run ./bench -runs 5 -out docs
//
// It builds the binary, starts everything on loopback and prints a table. With -out
// it writes performance.md and its plots to that directory. performance.md.tmpl
// describes the measurements; each group of them has a file of its own. The command needs
// Linux and, for group e, PostgreSQL's server programs and pgbench.
//
// With -against it compares the binary of this tree with an older binary instead, and
// exits with status 1 if this tree's is worse:
//
//	go run ./bench -only a,b,c -against ../old/bin/sallyport
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// group is a group of measurements.
type group struct {
	name, title string
	measure     func(*bench)
	// comparable is true if the group uses only the binary's command line and listener, so
	// that it can measure an older binary too. The other groups call functions of this tree,
	// fill its tables, or put measured figures into the names of rows.
	comparable bool
	once       bool // whether only the first of several runs measures the group, which takes minutes
}

var groups = []group{
	{"a", "Forward-auth with a valid visit", measureVisit, true, false},
	{"b", "Forward-auth without a cookie", measureStranger, true, false},
	{"c", "The gateway", measureGateway, true, false},
	{"d", "Signing in with a code", measureSignIn, false, false},
	{"e", "Second-factor verifications", measureCodes, false, false},
	{"f", "As accounts and sessions grow", measureGrowth, false, true},
	{"g", "Latency at fixed rates", measureOpenLoop, true, false},
	{"h", "Memory, size, compilation and start", measureSize, false, false},
	{"i", "A mixed load", measureMixed, false, false},
	{"j", "Notices", measureNotices, false, false},
}

// bench is one run of the measurements.
type bench struct {
	*stage
	*report
	sizes
	binary string

	whole  *stage      // the stage of the whole program; each part has a stage of its own
	hashed *population // the accounts for the mixed load, which all runs share
	again  bool        // whether this isn't the first run
}

// sizes says how much a run does.
type sizes struct {
	rounds      int
	round       time.Duration
	connections []int         // to forward-auth and the gateway
	settling    int           // requests after a sign-in, before anything is measured
	warm, flood int           // requests without a cookie, before and during the measurement of memory
	hashes      int           // password hashes in a round
	clients     []int         // numbers of concurrent clients that verify codes
	codeRounds  int           // rounds for each number of clients; fewer than rounds, since each takes long
	turns       int           // transactions that each client of pgbench makes in a round
	populations []int         // numbers of accounts, each with a session
	idle        time.Duration // wait before memory is measured
	rates       []int         // fixed rates, in percent of what the bare server can answer
	paced       time.Duration // time at each fixed rate
	strangers   int           // sign-ins with a wrong password at once
	steady      time.Duration // time of a mixed load
	// mixedAccounts is the number of accounts in the mixed load's database. All runs together
	// use each account only once, since an account has one code in each step.
	mixedAccounts int
}

// maxConnections returns the largest number of connections.
func (s sizes) maxConnections() int { return s.connections[len(s.connections)-1] }

var (
	fullSizes = sizes{
		rounds: 5, round: 300 * time.Millisecond, connections: []int{1, 16, 64}, settling: 50_000, warm: 100_000, flood: 1_000_000,
		hashes: 20, clients: []int{1, 16, 64}, codeRounds: 2, turns: 16, populations: []int{1000, 10_000, 100_000, 1_000_000}, idle: time.Second,
		rates: []int{10, 25, 50, 75, 90, 100, 110}, paced: time.Second, strangers: 2000, steady: 5 * time.Second, mixedAccounts: 20_000,
	}
	// comparisonSizes is for -against. With it, ten runs of groups a, b, c and g take a quarter
	// of an hour.
	comparisonSizes = sizes{
		rounds: 5, round: 500 * time.Millisecond, connections: fullSizes.connections, settling: 50_000, warm: 50_000, flood: 200_000,
		rates: delayedRates, paced: 500 * time.Millisecond,
	}
	// quickSizes is for work on this program. Its figures mean little.
	quickSizes = sizes{
		rounds: 3, round: 50 * time.Millisecond, connections: []int{1, 64}, settling: 1000, warm: 1000, flood: 10_000,
		hashes: 2, clients: []int{1, 64}, codeRounds: 1, turns: 4, populations: []int{1000, 5000}, idle: 100 * time.Millisecond,
		rates: []int{50, 110}, paced: 200 * time.Millisecond, strangers: 100, steady: time.Second, mixedAccounts: 2000,
	}
)

func main() {
	serveBare()
	var (
		o     options
		only  = flag.String("only", "", "measure these `groups` only, as in a,b")
		file  = flag.String("peer-headers", "", "a `file` of headers to send to peers, lines of the form \"Name: value\"")
		named []string
	)
	flag.BoolVar(&o.quick, "quick", false, "measure a little of everything, to check that it works")
	flag.StringVar(&o.out, "out", "", "write performance.md and its plots to this `directory`")
	flag.Func("peer", "another portal to measure too, `NAME=URL` of its forward-auth address; may be repeated", func(text string) error {
		named = append(named, text)
		return nil
	})
	flag.StringVar(&o.against, "against", "", "compare this tree's binary with an older `binary`, in the groups "+comparableNames())
	flag.IntVar(&o.runs, "runs", 1, "the number of `runs`, whose medians and spreads are shown")
	flag.IntVar(&o.pairs, "pairs", comparedPairs, "the number of `runs` of each binary in a comparison")
	flag.IntVar(&o.rounds, "rounds", 0, "the number of `rounds` of each measurement, if not the usual")
	flag.IntVar(&o.largest, "largest", 0, "the largest `number` of accounts and sessions, if not a million")
	flag.Parse()
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	err := func() (err error) {
		if o.peers, err = readPeers(named, *file); err != nil {
			return err
		}
		if o.cores, err = shareCores(); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if o.against != "" {
			c, err := compare(ctx, o)
			if err != nil {
				return err
			}
			c.print(os.Stdout)
			return c.worseError()
		}
		r, err := run(ctx, o)
		if err != nil {
			return err
		}
		r.print(os.Stdout)
		if o.out == "" {
			return nil
		}
		return r.write(o.out)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags of the command line.
type options struct {
	only  []string // the groups to measure; all if empty
	quick bool
	out   string
	runs  int // 0 means one

	rounds, largest int // 0 means the usual number

	against string // path of an older binary; "" means no comparison
	pairs   int    // runs of each binary in a comparison

	cores cores
	peers []peer
}

// run measures this tree's binary. It leaves no process and no file behind, even if it
// fails.
func run(ctx context.Context, o options) (*report, error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	var merged *report
	err = b.perform(func() {
		b.build()
		var runs []*report
		for i := range max(1, o.runs) {
			if o.runs > 1 {
				fmt.Fprintf(os.Stderr, "run %d of %d\n", i+1, o.runs)
			}
			runs = append(runs, b.measureGroups())
			b.again = true
		}
		if len(runs) == 1 {
			merged = runs[0]
			return
		}
		merged, err = mergeReports(runs)
		b.must(err)
	})
	return merged, err
}

// newBench returns a bench with the sizes that the options choose.
func newBench(ctx context.Context, o options) (*bench, error) {
	for _, name := range o.only {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return nil, fmt.Errorf("there is no group %q", name)
		}
	}
	whole := &stage{ctx: ctx}
	b := &bench{stage: whole, report: newReport(o), sizes: fullSizes, whole: whole}
	switch {
	case o.quick:
		b.sizes = quickSizes
	case o.against != "":
		b.sizes = comparisonSizes
	}
	if o.rounds > 0 {
		b.rounds, b.codeRounds = o.rounds, o.rounds
	}
	if o.largest > 0 {
		b.populations = slices.DeleteFunc(slices.Clone(b.populations), func(size int) bool { return size > o.largest })
	}
	return b, nil
}

// perform calls work, cleans up after it, and returns the failure that ended it, if any.
func (b *bench) perform(work func()) (err error) {
	// At an interrupt the clean-up ends the measured program, and then the running
	// measurement fails.
	defer context.AfterFunc(b.ctx, b.end)()
	defer b.end()
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = errors.New(f.reason)
		default:
			panic(f)
		}
	}()
	work()
	return nil
}

// measureGroups measures the chosen groups once and returns the figures.
func (b *bench) measureGroups() *report {
	b.report = newReport(b.options)
	for _, g := range groups {
		if len(b.only) > 0 && !slices.Contains(b.only, g.name) || g.once && b.again {
			continue
		}
		start := time.Now()
		b.report.group = g
		b.within(func() { g.measure(b) })
		fmt.Fprintf(os.Stderr, "%s: %s, %.0f s\n", g.name, g.title, time.Since(start).Seconds())
	}
	return b.report
}
