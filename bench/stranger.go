package main

import (
	"fmt"
	"net/http"
)

// measureStranger asks about requests without a cookie, and looks at what so
// many of them leave in memory.
func measureStranger(b *bench) {
	g, _ := b.withAda("")
	ours, bare := b.beside("Sallyport", g.process, g.at, question())
	b.mustAnswer(ours, http.StatusUnauthorized)
	all := []asked{ours, bare}
	for _, p := range b.peers {
		peer, bare := b.beside(p.name, p.process(b), p.at, p.stranger)
		all = append(all, peer, bare)
	}
	b.overConnections("Without a cookie", "", atMost(1.10), all...)
	b.within(b.floodOfStrangers)
}

// looks at memory while strangers ask, after those that warm it up.
const looks = 20

func (b *bench) floodOfStrangers() {
	g, _ := b.withAda("")
	asked := 0
	next := func(i int) []byte { // each another path, as crawlers ask
		i += asked
		return request("/verify/caddy", "sallyport", "X-Forwarded-Method", "GET", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "panel.test",
			"X-Forwarded-Uri", fmt.Sprintf("/rack/%d", i), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i%256))
	}
	crowd, err := newCrowd(g.at, b.most(), http.StatusUnauthorized, next)
	b.must(err)
	defer crowd.close()
	ask := func(n int) {
		b.must(crowd.times(n))
		asked += n
	}
	ask(b.warm)
	before := g.resident()
	memory := plot{file: "memory", title: "Memory while strangers ask", x: "questions without a cookie", y: "memory, MB", lines: []curve{{name: "Sallyport"}}}
	memory.lines[0].add(0, before/MB)
	for i := range looks {
		ask(b.flood / looks)
		memory.lines[0].add(float64((i+1)*b.flood/looks), g.resident()/MB)
	}
	b.add(row{what: fmt.Sprintf("Memory that %d questions without a cookie add, after %d", b.flood, b.warm), unit: "MB",
		got: (g.resident() - before) / MB, target: atMost(5)})
	b.plot(memory)
}
