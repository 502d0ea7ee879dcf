// Command bench measures how fast Sallyport is, as ratios to the bare work that
// nothing can do without, and how small it is and stays:
//
//	go run ./bench -out docs
//
// It builds the binary, starts everything on loopback, prints a table and, with
// -out, writes performance.md and its plots there. What is measured stands in
// performance.md.tmpl. Each group has a file of its own. It needs Linux,
// and for group e PostgreSQL's server programs and pgbench.
//
// With -against it compares the binary of this tree with an older one instead,
// and exits with status 1 where this one is worse:
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

// group is one of the questions that are asked.
type group struct {
	name, title string
	measure     func(*bench)
	// comparable groups know the binary only from outside, by its command line
	// and its listener, so they measure an older one too. The others call this
	// tree's functions, fill a database with its tables, or name their rows
	// after what they measured.
	comparable bool
}

var groups = []group{
	{"a", "Forward-auth with a valid visit", measureVisit, true},
	{"b", "Forward-auth without a cookie", measureStranger, true},
	{"c", "The gateway", measureGateway, true},
	{"d", "Signing in with a code", measureSignIn, false},
	{"e", "Second-factor verifications", measureCodes, false},
	{"f", "As accounts and sessions grow", measureGrowth, false},
	{"g", "Latency at fixed rates", measureOpenLoop, false},
	{"h", "Memory, size and start", measureSize, false},
}

// bench is a run.
type bench struct {
	*stage
	*report
	sizes
	binary string
}

// sizes are how much is done.
type sizes struct {
	rounds      int
	round       time.Duration
	connections []int         // of forward-auth and the gateway
	warm, flood int           // questions without a cookie, before and while memory is looked at
	hashes      int           // of passwords, in a round
	clients     []int         // who verify codes
	turns       int           // of each of pgbench's clients, in a round
	towns       []int         // accounts, each with a session
	idle        time.Duration // before memory is looked at
	rates       int           // at which questions come, up to what is too many
	paced       time.Duration // each of them
	strangers   int           // who give a password at once
}

// most is how many connections ask where one number is enough.
func (s sizes) most() int { return s.connections[len(s.connections)-1] }

var (
	whole = sizes{
		rounds: 9, round: time.Second, connections: []int{1, 16, 64}, warm: 100_000, flood: 1_000_000,
		hashes: 20, clients: []int{1, 16, 64}, turns: 64, towns: []int{1000, 10_000, 100_000, 1_000_000}, idle: 3 * time.Second,
		rates: 11, paced: 1500 * time.Millisecond, strangers: 2000,
	}
	// compared is for -against, whose time goes into more runs instead: ten of
	// these take a quarter of an hour in groups a, b and c.
	compared = sizes{
		rounds: 5, round: 500 * time.Millisecond, connections: whole.connections, warm: 50_000, flood: 200_000,
	}
	// quick is for who works on this program: its figures say little.
	quick = sizes{
		rounds: 3, round: 50 * time.Millisecond, connections: []int{1, 64}, warm: 1000, flood: 10_000,
		hashes: 2, clients: []int{1, 64}, turns: 4, towns: []int{1000, 5000}, idle: 100 * time.Millisecond,
		rates: 3, paced: 200 * time.Millisecond, strangers: 100,
	}
)

func main() {
	serveBare()
	var (
		o     options
		only  = flag.String("only", "", "measure these `groups` only, as in a,b")
		file  = flag.String("peer-headers", "", "what is sent to peers: a `file` of lines \"Name: value\"")
		named []string
	)
	flag.BoolVar(&o.quick, "quick", false, "little of everything, to see that it works")
	flag.StringVar(&o.out, "out", "", "write performance.md and its plots to this `directory`")
	flag.Func("peer", "another portal to measure beside, `NAME=URL` of its forward-auth address; more than once if you like", func(text string) error {
		named = append(named, text)
		return nil
	})
	flag.StringVar(&o.against, "against", "", "compare with an older `binary`, instead of measuring this tree's alone; of groups "+comparableNames())
	flag.IntVar(&o.pairs, "pairs", comparedPairs, "how many `runs` each binary has in a comparison")
	flag.IntVar(&o.rounds, "rounds", 0, "how often both sides take their `turns`, where not as usual")
	flag.IntVar(&o.largest, "largest", 0, "how many accounts and sessions there are `at most`, where not a million")
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
			return c.verdict()
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

// options are what the command line asks for.
type options struct {
	only  []string // groups; all of them where empty
	quick bool
	out   string

	rounds, largest int // 0: as usual

	against string // path of an older binary; "": nothing is compared
	pairs   int    // runs of each binary in a comparison

	cores cores
	peers []peer
}

// run measures this tree's binary. Whatever happens, it leaves nothing behind.
func run(ctx context.Context, o options) (*report, error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	err = b.perform(func() {
		b.build()
		b.measureGroups()
	})
	return b.report, err
}

// newBench returns a bench that measures as much as the options say.
func newBench(ctx context.Context, o options) (*bench, error) {
	for _, name := range o.only {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return nil, fmt.Errorf("there is no group %q", name)
		}
	}
	b := &bench{stage: &stage{ctx: ctx}, report: newReport(o), sizes: whole}
	switch {
	case o.quick:
		b.sizes = quick
	case o.against != "":
		b.sizes = compared
	}
	if o.rounds > 0 {
		b.rounds = o.rounds
	}
	if o.largest > 0 {
		b.towns = slices.DeleteFunc(slices.Clone(b.towns), func(size int) bool { return size > o.largest })
	}
	return b, nil
}

// perform runs what a bench does, ends what that started, and returns the
// failure that ended it, if any.
func (b *bench) perform(all func()) (err error) {
	// What is under way at an interrupt fails once its program is gone.
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
	all()
	return nil
}

// measureGroups measures the groups that were asked for, and adds what it finds
// to the report.
func (b *bench) measureGroups() {
	for _, g := range groups {
		if len(b.only) > 0 && !slices.Contains(b.only, g.name) {
			continue
		}
		begin := time.Now()
		b.report.group = g
		b.within(func() { g.measure(b) })
		fmt.Fprintf(os.Stderr, "%s: %s, %.0f s\n", g.name, g.title, time.Since(begin).Seconds())
	}
}
