// Package forwardauth is the door for proxies that serve a panel themselves and
// ask about each request first. Every proxy asks at a path of its own, in its
// own dialect, one file each; the answer is package login's, the same that the
// gateway goes by. Only 200 admits. It owns no table.
//
// A question is believed only from a trusted proxy, and only where each header
// that the dialect reads is there once, under its plain name (R21): a proxy
// that forgot to set one would pass on what the client wrote.
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
	"github.com/sallyport/sallyport/internal/login"
)

// Prefix is the part of our address that is for proxies.
const Prefix = "/verify/"

// Host is the host name that proxies ask at, besides those of the panels. No browser
// reaches it: a proxy that passes clients on to the portal passes on the host that they
// wrote, which the portal's site of the proxy takes for the portal's alone.
const Host = "sallyport"

// question is the request that a proxy asks about, as the client sent it.
type question struct {
	method string
	host   string // with or without a port
	target string // path and query, percent-encoded
}

// dialect is how one kind of proxy asks, and what it makes of the answer.
type dialect struct {
	path  string // ends in "/" where the path asked for follows
	reads []string
	read  func(r *http.Request) (question, error)
	// from returns the client's address: that of a trusted proxy, or an invalid
	// one, where it isn't known.
	from func(r *http.Request, proxies access.Proxies) netip.Addr
	// passesAnswersOn: every answer but 200 goes to the client as it is. Where not, the
	// proxy knows yes and no only: 401 and 403.
	passesAnswersOn bool
	// afterRefusal: the proxy asks what to show in place of a request that was refused,
	// so there is no 200.
	afterRefusal bool
	// removes is the header that names those the proxy takes from the request;
	// "" where its file says that by itself.
	removes string

	// lengths has a bit for each length of a header that [dialect.checkHeaders] minds.
	lengths uint64
}

func dialects() []dialect {
	all := []dialect{nginx(), nginxRefused(), caddy(), haproxy(), traefik(), envoy()}
	for i := range all {
		for _, name := range append(access.IdentityHeaders(), all[i].reads...) {
			all[i].lengths |= 1 << len(name)
		}
	}
	return all
}

// Options are what the door needs to know.
type Options struct {
	Login   *login.Service
	Panel   func(host string) *access.Panel // nil where there is none at a canonical host
	Proxies access.Proxies
	// MaxHeader is how many bytes the headers of a question may have together.
	MaxHeader int

	// Begin answers in place of the panel to a client that asked for target and must
	// sign in first; refused is why its pass opens nothing, or nil.
	Begin func(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string, refused error)
	// Moved answers where a dot stands at the end of the panel's host.
	Moved func(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string)
	// PanelRefused answers where the gate admits the request and the panel itself
	// refused it.
	PanelRefused func(w http.ResponseWriter, r *http.Request, panel *access.Panel, target string)
	// Pages that say why.
	Denied, HeadersTooLong, Unavailable func(w http.ResponseWriter, r *http.Request, reason error)
}

type door struct {
	Options
	dialects []dialect
}

// New returns the handler of everything below [Prefix]. It must get requests
// before any mux, which would answer some paths with a redirect of its own.
func New(o Options) http.Handler { return &door{Options: o, dialects: dialects()} }

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if peer := access.Peer(r); !d.Proxies.Contain(peer) {
		d.Denied(w, r, fmt.Errorf("%v asked about a panel, but isn't a trusted proxy: if it is your proxy, add its address to trusted_proxies", peer))
		return
	}
	path, _, _ := strings.Cut(r.RequestURI, "?") // as it was sent: whoever asks writes it one way
	for i := range d.dialects {
		if d.dialects[i].speaks(path) {
			d.answer(w, r, &d.dialects[i])
			return
		}
	}
	d.Denied(w, r, errors.New("no proxy asks at this path"))
}

// speaks reports whether a path is where the dialect's proxies ask.
func (l *dialect) speaks(path string) bool {
	if strings.HasSuffix(l.path, "/") {
		return strings.HasPrefix(path, l.path)
	}
	return path == l.path
}

// Values that all answers share.
var noStore, empty = []string{"no-store"}, []string{""}

func (d *door) answer(w http.ResponseWriter, r *http.Request, l *dialect) {
	q, panel, err := d.ask(r, l)
	switch {
	case errors.Is(err, errLastDot) && l.passesAnswersOn:
		d.Moved(w, r, panel, q.method, q.target)
		return
	case errors.Is(err, errTooLong):
		d.refuse(w, r, l, d.HeadersTooLong, err)
		return
	case err != nil:
		d.Denied(w, r, err)
		return
	}
	var a login.Admission
	if panel.Preflight(q.method, q.target, r.Header) { // of bodies proxies tell nothing
		a = login.AdmitNobody()
	} else {
		asked := login.Request{
			Ask:   access.Ask{Method: q.method, Target: q.target, Header: r.Header},
			Visit: panel.Visit(r), Pass: access.Pass(r.Header),
		}
		if asked.Pass != "" {
			asked.From = d.Proxies.Client(l.from(r, d.Proxies))
		}
		a, err = d.Login.Admit(r.Context(), panel, asked)
	}
	if err == nil && a.Verdict == access.Admit {
		d.Login.Seen(a.Visitor)
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	switch {
	case err != nil:
		d.Unavailable(w, r, &login.AboutError{Panel: panel, Err: err})
	case a.Verdict == access.Admit && l.afterRefusal:
		d.PanelRefused(w, r, panel, q.target)
	case a.Verdict == access.Admit && !isOwnPath(q.target):
		a.Identify(h)
		l.withoutPass(h, r.Header)
		w.WriteHeader(http.StatusOK)
	case a.Verdict == access.Admit, a.Verdict == access.Deny:
		d.Denied(w, r, &login.AboutError{Panel: panel, Username: a.Username(), Err: cmp.Or(a.Denied, errOwnPath)})
	case l.passesAnswersOn:
		d.Begin(w, r, panel, q.method, q.target, a.Refused)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// refuse shows a page to a proxy that passes it on, and 403 to others: nginx takes any
// other status for a fault of ours, and comes back for the page after 403.
func (d *door) refuse(w http.ResponseWriter, r *http.Request, l *dialect, page func(http.ResponseWriter, *http.Request, error), reason error) {
	if l.passesAnswersOn {
		page(w, r, reason)
		return
	}
	w.WriteHeader(http.StatusForbidden)
}

// errTooLong: the question has more headers than we read.
var errTooLong = errors.New("the headers are too long")

// errOwnPath: a proxy asked about a path that it should pass on to Sallyport.
var errOwnPath = errors.New("the path belongs to the gate, so the proxy must pass it on without asking")

// errLastDot: a dot stands at the end of the panel's host.
var errLastDot = errors.New("a dot stands at the end of the panel's host")

// ask reads what the proxy asks about. With errLastDot the panel is the one without the
// dot.
func (d *door) ask(r *http.Request, l *dialect) (question, *access.Panel, error) {
	if err := l.checkHeaders(r.Header, d.MaxHeader); err != nil {
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
	if panel := d.Panel(q.host); panel != nil {
		return q, panel, nil // the host is in canonical form, or none would be found
	}
	host, err := access.CanonicalHost(q.host)
	if err != nil {
		if panel := d.Panel(access.WithoutLastDot(q.host)); panel != nil {
			return q, panel, errLastDot
		}
		return question{}, nil, err
	}
	panel := d.Panel(host)
	if panel == nil {
		return question{}, nil, fmt.Errorf("no panel is declared at host %s", host)
	}
	return q, panel, nil
}

// checkHeaders reports a header of the dialect that isn't there once, an identity header, an
// upgrade to something else than WebSocket, and a header that a server behind might take
// for one that the proxy writes, since it is spelled nearly like it. Those aren't removed
// but refused: we don't see what the proxy passes on, and one whose configuration lacks a
// line would pass on the client's own.
func (l *dialect) checkHeaders(h http.Header, maxHeader int) error {
	if strings.Join(h["Upgrade"], "") != "" && !access.IsWebSocket(h) {
		return errors.New("the client asks for an upgrade to something else than WebSocket")
	}
	there, length := 0, 0
	for name, values := range h {
		for _, value := range values {
			if length += access.HeaderLine(name, value); length > maxHeader {
				return errTooLong
			}
		}
		if access.IsProxyAlias(name) {
			return fmt.Errorf("the client wrote the header %s, which some servers read as %s", name, access.PlainHeader(name))
		}
		if l.lengths>>len(name)&1 == 0 {
			continue // names that reach us are ASCII
		}
		if slices.Contains(l.reads, name) {
			if len(values) != 1 {
				return fmt.Errorf("header %s occurs %d times", name, len(values))
			}
			if values[0] != "" {
				there++
			}
			continue
		}
		if access.IsIdentity(name) {
			return fmt.Errorf("the client wrote the identity header %s", name)
		}
	}
	if there == len(l.reads) {
		return nil
	}
	for _, name := range l.reads {
		if first(h, name) == "" {
			return fmt.Errorf("header %s is missing: take the proxy's file from deploy/proxy", name)
		}
	}
	return nil
}

// first returns the first value of a header by its canonical name.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// withoutPass has the proxy keep the pass from the panel: the answer's Authorization,
// or none, takes the place of the client's.
func (l *dialect) withoutPass(answer, asked http.Header) {
	kept := access.PanelAuthorization(asked)
	switch {
	case l.removes == "" && len(kept) == 0:
		answer["Authorization"] = empty
	case l.removes == "":
		answer.Set("Authorization", strings.Join(kept, ","))
	case len(kept) < len(asked["Authorization"]):
		answer.Set(l.removes, access.PassHeader+",Authorization")
	default:
		answer.Set(l.removes, access.PassHeader)
	}
}

// isOwnPath reports whether a panel would get a path that is the gate's own, which
// no proxy may send there.
func isOwnPath(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	return strings.HasPrefix(strings.ToLower(path)+"/", access.OwnPrefix)
}

// forwarded is the family of headers that Traefik, Caddy and, by our Lua,
// HAProxy set, none of them the client's.
func forwarded() []string {
	return []string{"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"}
}

func readForwarded(r *http.Request) (question, error) {
	return question{
		method: first(r.Header, "X-Forwarded-Method"), host: first(r.Header, "X-Forwarded-Host"), target: first(r.Header, "X-Forwarded-Uri"),
	}, nil
}

// fromForwarded is the last address in X-Forwarded-For that isn't a proxy's.
func fromForwarded(r *http.Request, proxies access.Proxies) netip.Addr { return proxies.Address(r) }
