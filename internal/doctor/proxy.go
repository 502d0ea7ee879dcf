package doctor

import (
	"context"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// Proxies returns the names of the proxies for which doctor has fixes. "sallyport" means that
// there is no proxy in front.
func Proxies() []string {
	return []string{"nginx", "caddy", "haproxy", "traefik", "envoy", "apache", "sallyport"}
}

// proxyNames are the texts by which proxies name themselves in Server and Via, in lower case.
var proxyNames = []struct{ text, proxy string }{
	{"caddy", "caddy"}, {"nginx", "nginx"}, {"openresty", "nginx"}, {"angie", "nginx"}, {"envoy", "envoy"}, {"apache", "apache"}, {"haproxy", "haproxy"}, {"traefik", "traefik"},
}

// recognise records which proxy answers at an origin. It finds out by the headers Server and
// Via, or by the answers to a malformed request and to an unknown host.
func (d *doctor) recognise(ctx context.Context, origin string) {
	if d.Proxy != "" {
		d.report.Proxies[origin] = d.Proxy
		return
	}
	a := d.client.send(ctx, request{origin: origin, path: access.OwnPrefix + d.marker})
	if a.err != nil {
		return
	}
	headers := strings.ToLower(strings.Join(a.header.Values("Via"), " ") + " " + a.header.Get("Server"))
	for _, one := range proxyNames {
		if strings.Contains(headers, one.text) {
			d.report.Proxies[origin] = one.proxy
			return
		}
	}
	refusal := d.client.sendMalformed(ctx, origin)
	unknown := d.client.send(ctx, request{origin: origin, host: d.unknownHost(), path: "/"})
	switch {
	case strings.Contains(refusal, "Your browser sent an invalid request."):
		d.report.Proxies[origin] = "haproxy"
	case strings.TrimSpace(unknown.body) == "404 page not found":
		d.report.Proxies[origin] = "traefik"
	case d.isSallyport(unknown):
		d.report.Proxies[origin] = "sallyport"
	}
}

// proxyAt returns the proxy at an origin, or "".
func (d *doctor) proxyAt(origin string) string { return d.report.Proxies[origin] }
