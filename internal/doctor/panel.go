package doctor

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// patient is a panel that is looked at.
type patient struct {
	*doctor
	*Panel
	routed bool // /.sallyport/ leads to Sallyport
}

// panel looks at a panel's host from everywhere.
func (d *doctor) panel(ctx context.Context, panel *Panel) {
	p := &patient{doctor: d, Panel: panel}
	d.recognise(ctx, p.Origin)
	if p.Shared {
		d.findSeen("host.shared", p.Origin, "the configuration", "shared_host")
	}
	own := request{origin: p.Origin, path: access.OwnPrefix + "session.js"}
	a := d.client.ask(ctx, own)
	if d.wrongScheme(ctx, own, a) {
		return
	}
	if a.err != nil {
		d.unreachable(own, a)
		return
	}
	if line := d.untrusted(a); line != "" {
		d.findLine("proxy.untrusted", p.Origin, own, a, line)
		return
	}
	p.routed = a.status == http.StatusOK && d.ours(a)
	d.everyAddress(ctx, own)
	if d.up && isGatewayError(a) {
		d.find("sallyport.unreached", p.Origin, own, a)
		return // so the gate is silent too
	}
	if !p.routed {
		d.find("sallyport.unrouted", p.Origin, own, a)
	}
	d.transport(ctx, p.Origin, own, a)
	if p.routed {
		p.cookie(ctx)
		p.withoutHost(ctx, p.Origin, own.path)
	}
	guarded, answers := p.guarded(ctx)
	if guarded {
		p.addresses(ctx)
		p.paths(ctx)
		p.ways(ctx)
		p.forgeries(ctx)
		p.spellings(ctx)
		p.twoHosts(ctx)
		p.resources(ctx)
	}
	if !answers {
		return
	}
	p.identities(ctx)
	p.upgrades(ctx)
	p.hosts(ctx)
	p.verify(ctx)
	p.direct(ctx)
}

// closed reports whether a path demands a sign-in, so that the gate must refuse.
func (p *Panel) closed(path string) bool {
	demand, ok := p.DemandOf(path)
	return !ok || demand.Requirement != access.Public
}

// page returns the path of a page that isn't there and that demands a sign-in, or
// "" where its rules open everything.
func (p *patient) page() string {
	for _, folder := range append([]string{"/"}, p.Rules...) {
		if strings.HasSuffix(folder, "/") && p.closed(folder+p.mark) {
			return folder + p.mark
		}
	}
	return ""
}

// guarded reports whether the gate refuses a page that isn't there, so that it is
// worth while to ask for ways around it, and whether anything answers at all:
// proxies take long to say that their gate doesn't.
func (p *patient) guarded(ctx context.Context) (guarded, answers bool) {
	r := request{origin: p.Origin, path: p.page()}
	if r.path == "" {
		p.skip("what is closed at "+p.Origin, "its rules open every path")
		return false, true
	}
	v, a := p.judge(ctx, r)
	_, _, refused := refusal(a)
	switch {
	case v == open:
		p.find("gate.absent", p.Origin, r, a)
		return false, true
	case v == unclear || a.err != nil || p.ours(a) && a.status >= 500:
		p.find("gate.silent", p.Origin, r, a)
		return false, false
	case !refused:
		p.find("gate.refuses", p.Origin, r, a) // but a forged header may make it admit
		return true, true
	}
	r.header, r.called = asPerson(), "as a browser goes to a page"
	if a := p.client.ask(ctx, r); a.status != http.StatusSeeOther {
		p.find("gate.refuses", p.Origin, r, a)
	}
	return true, true
}

// addresses asks at each address that the panel's name leads to, since one of IPv6
// or of a second machine may have another listener.
func (p *patient) addresses(ctx context.Context) {
	scheme, _, _ := strings.Cut(p.Origin, "://")
	_, port, _ := net.SplitHostPort(p.client.led(hostPort(p.Origin)))
	for _, addr := range p.client.addresses(ctx, p.Origin) {
		at := net.JoinHostPort(addr.String(), port)
		if slices.Contains(p.dead, at) {
			continue
		}
		p.try(ctx, "gate.absent", request{origin: p.Origin, via: scheme + "://" + at, path: p.page(), called: "at " + at})
	}
}

// try asks for what must be refused, and notes it under id where it isn't.
func (p *patient) try(ctx context.Context, id string, r request) {
	v, a := p.judge(ctx, r)
	switch v {
	case open:
		p.find(id, p.Origin, r, a)
	case unclear:
		p.find("answer.unclear", p.Origin, r, a)
	case closed:
		if isBare(a) {
			p.find("path.deadend", p.Origin, r, a)
		}
		p.echo(r, a)
	}
}

// echo notes where the gate was asked about another page than was asked for.
func (p *patient) echo(r request, a answer) {
	origin, page, refused := refusal(a)
	if !refused || r.path != p.page() || r.verb() != http.MethodGet {
		return
	}
	if origin != p.Origin || page != r.path {
		p.findSeen("forged.target", p.Origin, r.String(), "the gate was asked about "+origin+page)
	}
}

// paths asks for what proxies often treat on its own: whoever exempted it from
// the gate has exempted it for strangers too.
func (p *patient) paths(ctx context.Context) {
	for _, path := range p.those() {
		if !p.closed(path) {
			continue
		}
		r := request{origin: p.Origin, path: path}
		p.try(ctx, "path.open", r)
		if !strings.Contains(path, ".") {
			p.try(ctx, "websocket.open", asWebSocket(r))
		}
	}
}

// those are the paths that are asked for: of the operator, of the rules, and
// of many proxies' configurations.
func (p *patient) those() []string {
	all := append([]string{"/"}, p.Paths...)
	for _, rule := range p.Rules {
		all = append(all, p.below(rule))
	}
	for _, path := range usualPaths {
		all = append(all, p.below(path))
	}
	for _, ending := range usualEndings {
		all = append(all, p.page()+ending)
	}
	// As our own prefix, or as nothing, to whoever resolves in another order.
	return append(all, "/"+p.page(), "/."+p.page(), "/.sallyport/.."+p.page(), "/.sallyport/%2e%2e"+p.page(), "/.SALLYPORT"+p.page())
}

// below returns a path that isn't there below one that ends in a slash.
func (p *patient) below(path string) string {
	if strings.HasSuffix(path, "/") && path != "/" {
		return path + p.mark
	}
	return path
}

func asWebSocket(r request) request {
	r.called = "as a WebSocket"
	for _, h := range [][2]string{
		{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "c2FsbHlwb3J0LWRvY3Rvcg=="},
	} {
		r = r.with(h[0], h[1])
	}
	return r
}

// ways asks for one page by every method, and as everything that proxies let
// through. The page isn't there, so nothing can happen to it.
func (p *patient) ways(ctx context.Context) {
	page := request{origin: p.Origin, path: p.page()}
	for _, method := range methods {
		r := page
		r.method = method
		p.try(ctx, "method.open", r)
	}
	head := page
	head.method, head.header = http.MethodHead, asPerson() // its refusal must fit into headers
	p.try(ctx, "method.open", head)
	if pre := preflight(page); !p.IsOpenPreflight(pre.method, pre.path, pre.header) {
		p.try(ctx, "method.open", pre)
	}
	for _, w := range strangeWays {
		r := page
		r.called = w.called
		for _, h := range w.headers {
			r = r.with(h[0], h[1])
		}
		p.try(ctx, "request.open", r)
	}
}

func preflight(r request) request {
	r.method, r.called = http.MethodOptions, "as a CORS preflight"
	return r.with("Origin", "https://elsewhere.invalid").with("Access-Control-Request-Method", "GET")
}

// forgeries asks for a page with headers by which a proxy might ask the gate
// about another one: one that isn't there, or one that a rule opens.
func (p *patient) forgeries(ctx context.Context) {
	page := request{origin: p.Origin, path: p.page()}
	targets := []request{{origin: p.Origin, path: p.page() + "-forged"}}
	if i := slices.IndexFunc(p.Panels, func(other Panel) bool { return other.Origin != p.Origin }); i >= 0 {
		targets = append(targets, request{origin: p.Panels[i].Origin, path: p.page() + "-forged"})
	}
	for _, panel := range p.Panels {
		for _, path := range panel.Open {
			targets = append(targets, request{origin: panel.Origin, path: p.below(path)})
		}
	}
	for _, to := range targets {
		for _, f := range forged(to) {
			p.try(ctx, "forged.target", page.withAll(f))
		}
		if p.found("forged.target", p.Origin) {
			continue
		}
		all := claims(to)
		r := page.withAll(all)
		r.called = "with every header by which proxies name a page"
		p.try(ctx, "forged.target", r)
		if p.found("forged.target", p.Origin) { // then say which
			for _, one := range all {
				p.try(ctx, "forged.target", page.withAll([][2]string{one}))
			}
		}
	}
}

// withAll returns the request with more headers, which also say what it is called.
func (r request) withAll(headers [][2]string) request {
	r.called = "with"
	for _, h := range headers {
		r = r.with(h[0], h[1])
		r.called += " " + h[0] + ": " + h[1]
	}
	return r
}

// identities says who is there in the panel's own words. Behind another proxy the
// gate refuses whoever does; the gateway replaces what it gets.
func (p *patient) identities(ctx context.Context) {
	if p.Gateway {
		return
	}
	for _, path := range p.Open {
		r := request{origin: p.Origin, path: p.below(path)}
		plain := p.client.ask(ctx, r)
		if _, _, refused := refusal(plain); plain.err != nil || refused || p.ours(plain) {
			p.skip("identity headers at "+p.Origin+r.path, "no panel answers there: "+plain.String())
			continue
		}
		for _, name := range p.identityNames() {
			forged := r.with(name, p.mark)
			forged.called = "with " + name
			a := p.client.ask(ctx, forged)
			denied := a.status == http.StatusForbidden || a.status == http.StatusBadRequest
			if a.err == nil && !p.ours(a) && (!denied || a.status == plain.status) {
				p.find("identity.forged", p.Origin, forged, a)
			}
		}
		return // one open path tells
	}
	if p.page() == "" {
		return
	}
	forged := request{origin: p.Origin, path: p.page(), called: "with " + access.UserHeader}.with(access.UserHeader, p.mark)
	if a := p.client.ask(ctx, forged); a.status == http.StatusUnauthorized {
		p.find("identity.hidden", p.Origin, forged, a)
	}
}

// identityNames are the identity headers, and how CGI, WSGI and PHP would spell
// them. nginx drops the latter by itself, and has passed them to the gate where
// it was told to keep them.
func (p *patient) identityNames() []string {
	all := access.IdentityHeaders()
	if p.proxy(p.Origin) == "nginx" {
		return all
	}
	for _, name := range access.IdentityHeaders() {
		all = append(all, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."))
	}
	return all
}
