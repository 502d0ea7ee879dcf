package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

const (
	// maxBody is the maximum size of a form. The largest form has a password of 1 KiB and a
	// return URL.
	maxBody = 64 << 10

	// requestTime is the timeout of a request, which includes the time in the hashing queue
	// and for the database.
	requestTime = 20 * time.Second
)

// Options are the parameters of [New] and [NewPanelHost].
type Options struct {
	Login          *login.Service
	Entry          *entry.Service
	Manage         *manage.Service
	PublicURL      string // without a slash at its end; with a path if a panel shares the host
	SiteName       string
	Contact        string // email address or URL for users who need help; may be empty
	Look           page.Look
	TrustedProxies access.Proxies
	Panels         []*access.Panel
	Log            *slog.Logger
	// Measure is called after every answer; it may be nil. route is the pattern of a route,
	// never the requested path.
	Measure func(route string, status int, took time.Duration)
	// Health returns the lines of /readyz about what signing in needs. It writes to the
	// disk, so each result is used for [readyFor].
	Health func(ctx context.Context) []health.Vital
	// Vitals returns the lines about parts of this process that fail.
	Vitals func() []health.Vital
}

type server struct {
	Options
	views  *page.Views
	base   string // prefix of the paths of static files, and of the path that signs out
	origin *url.URL
	https  bool
	panels map[string]*access.Panel // by canonical host
	mux    *http.ServeMux
	ready  readiness

	unreadable sync.Once // logs the first value in X-Forwarded-For that isn't an address
}

// newServer returns a server with the given pages, or with all pages if none is given. base is
// the prefix of the paths of static files, by default the path of the public URL.
func newServer(o Options, base string, pages ...string) (*server, error) {
	origin, err := url.Parse(o.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	if base == "" {
		base = origin.Path + "/"
	}
	views, err := page.NewViews(page.Options{
		SiteName: o.SiteName, Contact: o.Contact, Portal: origin.Path, Base: base, Templates: templates, Pages: pages, Look: o.Look,
	})
	if err != nil {
		return nil, err
	}
	s := &server{
		Options: o, views: views, base: base, origin: origin, https: origin.Scheme == "https", panels: map[string]*access.Panel{}, mux: http.NewServeMux(),
	}
	for _, panel := range o.Panels {
		host, err := access.CanonicalHost(panel.Host())
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", panel.Origin, err)
		}
		s.panels[host] = panel
	}
	return s, nil
}

// originOf returns the scheme and host of u.
func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// New returns the portal's handler.
func New(o Options) (http.Handler, error) {
	s, err := newServer(o, "")
	if err != nil {
		return nil, err
	}
	at := s.origin.Path
	for _, route := range s.routes() {
		s.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, route)
		})
	}
	// Unknown paths and methods get an error page.
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, route{needs: access.Public, handle: func(*request) error { return errNotFound }})
	})
	pages := http.NewServeMux()
	pages.Handle("/", withoutPrefix(at, s.mux))
	if s.isShared() {
		s.servePanelHost(pages, s.panelRoutes())
	}

	foreign := http.NewCrossOriginProtection()
	if err := foreign.AddTrustedOrigin(originOf(s.origin)); err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.newRequest(w, r), errCrossOrigin)
	}))

	outer := http.NewServeMux()
	for _, path := range slices.Compact([]string{"", at}) { // both paths, since requests with an unknown host name get here too
		outer.HandleFunc("GET "+path+"/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
		outer.HandleFunc("GET "+path+"/readyz", s.getReady)
	}
	// Before the guard as well: the error pages that it writes need these files.
	outer.Handle("GET "+at+"/static/", s.views.Static())
	outer.Handle("/", s.guard(foreign.Handler(pages)))
	return s.wrap(s.canonicalOnly(outer)), nil
}

// wrap adds what every answer needs: security headers, time and size limits, a reference id, a
// log line, and an error page if the handler panics (F9).
func (s *server) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		r = r.WithContext(withReference(ctx))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		h := w.Header()
		h.Set("Content-Security-Policy", access.PagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // with a stricter policy, browsers send Origin: null with forms
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store") // static files replace it
		if s.https {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}

		answer := &statusRecorder{ResponseWriter: w}
		start := s.Login.Clock()
		defer func() {
			if crash := recover(); crash != nil {
				s.Log.Error("panic", "request", reference(r), "host", clean(r.Host), "path", clean(r.URL.Path), "panic", fmt.Sprint(crash), "stack", string(debug.Stack()))
				if answer.status == 0 {
					s.fail(s.newRequest(answer, r), errors.New("panic"))
				}
			}
			took := s.Login.Clock().Sub(start)
			if s.Measure != nil {
				s.Measure(r.Pattern, answer.status, took)
			}
			s.Log.Debug("request", "request", reference(r), "method", clean(r.Method), "host", clean(r.Host), "path", clean(r.URL.Path),
				"status", answer.status, "address", s.TrustedProxies.Address(r).String(), "took", took)
		}()
		next.ServeHTTP(answer, r)
	})
}

// canonicalOnly answers paths that aren't canonical with an error page; see isCanonical.
func (s *server) canonicalOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isCanonical(r) {
			s.fail(s.newRequest(w, r), errNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard refuses requests that didn't come through a trusted proxy or by TLS, requests for
// another host, and requests by plain http.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.https && !s.TrustedProxies.IsPrivate(r):
			s.fail(s.newRequest(w, r), &untrustedProxyError{access.Peer(r)})
		case !access.SameHost(r.Host, s.origin.Host):
			s.answerMisdirected(w, r)
		case s.https && s.TrustedProxies.CameByHTTP(r):
			s.redirectToHTTPS(w, r, originOf(s.origin))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// answerMisdirected answers a request for another host name than that of public_url, at which cookies
// and links wouldn't work. Another name of this machine, and a known host with a dot at its end,
// get a redirect. All others get an error page.
func (s *server) answerMisdirected(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && isLoopback(r.Host) && isLoopback(s.origin.Host) && port(r.Host) == s.origin.Port() {
		http.Redirect(w, r, originOf(s.origin)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return
	}
	if origin := s.originWithoutDot(r.Host); origin != "" && access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	s.fail(s.newRequest(w, r), withReason(errMisdirected, fmt.Errorf("host %q", clean(r.Host))))
}

// originWithoutDot returns the origin of the portal or of a panel for its host with a dot at the
// end, and "" for any other host.
func (s *server) originWithoutDot(host string) string {
	name := access.WithoutLastDot(host)
	switch {
	case name == "":
		return ""
	case access.SameHost(name, s.origin.Host):
		return originOf(s.origin)
	case s.panels[name] != nil:
		return s.panels[name].Origin
	}
	return ""
}

// httpsCookieLife is the lifetime of the cookie that proves https. It only has to outlive the
// redirect.
const httpsCookieLife = time.Minute

// redirectToHTTPS redirects a navigation by plain http to the same page by https, and answers other
// requests with an error page. It sets a cookie that a browser stores only if it does use https,
// behind a proxy that says otherwise. With this cookie the redirect can't loop.
func (s *server) redirectToHTTPS(w http.ResponseWriter, r *http.Request, origin string) {
	setHostCookie(w, true, access.HTTPSCookie, "1", httpsCookieLife)
	if access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	s.fail(s.newRequest(w, r), &plainHTTPError{origin})
}

// request is a request with its answer and its session.
type request struct {
	*http.Request
	w    http.ResponseWriter
	from login.Browser

	// me is the signed-in account and its session, whose id is empty if there is none.
	me login.Me

	// Set if the route requires a session:
	twoFactor bool // the account has a second authenticator
	codesLeft int  // unused backup codes
	wrong     int  // wrong codes that others typed after the correct password
}

func (s *server) newRequest(w http.ResponseWriter, r *http.Request) *request {
	address, unreadable := s.TrustedProxies.ReadForwardedFor(r)
	if unreadable != "" {
		s.unreadable.Do(func() {
			s.Log.Warn("a trusted proxy sends something in X-Forwarded-For that isn't an address, so all its clients count as one network; correct the proxy",
				"proxy", address.String(), "value", clean(unreadable))
		})
	}
	return &request{Request: r, w: w, from: login.Browser{
		Address: address, UserAgent: clean(r.UserAgent()), Device: s.cookie(r, deviceCookie), Session: s.cookie(r, sessionCookie),
	}}
}

// serve calls the route's handler if the request meets the route's requirement.
func (s *server) serve(w http.ResponseWriter, r *http.Request, route route) {
	req := s.newRequest(w, r)
	if s.isShared() && !s.isOwnDocument(req) {
		s.fail(req, errNoDocument)
		return
	}
	err := s.identify(req, route.needs)
	if err != nil {
		s.fail(req, err)
		return
	}
	if s.isShared() && route.changesSignIn() && req.isSignedIn() {
		if proven, err := s.proveInForm(req); err != nil || !proven {
			if err != nil {
				s.fail(req, err)
			}
			return
		}
	}
	bearer := access.Bearer{SignedIn: req.isSignedIn(), Proofs: req.me.Session.Proofs, TwoFactor: req.twoFactor}
	switch access.Check(access.Demand{Requirement: route.needs}, bearer, s.Login.Clock()) {
	case access.Admit:
		if err := route.handle(req); err != nil {
			s.fail(req, err)
		}
	case access.SignIn:
		if s.cookiesBlocked(req) {
			s.fail(req, errNoCookies)
			return
		}
		s.redirect(req, "/login", "return", returnPathOf(r))
	case access.Reauthenticate:
		s.redirect(req, "/reauthenticate", "return", returnPathOf(r))
	default:
		s.fail(req, errForbidden)
	}
}

// identify reads the request's session. If the route requires a session, it also reads what the
// pages show about the account.
func (s *server) identify(req *request, needs access.Requirement) error {
	held, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), req.from.Session, s.Login.Life, s.Login.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	req.me = login.Me{Session: held, Account: owner, From: req.from}
	if needs == access.Public {
		return nil
	}
	s.Entry.NoteSessionUse(held)
	if req.twoFactor, req.codesLeft, err = s.Login.SecondFactor(req.Context(), owner); err != nil || !req.twoFactor {
		return err
	}
	req.wrong, err = s.Login.WrongCodes(req.Context(), owner)
	return err
}

func (r *request) isSignedIn() bool { return r.me.Session.ID != "" }

// redirect redirects to a path of the portal with status 303. query has pairs of names and
// values. The URL is built from the configuration, never from the request (R20). A redirect that
// would continue to a panel goes to getContinue instead; see [access.PagePolicy].
func (s *server) redirect(req *request, path string, query ...string) {
	if strings.HasPrefix(path, enterPagePath+"?") {
		path, query = continuePath, []string{"return", path}
	}
	target, err := url.Parse(s.PublicURL + path)
	if err != nil {
		target = s.origin
	}
	values := target.Query()
	for i := 0; i+1 < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	target.RawQuery = values.Encode()
	http.Redirect(req.w, req.Request, target.String(), http.StatusSeeOther)
}

// redirectWithSession sets the session's new token and redirects; see [server.redirect].
func (s *server) redirectWithSession(req *request, session secret.Text, path string, query ...string) {
	s.setCookie(req.w, sessionCookie, session.Reveal(), s.Login.Life.Absolute)
	s.redirect(req, path, query...)
}

// frameOf returns the frame of a page for the request's session.
func (s *server) frameOf(req *request, title *locale.Message, tab string) page.Frame {
	f := page.Frame{Title: title, Tab: tab, Notice: s.noticeOf(req)}
	if req.isSignedIn() {
		f.Account = req.me.Account.ShownName()
		f.CodesLeft = req.codesLeft
		f.FewCodes = req.twoFactor && req.codesLeft <= fewCodes
		f.Wrong = req.wrong
		if tab != "" && req.me.Account.Role == account.Operator {
			f.Clock = s.clockMessage(req)
		}
	}
	return f
}

// clockMessage returns a message for operators if the server's clock is wrong, or nil.
func (s *server) clockMessage(req *request) *locale.Message {
	refused, err := s.Login.CodesRefused(req.Context())
	if err != nil {
		s.Log.Warn("the clock couldn't be checked", "request", reference(req.Request), "reason", err.Error()) // the page is useful without it
	}
	astray, apart, off := s.Login.Watch.Astray(), s.Login.Watch.Off(), s.Login.ClockOffset()
	switch {
	case astray != 0:
		return locale.Say("frame.clock_astray", "n", int(astray.Abs().Seconds()))
	case refused:
		return locale.Say("frame.clock_behind")
	case apart != 0:
		return locale.Say("frame.clock_apart", "n", int(apart.Abs().Seconds()))
	case off > 0:
		return locale.Say("frame.clock_slow", "n", int(off.Seconds()))
	case off < 0:
		return locale.Say("frame.clock_fast", "n", int(-off.Seconds()))
	}
	return nil
}

// fewCodes is the number of unused backup codes at which pages remind the user to create new
// ones.
const fewCodes = 3

// isConfirmedAuthenticator reports whether id is a confirmed authenticator of the signed-in
// account.
func (s *server) isConfirmedAuthenticator(req *request, id string) bool {
	_, err := authenticator.ByID(req.Context(), s.Login.DB.Reader(), req.me.Account.ID, id)
	return err == nil
}
