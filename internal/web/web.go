package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/health"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/secret"
)

// Options are the parameters of [New] and [NewPanelHost].
type Options struct {
	Login          *login.Service
	Entry          *entry.Service
	Manage         *manage.Service
	Recovery       *recovery.Service
	PublicURL      string // without a slash at its end; with a path if a panel shares the host
	SiteName       string
	Contact        string // email address or URL for users' questions; may be empty
	Look           page.Look
	TrustedProxies access.Proxies
	Panels         []*access.Panel
	Log            *slog.Logger
	// Admin is the handler of the paths below /admin, or nil if there are no such paths. It must
	// be nil if the portal shares its host with a panel, whose scripts could act for an
	// administrator.
	Admin http.Handler
	// Measure is called after every answer; it may be nil. The parameter route is the pattern of
	// a route, never the requested path.
	Measure func(route string, status int, took time.Duration)
	// Health returns the lines of /readyz about what a sign-in needs. It writes to the disk, so
	// each result is used for the duration readyFor.
	Health func(ctx context.Context) []health.Vital
	// Vitals returns the lines of /readyz about parts of this process that fail.
	Vitals func() []health.Vital
}

// server has what all areas of the pages share.
type server struct {
	*page.Site
	Options
	panels map[string]*access.Panel // by canonical host
	mux    *http.ServeMux
	ready  readiness
}

// The areas of the pages. The methods of each type are the handlers of one area, and what only
// these handlers need.
type (
	signIn     struct{ *server } // sign-in, reauthentication and sign-out
	setUp      struct{ *server } // one-time links
	recoveries struct{ *server } // mailed links
	security   struct{ *server } // the profile, the password and the authenticators
	sessions   struct{ *server } // sessions, known browsers and activity
	passes     struct{ *server } // machine passes
	panels     struct{ *server } // the way to a panel, on the portal and on the panel's host
)

// newServer returns a server with the given pages, by default all. base is the prefix of the paths
// of static files; if it is empty, the prefix is the path of the public URL.
func newServer(o Options, base string, pages ...string) (*server, error) {
	s := &server{Options: o, panels: map[string]*access.Panel{}, mux: http.NewServeMux()}
	var err error
	s.Site, err = page.NewSite(page.SiteOptions{
		Options:   page.Options{SiteName: o.SiteName, Contact: o.Contact, Base: base, Templates: templates, Pages: pages, Look: o.Look},
		PublicURL: o.PublicURL, TrustedProxies: o.TrustedProxies, Log: o.Log, Clock: o.Login.Clock, Measure: o.Measure, Fail: s.fail, HasAdmin: o.Admin != nil,
	})
	if err != nil {
		return nil, err
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
	at := s.Origin.Path
	for _, route := range s.routes() {
		s.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, route)
		})
	}
	// Unknown paths and methods get an error page.
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, route{needs: access.Public, handle: func(*page.Request) error { return page.ErrNotFound }})
	})
	pages := http.NewServeMux()
	pages.Handle("/", withoutPrefix(at, s.mux))
	if o.Admin != nil {
		pages.Handle("/admin", o.Admin)
		pages.Handle("/admin/", o.Admin)
	}
	if s.isShared() {
		s.servePanelHost(pages, panels{s}.panelRoutes())
	}

	foreign := http.NewCrossOriginProtection()
	if err := foreign.AddTrustedOrigin(originOf(s.Origin)); err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.NewRequest(w, r), page.ErrCrossOrigin)
	}))

	outer := http.NewServeMux()
	for _, path := range slices.Compact([]string{"", at}) { // also without at, for requests with an unknown host name
		outer.HandleFunc("GET "+path+"/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
		outer.HandleFunc("GET "+path+"/readyz", s.getReady)
	}
	// Static files bypass the guard, since its own error pages need them.
	outer.Handle("GET "+at+"/static/", s.Static())
	outer.Handle("/", s.guard(foreign.Handler(pages)))
	return s.Wrap(s.canonicalOnly(outer)), nil
}

// serve calls the route's handler if the request meets the route's requirement.
func (s *server) serve(w http.ResponseWriter, r *http.Request, route route) {
	req := s.NewRequest(w, r)
	if s.isShared() && !s.isOwnDocument(req) {
		s.fail(req, errNoDocument)
		return
	}
	err := s.identify(req, route.needs)
	if err != nil {
		s.fail(req, err)
		return
	}
	if s.isShared() && route.changesSignIn() && req.IsSignedIn() {
		proven, err := signIn{s}.proveInForm(req)
		if err != nil || !proven {
			if err != nil {
				s.fail(req, err)
			}
			return
		}
	}
	bearer := access.Bearer{
		SignedIn: req.IsSignedIn(), Proofs: req.Me.Session.Proofs, TwoFactor: req.TwoFactor,
		Required: !route.leadsToTwoFactor() && s.Entry.Requires(req.Policy),
	}
	needs := route.needs
	if route.pattern == "GET "+newAuthenticatorPath && s.mustEnroll(req) {
		needs = access.Session // the page first says why; its form asks for the password
	}
	switch access.Check(access.Demand{Requirement: needs}, bearer, s.Login.Clock()) {
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
	case access.Enroll:
		s.redirectToEnrollment(req)
	default:
		s.fail(req, page.ErrForbidden)
	}
}

// identify reads the request's session. If the route requires a session, it also reads what the
// pages show about the account.
func (s *server) identify(req *page.Request, needs access.Requirement) error {
	err := req.ReadSession(s.Login)
	if err != nil || !req.IsSignedIn() || needs == access.Public {
		return err
	}
	s.Entry.NoteSessionUse(req.Me.Session)
	if req.Policy, err = s.Entry.PolicyOf(req.Context(), s.Login.DB.Reader(), req.Me.Account.ID); err != nil {
		return err
	}
	return req.ReadSecondFactor(s.Login)
}

// redirect is like [page.Site.Redirect], but a redirect that would continue to a panel goes to
// getContinue; see [access.PagePolicy].
func (s *server) redirect(req *page.Request, path string, query ...string) {
	if strings.HasPrefix(path, enterPagePath+"?") {
		path, query = continuePath, []string{"return", path}
	}
	s.Redirect(req, path, query...)
}

// redirectWithSession sets the cookie with the session's new token and redirects; see
// [server.redirect].
func (s *server) redirectWithSession(req *page.Request, session secret.Text, path string, query ...string) {
	s.SetCookie(req.W, page.SessionCookie, session.Reveal(), s.Login.Life.Absolute)
	s.redirect(req, path, query...)
}

// frameOf returns the frame of a page, with the page's notice. For accounts with another role than
// [account.Member], the frame also says what is wrong with the clock.
func (s *server) frameOf(req *page.Request, title *locale.Message, tab string) page.Frame {
	f := req.Frame(title, tab)
	f.Notice = s.noticeOf(req)
	if tab != "" && req.IsSignedIn() && req.Me.Account.Role != account.Member {
		f.Clock = s.clockMessage(req)
	}
	return f
}

// clockMessage returns a message that says what is wrong with the server's clock, or nil if it is
// right.
func (s *server) clockMessage(req *page.Request) *locale.Message {
	refused, err := s.Login.CodesRefused(req.Context())
	if err != nil {
		s.Log.Warn("the clock couldn't be checked", "request", page.Reference(req.Request), "reason", err.Error()) // the page is useful without it
	}
	astray, apart, off := s.Login.Watch.Astray(), s.Login.Watch.Off(), s.Login.Watch.Offset()
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
