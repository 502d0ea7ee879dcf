// Package gateway is the built-in reverse proxy in front of panels: it asks
// package login about every request and passes on what is admitted, with
// headers that say who is there. WebSockets, server-sent events, uploads and
// downloads of any size pass as they are, and end when their visit does. It
// owns no table.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
)

const (
	// dialTime is how long a panel may take to accept a connection: it is near.
	dialTime = 5 * time.Second

	// headerTime is how long a panel may think about an answer; what it sends
	// then may take as long as it likes.
	headerTime = 2 * time.Minute

	// watchEvery is how often the visit of a stream, or of a long up- or
	// download, is looked at again. With a cache's bound it is how long one
	// outlives its visit at most.
	watchEvery = 5 * time.Second

	// idleConns to one panel are kept: each browser sends some requests at once.
	idleConns = 64
	idleTime  = 90 * time.Second
)

// Refusal answers a request that wasn't passed on; see the fields of [Options].
type Refusal func(w http.ResponseWriter, r *http.Request, reason error)

// Options are what the gateway needs to know.
type Options struct {
	Login   *login.Service
	Panel   *access.Panel
	To      *url.URL // scheme and host of the panel's own server
	Proxies access.Proxies
	Log     *slog.Logger
	Now     func() time.Time // the machine's clock, which the limits of connections go by

	// Ending is closed when the server stops: what would last for ever ends.
	Ending <-chan struct{}

	// Begin leads a person to the sign-in and tells everything else where it is,
	// and why the pass that it brought opens nothing.
	Begin Refusal
	// Pages that say why.
	Denied, Down, Slow, Unavailable Refusal
}

// gateway is the door of one panel.
type gateway struct {
	Options
	proxy *httputil.ReverseProxy
}

// New returns the handler of everything on the panel's host but what is below
// /.sallyport/. It must get requests before any mux: ServeMux would answer
// some paths with a redirect of its own.
func New(o Options) http.Handler {
	g := &gateway{Options: o}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		ModifyResponse: g.clean,
		FlushInterval:  -1, // events as they come
		BufferPool:     &buffers{},
		ErrorHandler:   g.failed,
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
			ResponseHeaderTimeout: headerTime,
			TLSHandshakeTimeout:   dialTime,
			MaxIdleConnsPerHost:   idleConns,
			IdleConnTimeout:       idleTime,
			DisableCompression:    true, // what the panel sends is passed as it is
			ForceAttemptHTTP2:     true,
		},
	}
	return g
}

// pieceSize is what an answer is passed on in, at most: httputil's own size.
const pieceSize = 32 << 10

// buffers are kept between requests, each of which would leave one to be collected.
type buffers struct{ pool sync.Pool }

// Get returns one.
func (b *buffers) Get() []byte {
	if kept, ok := b.pool.Get().(*[pieceSize]byte); ok {
		return kept[:]
	}
	return make([]byte, pieceSize)
}

// Put takes it back.
func (b *buffers) Put(piece []byte) { b.pool.Put((*[pieceSize]byte)(piece)) }

type visitorKey struct{}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if alias := access.Aliased(r.Header); alias != "" {
		g.Denied(w, r, errors.New("header "+alias+" would be read as an identity header"))
		return
	}
	admission, err := g.admit(r.Context(), r)
	switch {
	case err != nil:
		g.Unavailable(w, r, err)
	case admission.Verdict == access.Admit:
		g.pass(w, r, admission)
	case admission.Verdict == access.Deny:
		g.Denied(w, r, admission.Denied)
	default:
		g.Begin(w, r, admission.Refused)
	}
}

// admit is the answer to the request; a preflight has nobody's identity.
func (g *gateway) admit(ctx context.Context, r *http.Request) (login.Admission, error) {
	if r.ContentLength == 0 && g.Panel.Preflight(r.Method, r.RequestURI, r.Header) {
		return login.AdmitNobody(), nil
	}
	asked := login.Request{
		Ask:   access.Ask{Method: r.Method, Target: r.RequestURI, Header: r.Header},
		Visit: g.Panel.Visit(r), Pass: access.Pass(r.Header),
	}
	if asked.Pass != "" {
		asked.From = g.Proxies.Client(g.Proxies.Address(r))
	}
	return g.Login.Admit(ctx, g.Panel, asked)
}

// pass hands the request to the panel and watches its visit or machine pass
// meanwhile.
func (g *gateway) pass(w http.ResponseWriter, r *http.Request, a login.Admission) {
	var err error
	if a.Bearer() != "" {
		err = unlimited(w)
	} else {
		w, r, err = paced(w, r, g.Now)
	}
	if err != nil {
		g.Log.Debug("gateway", "reason", err.Error())
	}
	ctx, end := context.WithCancel(context.WithValue(r.Context(), visitorKey{}, a.Visitor))
	defer end()
	g.Login.Seen(a.Visitor)
	watch := func() { g.watch(ctx, end, r, a.Bearer()) }
	if isStream(r) {
		go watch()
	} else {
		defer time.AfterFunc(watchEvery, watch).Stop() // most are over by then
	}
	g.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// watch ends what lasts when its visit or pass, the bearer, has ended, on open
// paths too: the panel was told a name. A database that doesn't answer ends
// nothing: what was admitted goes on until somebody says no. A server that
// stops waits for what ends by itself only.
func (g *gateway) watch(ctx context.Context, end func(), r *http.Request, bearer string) {
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	var ending <-chan struct{}
	if isStream(r) {
		ending = g.Ending
	}
	for {
		if a, err := g.admit(ctx, r); err == nil && (a.Verdict != access.Admit || a.Bearer() != bearer) {
			end()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ending:
			end()
			return
		case <-again.C:
		}
	}
}

// isStream reports whether the answer has no end: it is a WebSocket's, or
// events for a page, which asks again by itself where they break off.
func isStream(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream")
}

// rewrite makes the request that the panel gets: path and query as they were
// sent, no cookie and no pass of ours, no upgrade but to WebSockets, and headers on who is
// there and where the request comes from that are nobody else's.
func (g *gateway) rewrite(p *httputil.ProxyRequest) {
	visitor := p.In.Context().Value(visitorKey{}).(*login.Visitor)
	p.Out.URL.Scheme, p.Out.URL.Host = g.To.Scheme, g.To.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // a ";" in it is the panel's business
	proto, host, _ := strings.Cut(g.Panel.Origin, "://")
	p.Out.Host = host
	p.Out.Trailer = nil // some servers read them as headers
	h := p.Out.Header
	for name := range h {
		if plain := access.PlainHeader(name); forwarded(plain) || plain == access.PassHeader {
			delete(h, name)
		}
	}
	if kept := access.PanelAuthorization(h); len(kept) < len(h["Authorization"]) {
		h["Authorization"] = kept
	}
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		// Behind an upgrade to HTTP/2 anything could be asked for, in
		// anybody's name.
		h.Del("Upgrade")
		h.Del("Connection")
		h.Del("HTTP2-Settings")
	}
	h.Set("X-Forwarded-For", g.Proxies.Address(p.In).String())
	h.Set("X-Forwarded-Host", host)
	h.Set("X-Forwarded-Proto", proto)
	withoutOurs(h)
	visitor.Identify(h)
}

// forwarded reports whether panels may take a header of that plain name for a
// proxy's word on the request: some go by X-Original-URL rather than by the path
// that was admitted.
func forwarded(plain string) bool {
	for _, family := range []string{"X-Forwarded-", "X-Original-", "X-Rewrite-"} {
		if strings.HasPrefix(plain, family) {
			return true
		}
	}
	return plain == "X-Real-Ip"
}

// ours reports whether a cookie is Sallyport's.
func ours(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimPrefix(name, "__Host-")), "sallyport")
}

// withoutOurs removes our cookies from what the panel gets, and leaves the
// others as the browser wrote them.
func withoutOurs(h http.Header) {
	var kept []string
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if name, _, _ := strings.Cut(pair, "="); pair != "" && !ours(strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	h.Del("Cookie")
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// clean removes from a panel's answer what would set a cookie of ours.
func (g *gateway) clean(resp *http.Response) error {
	lines := resp.Header.Values("Set-Cookie")
	resp.Header.Del("Set-Cookie")
	for _, line := range lines {
		// Browsers send back "=name=value" without the first sign.
		if name, _, _ := strings.Cut(strings.TrimLeft(line, "= \t"), "="); !ours(strings.TrimSpace(name)) {
			resp.Header.Add("Set-Cookie", line)
		}
	}
	return nil
}

// failed answers for a panel that didn't.
func (g *gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the browser left, or its visit ended: nobody reads an answer
	case errors.As(err, &timeout) && timeout.Timeout():
		g.Slow(w, r, err)
	default:
		g.Down(w, r, err)
	}
}
