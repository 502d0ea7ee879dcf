package doctor

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/internal/access"
)

// What a request may reach beyond the page in its request line: other requests behind an
// upgrade, and a second resource that a header names.

// asUpgrade is a request that asks for another protocol.
func asUpgrade(r request, protocol string) request {
	r.called = "with Upgrade: " + protocol
	return r.with("Connection", "Upgrade, HTTP2-Settings").with("Upgrade", protocol).with("HTTP2-Settings", "AAMAAABkAAQAAP__")
}

// upgrades asks for other protocols than WebSocket where the gate lets strangers through.
// Only a panel that switches shows that the proxy passes them on; where no path is open,
// nobody without an account can tell.
func (p *patient) upgrades(ctx context.Context) {
	if len(p.Open) > 0 { // one open path tells
		for _, protocol := range upgrades {
			r := asUpgrade(request{origin: p.Origin, path: p.below(p.Open[0])}, protocol)
			a := p.client.ask(ctx, r)
			if a.status == http.StatusSwitchingProtocols && !p.refusedEverywhere(ctx, r, a) {
				p.find("upgrade.passed", p.Origin, r, a)
			}
		}
		return
	}
	if p.Upstream == "" || p.Gateway {
		return
	}
	for _, protocol := range upgrades {
		a := p.client.ask(ctx, asUpgrade(request{origin: p.Upstream, host: hostOf(p.Origin), path: "/"}, protocol))
		if a.status == http.StatusSwitchingProtocols {
			p.skip("whether the proxy passes Upgrade: "+protocol+" to "+p.Origin, "its own server takes it, and no path is open to strangers")
		}
	}
}

// resources asks whether the gate sees the headers that name a second resource. One at
// somebody else's host is refused to everybody, so nothing reaches the panel; a gate that
// doesn't see the header offers the sign-in. Where a panel's rules are all the same the
// gate minds no such header.
func (p *patient) resources(ctx context.Context) {
	for _, name := range resourceHeaders {
		r := request{origin: p.Origin, path: p.page(), called: "with " + name}.with(name, "https://"+p.unnamed()+"/"+p.mark)
		if _, err := p.DemandFor(access.Request{Method: r.verb(), Target: r.path, Header: r.header}); err == nil {
			return
		}
		v, a := p.judge(ctx, r)
		_, _, offered := refusal(a)
		switch {
		case v == open:
			p.find("request.open", p.Origin, r, a)
		case v == unclear:
			p.find("answer.unclear", p.Origin, r, a)
		case offered || isBare(a):
			p.find("resource.hidden", p.Origin, r, a)
		}
	}
	for _, path := range p.Open {
		// There is nothing to copy, so nothing is copied where the gate lets it through.
		r := request{method: "COPY", origin: p.Origin, path: p.below(path), called: "to " + p.page()}
		r = r.with("Destination", p.Origin+p.page()).with("Overwrite", "F").with("Depth", "0")
		if p.below(path) != path {
			p.try(ctx, "resource.hidden", r)
		}
	}
}
