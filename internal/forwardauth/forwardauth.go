// Package forwardauth answers proxies that forward requests to a panel themselves, and first ask
// Sallyport about each request (forward authentication). Each kind of proxy has its own path and
// its own dialect, in a file of its own. As for the gateway, package entry decides. Only the
// status 200 admits a request. The package owns no table.
//
// A proxy gets an answer only if its address is trusted and its request has each header of the
// dialect exactly once, spelled as in the dialect (R21). A proxy whose configuration doesn't set
// one of these headers would forward the client's.
package forwardauth

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
)

// Prefix is the prefix of the paths at which proxies ask.
const Prefix = "/verify/"

// Host is the host name at which proxies ask, besides the hosts of the panels. Browsers can't
// use it: a proxy forwards only requests for the portal's own host name to the portal.
const Host = "sallyport"

// question is the client's request about which a proxy asks.
type question struct {
	method string
	host   string // with or without a port
	target string // path and query, percent-encoded
}

// dialect is how one kind of proxy asks, and how it uses the answer.
type dialect struct {
	path  string   // the path of the question; with "/" at its end, the client's path follows
	reads []string // canonical names of the headers that read uses
	read  func(r *http.Request) (question, error)
	// address returns the client's address. If it is unknown, the result is the address of
	// a trusted proxy, or an invalid one.
	address func(r *http.Request, proxies access.Proxies) netip.Addr
	// forwardsAnswers means that the proxy sends every answer except 200 to the client.
	// Other proxies only distinguish 401 and 403.
	forwardsAnswers bool
	// afterRefusal means that the proxy asks for the answer to a request that was refused
	// already, so the status is never 200.
	afterRefusal bool
	// removes is the answer's header that lists the headers which the proxy must remove from
	// the request; "" if the proxy's configuration file removes them.
	removes string

	// headerLengths has a bit for each length of a header name that [dialect.checkHeaders]
	// compares, so that most names need no comparison.
	headerLengths uint64
}

func dialects() []dialect {
	all := []dialect{nginx(), nginxRefused(), caddy(), haproxy(), traefik(), envoy()}
	for i := range all {
		for _, name := range append(access.IdentityHeaders(), all[i].reads...) {
			all[i].headerLengths |= 1 << len(name)
		}
	}
	return all
}

// Options are the parameters of [New].
type Options struct {
	Entry   *entry.Service
	Panel   func(host string) *access.Panel // the panel at a canonical host, or nil
	Proxies access.Proxies
	// MaxHeader is the maximum size of all headers of a question, in bytes.
	MaxHeader int

	// StartSignIn answers a client that asked for target and must sign in first. refused
	// says why the machine pass of its request doesn't open the panel, or is nil.
	StartSignIn func(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string, refused error)
	// RedirectWithoutDot redirects a client that used the panel's host with a dot at its end.
	RedirectWithoutDot func(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string)
	// PanelRefused answers a request that Sallyport admits, but that the panel itself refused.
	PanelRefused func(w http.ResponseWriter, r *http.Request, panel *access.Panel, target string)
	// The other functions show an error page.
	Denied, HeadersTooLong, Unavailable func(w http.ResponseWriter, r *http.Request, reason error)
}

type handler struct {
	Options
	dialects []dialect
}

// New returns the handler for all paths below [Prefix]. It must not be behind a
// [http.ServeMux], which would redirect some paths.
func New(o Options) http.Handler { return &handler{Options: o, dialects: dialects()} }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if peer := access.Peer(r); !h.Proxies.Contains(peer) {
		h.Denied(w, r, fmt.Errorf("%v asked about a panel, but isn't a trusted proxy: if it is your proxy, add its address to trusted_proxies", peer))
		return
	}
	path, _, _ := strings.Cut(r.RequestURI, "?") // not decoded: proxies write it in one way
	for i := range h.dialects {
		if h.dialects[i].isAskedAt(path) {
			h.serveQuestion(w, r, &h.dialects[i])
			return
		}
	}
	h.Denied(w, r, errors.New("no proxy asks at this path"))
}

// isAskedAt reports whether proxies with this dialect ask at a path.
func (l *dialect) isAskedAt(path string) bool {
	if strings.HasSuffix(l.path, "/") {
		return strings.HasPrefix(path, l.path)
	}
	return path == l.path
}

// All answers share these values, so that an answer doesn't allocate them.
var noStore, empty = []string{"no-store"}, []string{""}

func (h *handler) serveQuestion(w http.ResponseWriter, r *http.Request, l *dialect) {
	q, panel, err := h.readQuestion(r, l)
	switch {
	case errors.Is(err, errLastDot) && l.forwardsAnswers:
		h.RedirectWithoutDot(w, r, panel, q.method, q.target)
		return
	case errors.Is(err, errTooLong):
		h.refuse(w, r, l, h.HeadersTooLong, err)
		return
	case err != nil:
		h.Denied(w, r, err)
		return
	}
	var a entry.Admission
	if panel.IsOpenPreflight(q.method, q.target, r.Header) { // whether the request has a body is unknown
		a = entry.AdmitPublic()
	} else {
		asked := entry.Request{
			Request: access.Request{Method: q.method, Target: q.target, Header: r.Header},
			Visit:   panel.VisitToken(r), Pass: access.Pass(r.Header),
		}
		if asked.Pass != "" {
			asked.From = h.Proxies.Client(l.address(r, h.Proxies))
		}
		a, err = h.Entry.Admit(r.Context(), panel, asked)
	}
	if err == nil && a.Verdict == access.Admit {
		h.Entry.NoteUse(a)
	}
	answer := w.Header()
	answer["Cache-Control"] = noStore
	switch {
	case err != nil:
		h.Unavailable(w, r, &entry.AboutError{Panel: panel, Err: err})
	case a.Verdict == access.Admit && l.afterRefusal:
		h.PanelRefused(w, r, panel, q.target)
	case a.Verdict == access.Admit && !isOwnPath(q.target):
		a.Identify(answer)
		l.removePass(answer, r.Header)
		w.WriteHeader(http.StatusOK)
	case a.Verdict == access.Admit, a.Verdict == access.Deny:
		h.Denied(w, r, &entry.AboutError{Panel: panel, Username: a.Username(), Err: cmp.Or(a.Denied, errOwnPath)})
	case l.forwardsAnswers:
		h.StartSignIn(w, r, panel, q.method, q.target, a.Refused)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// refuse answers with a page if the proxy forwards it to the client, and otherwise with 403. After
// 403, nginx asks for the page; it would treat any other status as an error of Sallyport.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, l *dialect, page func(http.ResponseWriter, *http.Request, error), reason error) {
	if l.forwardsAnswers {
		page(w, r, reason)
		return
	}
	w.WriteHeader(http.StatusForbidden)
}

// Errors of [handler.readQuestion] and of questions about a path below [access.OwnPrefix].
var (
	errTooLong = errors.New("the headers are too long")
	errOwnPath = errors.New("the path belongs to the gate, so the proxy must pass it on without asking")
	errLastDot = errors.New("a dot stands at the end of the panel's host")
)

// readQuestion returns the request that the proxy asks about, and its panel. With the error
// errLastDot it also returns a panel: the one at the host without the dot.
func (h *handler) readQuestion(r *http.Request, l *dialect) (question, *access.Panel, error) {
	if err := l.checkHeaders(r.Header, h.MaxHeader); err != nil {
		return question{}, nil, err
	}
	q, err := l.read(r)
	if err != nil {
		return question{}, nil, err
	}
	if q.method == http.MethodConnect {
		return question{}, nil, errors.New("the client asks for a tunnel")
	}
	if !strings.HasPrefix(q.target, "/") {
		return question{}, nil, errors.New("the path asked for doesn't begin with a slash")
	}
	if panel := h.Panel(q.host); panel != nil {
		return q, panel, nil // a host that isn't canonical has no panel
	}
	host, err := access.CanonicalHost(q.host)
	if err != nil {
		if panel := h.Panel(access.WithoutLastDot(q.host)); panel != nil {
			return q, panel, errLastDot
		}
		return question{}, nil, err
	}
	panel := h.Panel(host)
	if panel == nil {
		return question{}, nil, fmt.Errorf("no panel is declared at host %s", host)
	}
	return q, panel, nil
}

// checkHeaders returns an error unless each header of the dialect occurs exactly once. It also
// returns an error if there is an identity header, an upgrade other than to WebSocket, or a header
// that the panel's server might take for a proxy's. Sallyport can't remove these headers from the
// request that the proxy forwards, and a proxy with an incomplete configuration would forward them
// as the client wrote them, so the request is refused.
func (l *dialect) checkHeaders(h http.Header, maxHeader int) error {
	if strings.Join(h["Upgrade"], "") != "" && !access.IsWebSocket(h) {
		return errors.New("the client asks for an upgrade to something else than WebSocket")
	}
	found, length := 0, 0
	for name, values := range h {
		for _, value := range values {
			if length += access.HeaderLine(name, value); length > maxHeader {
				return errTooLong
			}
		}
		if access.IsProxyAlias(name) {
			return fmt.Errorf("the client wrote the header %s, which some servers read as %s", name, access.PlainHeader(name))
		}
		if l.headerLengths>>len(name)&1 == 0 {
			continue // no header of that length is compared; net/http accepts only ASCII names
		}
		if slices.Contains(l.reads, name) {
			if len(values) != 1 {
				return fmt.Errorf("header %s occurs %d times", name, len(values))
			}
			if values[0] != "" {
				found++
			}
			continue
		}
		if access.IsIdentityHeader(name) {
			return fmt.Errorf("the client wrote the identity header %s", name)
		}
	}
	if found == len(l.reads) {
		return nil
	}
	for _, name := range l.reads {
		if firstValue(h, name) == "" {
			return fmt.Errorf("header %s is missing: take the proxy's file from deploy/proxy", name)
		}
	}
	return nil
}

// firstValue returns the first value of a header by its canonical name.
func firstValue(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// removePass adds headers to the answer that make the proxy remove the machine pass from the
// request for the panel. Most proxies replace the request's Authorization by the answer's.
func (l *dialect) removePass(answer, request http.Header) {
	kept := access.PanelAuthorization(request)
	switch {
	case l.removes == "" && len(kept) == 0:
		answer["Authorization"] = empty
	case l.removes == "":
		answer.Set("Authorization", strings.Join(kept, ","))
	case len(kept) < len(request["Authorization"]):
		answer.Set(l.removes, access.PassHeader+",Authorization")
	default:
		answer.Set(l.removes, access.PassHeader)
	}
}

// isOwnPath reports whether a path is one that Sallyport answers itself, so that a proxy must
// not forward it to the panel.
func isOwnPath(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	return strings.HasPrefix(strings.ToLower(path)+"/", access.OwnPrefix)
}

// forwardedHeaders returns the headers that Traefik, Caddy, and HAProxy with sallyport.lua set
// for each question, in place of those of the client.
func forwardedHeaders() []string {
	return []string{"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"}
}

func readForwarded(r *http.Request) (question, error) {
	return question{
		method: firstValue(r.Header, "X-Forwarded-Method"), host: firstValue(r.Header, "X-Forwarded-Host"), target: firstValue(r.Header, "X-Forwarded-Uri"),
	}, nil
}

// addressInForwardedFor returns the last address in X-Forwarded-For that isn't a proxy's.
func addressInForwardedFor(r *http.Request, proxies access.Proxies) netip.Addr {
	return proxies.Address(r)
}
