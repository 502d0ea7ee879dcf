package doctor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// unknownHost returns a host that no server has.
func (d *doctor) unknownHost() string { return d.marker + ".invalid" }

// homeRequest returns a request for / of the panel with this Host header.
func (p *panelTest) homeRequest(host string) request {
	return request{origin: p.Origin, host: host, path: "/", header: http.Header{"Accept": {"text/html"}}}
}

// testSpellings requests the panel's host in spellings that proxies may compare differently
// than Sallyport, and with the portal's name in TLS.
func (p *panelTest) testSpellings(ctx context.Context) {
	if !p.demandsSignIn("/") {
		return
	}
	name := nameOf(p.Origin)
	for _, host := range []string{name + ":1", strings.ToUpper(hostOf(p.Origin)), name + ".", name + "." + p.unknownHost()} {
		p.testHost(ctx, "host.mismatch", p.homeRequest(host))
	}
	sibling := p.homeRequest(hostOf(p.Origin))
	sibling.origin, sibling.via, sibling.description = p.PublicURL, p.Origin, "with the portal's name in TLS"
	if p.IsHTTPS() {
		p.testHost(ctx, "host.mismatch", sibling)
	}
}

// forUnknownHost returns the same request, to the same address, for an unknown host.
func (p *panelTest) forUnknownHost(r request) request {
	if r.via == "" {
		r.via = r.origin
	}
	scheme, _, _ := strings.Cut(p.Origin, "://")
	r.origin, r.host, r.description, r.raw = scheme+"://"+p.unknownHost(), "", "", nil
	return r
}

// testOtherHosts requests other hosts at the panel's address. Whichever site of the proxy
// answers, it must not be the panel without a check by Sallyport.
func (p *panelTest) testOtherHosts(ctx context.Context) {
	p.testHost(ctx, "host.unnamed", p.forUnknownHost(p.homeRequest("")))
	p.testHost(ctx, "host.unnamed", p.homeRequest(p.unknownHost()))
	if host := p.addressOrigin(ctx); host != "" {
		p.testHost(ctx, "host.unnamed", request{origin: host, via: p.Origin, path: "/", header: p.homeRequest("").header, description: "at the bare address"})
	}
	for _, other := range p.Panels {
		if other.Origin == p.Origin || p.hasSameAddress(ctx, other.Origin) {
			continue
		}
		for _, path := range other.Open {
			r := request{origin: other.Origin, via: p.Origin, path: p.missingPageBelow(path), description: "at the address of " + hostOf(p.Origin)}
			p.testHost(ctx, "host.other", r)
			r.origin, r.host, r.via = p.Origin, hostOf(other.Origin), ""
			p.testHost(ctx, "host.other", r)
		}
	}
}

// addressOrigin returns the panel's origin with its IP address as host, or "" if the
// name can't be resolved.
func (p *panelTest) addressOrigin(ctx context.Context) string {
	found := p.client.addresses(ctx, p.Origin)
	if len(found) == 0 {
		return ""
	}
	scheme, _, _ := strings.Cut(p.Origin, "://")
	_, port, _ := net.SplitHostPort(hostPort(p.Origin))
	return scheme + "://" + net.JoinHostPort(found[0].String(), port)
}

// hasSameAddress reports whether an origin has an IP address of the panel.
func (p *panelTest) hasSameAddress(ctx context.Context, origin string) bool {
	mine := p.client.addresses(ctx, p.Origin)
	return slices.ContainsFunc(p.client.addresses(ctx, origin), func(a netip.Addr) bool { return slices.Contains(mine, a) })
}

// testHost sends a request for another host, and adds a finding with this ID if the answer
// comes from the panel.
func (p *panelTest) testHost(ctx context.Context, id string, r request) {
	p.classifyHost(ctx, id, r, p.client.send(ctx, r))
}

// classifyHost adds a finding with this ID if a, the answer to r, comes from the panel. For an
// unknown host, or the panel's host in another spelling, another site of the proxy may answer. If
// the panel's own server is known, its answer shows whether the panel or another site answered.
func (p *panelTest) classifyHost(ctx context.Context, id string, r request, a answer) {
	_, _, refused := parseRefusal(a)
	if a.err != nil || refused || p.isSallyport(a) {
		return
	}
	if known, same := p.fromUpstream(ctx, r, a); known {
		if same && !p.isAnswerToUnknownHosts(ctx, id, r, a) {
			p.add(id, p.Origin, r, a)
		}
		return
	}
	switch {
	case a.status >= 300 || a.body == "" && a.status != http.StatusSwitchingProtocols:
		// A refusal or redirect, or an empty answer, which Caddy gives for unknown hosts.
	case id == "host.unnamed":
		p.add("host.unknown", p.Origin, r, a)
	case areAlike(a, p.client.send(ctx, p.forUnknownHost(r))), p.isAnswerToUnknownHosts(ctx, id, r, a):
		// That answer leads to the finding host.unknown.
	default:
		p.add(id, p.Origin, r, a)
	}
}

// isAnswerToUnknownHosts reports whether r is for an unknown host whose name contains the panel's
// name, and the answer a is the one that other unknown hosts get too. testOtherHosts adds the
// finding for such answers.
func (p *panelTest) isAnswerToUnknownHosts(ctx context.Context, id string, r request, a answer) bool {
	return (id == "host.joined" || id == "host.mismatch" && strings.HasSuffix(r.host, p.unknownHost())) &&
		areAlike(a, p.client.send(ctx, p.homeRequest(p.unknownHost())))
}

// fromUpstream reports whether the panel's own server gives the answer a, or one like it, to the
// same request r. known is false if that server is unknown or doesn't answer.
func (p *panelTest) fromUpstream(ctx context.Context, r request, a answer) (known, same bool) {
	if p.Upstream == "" {
		return false, false
	}
	r.host, r.origin, r.via, r.raw = hostOf(p.Origin), p.Upstream, "", nil
	own := p.client.send(ctx, r)
	return own.err == nil, areAlike(a, own)
}

// testTwoHosts sends requests that name two hosts. The proxy might serve one of them and ask
// Sallyport about the other.
func (p *panelTest) testTwoHosts(ctx context.Context) {
	if !p.demandsSignIn("/") {
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
			p.testHostPair(ctx, "Host: "+joined, rawHead{version: "1.1", hosts: []string{joined}})
			p.testHostPair(ctx, "Host: "+pair[0]+" and Host: "+pair[1], rawHead{version: "1.1", hosts: pair[:]})
			scheme, _, _ := strings.Cut(p.Origin, "://")
			p.testHostPair(ctx, "for "+pair[0]+" in the request line, Host: "+pair[1], rawHead{version: "1.1", target: scheme + "://" + pair[0] + "/", hosts: pair[1:]})
		}
	}
}

func (p *panelTest) testHostPair(ctx context.Context, called string, raw rawHead) {
	r := p.homeRequest("")
	r.raw, r.description = &raw, called
	a := p.client.send(ctx, r)
	// No site's name contains a comma. If Sallyport's answer names another panel, the proxy
	// took a part of the name. nginx is an exception: it asks about the server block that
	// serves the request, which is the default one, or that of the host before a port.
	if origin, _, refused := parseRefusal(a); refused && origin != p.Origin && strings.Contains(raw.hosts[0], ",") && p.proxyAt(p.Origin) != "nginx" {
		p.addSeen("host.joined", p.Origin, r.String(), "the gate was asked about "+origin)
		return
	}
	p.classifyHost(ctx, "host.joined", r, a)
}

// testWithoutHost sends a request with the host in the request line only, as HTTP/1.0 allows.
// In nginx, $http_host is empty then, as it is for every request over HTTP/3.
func (d *doctor) testWithoutHost(ctx context.Context, origin, path string) {
	if d.proxyAt(origin) != "nginx" {
		return
	}
	r := request{origin: origin, path: path, description: "by HTTP/1.0 without a Host line", raw: &rawHead{version: "1.0", target: origin + path}}
	a := d.client.send(ctx, r)
	// If nginx queries Sallyport by HTTP/1.1, net/http refuses the query without a host.
	if d.isSallyport(a) && a.status == http.StatusMisdirectedRequest || a.status == http.StatusBadRequest && strings.Contains(a.body, "missing required Host header") {
		d.add("host.lost", origin, r, a)
	}
}

// proxiesHost is the Host header with which proxies query Sallyport.
const proxiesHost = "sallyport"

// testVerify sends the queries that only proxies may send, about a missing page. If the answer
// is a refusal of that page, the proxy passed the query on. Sallyport answers such queries at
// the hosts of panels and at proxiesHost.
func (p *panelTest) testVerify(ctx context.Context) {
	if p.Gateway || p.missingPage() == "" {
		return
	}
	stranger := p.forUnknownHost(p.homeRequest(""))
	stranger.header = nil
	portal := request{origin: p.PublicURL}
	name := nameOf(p.PublicURL)
	atPortal := !p.hasWrongAddress(p.PublicURL)
	if atPortal {
		for _, host := range []string{"", proxiesHost, name + ":80", name + ":1", name + "."} {
			portal.host = host
			p.testVerifyAt(ctx, p.PublicURL, portal)
		}
	}
	stranger.host, stranger.description = proxiesHost, "with an unknown name in TLS"
	p.testVerifyAt(ctx, p.Origin, stranger)
	p.testVerifyAt(ctx, p.Origin, request{origin: p.Origin, host: proxiesHost})
	if p.hasFinding("forged.target", p.Origin) { // any request could be refused for the page in its headers
		return
	}
	portal.host, stranger.host = hostOf(p.Origin), hostOf(p.Origin)
	if atPortal {
		p.testVerifyAt(ctx, p.PublicURL, portal)
	}
	p.testVerifyAt(ctx, p.Origin, stranger)
	p.testVerifyAt(ctx, p.Origin, request{origin: p.Origin})
}

// testVerifyAt sends the query of nginx and, if the host is the panel's, that of Envoy.
func (p *panelTest) testVerifyAt(ctx context.Context, at string, r request) {
	page := p.missingPage() + "-verify"
	r.path = "/verify/nginx/refused"
	p.testVerifyRequest(ctx, at, r.withHeader("X-Original-URL", p.Origin+page).withHeader("X-Original-Method", "GET").withHeader("X-Real-IP", "192.0.2.1"), page)
	if host := r.host; host == hostOf(p.Origin) || host == "" && r.origin == p.Origin {
		r.path = "/verify/envoy" + page
		p.testVerifyRequest(ctx, at, r, page)
	}
}

func (p *panelTest) testVerifyRequest(ctx context.Context, at string, r request, page string) {
	a := p.client.send(ctx, r)
	if origin, asked, ok := parseRefusal(a); ok && origin == p.Origin && asked == page {
		p.addSeen("verify.reachable", at, r.String(), "the gate's answer to a proxy")
	}
}
