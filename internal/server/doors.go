package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/web"
)

// doors joins the portal, the panels' hosts and the gateways into one handler.
type doors struct {
	portal  http.Handler
	host    *web.PanelHost
	panels  map[string]door // by host
	proxies access.Proxies
}

// door is what answers for one panel.
type door struct {
	panel   *access.Panel
	gateway http.Handler
}

// newDoors builds the portal and what stands beside it; upstreams are the
// addresses of the panels' own servers, nil where there is none.
func newDoors(o web.Options, upstreams []*url.URL) (http.Handler, error) {
	portal, err := web.New(o)
	if err != nil || len(o.Panels) == 0 {
		return portal, err
	}
	host, err := web.NewPanelHost(o)
	if err != nil {
		return nil, err
	}
	d := &doors{portal: portal, host: host, panels: map[string]door{}, proxies: o.TrustedProxies}
	refuse := func(why web.Refusal) gateway.Refusal {
		return func(w http.ResponseWriter, r *http.Request, reason error) { host.Refuse(w, r, why, reason) }
	}
	for i, panel := range o.Panels {
		if upstreams[i] == nil {
			return nil, fmt.Errorf("panel %s has no upstream, and only the gateway serves panels so far: set upstream to the address of its own server", panel.Origin)
		}
		d.panels[panel.Host()] = door{panel, gateway.New(gateway.Options{
			Login: o.Login, Panel: panel, To: upstreams[i], Proxies: o.TrustedProxies, Log: o.Log, Now: time.Now,
			Denied: refuse(web.Denied), Down: refuse(web.PanelDown), Slow: refuse(web.PanelSlow), Unavailable: refuse(web.Unavailable),
		})}
	}
	return d, nil
}

// ServeHTTP picks the door by the host that was asked for, before any mux
// looks at the path.
func (d *doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, ok := d.panels[strings.ToLower(r.Host)]
	switch {
	case !ok:
		d.portal.ServeHTTP(w, r)
	case one.panel.HTTPS() && !d.proxies.Contain(access.Peer(r)):
		// TLS ends at a proxy that isn't named: all the world would count as
		// one address.
		d.host.Refuse(w, r, web.UntrustedProxy, nil)
	case strings.HasPrefix(r.URL.Path, access.OwnPrefix):
		d.host.ServeHTTP(w, r)
	default:
		one.gateway.ServeHTTP(w, r)
	}
}
