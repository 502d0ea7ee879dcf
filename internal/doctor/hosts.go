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
	name := nameOf(p.Origin)
	for _, host := range []string{name + ":1", strings.ToUpper(hostOf(p.Origin)), name + ".", name + "." + p.unnamed()} {
		p.tryHost(ctx, "host.mismatch", p.home(host))
	}
	sibling := p.home(hostOf(p.Origin))
	sibling.origin, sibling.via, sibling.called = p.PublicURL, p.Origin, "with the portal's name in TLS"
	if p.IsHTTPS() {
		p.tryHost(ctx, "host.mismatch", sibling)
	}
}

// nobodys is the same question at the same address for a host that nobody named.
func (p *patient) nobodys(r request) request {
	if r.via == "" {
		r.via = r.origin
	}
	scheme, _, _ := strings.Cut(p.Origin, "://")
	r.origin, r.host, r.called, r.raw = scheme+"://"+p.unnamed(), "", "", nil
	return r
}

// hosts asks at the panel's address for hosts that aren't the panel's: whichever
// site of the proxy takes those must not be the panel's without the gate.
func (p *patient) hosts(ctx context.Context) {
	p.tryHost(ctx, "host.unnamed", p.nobodys(p.home("")))
	p.tryHost(ctx, "host.unnamed", p.home(p.unnamed()))
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

// tryHost asks for another host. judgeHost notes under id what comes from the panel. A
// site of somebody else's may answer for a host that nobody named, or for the
// panel's in another spelling; only the panel's own server tells which it is.
func (p *patient) tryHost(ctx context.Context, id string, r request) {
	p.judgeHost(ctx, id, r, p.client.ask(ctx, r))
}

func (p *patient) judgeHost(ctx context.Context, id string, r request, a answer) {
	_, _, refused := refusal(a)
	if a.err != nil || refused || p.ours(a) {
		return
	}
	if known, same := p.fromUpstream(ctx, r, a); known {
		if same && !p.isUnnamed(ctx, id, r, a) {
			p.find(id, p.Origin, r, a)
		}
		return
	}
	switch {
	case a.status >= 300 || a.body == "" && a.status != http.StatusSwitchingProtocols:
		// A refusal, a way elsewhere, or a server that says nothing: Caddy.
	case id == "host.unnamed":
		p.find("host.unknown", p.Origin, r, a)
	case alike(a, p.client.ask(ctx, p.nobodys(r))), p.isUnnamed(ctx, id, r, a):
		// Which is looked at as host.unknown.
	default:
		p.find(id, p.Origin, r, a)
	}
}

// isUnnamed reports whether r is for a host that nobody named, although the panel's name
// is a part of it, and gets the same answer as all those hosts: [patient.hosts] looks at
// that.
func (p *patient) isUnnamed(ctx context.Context, id string, r request, a answer) bool {
	return (id == "host.joined" || id == "host.mismatch" && strings.HasSuffix(r.host, p.unnamed())) &&
		alike(a, p.client.ask(ctx, p.home(p.unnamed())))
}

// fromUpstream reports whether the panel's own server gives an answer like a to
// the same question, where it is known and answers.
func (p *patient) fromUpstream(ctx context.Context, r request, a answer) (known, same bool) {
	if p.Upstream == "" {
		return false, false
	}
	r.host, r.origin, r.via, r.raw = hostOf(p.Origin), p.Upstream, "", nil
	there := p.client.ask(ctx, r)
	return there.err == nil, alike(a, there)
}

// twoHosts asks for two hosts in one request, of which the proxy might serve one and ask
// the gate about the other.
func (p *patient) twoHosts(ctx context.Context) {
	if !p.closed("/") {
		return
	}
	others := []string{p.PublicURL}
	if i := slices.IndexFunc(p.Panels, func(other Panel) bool { return other.Origin != p.Origin }); i >= 0 {
		others = append(others, p.Panels[i].Origin)
	}
	mine := hostOf(p.Origin)
	for _, origin := range others {
		other := hostOf(origin)
		for _, pair := range [][2]string{{mine, other}, {other, mine}} {
			joined := pair[0] + "," + pair[1]
			p.tryTwo(ctx, "Host: "+joined, rawHead{version: "1.1", hosts: []string{joined}})
			p.tryTwo(ctx, "Host: "+pair[0]+" and Host: "+pair[1], rawHead{version: "1.1", hosts: pair[:]})
			scheme, _, _ := strings.Cut(p.Origin, "://")
			p.tryTwo(ctx, "for "+pair[0]+" in the request line, Host: "+pair[1], rawHead{version: "1.1", target: scheme + "://" + pair[0] + "/", hosts: pair[1:]})
		}
	}
}

func (p *patient) tryTwo(ctx context.Context, called string, raw rawHead) {
	r := p.home("")
	r.raw, r.called = &raw, called
	a := p.client.ask(ctx, r)
	// No site has a comma in its name: a gate that was asked about another panel got a
	// part of it. nginx asks about the server block that serves the request, whichever it
	// takes: the block of all unknown hosts, or that of the host before a port.
	if origin, _, refused := refusal(a); refused && origin != p.Origin && strings.Contains(raw.hosts[0], ",") && p.proxy(p.Origin) != "nginx" {
		p.findSeen("host.joined", p.Origin, r.String(), "the gate was asked about "+origin)
		return
	}
	p.judgeHost(ctx, "host.joined", r, a)
}

// withoutHost asks with the host in the request line only, as HTTP/1.0 allows. nginx sees
// the same of every request by HTTP/3, whose host isn't in $http_host.
func (d *doctor) withoutHost(ctx context.Context, origin, path string) {
	if d.proxy(origin) != "nginx" {
		return
	}
	r := request{origin: origin, path: path, called: "by HTTP/1.0 without a Host line", raw: &rawHead{version: "1.0", target: origin + path}}
	a := d.client.ask(ctx, r)
	// Where nginx asks by HTTP/1.1 it is net/http that refuses a request without a host.
	if d.ours(a) && a.status == http.StatusMisdirectedRequest || a.status == http.StatusBadRequest && strings.Contains(a.body, "missing required Host header") {
		d.find("host.lost", origin, r, a)
	}
}

// proxiesHost is the host that proxies ask Sallyport at.
const proxiesHost = "sallyport"

// verify asks what only proxies may ask. The question is about a page that isn't
// there; an answer that is about it came from behind the door. Sallyport answers at the
// hosts of panels and at one of its own, which no site that leads to it may pass on.
func (p *patient) verify(ctx context.Context) {
	if p.Gateway || p.page() == "" {
		return
	}
	stranger := p.nobodys(p.home(""))
	stranger.header = nil
	portal := request{origin: p.PublicURL}
	name := nameOf(p.PublicURL)
	for _, host := range []string{"", proxiesHost, name + ":80", name + ":1", name + "."} {
		portal.host = host
		p.tryVerify(ctx, p.PublicURL, portal)
	}
	stranger.host, stranger.called = proxiesHost, "with an unknown name in TLS"
	p.tryVerify(ctx, p.Origin, stranger)
	p.tryVerify(ctx, p.Origin, request{origin: p.Origin, host: proxiesHost})
	if p.found("forged.target", p.Origin) { // every page of the panel would look like it
		return
	}
	portal.host, stranger.host = hostOf(p.Origin), hostOf(p.Origin)
	p.tryVerify(ctx, p.PublicURL, portal)
	p.tryVerify(ctx, p.Origin, stranger)
	p.tryVerify(ctx, p.Origin, request{origin: p.Origin})
}

// tryVerify asks as nginx does, and where the host is the panel's as Envoy does too.
func (p *patient) tryVerify(ctx context.Context, at string, r request) {
	page := p.page() + "-verify"
	r.path = "/verify/nginx/refused"
	p.answersProxies(ctx, at, r.with("X-Original-URL", p.Origin+page).with("X-Original-Method", "GET").with("X-Real-IP", "192.0.2.1"), page)
	if host := r.host; host == hostOf(p.Origin) || host == "" && r.origin == p.Origin {
		r.path = "/verify/envoy" + page
		p.answersProxies(ctx, at, r, page)
	}
}

func (p *patient) answersProxies(ctx context.Context, at string, r request, page string) {
	a := p.client.ask(ctx, r)
	if origin, asked, ok := refusal(a); ok && origin == p.Origin && asked == page {
		p.findSeen("verify.reachable", at, r.String(), "the gate's answer to a proxy")
	}
}
