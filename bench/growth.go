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

const (
	// visitors ask in turn, from all over the town: so many that what is kept of
	// each visit for seconds is read again and again.
	visitors = 1000

	// startsCount is how often a start is measured; the median counts.
	startsCount = 5
)

// measureGrowth measures how forward-auth, codes, memory and the start grow
// with accounts and sessions.
func measureGrowth(b *bench) {
	t := b.newTown()
	clock := testkit.NewClock()
	table := detail{header: []string{"accounts and sessions", "forward-auth CPU µs/request", "bare", "ratio", "right codes/s, 64 clients", "memory after the start, MB", "memory under load, MB", "start ms"}}
	cpu := plot{file: "cpu", title: "Forward-auth, 1,000 visitors in turn", x: "accounts, and sessions", y: "CPU, µs per request", logX: true, lines: []curve{{name: "Sallyport"}, {name: "bare"}}}
	codes := plot{file: "codes", title: "Right codes of 64 clients, SQLite", x: "accounts, and sessions", y: "per second", logX: true, lines: []curve{{name: "Sallyport"}, {name: "bare commits"}}}
	memory := plot{file: "memory", title: "Memory", x: "accounts, and sessions", y: "resident, MB", logX: true, lines: []curve{{name: "after the start"}, {name: "after questions of 64 connections"}}}
	start := plot{file: "start", title: "Start, until it answers", x: "accounts, and sessions", y: "ms", logX: true, lines: []curve{{name: "Sallyport"}}}
	var first float64
	for _, size := range b.towns {
		t.growTo(size)
		v := t.visited()
		if first == 0 {
			first = v.ratio
		}
		perSecond, commits := t.codes(clock)
		x := float64(size)
		cpu.lines[0].add(x, v.cpu)
		cpu.lines[1].add(x, v.bare)
		codes.lines[0].add(x, perSecond)
		codes.lines[1].add(x, commits)
		memory.lines[0].add(x, v.started/MB)
		memory.lines[1].add(x, v.loaded/MB)
		start.lines[0].add(x, milliseconds(v.start))
		table.rows = append(table.rows, []string{fmt.Sprint(size), number(v.cpu), number(v.bare), number(v.ratio), number(perSecond), number(v.started / MB), number(v.loaded / MB), number(milliseconds(v.start))})
		if size == b.towns[len(b.towns)-1] {
			b.add(row{what: fmt.Sprintf("Forward-auth with %d sessions, against %d: both in ratio to bare", size, b.towns[0]),
				got: v.ratio, bare: first, ratio: v.ratio / first, target: atMost(1.1)})
			b.add(row{what: fmt.Sprintf("Memory with %d sessions in the database, under load", size), unit: "MB", got: v.loaded / MB, target: atMost(80)})
		}
	}
	b.detail(table)
	for _, p := range []plot{cpu, codes, memory, start} {
		b.plot(p)
	}
}

// visited is what a start and visitors of the town cost.
type visited struct {
	start            time.Duration
	started, loaded  float64 // bytes in memory
	cpu, bare, ratio float64 // µs a request
}

// visited starts the shipped binary on the town and has visitors ask.
func (t *town) visited() (v visited) {
	t.within(func() {
		var took []time.Duration
		for range startsCount {
			t.within(func() { took = append(took, t.startGate(t.dir, "").took) })
		}
		g := t.startGate(t.dir, "")
		v.start = median(append(took, g.took))
		time.Sleep(t.idle)
		v.started = g.resident()
		questions := make([][]byte, visitors)
		for i := range questions {
			questions[i] = question("Cookie", visitCookie+"="+tokenOf("visit", i*t.size/visitors))
		}
		next := func(i int) []byte { return questions[i%visitors] }
		answer := t.answerOf(g.at, questions[visitors-1])
		if answer.Status != http.StatusOK {
			t.Fatal("a visit that was seeded doesn't open: ", answer.Status)
		}
		bare, at := t.startBare(t.cores.server, answer)
		got := t.rush(t.most(), asked{"Sallyport", g.process, g.at, next, http.StatusOK}, asked{"bare", bare, at, next, http.StatusOK})
		v.cpu, v.bare, v.ratio = middle(got[0], cpuOf), middle(got[1], cpuOf), paired(got[0], got[1], cpuOf)
		v.loaded = g.resident()
	})
	return v
}

// codes measures right codes of inhabitants, others in each round, who are all
// in known browsers. The clock is never far ahead of the machine's: the town's
// sessions must not end.
func (t *town) codes(clock *testkit.Clock) (perSecond, commits float64) {
	t.onAllCores(func() {
		if behind := time.Until(clock.Now()); behind < 0 {
			clock.Move(-behind)
		}
		p := &people{bench: t.bench, portal: portal.StartIn(t.stage, t.dir, clock), attempts: make([]string, t.size)}
		defer p.portal.Login.WriteUses(context.WithoutCancel(t.ctx))
		for i := range t.size {
			from := networkOf(i)
			from.Device = tokenOf("device", i)
			p.from = append(p.from, from)
		}
		turn := 0
		ours := func() sample {
			clock.Move(totp.Period)
			mine := func(i int) int { return (turn*inARound + i) % t.size }
			t.together(signingIn, func(i int) error { return p.begin(mine(i)) })
			s := t.together(t.clients[len(t.clients)-1], func(i int) error { return p.give(mine(i), totp.CodeAt(secretOf(mine(i)), clock.Now())) })
			turn++
			return s
		}
		got := alternate(t.rounds, ours, t.bareCommits())
		perSecond, commits = middle(got[0], rateOf), middle(got[1], rateOf)
	})
	return perSecond, commits
}
