package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/forwardauth"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/web"
)

// doors joins the portal, the panels' hosts and the gateways into one handler.
type doors struct {
	portal    http.Handler
	name      string // the portal's canonical host
	host      *web.PanelHost
	verify    http.Handler    // what other proxies ask
	panels    map[string]door // by canonical host
	proxies   access.Proxies
	maxHeader int // bytes
}

// door is what answers for one panel.
type door struct {
	panel   *access.Panel
	gateway http.Handler // nil where another proxy serves the panel
}

// limits are those of a server's requests.
type limits struct {
	maxHeader int             // bytes of all headers of a request
	ending    <-chan struct{} // closed when the server stops: streams end
}

// newDoors builds the portal and what stands beside it; each upstream is that of the
// panel at its place. inForce returns the panel that the gateway serves now at an origin,
// or nil.
func newDoors(o web.Options, upstreams []upstream, l limits, inForce func(origin string) *access.Panel) (*doors, error) {
	portal, err := web.New(o)
	if err != nil {
		return nil, err
	}
	host, err := web.NewPanelHost(o)
	if err != nil {
		return nil, err
	}
	_, at, _ := strings.Cut(o.PublicURL, "://")
	at, _, _ = strings.Cut(at, "/")
	name, err := access.CanonicalHost(at)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	d := &doors{portal: portal, name: name, host: host, panels: map[string]door{}, proxies: o.TrustedProxies, maxHeader: l.maxHeader}
	refuse := func(why web.Refusal) func(http.ResponseWriter, *http.Request, error) {
		return func(w http.ResponseWriter, r *http.Request, reason error) { host.Refuse(w, r, why, reason) }
	}
	d.verify = forwardauth.New(forwardauth.Options{
		Login: o.Login, Panel: d.panelOfProxy, Proxies: o.TrustedProxies, MaxHeader: l.maxHeader,
		Begin: host.Begin, Moved: host.Moved, PanelRefused: host.PanelRefused,
		Denied: refuse(web.Denied), HeadersTooLong: refuse(web.HeadersTooLong), Unavailable: refuse(web.Unavailable),
	})
	for i, panel := range o.Panels {
		name, err := access.CanonicalHost(panel.Host())
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", panel.Origin, err)
		}
		up := upstreams[i]
		if up.to == nil {
			d.panels[name] = door{panel: panel}
			continue
		}
		d.panels[name] = door{panel, gateway.New(gateway.Options{
			Login: o.Login, Panel: panel, To: up.to, Trust: up.trust, AnswerWithin: up.answerWithin, SocketsAreUse: up.socketsAreUse,
			Proxies: o.TrustedProxies, Log: o.Log, Now: time.Now, Ending: l.ending,
			InForce: func() *access.Panel { return inForce(panel.Origin) },
			Begin: func(w http.ResponseWriter, r *http.Request, refused error) {
				host.Begin(w, r, panel, r.Method, r.RequestURI, refused)
			},
			Denied: refuse(web.Denied), Down: refuse(web.PanelDown), Slow: refuse(web.PanelSlow),
			Untrusted: refuse(web.PanelUntrusted), Unavailable: refuse(web.Unavailable),
		})}
	}
	return d, nil
}

// panelOfGateway returns the panel at an origin that the gateway serves, or nil.
func (d *doors) panelOfGateway(origin string) *access.Panel {
	for _, one := range d.panels {
		if one.panel.Origin == origin && one.gateway != nil {
			return one.panel
		}
	}
	return nil
}

// panelOfProxy returns the panel at a canonical host that another proxy serves, or nil.
func (d *doors) panelOfProxy(host string) *access.Panel {
	if one, ok := d.panels[host]; ok && one.gateway == nil {
		return one.panel
	}
	return nil
}

// hostOf returns the canonical host of a request, or "" where it has none.
func (d *doors) hostOf(r *http.Request) string {
	if _, ok := d.panels[r.Host]; ok {
		return r.Host // as nearly all are
	}
	host, err := access.CanonicalHost(r.Host)
	if err != nil {
		return ""
	}
	return host
}

// ServeHTTP picks the door by the host that was asked for, before any mux
// looks at the path.
func (d *doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := d.hostOf(r)
	one, ok := d.panels[host]
	question := isQuestion(r.URL.Path)
	switch {
	case question && (host == forwardauth.Host || ok && one.gateway == nil):
		d.verify.ServeHTTP(w, r) // which looks at the length itself, for each proxy in its way
	// To everybody: the page of a refusal needs its style sheet too.
	case isFileBelow(access.OwnPrefix+"static/", r):
		d.host.Static(w, r)
	case !ok && isFileBelow("/static/", r):
		d.portal.ServeHTTP(w, r)
	case d.tooLong(r.Header):
		d.host.Refuse(w, r, web.HeadersTooLong, nil)
	case !ok && question && host != d.name && d.proxies.Contain(access.Peer(r)):
		d.host.Refuse(w, r, web.Misdirected, fmt.Errorf("a proxy asked about a panel at host %.100q: it must ask at host %s, as the files in deploy/proxy do", r.Host, forwardauth.Host))
	case !ok, r.Method == http.MethodConnect: // a tunnel, past which nobody looks
		d.portal.ServeHTTP(w, r)
	case one.panel.HTTPS() && !d.proxies.Private(r):
		d.host.Refuse(w, r, web.UntrustedProxy, nil)
	case one.panel.HTTPS() && d.proxies.CameByHTTP(r):
		d.host.ToHTTPS(w, r, one.panel)
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

// isFileBelow reports whether a request reads a file below a folder.
func isFileBelow(folder string, r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.HasPrefix(r.URL.Path, folder)
}

// isQuestion reports whether a path is one where proxies ask. A client's path with dot
// segments is none: a proxy that resolves them to choose where it goes, and then passes
// them on as they are, would bring a client here.
func isQuestion(path string) bool {
	return strings.HasPrefix(path, forwardauth.Prefix) && !strings.Contains(path+"/", "/../") && !strings.Contains(path+"/", "/./")
}

// tooLong reports whether a request has more headers than max_header_kib. net/http refuses
// what is much longer, without a page.
func (d *doors) tooLong(h http.Header) bool {
	n := 0
	for name, values := range h {
		for _, value := range values {
			n += access.HeaderLine(name, value)
		}
	}
	return n > d.maxHeader
}
