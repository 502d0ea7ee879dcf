package doctor

import (
	"context"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// Proxies are those that doctor has lines for. "sallyport" is none in front.
func Proxies() []string {
	return []string{"nginx", "caddy", "haproxy", "traefik", "envoy", "apache", "sallyport"}
}

// signs are what proxies say of themselves in Server and Via, in small letters.
var signs = []struct{ text, proxy string }{
	{"caddy", "caddy"}, {"nginx", "nginx"}, {"openresty", "nginx"}, {"angie", "nginx"}, {"envoy", "envoy"}, {"apache", "apache"}, {"haproxy", "haproxy"}, {"traefik", "traefik"},
}

// recognise notes which proxy answers at an origin, by what it says of itself or
// by how it says no to what is no request.
func (d *doctor) recognise(ctx context.Context, origin string) {
	if d.Proxy != "" {
		d.report.Proxies[origin] = d.Proxy
		return
	}
	a := d.client.ask(ctx, request{origin: origin, path: access.OwnPrefix + d.mark})
	if a.err != nil {
		return
	}
	said := strings.ToLower(strings.Join(a.header.Values("Via"), " ") + " " + a.header.Get("Server"))
	for _, sign := range signs {
		if strings.Contains(said, sign.text) {
			d.report.Proxies[origin] = sign.proxy
			return
		}
	}
	no := d.client.malformed(ctx, origin)
	elsewhere := d.client.ask(ctx, request{origin: origin, host: d.unnamed(), path: "/"})
	switch {
	case strings.Contains(no, "Your browser sent an invalid request."):
		d.report.Proxies[origin] = "haproxy"
	case strings.TrimSpace(elsewhere.body) == "404 page not found":
		d.report.Proxies[origin] = "traefik"
	case d.ours(elsewhere):
		d.report.Proxies[origin] = "sallyport"
	}
}

// proxy returns the proxy at an origin, or "".
func (d *doctor) proxy(origin string) string { return d.report.Proxies[origin] }
