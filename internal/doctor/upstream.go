package doctor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// testUpstream tests whether clients can reach the panel's own server without the proxy, at
// the addresses of the panel's name and at those of this machine.
func (p *panelTest) testUpstream(ctx context.Context) {
	if p.Upstream == "" {
		p.skip("whether "+p.Origin+" can be reached around the proxy", "the URL of its own server isn't known; add --upstream")
		return
	}
	r := request{origin: p.Upstream, host: hostOf(p.Origin), path: "/", header: http.Header{"Accept": {"text/html"}}}
	own := p.client.send(ctx, r)
	if own.err != nil {
		p.skip("whether "+p.Origin+" can be reached around the proxy", "its own server doesn't answer here: "+own.String())
		return
	}
	if at, _, refused := parseRefusal(own); refused && at == p.Origin {
		r.description = "at " + p.Upstream
		p.add("upstream.loop", p.Origin, r, own)
		return
	}
	for _, origin := range p.otherAddresses(ctx, p.Upstream) {
		r := r
		r.origin, r.description = origin, "at "+hostOf(origin)
		a := p.client.send(ctx, r)
		if _, _, refused := parseRefusal(a); !refused && !p.isSallyport(a) && areAlike(a, own) {
			p.add("upstream.reachable", p.Origin, r, a)
		}
	}
}

// otherAddresses returns origins at which clients might reach the server at an origin: with
// the addresses of the portal and the panels, with its own if that is public, and with this
// machine's if the server is on this machine.
func (d *doctor) otherAddresses(ctx context.Context, origin string) []string {
	scheme, _, _ := strings.Cut(origin, "://")
	_, port, _ := net.SplitHostPort(hostPort(origin))
	own := d.client.addresses(ctx, origin)
	var all []netip.Addr
	if len(own) > 0 && own[0].IsGlobalUnicast() && !own[0].IsPrivate() {
		all = append(all, own[0])
	}
	for _, origin := range append([]string{d.PublicURL}, d.panelOrigins()...) {
		if !d.hasWrongAddress(origin) {
			all = append(all, d.client.addresses(ctx, origin)...)
		}
	}
	if len(own) == 0 || own[0].IsLoopback() || own[0].IsUnspecified() {
		all = append(all, interfaceAddresses()...)
	}
	var urls []string
	for _, addr := range all {
		url := scheme + "://" + net.JoinHostPort(addr.String(), port)
		if !slices.Contains(urls, url) && !(addr.IsLoopback() && slices.Contains(own, addr)) {
			urls = append(urls, url)
		}
	}
	return urls
}

func (d *doctor) panelOrigins() []string {
	var all []string
	for _, panel := range d.Panels {
		all = append(all, panel.Origin)
	}
	return all
}

// interfaceAddresses returns the addresses of this machine that other machines may reach.
func interfaceAddresses() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, one := range found {
		prefix, err := netip.ParsePrefix(one.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			all = append(all, prefix.Addr().Unmap())
		}
	}
	return all
}

// testMetrics tests whether clients can reach /metrics.
func (d *doctor) testMetrics(ctx context.Context) {
	all := []string{d.PublicURL}
	if d.Metrics != "" {
		all = append(all, d.otherAddresses(ctx, "http://"+d.Metrics)...)
	}
	for _, origin := range all {
		r := request{origin: origin, path: "/metrics", description: "at " + hostOf(origin)}
		if a := d.client.send(ctx, r); strings.Contains(a.body, "sallyport_") && !d.isSallyport(a) {
			d.add("metrics.reachable", d.PublicURL, r, a)
		}
	}
}

// testPortalAddress requests each panel at the portal's address, where Sallyport must check
// the request too.
func (d *doctor) testPortalAddress(ctx context.Context) {
	for i := range d.Panels {
		p := &panelTest{doctor: d, Panel: &d.Panels[i]}
		if p.demandsSignIn("/") && !p.hasSameAddress(ctx, d.PublicURL) {
			r := p.homeRequest("")
			r.via, r.description = d.PublicURL, "at the address of "+hostOf(d.PublicURL)
			p.testHost(ctx, "host.mismatch", r)
		}
	}
}
