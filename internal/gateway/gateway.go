package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
)

const (
	// dialTime is the timeout for a connection to a panel, which is usually on the same
	// network.
	dialTime = 5 * time.Second

	// AnswerWithin is the default timeout for the headers of a panel's answer: long enough
	// for a large report. The body of the answer has no timeout.
	AnswerWithin = 2 * time.Minute

	// watchEvery is the interval at which the visit of a stream or of a long transfer is
	// checked. A stream outlives its visit by at most this interval and the time for which
	// package entry caches visits.
	watchEvery = 5 * time.Second

	// flushEvery is how long a piece of an answer may wait to be sent together with the next
	// one. It applies only to answers whose length is known. Of all other answers, such as
	// server-sent events, httputil sends each piece at once.
	flushEvery = 100 * time.Millisecond

	// idleConns is the number of idle connections to one panel that are kept, since each
	// browser sends several requests at once.
	idleConns = 64
	idleTime  = 90 * time.Second
)

// Refusal answers a request that isn't forwarded; see the fields of [Options]. reason may be
// nil.
type Refusal func(w http.ResponseWriter, r *http.Request, reason error)

// Options are the parameters of [New].
type Options struct {
	Entry    *entry.Service
	Panel    *access.Panel
	Upstream *url.URL // scheme and host of the panel's own server
	Trust    Trust    // how that server's certificate is verified, if Upstream is https
	Proxies  access.Proxies
	LoopKey  string // the same on all nodes and unknown to clients; see loopHeader
	Log      *slog.Logger
	Now      func() time.Time // the machine's clock, for the time limits of connections

	// AnswerWithin is the timeout for the headers of the panel's answer; 0 means the
	// constant [AnswerWithin].
	AnswerWithin time.Duration
	// SocketsAreUse means that data which a browser sends over a WebSocket counts as a use
	// of its session, as a request does.
	SocketsAreUse bool

	// CurrentPanel returns the panel as it is declared now, which may have changed since
	// [New] by a reload. It returns nil if the gateway no longer serves the panel.
	CurrentPanel func() *access.Panel

	// Stopping is closed when the server stops, to end streams that have no end of their
	// own.
	Stopping <-chan struct{}

	// StartSignIn redirects a browser to the sign-in, and tells other clients its address.
	// reason says why the machine pass of the request doesn't open the panel, or is nil.
	StartSignIn Refusal
	// The other refusals show an error page.
	Denied, Down, Slow, Untrusted, Unavailable Refusal
}

// gateway is the handler for one panel.
type gateway struct {
	Options
	proxy *httputil.ReverseProxy
	host  string // the panel's host, with a port if its origin has one

	// Values of loopHeader, X-Forwarded-Host and X-Forwarded-Proto, which all requests share.
	loopMark, forwardedHost, forwardedProto []string
}

// New returns the handler for all paths of the panel's host except those below /.sallyport/.
// It must not be behind a [http.ServeMux], which would redirect some paths.
func New(o Options) http.Handler {
	proto, host, _ := strings.Cut(o.Panel.Origin, "://")
	g := &gateway{
		Options: o, host: host,
		loopMark: []string{o.LoopKey + " " + o.Panel.Origin}, forwardedHost: []string{host}, forwardedProto: []string{proto},
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		ModifyResponse: g.cleanAnswer,
		FlushInterval:  flushEvery,
		BufferPool:     &buffers{},
		ErrorHandler:   g.answerError,
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		Transport:      newConnections(o),
	}
	return g
}

// pieceSize is the size of the pieces in which an answer is copied: the size that httputil
// uses as well.
const pieceSize = 32 << 10

// buffers is a [httputil.BufferPool], so that not every request allocates a buffer.
type buffers struct{ pool sync.Pool }

// Get returns a buffer of pieceSize bytes.
func (b *buffers) Get() []byte {
	if kept, ok := b.pool.Get().(*[pieceSize]byte); ok {
		return kept[:]
	}
	return make([]byte, pieceSize)
}

// Put returns a buffer to the pool.
func (b *buffers) Put(piece []byte) { b.pool.Put((*[pieceSize]byte)(piece)) }

// forwarded is the state of a request that the gateway forwards to its panel.
type forwarded struct {
	visitor     *entry.Visitor
	bearer      string      // id of the visitor's visit or pass, or ""
	open        bool        // the path is open to clients without a session
	conn        *clientConn // the connection of the request; nil if unknown
	multiplexed bool        // the connection carries several requests at once
	byProxy     bool        // the connection is a trusted proxy's, and may carry requests of several users
}

type forwardedKey struct{}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if slices.Contains(g.loopMarks(r.Header), g.loopMark[0]) {
		g.Down(w, r, &entry.AboutError{Panel: g.Panel, Err: errLoop})
		return
	}
	if alias := access.IdentityAlias(r.Header); alias != "" {
		g.Denied(w, r, errors.New("header "+alias+" would be read as an identity header"))
		return
	}
	if g.Panel.Shared && r.Header.Get("Service-Worker") != "" {
		// A service worker of the panel would control the portal's pages on the same host:
		// it could read what users type and change what they send. Browsers set this header
		// for every script of a worker, and no page can remove it.
		w.Header().Set("Clear-Site-Data", `"storage"`) // removes an installed worker that checks for an update
		g.Denied(w, r, errors.New("a service worker is refused on the portal's own host"))
		return
	}
	admission, err := g.admit(r.Context(), g.Panel, r)
	switch {
	case err != nil:
		g.Unavailable(w, r, err)
	case admission.Verdict == access.Admit:
		g.forward(w, r, admission)
	case admission.Verdict == access.Deny:
		g.Denied(w, r, admission.Denied)
	default:
		g.StartSignIn(w, r, admission.Refused)
	}
}

// admit applies a panel's rules to the request. A preflight is admitted without an identity.
func (g *gateway) admit(ctx context.Context, panel *access.Panel, r *http.Request) (entry.Admission, error) {
	if r.ContentLength == 0 && panel.IsOpenPreflight(r.Method, r.RequestURI, r.Header) {
		return entry.AdmitPublic(), nil
	}
	asked := entry.Request{
		Request: access.Request{Method: r.Method, Target: r.RequestURI, Header: r.Header},
		Visit:   panel.VisitToken(r), Pass: access.Pass(r.Header),
	}
	if asked.Pass != "" {
		asked.From = g.Proxies.Client(g.Proxies.Address(r))
	}
	return g.Entry.Admit(ctx, panel, asked)
}

// forward sends the request to the panel, and watches its visit or machine pass until it ends.
func (g *gateway) forward(w http.ResponseWriter, r *http.Request, a entry.Admission) {
	var err error
	if a.BearerID() != "" {
		err = liftTimeLimits(w)
	} else {
		var paced *pacedAnswer
		paced, r, err = withPace(w, r, g.Now)
		defer paced.end()
		w = paced
	}
	if err != nil {
		g.Log.Debug("gateway", "reason", err.Error())
	}
	ctx, end := context.WithCancel(context.WithValue(r.Context(), forwardedKey{}, &forwarded{
		visitor: a.Visitor, bearer: a.BearerID(), open: a.Open,
		conn: clientConnOf(r.Context()), multiplexed: r.ProtoMajor > 1, byProxy: g.Proxies.Contains(access.Peer(r)),
	}))
	defer end()
	g.Entry.NoteUse(a)
	final := &finalAnswer{ResponseWriter: w}
	w = final
	var data *clientData
	if g.SocketsAreUse && access.IsWebSocket(r.Header) {
		w, data = watchClientData(w)
	}
	watch := func() { g.watch(ctx, end, r, a.BearerID(), data) }
	if isStream(r) {
		go watch()
	} else {
		defer time.AfterFunc(watchEvery, watch).Stop() // most requests have ended by then
	}
	finished := false
	defer func() {
		if !finished { // httputil panics if the panel's answer breaks off
			final.flushIfBegun()
		}
	}()
	g.proxy.ServeHTTP(w, r.WithContext(ctx))
	finished = true
}

// watch ends a long request when its visit or pass (the bearer) has ended, or when the panel's
// current rules don't admit it. It does so on open paths as well, since the panel got the user's
// name. If the database doesn't answer, the request continues until a later check refuses it.
// When the server stops, watch ends streams; other requests end by themselves. Data over a
// WebSocket counts as a use of the session.
func (g *gateway) watch(ctx context.Context, end func(), r *http.Request, bearer string, data *clientData) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var stopping <-chan struct{}
	if isStream(r) {
		stopping = g.Stopping
	}
	for {
		panel := g.CurrentPanel()
		if panel == nil {
			end()
			return
		}
		a, err := g.admit(ctx, panel, r)
		if err == nil && (a.Verdict != access.Admit || a.BearerID() != bearer) {
			end()
			return
		}
		if err == nil && data.hasArrived() {
			g.Entry.NoteUse(a)
		}
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			end()
			return
		case <-ticker.C:
		}
	}
}

// isStream reports whether the answer has no end of its own: it is that of a WebSocket, or
// server-sent events, which the browser requests again when they end.
func isStream(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream")
}

// answerError answers a request to which the panel gave no answer.
func (g *gateway) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var (
		timeout   net.Error
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	about := &entry.AboutError{Panel: g.Panel, Err: err}
	if fwd, ok := r.Context().Value(forwardedKey{}).(*forwarded); ok {
		about.Username = fwd.visitor.Owner.Name
	}
	switch {
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the browser disconnected, or its visit ended: no client reads an answer
	case errors.As(err, &timeout) && timeout.Timeout():
		g.Slow(w, r, about)
	case errors.Is(err, errFingerprint), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		about.Err = fmt.Errorf("%w: set upstream_ca, upstream_name or upstream_fingerprint of the panel", err)
		g.Untrusted(w, r, about)
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		about.Err = fmt.Errorf("%w: write http:// in upstream of the panel", err)
		g.Down(w, r, about)
	default:
		g.Down(w, r, about)
	}
}
