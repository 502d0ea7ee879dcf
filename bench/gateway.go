package main

import (
	"net/http"
	"strings"
)

// page is the answer of the panel that is behind both the gateway and the bare reverse proxy.
var page = bareServer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: strings.Repeat("<p>rack</p>\n", 100)}

// form is the body that a browser posts to the panel.
var form = "note=" + strings.Repeat("x", kB-len("note="))

// measureGateway compares the gateway, which gets requests with a valid visit, with a reverse
// proxy that forwards everything to the same panel. The panel runs on the load's cores.
func measureGateway(b *bench) {
	_, panel := b.startBare(b.cores.load, page)
	g, _ := b.withAda(panel)
	visit := g.visit(gatewayPanel)
	proxy, at := b.startBare(b.cores.server, bareServer{Panel: "http://" + panel})
	beside := func(request []byte) []endpoint {
		return []endpoint{
			{"Sallyport", g.process, g.at, always(request), http.StatusOK},
			{"httputil.ReverseProxy", proxy, at, always(request), http.StatusOK},
		}
	}
	get := beside(request("/rack?a=b", "gate.test", "Cookie", visit, "Accept", "text/html"))
	b.settle(get[0])
	b.overConnections("Through the gateway", "", map[int]*target{1: atMost(1.10), 16: atMost(1.10), 64: atMost(1.10)}, get...)
	b.overConnections("Through the gateway, POST of 1 kB", "post-", nil,
		beside(requestWith(http.MethodPost, "/rack?a=b", "gate.test", form, "Cookie", visit, "Accept", "text/html",
			"Origin", gatewayPanel, "Content-Type", "application/x-www-form-urlencoded"))...)
}
