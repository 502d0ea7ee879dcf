package main

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// measureVisit asks about requests with a valid visit, and at the most
// connections about some with a machine pass.
func measureVisit(b *bench) {
	g, pass := b.withAda("")
	known := question("Cookie", g.visit(askedPanel))
	ours, bare := b.beside("Sallyport", g.process, g.at, known)
	b.mustAnswer(ours, http.StatusOK)
	all := []asked{ours, bare}
	for _, p := range b.peers {
		peer, bare := b.beside(p.name, p.process(b), p.at, p.known)
		all = append(all, peer, bare)
	}
	b.overConnections("A valid visit", "", atMost(1.15), all...)

	ours, bare = b.beside("Sallyport", g.process, g.at, question(access.PassHeader, pass))
	b.mustAnswer(ours, http.StatusOK)
	got := b.rush(b.most(), ours, bare)
	b.add(row{what: "A valid machine pass, " + some(b.most(), "connection"), unit: "µs CPU",
		got: middle(got[0], cpuOf), bare: middle(got[1], cpuOf), ratio: paired(got[0], got[1], cpuOf)})
}
