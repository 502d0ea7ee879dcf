// Package gateway is the built-in reverse proxy in front of panels: it asks
// package login about every request and passes on what is admitted, with
// headers that say who is there. WebSockets, server-sent events, uploads and
// downloads of any size pass as they are, and end when their visit does. It
// owns no table.
package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
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

	// AnswerWithin is how long a panel may take to begin its answer, where its operator
	// sets nothing: long enough for a large report. What it sends then may take as long
	// as it likes.
	AnswerWithin = 2 * time.Minute

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
	Trust   Trust    // how that server is known, where To is https
	Proxies access.Proxies
	Log     *slog.Logger
	Now     func() time.Time // the machine's clock, which the limits of connections go by

	// AnswerWithin is how long the panel may take to begin an answer; 0 is the default
	// of that name.
	AnswerWithin time.Duration
	// SocketsAreUse: data that a browser sends over a WebSocket counts as a use of its
	// session, as a request does.
	SocketsAreUse bool

	// InForce returns the panel as it is declared now, which a reload may have changed;
	// nil where the gateway no longer serves it.
	InForce func() *access.Panel

	// Ending is closed when the server stops: what would last for ever ends.
	Ending <-chan struct{}

	// Begin leads a person to the sign-in and tells everything else where it is,
	// and why the pass that it brought opens nothing.
	Begin Refusal
	// Pages that say why.
	Denied, Down, Slow, Untrusted, Unavailable Refusal
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
		Transport:      newConnections(o),
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

// passed is what the gateway knows of a request that it passes on.
type passed struct {
	visitor     *login.Visitor
	bearer      string // id of the visitor's visit or pass, or ""
	open        bool   // the panel demands nothing of anybody there
	link        *link  // the connection that the request came over; nil where nobody follows it
	multiplexed bool   // it carries many requests at once
	byProxy     bool   // it comes from a trusted proxy, and so may carry many people's requests
}

type passedKey struct{}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if alias := access.Aliased(r.Header); alias != "" {
		g.Denied(w, r, errors.New("header "+alias+" would be read as an identity header"))
		return
	}
	if g.Panel.Shared && r.Header.Get("Service-Worker") != "" {
		// A worker for the whole host would stand between people and the portal, read
		// what they type and change what they send. No script can leave the header out.
		w.Header().Set("Clear-Site-Data", `"storage"`) // for one that is there and asks for its update
		g.Denied(w, r, errors.New("a service worker is refused on the portal's own host"))
		return
	}
	admission, err := g.admit(r.Context(), g.Panel, r)
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

// admit is the answer of a panel's rules to the request; a preflight has nobody's
// identity.
func (g *gateway) admit(ctx context.Context, panel *access.Panel, r *http.Request) (login.Admission, error) {
	if r.ContentLength == 0 && panel.Preflight(r.Method, r.RequestURI, r.Header) {
		return login.AdmitNobody(), nil
	}
	asked := login.Request{
		Ask:   access.Ask{Method: r.Method, Target: r.RequestURI, Header: r.Header},
		Visit: panel.Visit(r), Pass: access.Pass(r.Header),
	}
	if asked.Pass != "" {
		asked.From = g.Proxies.Client(g.Proxies.Address(r))
	}
	return g.Login.Admit(ctx, panel, asked)
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
	ctx, end := context.WithCancel(context.WithValue(r.Context(), passedKey{}, &passed{
		visitor: a.Visitor, bearer: a.Bearer(), open: a.Open,
		link: linkOf(r.Context()), multiplexed: r.ProtoMajor > 1, byProxy: g.Proxies.Contain(access.Peer(r)),
	}))
	defer end()
	g.Login.Seen(a.Visitor)
	w = finalAnswer{w}
	var data *clientData
	if g.SocketsAreUse && access.IsWebSocket(r.Header) {
		w, data = watchClientData(w)
	}
	watch := func() { g.watch(ctx, end, r, a.Bearer(), data) }
	if isStream(r) {
		go watch()
	} else {
		defer time.AfterFunc(watchEvery, watch).Stop() // most are over by then
	}
	g.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// watch ends what lasts when its visit or pass, the bearer, has ended, or when the panel
// that is declared now doesn't admit it, on open paths too: the panel was told a name. A
// database that doesn't answer ends nothing: what was admitted goes on until somebody says
// no. A server that stops waits for what ends by itself only. Data over a WebSocket counts
// as a use of the session.
func (g *gateway) watch(ctx context.Context, end func(), r *http.Request, bearer string, data *clientData) {
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	var ending <-chan struct{}
	if isStream(r) {
		ending = g.Ending
	}
	for {
		panel := g.InForce()
		if panel == nil {
			end()
			return
		}
		a, err := g.admit(ctx, panel, r)
		if err == nil && (a.Verdict != access.Admit || a.Bearer() != bearer) {
			end()
			return
		}
		if err == nil && data.any() {
			g.Login.Seen(a.Visitor)
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

// failed answers for a panel that didn't.
func (g *gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	var (
		timeout   net.Error
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	about := &login.AboutError{Panel: g.Panel, Err: err}
	if from, ok := r.Context().Value(passedKey{}).(*passed); ok {
		about.Username = from.visitor.Owner.Name
	}
	switch {
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the browser left, or its visit ended: nobody reads an answer
	case errors.As(err, &timeout) && timeout.Timeout():
		g.Slow(w, r, about)
	case errors.Is(err, errFingerprint), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		about.Err = fmt.Errorf("%w: set upstream_ca, upstream_name or upstream_fingerprint of the panel", err)
		g.Untrusted(w, r, about)
	default:
		g.Down(w, r, about)
	}
}
