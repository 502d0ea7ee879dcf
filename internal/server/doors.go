package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/forwardauth"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/web"
)

// doors joins the portal, the panels' hosts and the gateways into one handler.
type doors struct {
	portal  http.Handler
	at      string // the portal's host
	host    *web.PanelHost
	verify  http.Handler    // what other proxies ask
	panels  map[string]door // by host
	proxies access.Proxies
}

// door is what answers for one panel.
type door struct {
	panel   *access.Panel
	gateway http.Handler // nil where another proxy serves the panel
}

// newDoors builds the portal and what stands beside it; upstreams are the
// addresses of the panels' own servers, nil where there is none. Streams end
// when ending is closed.
func newDoors(o web.Options, upstreams []*url.URL, ending <-chan struct{}) (http.Handler, error) {
	portal, err := web.New(o)
	if err != nil || len(o.Panels) == 0 {
		return portal, err
	}
	host, err := web.NewPanelHost(o)
	if err != nil {
		return nil, err
	}
	_, at, _ := strings.Cut(o.PublicURL, "://")
	at, _, _ = strings.Cut(at, "/")
	d := &doors{portal: portal, at: at, host: host, panels: map[string]door{}, proxies: o.TrustedProxies}
	refuse := func(why web.Refusal) func(http.ResponseWriter, *http.Request, error) {
		return func(w http.ResponseWriter, r *http.Request, reason error) { host.Refuse(w, r, why, reason) }
	}
	names := map[string]*access.Panel{}
	d.verify = forwardauth.New(forwardauth.Options{
		Login: o.Login, Panel: func(host string) *access.Panel { return names[host] }, Proxies: o.TrustedProxies,
		Begin: host.Begin, Denied: refuse(web.Denied), Unavailable: refuse(web.Unavailable),
	})
	for i, panel := range o.Panels {
		if upstreams[i] == nil {
			name, err := access.CanonicalHost(panel.Host())
			if err != nil {
				return nil, fmt.Errorf("panel %s: %w", panel.Origin, err)
			}
			names[name] = panel
			d.panels[panel.Host()] = door{panel: panel}
			continue
		}
		d.panels[panel.Host()] = door{panel, gateway.New(gateway.Options{
			Login: o.Login, Panel: panel, To: upstreams[i], Proxies: o.TrustedProxies, Log: o.Log, Now: time.Now, Ending: ending,
			Begin: func(w http.ResponseWriter, r *http.Request, refused error) {
				host.Begin(w, r, panel, r.Method, r.RequestURI, refused)
			},
			Denied: refuse(web.Denied), Down: refuse(web.PanelDown), Slow: refuse(web.PanelSlow), Unavailable: refuse(web.Unavailable),
		})}
	}
	return d, nil
}

// ServeHTTP picks the door by the host that was asked for, before any mux
// looks at the path.
func (d *doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := strings.ToLower(r.Host)
	one, ok := d.panels[host]
	switch {
	case strings.HasPrefix(r.URL.Path, forwardauth.Prefix) && host != d.at && one.gateway == nil:
		d.verify.ServeHTTP(w, r)
	case !ok:
		d.portal.ServeHTTP(w, r)
	case one.panel.HTTPS() && !d.proxies.Private(r):
		d.host.Refuse(w, r, web.UntrustedProxy, nil)
	case one.panel.Shared && strings.HasPrefix(r.URL.Path, access.OwnPrefix):
		d.portal.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, access.OwnPrefix):
		d.host.ServeHTTP(w, r)
	case one.gateway == nil:
		d.host.Refuse(w, r, web.Denied, errors.New("another proxy serves this panel, and sends only /.sallyport/ here"))
	default:
		one.gateway.ServeHTTP(w, r)
	}
}
