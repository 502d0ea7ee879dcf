package doctor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

func loopback(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// direct knocks at the panel's own server where others may reach it: at the
// addresses that the panel's name leads to, and at this machine's.
func (p *patient) direct(ctx context.Context) {
	if p.Upstream == "" {
		p.skip("whether "+p.Origin+" can be reached around the proxy", "the URL of its own server isn't known; add --upstream")
		return
	}
	r := request{origin: p.Upstream, host: hostOf(p.Origin), path: "/", header: http.Header{"Accept": {"text/html"}}}
	own := p.client.ask(ctx, r)
	if own.err != nil {
		p.skip("whether "+p.Origin+" can be reached around the proxy", "its own server doesn't answer here: "+own.String())
		return
	}
	for _, at := range p.elsewhere(ctx, p.Upstream) {
		r := r
		r.origin, r.called = at, "at "+hostOf(at)
		a := p.client.ask(ctx, r)
		if _, _, refused := refusal(a); !refused && !p.ours(a) && alike(a, own) {
			p.find("upstream.reachable", p.Origin, r, a)
		}
	}
}

// elsewhere returns where a server, known by one address, might answer for
// others: the public addresses, this machine's if it is on this machine, and its
// own where that is public.
func (d *doctor) elsewhere(ctx context.Context, origin string) []string {
	scheme, _, _ := strings.Cut(origin, "://")
	_, port, _ := net.SplitHostPort(hostPort(origin))
	own := d.client.addresses(ctx, origin)
	var all []netip.Addr
	if len(own) > 0 && own[0].IsGlobalUnicast() && !own[0].IsPrivate() {
		all = append(all, own[0])
	}
	for _, at := range append([]string{d.PublicURL}, d.origins()...) {
		all = append(all, d.client.addresses(ctx, at)...)
	}
	if len(own) == 0 || own[0].IsLoopback() || own[0].IsUnspecified() {
		all = append(all, interfaces()...)
	}
	var urls []string
	for _, addr := range all {
		at := scheme + "://" + net.JoinHostPort(addr.String(), port)
		if !slices.Contains(urls, at) && !(addr.IsLoopback() && slices.Contains(own, addr)) {
			urls = append(urls, at)
		}
	}
	return urls
}

func (d *doctor) origins() []string {
	var all []string
	for _, panel := range d.Panels {
		all = append(all, panel.Origin)
	}
	return all
}

// interfaces are the addresses of this machine that others may reach.
func interfaces() []netip.Addr {
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

// metrics asks for what only the operator's own monitoring should read.
func (d *doctor) metrics(ctx context.Context) {
	all := []string{d.PublicURL}
	if d.Metrics != "" {
		all = append(all, d.elsewhere(ctx, "http://"+d.Metrics)...)
	}
	for _, at := range all {
		r := request{origin: at, path: "/metrics", called: "at " + hostOf(at)}
		if a := d.client.ask(ctx, r); strings.Contains(a.body, "sallyport_") && !d.ours(a) {
			d.find("metrics.reachable", d.PublicURL, r, a)
		}
	}
}

// strangers are hosts that the portal's address answers for: what asks there for
// a panel must come to the gate as well.
func (d *doctor) strangers(ctx context.Context) {
	for i := range d.Panels {
		p := &patient{doctor: d, Panel: &d.Panels[i]}
		if p.closed("/") && !p.sameAddress(ctx, d.PublicURL) {
			r := p.home("")
			r.via, r.called = d.PublicURL, "at the address of "+hostOf(d.PublicURL)
			p.tryHost(ctx, "host.mismatch", r)
		}
	}
}
