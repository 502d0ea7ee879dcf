package main

import (
	"fmt"
	"net/http"
	"slices"
)

// delayedRates are the rates, in percent of what the bare server can answer, at which a
// gate should add no delay that a person could notice.
var delayedRates = []int{25, 50, 75}

// mostDelay is the most, in ms, by which a gate's p99 may exceed that of the bare server.
const mostDelay = 0.3

// measureOpenLoop measures latency at fixed rates: requests are sent whether answers arrive or not.
func measureOpenLoop(b *bench) {
	g, _ := b.withAda("")
	ours, bare := b.withBare("Sallyport", g.process, g.at, forwardAuthRequest("Cookie", g.visit(forwardAuthPanel)))
	b.mustAnswer(ours, http.StatusOK)
	bare.name = "bare"
	saturated := medianOf(b.saturate(b.maxConnections(), bare)[0], rateOf)
	table := detail{title: "A valid visit at fixed rates", header: []string{"% of bare's rate", "asked/s", "who", "answered/s", "p50 ms", "p99 ms", "p99.9 ms"}}
	latency := plot{file: "latency", title: "Latency at fixed rates, a valid visit", x: "questions per second", y: "ms", logY: true}
	for _, a := range []endpoint{ours, bare} {
		latency.lines = append(latency.lines, curve{name: a.name + ", p50"}, curve{name: a.name + ", p99"}, curve{name: a.name + ", p99.9"})
	}
	rates := b.rates
	if b.again { // the other rates appear only in the table and the plot, which the first run makes
		rates = slices.DeleteFunc(slices.Clone(rates), func(percent int) bool { return !slices.Contains(delayedRates, percent) })
	}
	for _, percent := range rates {
		rate := saturated * float64(percent) / 100
		rounds := 1 // a rate above a server's maximum leaves a long queue after each round
		if slices.Contains(delayedRates, percent) {
			rounds = fixedRateRounds
		}
		got := alternate(rounds, b.atRate(ours, rate), b.atRate(bare, rate))
		for i, a := range []endpoint{ours, bare} {
			p50, p99, p999 := medianOf(got[i], p50Of)/1000, medianOf(got[i], p99Of)/1000, medianOf(got[i], p999Of)/1000
			table.rows = append(table.rows, []any{percent, rate, a.name, medianOf(got[i], rateOf), p50, p99, p999})
			for n, value := range []float64{p50, p99, p999} {
				latency.lines[3*i+n].add(rate, value)
			}
		}
		if !slices.Contains(delayedRates, percent) {
			continue
		}
		what := fmt.Sprintf("A valid visit at %d %% of the bare server's rate", percent)
		b.add(row{what: what + ": p99", unit: "ms", got: medianOf(got[0], p99Of) / 1000, bare: medianOf(got[1], p99Of) / 1000,
			byDifference: true, target: atMost(mostDelay)})
		b.add(row{what: what + ": p99.9", unit: "ms", got: medianOf(got[0], p999Of) / 1000, bare: medianOf(got[1], p999Of) / 1000, byDifference: true})
	}
	if !b.again {
		b.detail(table)
		b.plot(latency)
	}
}

// fixedRateRounds is the number of rounds at each of the [delayedRates].
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
