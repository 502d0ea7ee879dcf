// Package web is the portal's door for people: HTML pages over the functions
// of package login. routes.go is the policy, pages.go the data of each page,
// render.go and catalogue.go turn them into HTML. It decides nothing about a
// credential and owns no table.
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
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

const (
	// maxBody of a form: the longest has a password of 1 KiB, and a return
	// URL; more is nobody's sign-in.
	maxBody = 64 << 10

	// requestTime is how long a request may take, waits in the hashing queue
	// and for the database included.
	requestTime = 20 * time.Second
)

// Options are what the portal's pages need to know.
type Options struct {
	Login          *login.Service
	PublicURL      string // without a slash at the end; with a path where a panel shares its host
	SiteName       string
	Contact        string // email address or URL where people ask for help; may be empty
	Look           Look
	TrustedProxies access.Proxies
	Panels         []*access.Panel
	Log            *slog.Logger
	// Measure is told of every answer; it may be nil. The route is a pattern
	// of ours, never what was asked for.
	Measure func(route string, status int, took time.Duration)
	// Vitals are lines of /readyz besides those of Login, where something is
	// wrong; it may be nil.
	Vitals func() []login.Vital
}

type server struct {
	Options
	views  *views
	origin *url.URL
	https  bool
	panels map[string]*access.Panel // by canonical host
	mux    *http.ServeMux
	ready  readiness

	unreadable sync.Once // an address in X-Forwarded-For that can't be read was logged
}

// newServer returns a server whose pages find their files below base, or, where
// that is empty, below the public URL.
func newServer(o Options, base string, pages ...string) (*server, error) {
	origin, err := url.Parse(o.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	if base == "" {
		base = origin.Path + "/"
	}
	views, err := newViews(o.SiteName, origin.Path, base, o.Look, pages...)
	if err != nil {
		return nil, err
	}
	views.contact = o.Contact
	s := &server{
		Options: o, views: views, origin: origin, https: origin.Scheme == "https", panels: map[string]*access.Panel{}, mux: http.NewServeMux(),
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

// originOf is scheme and host.
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
	// Everything else, an unknown method among it, is a page that says so.
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, route{needs: access.Public, handle: func(*request) error { return errNotFound }})
	})
	pages := http.NewServeMux()
	pages.Handle("/", below(at, s.mux))
	if s.shared() {
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
	for _, path := range slices.Compact([]string{"", at}) { // who asks without our host's name gets here too
		outer.HandleFunc("GET "+path+"/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
		outer.HandleFunc("GET "+path+"/readyz", s.getReady)
	}
	// Before the guard, which answers other hosts and untrusted proxies with a page.
	outer.Handle("GET "+at+"/static/", s.views.static())
	outer.Handle("/", s.guard(foreign.Handler(pages)))
	return s.frame(s.canonicalOnly(outer)), nil
}

// frame surrounds every answer: headers, limits, a reference id, one line in
// the log, and a page instead of a crash (F9).
func (s *server) frame(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		r = r.WithContext(withReference(ctx))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		h := w.Header()
		h.Set("Content-Security-Policy", access.PagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // stricter ones blank the Origin of our own forms
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store") // static files, which are the same for all, set their own
		if s.https {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}

		answer := &recorder{ResponseWriter: w}
		begin := s.Login.Clock()
		defer func() {
			if crash := recover(); crash != nil {
				s.Log.Error("panic", "request", reference(r), "host", clean(r.Host), "path", clean(r.URL.Path), "panic", fmt.Sprint(crash), "stack", string(debug.Stack()))
				if answer.status == 0 {
					s.fail(s.newRequest(answer, r), errors.New("panic"))
				}
			}
			took := s.Login.Clock().Sub(begin)
			if s.Measure != nil {
				s.Measure(r.Pattern, answer.status, took)
			}
			s.Log.Debug("request", "request", reference(r), "method", clean(r.Method), "host", clean(r.Host), "path", clean(r.URL.Path),
				"status", answer.status, "address", s.TrustedProxies.Address(r).String(), "took", took)
		}()
		next.ServeHTTP(answer, r)
	})
}

// canonicalOnly keeps paths that aren't written in the one way from a mux, which would
// answer some of them with a redirect of its own.
func (s *server) canonicalOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !canonical(r) {
			s.fail(s.newRequest(w, r), errNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard refuses what can't be a person's request to this portal: one that came
// around the proxy or by plain http, and one for another host.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.https && !s.TrustedProxies.IsPrivate(r):
			s.fail(s.newRequest(w, r), &untrustedProxy{access.Peer(r)})
		case !access.SameHost(r.Host, s.origin.Host):
			s.misdirected(w, r)
		case s.https && s.TrustedProxies.CameByHTTP(r):
			s.toHTTPS(w, r, originOf(s.origin))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// misdirected answers a request for another host name than public_url's:
// cookies and links wouldn't work there. Two names of this machine, and a host of
// ours with a dot at its end, are sorted out by a redirect, everything else by a page.
func (s *server) misdirected(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && loopback(r.Host) && loopback(s.origin.Host) && port(r.Host) == s.origin.Port() {
		http.Redirect(w, r, originOf(s.origin)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return
	}
	if origin := s.originWithoutDot(r.Host); origin != "" && access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	s.fail(s.newRequest(w, r), because(errMisdirected, fmt.Errorf("host %q", clean(r.Host))))
}

// originWithoutDot returns our origin, the portal's or a panel's, whose host is written
// with a dot at its end; "" where there is none.
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

// httpsCookieLife bounds how long the proof of https is kept: a minute is more than the
// redirect takes.
const httpsCookieLife = time.Minute

// toHTTPS leads a person who came by plain http to the same page by https, and tells
// everything else. The cookie is stored by a browser that came by https after all, and
// ends a loop there.
func (s *server) toHTTPS(w http.ResponseWriter, r *http.Request, origin string) {
	setHostCookie(w, true, access.HTTPSCookie, "1", httpsCookieLife)
	if access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	s.fail(s.newRequest(w, r), &plainHTTP{origin})
}

// request is what a handler works on.
type request struct {
	*http.Request
	w    http.ResponseWriter
	from login.Browser

	// me is whoever is signed in; its session's id is empty where nobody is.
	me        login.Me
	twoFactor bool // me has a second authenticator; known where the route asks for a session
	codesLeft int  // unused backup codes of me; known likewise
	wrong     int  // wrong codes of others after my right password; known likewise
}

func (s *server) newRequest(w http.ResponseWriter, r *http.Request) *request {
	address, unreadable := s.TrustedProxies.ReadForwardedFor(r)
	if unreadable != "" {
		s.unreadable.Do(func() {
			s.Log.Warn("a trusted proxy sends something in X-Forwarded-For that isn't an address, so all its clients count as one network; correct the proxy",
				"proxy", address.String(), "value", clean(unreadable))
		})
	}
	return &request{Request: r, w: w, from: login.Browser{Address: address, UserAgent: clean(r.UserAgent()), Device: s.cookie(r, deviceCookie)}}
}

// serve holds the request against the route's requirement and hands it on.
func (s *server) serve(w http.ResponseWriter, r *http.Request, route route) {
	req := s.newRequest(w, r)
	if s.shared() && !s.ownDocument(req) {
		s.fail(req, errNoDocument)
		return
	}
	err := s.identify(req, route.needs)
	if err != nil {
		s.fail(req, err)
		return
	}
	if s.shared() && route.changes() && req.signedIn() {
		if proven, err := s.proveInForm(req); err != nil || !proven {
			if err != nil {
				s.fail(req, err)
			}
			return
		}
	}
	bearer := access.Bearer{SignedIn: req.signedIn(), Proofs: req.me.Session.Proofs, TwoFactor: req.twoFactor}
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
		s.redirect(req, "/login", "return", here(r))
	case access.Reauthenticate:
		s.redirect(req, "/reauthenticate", "return", here(r))
	default:
		s.fail(req, errForbidden)
	}
}

// identify finds the session of the request, and for a route that asks for one
// what its pages show of the account.
func (s *server) identify(req *request, needs access.Requirement) error {
	token := s.cookie(req.Request, sessionCookie)
	held, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), token, s.Login.Life, s.Login.Clock())
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	req.me = login.Me{Session: held, Token: token, Account: owner, From: req.from}
	if needs == access.Public {
		return nil
	}
	s.Login.SeenSession(held)
	if req.twoFactor, req.codesLeft, err = s.Login.SecondFactor(req.Context(), owner); err != nil || !req.twoFactor {
		return err
	}
	req.wrong, err = s.Login.WrongCodes(req.Context(), owner)
	return err
}

func (r *request) signedIn() bool { return r.me.Session.ID != "" }

// redirect answers 303 to a path of the portal, with pairs of query names and
// values. The address is built from the configuration, never from the request
// (R20). On the way to a panel a page leads on: see [access.PagePolicy].
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

// land sets the session's new token and goes where the attempt leads.
func (s *server) land(req *request, session secret.Text, path string, query ...string) {
	s.setCookie(req.w, sessionCookie, session.Reveal(), s.Login.Life.Absolute)
	s.redirect(req, path, query...)
}

// frameOf is the frame of a page for whoever is signed in.
func (s *server) frameOf(req *request, title *message, tab string) frame {
	f := frame{Title: title, Tab: tab, Notice: s.noticeOf(req)}
	if req.signedIn() {
		f.Account = req.me.Account.Called()
		f.CodesLeft = req.codesLeft
		f.FewCodes = req.twoFactor && req.codesLeft <= fewCodes
		f.Wrong = req.wrong
		if tab != "" && req.me.Account.Role == account.Operator {
			f.Clock = s.clockMessage(req)
		}
	}
	return f
}

// clockMessage is what an operator should know of the server's clock, or nil.
func (s *server) clockMessage(req *request) *message {
	refused, err := s.Login.CodesRefused(req.Context())
	if err != nil {
		s.Log.Warn("the clock couldn't be checked", "request", reference(req.Request), "reason", err.Error()) // the page is of use without it
	}
	astray, apart, off := s.Login.Watch.Astray(), s.Login.Watch.Off(), s.Login.ClockOffset()
	switch {
	case astray != 0:
		return say("frame.clock_astray", "n", int(astray.Abs().Seconds()))
	case refused:
		return say("frame.clock_behind")
	case apart != 0:
		return say("frame.clock_apart", "n", int(apart.Abs().Seconds()))
	case off > 0:
		return say("frame.clock_slow", "n", int(off.Seconds()))
	case off < 0:
		return say("frame.clock_fast", "n", int(-off.Seconds()))
	}
	return nil
}

// fewCodes is when a person is reminded to make new backup codes.
const fewCodes = 3

// confirmedAuthenticator reports whether id is one of my confirmed ones, for a
// wizard page that was left open.
func (s *server) confirmedAuthenticator(req *request, id string) bool {
	_, err := authenticator.ByID(req.Context(), s.Login.DB.Reader(), req.me.Account.ID, id)
	return err == nil
}
