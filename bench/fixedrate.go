package main

import (
	"fmt"
	"net/http"
)

// measureOpenLoop asks at fixed rates, whether answers come or not, from a
// tenth of what the bare server can do to more than that.
func measureOpenLoop(b *bench) {
	g, _ := b.withAda("")
	ours, bare := b.beside("Sallyport", g.process, g.at, question("Cookie", g.visit(askedPanel)))
	bare.name = "bare"
	saturated := middle(b.rush(b.most(), bare)[0], rateOf)
	table := detail{header: []string{"asked/s", "who", "answered/s", "p50 ms", "p99 ms"}}
	latency := plot{file: "latency", title: "Latency at fixed rates, a valid visit", x: "questions per second", y: "ms", logY: true}
	for _, a := range []asked{ours, bare} {
		latency.lines = append(latency.lines, curve{name: a.name + ", p50"}, curve{name: a.name + ", p99"})
	}
	for step := range b.rates {
		rate := saturated * float64(step+1) / float64(b.rates-1)
		got := alternate(pacedTurns, b.atRate(ours, rate), b.atRate(bare, rate))
		for i, a := range []asked{ours, bare} {
			s := sample{rate: middle(got[i], rateOf), p50: middle(got[i], p50Of), p99: middle(got[i], p99Of)}
			table.rows = append(table.rows, []string{number(rate), a.name, number(s.rate), number(s.p50 / 1000), number(s.p99 / 1000)})
			latency.lines[2*i].add(rate, s.p50/1000)
			latency.lines[2*i+1].add(rate, s.p99/1000)
			// Half of what the bare server can do is what a busy gate should bear.
			if a.name == ours.name && step == (b.rates-1)/2-1 {
				b.add(row{what: fmt.Sprintf("A valid visit at half the bare server's rate, %s/s: p99", number(rate)), unit: "ms", got: s.p99 / 1000})
			}
		}
	}
	b.detail(table)
	b.plot(latency)
}

// pacedTurns are few: above what a server can do, each leaves a queue that takes
// its time.
const pacedTurns = 3

// atRate is a side that is asked at a fixed rate.
func (b *bench) atRate(a asked, rate float64) side {
	return func() sample {
		c, err := newCrowd(a.at, b.most(), http.StatusOK, a.next)
		b.must(err)
		defer c.close()
		s, err := c.paced(rate, b.paced)
		b.must(err)
		return s
	}
}
