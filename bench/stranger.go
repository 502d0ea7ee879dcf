package main

import (
	"fmt"
	"net/http"
)

// measureStranger measures forward-auth requests without a cookie, and the memory that
// many of them leave in use.
func measureStranger(b *bench) {
	g, _ := b.withAda("")
	ours, bare := b.withBare("Sallyport", g.process, g.at, forwardAuthRequest())
	b.mustAnswer(ours, http.StatusUnauthorized)
	all := []endpoint{ours, bare}
	for _, p := range b.peers {
		peer, bare := b.withBare(p.name, p.process(b), p.at, p.stranger)
		all = append(all, peer, bare)
	}
	b.overConnections("Without a cookie", "", map[int]*target{64: atMost(1.08)}, all...)
	if !b.again { // a million requests
		b.within(b.floodOfStrangers)
	}
}

// memoryReadings is how often memory is read during the requests.
const memoryReadings = 20

func (b *bench) floodOfStrangers() {
	g, _ := b.withAda("")
	asked := 0
	next := func(i int) []byte { // each request has a path of its own, like those of a crawler
		i += asked
		return request("/verify/caddy", "sallyport", "X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "panel.test",
			"X-Forwarded-Uri", fmt.Sprintf("/rack/%d", i), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i%256))
	}
	client, err := newLoadClient(g.at, b.maxConnections(), http.StatusUnauthorized, next)
	b.must(err)
	defer client.close()
	ask := func(n int) {
		b.must(client.send(n))
		asked += n
	}
	ask(b.warm)
	before := g.resident()
	memory := plot{file: "memory", title: "Memory while strangers ask", x: "questions without a cookie", y: "memory, MB", lines: []curve{{name: "Sallyport"}}}
	memory.lines[0].add(0, before/MB)
	for i := range memoryReadings {
		ask(b.flood / memoryReadings)
		memory.lines[0].add(float64((i+1)*b.flood/memoryReadings), g.resident()/MB)
	}
	b.add(row{what: fmt.Sprintf("Memory that %d questions without a cookie add, after %d", b.flood, b.warm), unit: "MB",
		got: (g.resident() - before) / MB, target: atMost(5)})
	b.plot(memory)
}
