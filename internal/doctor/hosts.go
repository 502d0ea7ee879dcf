package doctor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// unnamed is a host that nobody has.
func (d *doctor) unnamed() string { return d.mark + ".invalid" }

// home is what strangers ask for to see who answers.
func (p *patient) home(host string) request {
	return request{origin: p.Origin, host: host, path: "/", header: http.Header{"Accept": {"text/html"}}}
}

// spellings asks for the panel's host as proxies may compare it otherwise than
// Sallyport does, and by another's name in TLS.
func (p *patient) spellings(ctx context.Context) {
	if !p.closed("/") {
		return
	}
	for _, host := range []string{nameOf(p.Origin) + ":1", strings.ToUpper(hostOf(p.Origin)), nameOf(p.Origin) + "."} {
		p.tryHost(ctx, "host.mismatch", p.home(host))
	}
	sibling := p.home(hostOf(p.Origin))
	sibling.origin, sibling.via, sibling.called = p.PublicURL, p.Origin, "by the portal's name in TLS"
	if p.HTTPS() {
		p.tryHost(ctx, "host.mismatch", sibling)
	}
}

// nobodys is the same question at the same address for a host that nobody named.
func (p *patient) nobodys(r request) request {
	if r.via == "" {
		r.via = r.origin
	}
	scheme, _, _ := strings.Cut(p.Origin, "://")
	r.origin, r.host, r.called = scheme+"://"+p.unnamed(), "", ""
	return r
}

// hosts asks at the panel's address for hosts that aren't the panel's: whichever
// site of the proxy takes those must not be the panel's without the gate.
func (p *patient) hosts(ctx context.Context) {
	p.tryHost(ctx, "host.unnamed", p.nobodys(p.home("")))
	if host := p.bare(ctx); host != "" {
		p.tryHost(ctx, "host.unnamed", request{origin: host, via: p.Origin, path: "/", header: p.home("").header, called: "at the bare address"})
	}
	for _, other := range p.Panels {
		if other.Origin == p.Origin || p.sameAddress(ctx, other.Origin) {
			continue
		}
		for _, path := range other.Open {
			r := request{origin: other.Origin, via: p.Origin, path: p.below(path), called: "at the address of " + hostOf(p.Origin)}
			p.tryHost(ctx, "host.other", r)
			r.origin, r.host, r.via = p.Origin, hostOf(other.Origin), ""
			p.tryHost(ctx, "host.other", r)
		}
	}
}

// bare returns the address of the panel as an origin, or "".
func (p *patient) bare(ctx context.Context) string {
	found := p.client.addresses(ctx, p.Origin)
	if len(found) == 0 {
		return ""
	}
	scheme, _, _ := strings.Cut(p.Origin, "://")
	_, port, _ := net.SplitHostPort(hostPort(p.Origin))
	return scheme + "://" + net.JoinHostPort(found[0].String(), port)
}

// sameAddress reports whether another host is served where the panel is.
func (p *patient) sameAddress(ctx context.Context, origin string) bool {
	mine := p.client.addresses(ctx, p.Origin)
	return slices.ContainsFunc(p.client.addresses(ctx, origin), func(a netip.Addr) bool { return slices.Contains(mine, a) })
}

// tryHost asks for another host and notes under id what comes from the panel. A
// site of somebody else's may answer for a host that nobody named, or for the
// panel's in another spelling; only the panel's own server tells which it is.
func (p *patient) tryHost(ctx context.Context, id string, r request) {
	a := p.client.ask(ctx, r)
	_, _, refused := refusal(a)
	if a.err != nil || refused || p.ours(a) {
		return
	}
	if known, same := p.fromUpstream(ctx, r, a); known {
		if same {
			p.find(id, p.Origin, r, a)
		}
		return
	}
	switch {
	case a.status >= 300 || a.body == "" && a.status != http.StatusSwitchingProtocols:
		// A refusal, a way elsewhere, or a server that says nothing: Caddy.
	case id == "host.unnamed":
		p.find("host.unknown", p.Origin, r, a)
	case alike(a, p.client.ask(ctx, p.nobodys(r))):
		// Which is looked at as host.unknown.
	default:
		p.find(id, p.Origin, r, a)
	}
}

// fromUpstream reports whether the panel's own server gives an answer like a to
// the same question, where it is known and answers.
func (p *patient) fromUpstream(ctx context.Context, r request, a answer) (known, same bool) {
	if p.Upstream == "" {
		return false, false
	}
	r.host, r.origin, r.via = hostOf(p.Origin), p.Upstream, ""
	there := p.client.ask(ctx, r)
	return there.err == nil, alike(a, there)
}

// verify asks what only proxies may ask. The question is about a page that isn't
// there; an answer that is about it came from behind the door.
func (p *patient) verify(ctx context.Context) {
	if p.Gateway || p.page() == "" {
		return
	}
	stranger := p.nobodys(p.home(""))
	stranger.header, stranger.called = nil, "at a host that nobody named"
	p.tryVerify(ctx, p.PublicURL, request{origin: p.PublicURL})
	p.tryVerify(ctx, p.Origin, stranger)
	if !p.found("forged.target", p.Origin) { // every page would look like it
		p.tryVerify(ctx, p.Origin, request{origin: p.Origin})
	}
}

func (p *patient) tryVerify(ctx context.Context, at string, r request) {
	page := p.page() + "-verify"
	r.path = "/verify/nginx/refused"
	p.answersProxies(ctx, at, r.with("X-Original-URL", p.Origin+page).with("X-Original-Method", "GET").with("X-Real-IP", "192.0.2.1"), page)
	r.path, r.host = "/verify/envoy"+page, hostOf(p.Origin)
	p.answersProxies(ctx, at, r, page)
}

func (p *patient) answersProxies(ctx context.Context, at string, r request, page string) {
	a := p.client.ask(ctx, r)
	if origin, asked, ok := refusal(a); ok && origin == p.Origin && asked == page {
		p.findSeen("verify.reachable", at, r.String(), "the gate's answer to a proxy")
	}
}
