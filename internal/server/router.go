package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/forwardauth"
	"github.com/sallyport/sallyport/internal/gateway"
	"github.com/sallyport/sallyport/internal/web"
)

// router passes each request to the portal, a panel's gateway, the pages of a panel's
// host, or forward-auth.
type router struct {
	portal    http.Handler
	name      string // the portal's canonical host
	host      *web.PanelHost
	verify    http.Handler          // answers other proxies that query whether to admit a request
	panels    map[string]panelRoute // by canonical host
	proxies   access.Proxies
	maxHeader int // bytes
}

// panelRoute is a panel and the handler of its requests.
type panelRoute struct {
	panel   *access.Panel
	gateway http.Handler // nil if another proxy serves the panel
}

// limits bound requests.
type limits struct {
	maxHeader int             // bytes of all headers of a request
	ending    <-chan struct{} // closed when the server stops: streams must end
}

// newRouter returns a router for o.Panels; upstreams[i] belongs to o.Panels[i]. inForce returns
// the panel that the gateway serves at an origin by the configuration now in force, or nil.
func newRouter(o web.Options, upstreams []upstream, l limits, inForce func(origin string) *access.Panel) (*router, error) {
	var err error
	if !slices.ContainsFunc(o.Panels, func(p *access.Panel) bool { return p.Shared }) {
		o.Admin, err = admin.New(admin.Options{
			Login: o.Login, Entry: o.Entry, Manage: o.Manage, Recovery: o.Recovery, PublicURL: o.PublicURL, SiteName: o.SiteName, Contact: o.Contact, Look: o.Look,
			TrustedProxies: o.TrustedProxies, Log: o.Log,
		})
		if err != nil {
			return nil, err
		}
	}
	portal, err := web.New(o)
	if err != nil {
		return nil, err
	}
	host, err := web.NewPanelHost(o)
	if err != nil {
		return nil, err
	}
	_, publicHost, _ := strings.Cut(o.PublicURL, "://")
	publicHost, _, _ = strings.Cut(publicHost, "/")
	name, err := access.CanonicalHost(publicHost)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	rt := &router{portal: portal, name: name, host: host, panels: map[string]panelRoute{}, proxies: o.TrustedProxies, maxHeader: l.maxHeader}
	refuse := func(why web.Refusal) func(http.ResponseWriter, *http.Request, error) {
		return func(w http.ResponseWriter, r *http.Request, reason error) { host.Refuse(w, r, why, reason) }
	}
	rt.verify = forwardauth.New(forwardauth.Options{
		Entry: o.Entry, Panel: rt.panelOfProxy, Proxies: o.TrustedProxies, MaxHeader: l.maxHeader,
		StartSignIn: host.StartSignIn, RedirectWithoutDot: host.RedirectWithoutDot, PanelRefused: host.PanelRefused,
		Denied: refuse(web.Denied), HeadersTooLong: refuse(web.HeadersTooLong), Unavailable: refuse(web.Unavailable),
	})
	// Every node derives the same key from the ring.
	loopKey := hex.EncodeToString(o.Login.Ring.MAC("loop of the gateway", "")[:16])
	for i, panel := range o.Panels {
		name, err := access.CanonicalHost(panel.Host())
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", panel.Origin, err)
		}
		up := upstreams[i]
		if up.to == nil {
			rt.panels[name] = panelRoute{panel: panel}
			continue
		}
		rt.panels[name] = panelRoute{panel, gateway.New(gateway.Options{
			Entry: o.Entry, Panel: panel, Upstream: up.to, Trust: up.trust, AnswerWithin: up.answerWithin, SocketsAreUse: up.socketsAreUse,
			Proxies: o.TrustedProxies, LoopKey: loopKey, Log: o.Log, Now: time.Now, Stopping: l.ending,
			CurrentPanel: func() *access.Panel { return inForce(panel.Origin) },
			StartSignIn: func(w http.ResponseWriter, r *http.Request, refused error) {
				host.StartSignIn(w, r, panel, r.Method, r.RequestURI, refused)
			},
			Denied: refuse(web.Denied), Down: refuse(web.PanelDown), Slow: refuse(web.PanelSlow),
			Untrusted: refuse(web.PanelUntrusted), Unavailable: refuse(web.Unavailable),
		})}
	}
	return rt, nil
}

// panelOfGateway returns the panel that the gateway serves at an origin, or nil if there is none.
func (rt *router) panelOfGateway(origin string) *access.Panel {
	for _, one := range rt.panels {
		if one.panel.Origin == origin && one.gateway != nil {
			return one.panel
		}
	}
	return nil
}

// panelOfProxy returns the panel that another proxy serves at a canonical host, or nil if there
// is none.
func (rt *router) panelOfProxy(host string) *access.Panel {
	if one, ok := rt.panels[host]; ok && one.gateway == nil {
		return one.panel
	}
	return nil
}

// hostOf returns the canonical host of a request, or "" if its host is malformed.
func (rt *router) hostOf(r *http.Request) string {
	if _, ok := rt.panels[r.Host]; ok || r.Host == forwardauth.Host {
		return r.Host // the common case: the host is canonical already
	}
	host, err := access.CanonicalHost(r.Host)
	if err != nil {
		return ""
	}
	return host
}

// ServeHTTP chooses the handler by the request's host first and by its path second, so that no
// path of a panel can reach the portal's handlers.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := rt.hostOf(r)
	one, ok := rt.panels[host]
	query := isProxyQuery(r.URL.Path)
	switch {
	case query && (host == forwardauth.Host || ok && one.gateway == nil):
		rt.verify.ServeHTTP(w, r) // verify itself checks the length of headers, differently for each proxy
	// Static files are served without a check, since the page of a refusal needs its style sheet.
	case isFileBelow(access.OwnPrefix+"static/", r):
		rt.host.Static(w, r)
	case !ok && isFileBelow("/static/", r):
		rt.portal.ServeHTTP(w, r)
	case rt.isTooLong(r.Header):
		rt.host.Refuse(w, r, web.HeadersTooLong, nil)
	case !ok && query && host != rt.name && rt.proxies.Contains(access.Peer(r)):
		rt.host.Refuse(w, r, web.Misdirected, fmt.Errorf("a proxy asked about a panel at host %.100q: it must ask at host %s, as the files in deploy/proxy do", r.Host, forwardauth.Host))
	case !ok, r.Method == http.MethodConnect: // a tunnel's requests couldn't be checked, so a panel never gets CONNECT
		rt.portal.ServeHTTP(w, r)
	case one.panel.IsHTTPS() && !rt.proxies.IsPrivate(r):
		rt.host.Refuse(w, r, web.UntrustedProxy, nil)
	case one.panel.IsHTTPS() && rt.proxies.CameByHTTP(r):
		rt.host.RedirectToHTTPS(w, r, one.panel)
	case one.panel.Shared && strings.HasPrefix(r.URL.Path, access.OwnPrefix):
		rt.portal.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, access.OwnPrefix):
		rt.host.ServeHTTP(w, r)
	case one.gateway == nil:
		rt.host.Refuse(w, r, web.Denied, errors.New("another proxy serves this panel, and sends only /.sallyport/ here"))
	default:
		one.gateway.ServeHTTP(w, r)
	}
}

// isFileBelow reports whether a request is GET or HEAD of a path below folder.
func isFileBelow(folder string, r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.HasPrefix(r.URL.Path, folder)
}

// isProxyQuery reports whether a path is one at which proxies query whether to admit a
// request. It rejects paths with dot segments. A proxy may resolve dot segments to choose a
// route but pass the original path on; its clients could then send such queries themselves.
func isProxyQuery(path string) bool {
	return strings.HasPrefix(path, forwardauth.Prefix) && !strings.Contains(path+"/", "/../") && !strings.Contains(path+"/", "/./")
}

// isTooLong reports whether headers are longer than max_header_kib. Headers that are much
// longer don't get here: net/http rejects them without a page.
func (rt *router) isTooLong(h http.Header) bool {
	n := 0
	for name, values := range h {
		for _, value := range values {
			n += access.HeaderLine(name, value)
		}
	}
	return n > rt.maxHeader
}
