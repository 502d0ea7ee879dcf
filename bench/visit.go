package main

import (
	"fmt"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// measureVisit measures forward-auth requests with a valid visit. It also measures requests with
// a machine pass and with many visits in turn, but only over the largest number of connections.
func measureVisit(b *bench) {
	g, pass := b.withAda("")
	known := forwardAuthRequest("Cookie", g.visit(forwardAuthPanel))
	ours, bare := b.withBare("Sallyport", g.process, g.at, known)
	b.mustAnswer(ours, http.StatusOK)
	b.settle(ours)
	all := []endpoint{ours, bare}
	for _, p := range b.peers {
		peer, bare := b.withBare(p.name, p.process(b), p.at, p.known)
		all = append(all, peer, bare)
	}
	b.overConnections("A valid visit", "", map[int]*target{64: atMost(1.15)}, all...)

	ours, bare = b.withBare("Sallyport", g.process, g.at, forwardAuthRequest(access.PassHeader, pass))
	b.mustAnswer(ours, http.StatusOK)
	b.compareCPU("A valid machine pass", atMost(1.10), ours, bare)
	b.within(b.visitorsInTurn)
}

// visitors is how many visits the requests use in turn. They are so many that the server's data
// of a visit has left most of the processor's caches by the time of the visit's next request.
const visitors = 1000

// visitorsInTurn measures requests of many visits, each of an account of its own.
func (b *bench) visitorsInTurn() {
	dir := b.TempDir()
	g := b.startGate(dir, "")
	b.addVisitors(dir)
	requests := visitsOf(visitors, visitors)
	ours, bare := b.withBare("Sallyport", g.process, g.at, requests[visitors-1])
	b.mustAnswer(ours, http.StatusOK)
	ours.next = func(i int) []byte { return requests[i%len(requests)] }
	bare.next = ours.next
	b.compareCPU(fmt.Sprintf("Valid visits of %d visitors in turn", visitors), atMost(1.12), ours, bare)
}

// visitsOf returns requests of n visits, spread over a population of the given size.
func visitsOf(n, size int) [][]byte {
	requests := make([][]byte, n)
	for i := range requests {
		requests[i] = forwardAuthRequest("Cookie", visitCookie+"="+tokenOf("visit", i*size/n))
	}
	return requests
}
