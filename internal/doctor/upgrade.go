package doctor

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// A request can reach more than the page in its request line: further requests after an
// upgrade to another protocol, and a second resource that a header names.

// asUpgrade returns the request with the headers that request another protocol.
func asUpgrade(r request, protocol string) request {
	r.description = "with Upgrade: " + protocol
	return r.withHeader("Connection", "Upgrade, HTTP2-Settings").withHeader("Upgrade", protocol).withHeader("HTTP2-Settings", "AAMAAABkAAQAAP__")
}

// testUpgrades requests other protocols than WebSocket on an open path. If the panel switches to
// one of them, the proxy passes upgrades on. If no path is open, that can't be tested without an
// account.
func (p *panelTest) testUpgrades(ctx context.Context) {
	if len(p.Open) > 0 { // one open path is enough
		for _, protocol := range upgrades {
			r := asUpgrade(request{origin: p.Origin, path: p.missingPageBelow(p.Open[0])}, protocol)
			a := p.client.send(ctx, r)
			if a.status == http.StatusSwitchingProtocols && !p.isRefusedEverywhere(ctx, r, a) {
				p.add("upgrade.passed", p.Origin, r, a)
			}
		}
		return
	}
	if p.Upstream == "" || p.Gateway {
		return
	}
	for _, protocol := range upgrades {
		a := p.client.send(ctx, asUpgrade(request{origin: p.Upstream, host: hostOf(p.Origin), path: "/"}, protocol))
		if a.status == http.StatusSwitchingProtocols {
			p.skip("whether the proxy passes Upgrade: "+protocol+" to "+p.Origin, "its own server takes it, and no path is open to strangers")
		}
	}
}

// testResourceHeaders tests whether Sallyport sees the headers that name a second resource.
// It sends each with the name of a resource at a foreign host. Sallyport denies that to every
// client, so the request never reaches the panel. If Sallyport offers the sign-in instead, the
// proxy hides the header. If all paths of a panel have the same demand, Sallyport ignores these
// headers, and the test is skipped.
func (p *panelTest) testResourceHeaders(ctx context.Context) {
	for _, name := range resourceHeaders {
		r := request{origin: p.Origin, path: p.missingPage(), description: "with " + name}.withHeader(name, "https://"+p.unknownHost()+"/"+p.marker)
		if _, err := p.DemandFor(access.Request{Method: r.methodOrGet(), Target: r.path, Header: r.header}); err == nil {
			return
		}
		v, a := p.classify(ctx, r)
		_, _, offered := parseRefusal(a)
		switch {
		case v == resultExposed:
			p.add("request.open", p.Origin, r, a)
		case v == resultUnclear:
			p.add("answer.unclear", p.Origin, r, a)
		case offered || isNginx401(a):
			p.add("resource.hidden", p.Origin, r, a)
		}
	}
	for _, path := range p.Open {
		// The page doesn't exist, so an admitted request can't copy it.
		r := request{method: "COPY", origin: p.Origin, path: p.missingPageBelow(path), description: "to " + p.missingPage()}
		r = r.withHeader("Destination", p.Origin+p.missingPage()).withHeader("Overwrite", "F").withHeader("Depth", "0")
		if p.missingPageBelow(path) != path {
			p.expectRefusal(ctx, "resource.hidden", r)
		}
	}
}
