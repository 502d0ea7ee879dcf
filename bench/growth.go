package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// startsCount is how often a start is measured. The report shows the median.
const startsCount = 5

// measureGrowth measures how the number of accounts and sessions affects forward-auth, codes,
// memory and the time to start.
func measureGrowth(b *bench) {
	t := b.newPopulation()
	clock := testkit.NewClock()
	table := detail{title: "Figures by size", header: []string{"accounts and sessions", "forward-auth CPU µs/request", "bare", "ratio", "right codes/s, 64 clients", "WAL kB a code", "page reads a code", "memory after the start, MB", "memory under load, MB", "start ms"}}
	cpu := plot{file: "cpu", title: "Forward-auth, 1,000 visitors in turn", x: "accounts, and sessions", y: "CPU, µs per request", logX: true, lines: []curve{{name: "Sallyport"}, {name: "bare"}}}
	codes := plot{file: "codes", title: "Right codes of 64 clients, SQLite", x: "accounts, and sessions", y: "per second", logX: true, lines: []curve{{name: "Sallyport"}, {name: "bare commits"}}}
	memory := plot{file: "memory", title: "Memory", x: "accounts, and sessions", y: "resident, MB", logX: true, lines: []curve{{name: "after the start"}, {name: "after questions of 64 connections"}}}
	start := plot{file: "start", title: "Start, until it answers", x: "accounts, and sessions", y: "ms", logX: true, lines: []curve{{name: "Sallyport"}}}
	var first float64
	for _, size := range b.populations {
		t.growTo(size)
		v := t.visited()
		if first == 0 {
			first = v.ratio
		}
		perSecond, commits, cost := t.codes(clock)
		x := float64(size)
		cpu.lines[0].add(x, v.cpu)
		cpu.lines[1].add(x, v.bare)
		codes.lines[0].add(x, perSecond)
		codes.lines[1].add(x, commits)
		memory.lines[0].add(x, v.started/MB)
		memory.lines[1].add(x, v.loaded/MB)
		start.lines[0].add(x, milliseconds(v.start))
		table.rows = append(table.rows, []any{size, v.cpu, v.bare, v.ratio, perSecond, cost.kilobytes, cost.reads, v.started / MB, v.loaded / MB, milliseconds(v.start)})
		if size == b.populations[len(b.populations)-1] {
			b.add(row{what: fmt.Sprintf("Forward-auth with %d sessions, against %d: both in ratio to bare", size, b.populations[0]),
				got: v.ratio, bare: first, ratio: v.ratio / first, target: atMost(1.1)})
			b.add(row{what: fmt.Sprintf("Memory with %d sessions in the database, under load", size), unit: "MB", got: v.loaded / MB, target: atMost(80)})
			b.add(row{what: fmt.Sprintf("Write-ahead log of a right code with %d accounts, SQLite", size), unit: "kB", got: cost.kilobytes, target: atMost(45)})
			b.add(row{what: fmt.Sprintf("Pages that a right code reads with %d accounts, SQLite", size), unit: "pages", got: cost.reads, target: atMost(10)})
			codes := fmt.Sprintf("Right codes of 64 clients with %d accounts, SQLite, against ", size)
			b.add(row{what: codes + "one writer of the same rows", unit: "/s", got: perSecond, bare: cost.bare, ratio: cost.ratio, target: atLeast(0.85)})
			b.add(row{what: codes + "64 writers of the same rows", unit: "/s", got: perSecond, bare: cost.bareTogether, ratio: cost.together})
		}
	}
	b.detail(table)
	for _, p := range []plot{cpu, codes, memory, start} {
		b.plot(p)
	}
	b.within(b.growthOnPostgres)
}

// visited holds the costs of a start and of requests with visits.
type visited struct {
	start            time.Duration
	started, loaded  float64 // bytes in memory
	cpu, bare, ratio float64 // µs a request
}

// visited starts the binary on the population and measures requests with visits.
func (t *population) visited() (v visited) {
	t.within(func() {
		var took []time.Duration
		for range startsCount {
			t.within(func() { took = append(took, t.startGate(t.dir, "").took) })
		}
		g := t.startGate(t.dir, "")
		v.start = median(append(took, g.took))
		time.Sleep(t.idle)
		v.started = g.resident()
		requests := visitsOf(visitors, t.size)
		next := func(i int) []byte { return requests[i%visitors] }
		answer := t.answerOf(g.at, requests[visitors-1])
		if answer.Status != http.StatusOK {
			t.Fatal("a visit that was seeded doesn't open: ", answer.Status)
		}
		bare, at := t.startBare(t.cores.server, answer)
		got := t.saturate(t.maxConnections(), endpoint{"Sallyport", g.process, g.at, next, http.StatusOK}, endpoint{"bare", bare, at, next, http.StatusOK})
		v.cpu, v.bare, v.ratio = medianOf(got[0], cpuOf), medianOf(got[1], cpuOf), medianRatio(got[0], got[1], cpuOf)
		v.loaded = g.resident()
	})
	return v
}

// codes measures right codes from known browsers. Each round uses other accounts. The
// clock is never far ahead of the machine's, so that the population's sessions don't
// expire.
func (t *population) codes(clock *testkit.Clock) (perSecond, commits float64, cost codeCost) {
	t.onAllCores(func() {
		if behind := time.Until(clock.Now()); behind < 0 {
			clock.Move(-behind)
		}
		var p *people
		counter := t.watchPages(t.dir, func() { p = t.peopleOf(portal.StartIn(t.stage, t.dir, clock)) })
		defer p.portal.Entry.WriteUses(context.WithoutCancel(t.ctx))
		clients := t.clients[len(t.clients)-1]
		var counts pageCounts
		ours, bare := t.rightCodes(p, clock, clients, func(codes func()) {
			counts = counter.count(codes) // keeps the last round's counts: earlier rounds fill the cache
		})
		got := alternate(t.rounds, ours, t.bareCommits(), bare(1), bare(clients))
		perSecond, commits = medianOf(got[0], rateOf), medianOf(got[1], rateOf)
		cost = codeCost{kilobytes: counts.kilobytes(inARound), reads: float64(counts.reads) / inARound,
			bare: medianOf(got[2], rateOf), ratio: medianRatio(got[0], got[2], rateOf),
			bareTogether: medianOf(got[3], rateOf), together: medianRatio(got[0], got[3], rateOf)}
	})
	return perSecond, commits, cost
}

// peopleOf returns the owners of the population's accounts, with their known browsers. They sign
// in to the given portal, which runs in this process.
func (t *population) peopleOf(of *portal.Portal) *people {
	p := &people{bench: t.bench, attempts: make([]string, t.size), portal: of}
	for i := range t.size {
		from := networkOf(i)
		from.Device = tokenOf("device", i)
		p.from = append(p.from, from)
	}
	return p
}

// rightCodes returns the side ours, in which the given number of clients submit right codes; around is
// called in each round and must call codes, which submits them. rightCodes also returns the function
// bare, which returns a side in which a number of writers only change the same rows. Each round of
// either side uses other accounts.
func (t *population) rightCodes(p *people, clock *testkit.Clock, clients int, around func(codes func())) (ours side, bare func(writers int) side) {
	round := 0
	member := func(i int) int { return (round*inARound + i) * scattered % t.size }
	ours = func() (s sample) {
		clock.Move(totp.Period)
		t.concurrently(signingIn, func(i int) error { return p.submitPassword(member(i)) })
		around(func() {
			s = t.concurrently(clients, func(i int) error {
				return p.submitCode(member(i), totp.CodeAt(secretOf(member(i)), clock.Now()))
			})
		})
		round++
		return s
	}
	return ours, func(writers int) side {
		return func() sample {
			now := clock.Now()
			s := t.concurrently(writers, func(i int) error { return t.changeRows(p.portal.DB, member(i), now) })
			round++
			return s
		}
	}
}
