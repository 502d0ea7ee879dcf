package doctor

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// panelTest is the test of one panel.
type panelTest struct {
	*doctor
	*Panel
	routed bool // requests below /.sallyport/ on the panel's host reach Sallyport
}

// testPanel tests a panel.
func (d *doctor) testPanel(ctx context.Context, panel *Panel) {
	p := &panelTest{doctor: d, Panel: panel}
	d.recognise(ctx, p.Origin)
	if p.Shared {
		d.addSeen("host.shared", p.Origin, "the configuration", "shared_host")
	}
	own := request{origin: p.Origin, path: access.OwnPrefix + "session.js"}
	a := d.client.send(ctx, own)
	if d.hasWrongScheme(ctx, own, a) || p.isElsewhere(ctx, a) {
		return
	}
	if a.err != nil {
		d.addUnreachable(own, a)
		return
	}
	if line := d.trustedProxiesLine(a); line != "" {
		d.addWithFix("proxy.untrusted", p.Origin, own, a, line)
		return
	}
	p.routed = a.status == http.StatusOK && d.isSallyport(a)
	d.testEveryAddress(ctx, own)
	if d.serverUp && isGatewayError(a) {
		d.add("sallyport.unreached", p.Origin, own, a)
		return // the other tests would only fail for the same reason
	}
	if !p.routed {
		d.add("sallyport.unrouted", p.Origin, own, a)
	}
	d.testTransport(ctx, p.Origin, own, a)
	if p.routed {
		p.testCookie(ctx)
		p.testWithoutHost(ctx, p.Origin, own.path)
	}
	guarded, answers := p.isGuarded(ctx)
	if guarded {
		p.testAddresses(ctx)
		p.testPaths(ctx)
		p.testVariants(ctx)
		p.testForgedTargets(ctx)
		p.testSpellings(ctx)
		p.testTwoHosts(ctx)
		p.testResourceHeaders(ctx)
	}
	if !answers {
		return
	}
	p.testIdentityHeaders(ctx)
	p.testUpgrades(ctx)
	p.testOtherHosts(ctx)
	p.testVerify(ctx)
	p.testUpstream(ctx)
}

// demandsSignIn reports whether a path demands a sign-in, so that Sallyport must refuse
// clients without a session.
func (p *Panel) demandsSignIn(path string) bool {
	demand, ok := p.DemandOf(path)
	return !ok || demand.Requirement != access.Public
}

// missingPage returns the path of a page that doesn't exist and demands a sign-in, or "" if
// the panel's rules open every path.
func (p *panelTest) missingPage() string {
	for _, folder := range append([]string{"/"}, p.Rules...) {
		if strings.HasSuffix(folder, "/") && p.demandsSignIn(folder+p.marker) {
			return folder + p.marker
		}
	}
	return ""
}

// isGuarded reports whether Sallyport refuses a missing page; only then is it worth testing
// for ways around Sallyport. answers is false if the proxy gets no answer from it: further
// requests would each wait for the proxy's timeout.
func (p *panelTest) isGuarded(ctx context.Context) (guarded, answers bool) {
	r := request{origin: p.Origin, path: p.missingPage()}
	if r.path == "" {
		p.skip("what is closed at "+p.Origin, "its rules open every path")
		return false, true
	}
	v, a := p.classify(ctx, r)
	_, _, refused := parseRefusal(a)
	switch {
	case v == resultExposed:
		p.add("gate.absent", p.Origin, r, a)
		return false, true
	case v == resultUnclear || a.err != nil || p.isSallyport(a) && a.status >= 500:
		p.add("gate.silent", p.Origin, r, a)
		return false, false
	case !refused:
		p.add("gate.refuses", p.Origin, r, a) // it refuses, but forged headers may still make it admit a request
		return true, true
	}
	r.header, r.description = navigationHeader(), "as a browser goes to a page"
	if a := p.client.send(ctx, r); a.status != http.StatusSeeOther {
		p.add("gate.refuses", p.Origin, r, a)
	}
	return true, true
}

// testAddresses sends a request to each address of the panel's name. One of them, for example
// an IPv6 address or that of a second machine, may have another listener.
func (p *panelTest) testAddresses(ctx context.Context) {
	scheme, _, _ := strings.Cut(p.Origin, "://")
	_, port, _ := net.SplitHostPort(p.client.dialAddress(hostPort(p.Origin)))
	for _, addr := range p.client.addresses(ctx, p.Origin) {
		address := net.JoinHostPort(addr.String(), port)
		if slices.Contains(p.deadAddresses, address) {
			continue
		}
		p.expectRefusal(ctx, "gate.absent", request{origin: p.Origin, via: scheme + "://" + address, path: p.missingPage(), description: "at " + address})
	}
}

// expectRefusal sends a request that Sallyport must refuse, and adds a finding with this ID
// if it doesn't.
func (p *panelTest) expectRefusal(ctx context.Context, id string, r request) {
	v, a := p.classify(ctx, r)
	switch v {
	case resultExposed:
		p.add(id, p.Origin, r, a)
	case resultUnclear:
		p.add("answer.unclear", p.Origin, r, a)
	case resultRefused:
		if isNginx401(a) {
			p.add("path.deadend", p.Origin, r, a)
		}
		p.checkTarget(r, a)
	}
}

// checkTarget adds a finding if a refusal shows that the proxy asked Sallyport about another
// page than that of the request.
func (p *panelTest) checkTarget(r request, a answer) {
	origin, page, refused := parseRefusal(a)
	if !refused || r.path != p.missingPage() || r.methodOrGet() != http.MethodGet {
		return
	}
	if origin != p.Origin || page != r.path {
		p.addSeen("forged.target", p.Origin, r.String(), "the gate was asked about "+origin+page)
	}
}

// testPaths requests the paths that configurations of proxies often exempt from the check.
func (p *panelTest) testPaths(ctx context.Context) {
	for _, path := range p.pathsToTest() {
		if !p.demandsSignIn(path) {
			continue
		}
		r := request{origin: p.Origin, path: path}
		p.expectRefusal(ctx, "path.open", r)
		if !strings.Contains(path, ".") {
			p.expectRefusal(ctx, "websocket.open", asWebSocket(r))
		}
	}
}

// pathsToTest returns the operator's paths, those of the panel's rules, and the usual ones.
func (p *panelTest) pathsToTest() []string {
	all := append([]string{"/"}, p.Paths...)
	for _, rule := range p.Rules {
		all = append(all, p.missingPageBelow(rule))
	}
	for _, path := range usualPaths {
		all = append(all, p.missingPageBelow(path))
	}
	for _, ending := range usualEndings {
		all = append(all, p.missingPage()+ending)
	}
	// Paths that a proxy may take for one below /.sallyport/, or may resolve differently than
	// the panel.
	return append(all, "/"+p.missingPage(), "/."+p.missingPage(), "/.sallyport/.."+p.missingPage(), "/.sallyport/%2e%2e"+p.missingPage(), "/.SALLYPORT"+p.missingPage())
}

// missingPageBelow returns a missing page below a path that ends in a slash, and any other
// path unchanged.
func (p *panelTest) missingPageBelow(path string) string {
	if strings.HasSuffix(path, "/") && path != "/" {
		return path + p.marker
	}
	return path
}

func asWebSocket(r request) request {
	r.description = "as a WebSocket"
	for _, h := range [][2]string{
		{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "c2FsbHlwb3J0LWRvY3Rvcg=="},
	} {
		r = r.withHeader(h[0], h[1])
	}
	return r
}

// testVariants requests a missing page with each of the methods to test, and with the headers for
// which configurations of proxies make exceptions.
func (p *panelTest) testVariants(ctx context.Context) {
	page := request{origin: p.Origin, path: p.missingPage()}
	for _, method := range methods {
		r := page
		r.method = method
		p.expectRefusal(ctx, "method.open", r)
	}
	head := page
	head.method, head.header = http.MethodHead, navigationHeader() // HEAD: the refusal must be recognisable without a body
	p.expectRefusal(ctx, "method.open", head)
	if pre := preflight(page); !p.IsOpenPreflight(pre.method, pre.path, pre.header) {
		p.expectRefusal(ctx, "method.open", pre)
	}
	for _, w := range requestVariants {
		r := page
		r.description = w.description
		for _, h := range w.headers {
			r = r.withHeader(h[0], h[1])
		}
		p.expectRefusal(ctx, "request.open", r)
	}
}

func preflight(r request) request {
	r.method, r.description = http.MethodOptions, "as a CORS preflight"
	return r.withHeader("Origin", "https://elsewhere.invalid").withHeader("Access-Control-Request-Method", "GET")
}

// testForgedTargets requests a page with headers that may make a proxy ask Sallyport about
// another page: one that doesn't exist, or one that a rule opens.
func (p *panelTest) testForgedTargets(ctx context.Context) {
	page := request{origin: p.Origin, path: p.missingPage()}
	targets := []request{{origin: p.Origin, path: p.missingPage() + "-forged"}}
	if i := slices.IndexFunc(p.Panels, func(other Panel) bool { return other.Origin != p.Origin }); i >= 0 {
		targets = append(targets, request{origin: p.Panels[i].Origin, path: p.missingPage() + "-forged"})
	}
	for _, panel := range p.Panels {
		for _, path := range panel.Open {
			targets = append(targets, request{origin: panel.Origin, path: p.missingPageBelow(path)})
		}
	}
	for _, to := range targets {
		for _, f := range forgedHeaders(to) {
			p.expectRefusal(ctx, "forged.target", page.withHeaders(f))
		}
		if p.hasFinding("forged.target", p.Origin) {
			continue
		}
		all := targetHeaders(to)
		r := page.withHeaders(all)
		r.description = "with every header by which proxies name a page"
		p.expectRefusal(ctx, "forged.target", r)
		if p.hasFinding("forged.target", p.Origin) { // find out which of them
			for _, one := range all {
				p.expectRefusal(ctx, "forged.target", page.withHeaders([][2]string{one}))
			}
		}
	}
}

// withHeaders returns the request with more headers, which its description names.
func (r request) withHeaders(headers [][2]string) request {
	r.description = "with"
	for _, h := range headers {
		r = r.withHeader(h[0], h[1])
		r.description += " " + h[0] + ": " + h[1]
	}
	return r
}

// testIdentityHeaders sends identity headers that only Sallyport may set. Behind another proxy
// Sallyport refuses requests that have them. The gateway replaces them, so it needs no test.
func (p *panelTest) testIdentityHeaders(ctx context.Context) {
	if p.Gateway {
		return
	}
	for _, path := range p.Open {
		r := request{origin: p.Origin, path: p.missingPageBelow(path)}
		plain := p.client.send(ctx, r)
		if _, _, refused := parseRefusal(plain); plain.err != nil || refused || p.isSallyport(plain) {
			p.skip("identity headers at "+p.Origin+r.path, "no panel answers there: "+plain.String())
			continue
		}
		for _, name := range p.identityHeaderNames() {
			forged := r.withHeader(name, p.marker)
			forged.description = "with " + name
			a := p.client.send(ctx, forged)
			denied := a.status == http.StatusForbidden || a.status == http.StatusBadRequest
			if a.err == nil && !p.isSallyport(a) && (!denied || a.status == plain.status) {
				p.add("identity.forged", p.Origin, forged, a)
			}
		}
		return // one open path is enough
	}
	if p.missingPage() == "" {
		return
	}
	forged := request{origin: p.Origin, path: p.missingPage(), description: "with " + access.UserHeader}.withHeader(access.UserHeader, p.marker)
	if a := p.client.send(ctx, forged); a.status == http.StatusUnauthorized {
		p.add("identity.hidden", p.Origin, forged, a)
	}
}

// identityHeaderNames returns the identity headers, and other spellings that CGI, WSGI and PHP
// take for the same headers. nginx needs no test of these spellings: by default it drops such
// headers, and otherwise it passes them to Sallyport.
func (p *panelTest) identityHeaderNames() []string {
	all := access.IdentityHeaders()
	if p.proxyAt(p.Origin) == "nginx" {
		return all
	}
	for _, name := range access.IdentityHeaders() {
		all = append(all, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."))
	}
	return all
}
