package main

import (
	"net/http"
	"strings"
)

// page is what the panel behind both proxies answers.
var page = bareServer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: strings.Repeat("<p>rack</p>\n", 100)}

// measureGateway passes requests with a valid visit on to a panel, which
// answers at the load's cores, beside a reverse proxy that only passes on.
func measureGateway(b *bench) {
	_, panel := b.startBare(b.cores.load, page)
	g, _ := b.withAda(panel)
	known := request("/rack?a=b", "gate.test", "Cookie", g.visit(passedPanel), "Accept", "text/html")
	proxy, at := b.startBare(b.cores.server, bareServer{Panel: "http://" + panel})
	b.overConnections("Through the gateway", atMost(1.15),
		asked{"Sallyport", g.process, g.at, always(known), http.StatusOK},
		asked{"httputil.ReverseProxy", proxy, at, always(known), http.StatusOK})
}
