package main

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// measureVisit measures forward-auth requests with a valid visit and, with the most
// connections only, with a machine pass.
func measureVisit(b *bench) {
	g, pass := b.withAda("")
	known := forwardAuthRequest("Cookie", g.visit(forwardAuthPanel))
	ours, bare := b.withBare("Sallyport", g.process, g.at, known)
	b.mustAnswer(ours, http.StatusOK)
	all := []endpoint{ours, bare}
	for _, p := range b.peers {
		peer, bare := b.withBare(p.name, p.process(b), p.at, p.known)
		all = append(all, peer, bare)
	}
	b.overConnections("A valid visit", "", atMost(1.15), all...)

	ours, bare = b.withBare("Sallyport", g.process, g.at, forwardAuthRequest(access.PassHeader, pass))
	b.mustAnswer(ours, http.StatusOK)
	got := b.saturate(b.maxConnections(), ours, bare)
	b.add(row{what: "A valid machine pass, " + counted(b.maxConnections(), "connection"), unit: "µs CPU",
		got: medianOf(got[0], cpuOf), bare: medianOf(got[1], cpuOf), ratio: medianRatio(got[0], got[1], cpuOf)})
}
