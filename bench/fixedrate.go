package main

import (
	"fmt"
	"net/http"
)

// measureOpenLoop sends requests at fixed rates, whether answers arrive or not. The rates
// go from a tenth of the bare server's maximum to more than the maximum.
func measureOpenLoop(b *bench) {
	g, _ := b.withAda("")
	ours, bare := b.withBare("Sallyport", g.process, g.at, forwardAuthRequest("Cookie", g.visit(forwardAuthPanel)))
	bare.name = "bare"
	saturated := medianOf(b.saturate(b.maxConnections(), bare)[0], rateOf)
	table := detail{header: []string{"asked/s", "who", "answered/s", "p50 ms", "p99 ms"}}
	latency := plot{file: "latency", title: "Latency at fixed rates, a valid visit", x: "questions per second", y: "ms", logY: true}
	for _, a := range []endpoint{ours, bare} {
		latency.lines = append(latency.lines, curve{name: a.name + ", p50"}, curve{name: a.name + ", p99"})
	}
	for step := range b.rates {
		rate := saturated * float64(step+1) / float64(b.rates-1)
		got := alternate(fixedRateRounds, b.atRate(ours, rate), b.atRate(bare, rate))
		for i, a := range []endpoint{ours, bare} {
			s := sample{rate: medianOf(got[i], rateOf), p50: medianOf(got[i], p50Of), p99: medianOf(got[i], p99Of)}
			table.rows = append(table.rows, []string{number(rate), a.name, number(s.rate), number(s.p50 / 1000), number(s.p99 / 1000)})
			latency.lines[2*i].add(rate, s.p50/1000)
			latency.lines[2*i+1].add(rate, s.p99/1000)
			// A gate should serve half of the bare server's maximum without delay.
			if a.name == ours.name && step == (b.rates-1)/2-1 {
				b.add(row{what: fmt.Sprintf("A valid visit at half the bare server's rate, %s/s: p99", number(rate)), unit: "ms", got: s.p99 / 1000})
			}
		}
	}
	b.detail(table)
	b.plot(latency)
}

// fixedRateRounds is small: above a server's maximum each round leaves a long queue.
const fixedRateRounds = 3

// atRate returns a side that sends requests at a fixed rate.
func (b *bench) atRate(a endpoint, rate float64) side {
	return func() sample {
		c, err := newLoadClient(a.at, b.maxConnections(), http.StatusOK, a.next)
		b.must(err)
		defer c.close()
		s, err := c.atRate(rate, b.paced)
		b.must(err)
		return s
	}
}
