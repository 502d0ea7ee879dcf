package admin

import (
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/recovery"
)

//go:embed templates/*.html
var templates embed.FS

// Options are the parameters of [New].
type Options struct {
	Login          *login.Service
	Entry          *entry.Service
	Manage         *manage.Service
	Recovery       *recovery.Service
	PublicURL      string // without a slash at its end
	SiteName       string
	Contact        string // email address or URL for users who need help; may be empty
	Look           page.Look
	TrustedProxies access.Proxies
	Log            *slog.Logger
}

type server struct {
	*page.Site
	Options
}

// New returns the handler of the paths below /admin. Its caller checks the request's host and
// origin, limits its size and time, and sets the headers of a page.
func New(o Options) (http.Handler, error) {
	s := &server{Options: o}
	var err error
	s.Site, err = page.NewSite(page.SiteOptions{
		Options:   page.Options{SiteName: o.SiteName, Contact: o.Contact, Templates: templates, Look: o.Look},
		PublicURL: o.PublicURL, TrustedProxies: o.TrustedProxies, Log: o.Log, Clock: o.Login.Clock, Fail: s.fail, HasAdmin: true,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, route := range s.routes() {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, route) })
	}
	notFound := route{do: access.See, needs: access.TwoFactor, handle: func(*page.Request) error { return page.ErrNotFound }}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, notFound) })
	return mux, nil
}

// someone stands for the target of a request before the target is read. It is a member, since
// most roles may act on members.
var someone = account.Account{ID: "someone", Role: account.Member}

// serve calls the route's handler if the request meets what the route needs.
func (s *server) serve(w http.ResponseWriter, r *http.Request, route route) {
	req := s.NewRequest(w, r)
	if err := s.identify(req); err != nil {
		s.fail(req, err)
		return
	}
	bearer := access.Bearer{SignedIn: req.IsSignedIn(), Proofs: req.Me.Session.Proofs, TwoFactor: req.TwoFactor}
	verdict := access.Check(access.Demand{Requirement: route.needs}, bearer, s.Login.Clock())
	switch {
	case verdict == access.SignIn:
		s.Redirect(req, "/login", "return", returnPathOf(r))
	case !access.May(req.Me.Account, access.See, someone):
		s.fail(req, page.ErrNotFound)
	case !access.May(req.Me.Account, route.do, someone):
		s.fail(req, page.ErrForbidden)
	case !req.TwoFactor: // even if fresh proofs of the password alone would meet the requirement
		s.SetCookie(w, page.ReturnCookie, returnPathOf(r), page.ReturnCookieLife)
		s.Redirect(req, "/settings/security/authenticators/new", "notice", "role")
	case verdict == access.Reauthenticate:
		s.Redirect(req, "/reauthenticate", "return", returnPathOf(r))
	case verdict != access.Admit:
		s.fail(req, page.ErrForbidden)
	default:
		if err := route.handle(req); err != nil {
			s.fail(req, err)
		}
	}
}

// identify reads the request's session, and the facts about its account that pages show.
func (s *server) identify(req *page.Request) error {
	if err := req.ReadSession(s.Login); err != nil || !req.IsSignedIn() {
		return err
	}
	s.Entry.NoteSessionUse(req.Me.Session)
	return req.ReadSecondFactor(s.Login)
}

// returnPathOf returns the path of the page to which the browser returns after a sign-in or
// reauthentication. For a POST, it is the page of the form, since a POST is never repeated.
func returnPathOf(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return login.CheckReturn(r.URL.RequestURI())
	}
	return login.CheckReturn(r.URL.Path)
}

// fail answers a request that failed with err.
func (s *server) fail(req *page.Request, err error) {
	switch {
	case errors.Is(err, db.ErrNotFound):
		err = page.WithReason(page.ErrNotFound, err) // the account was removed
	case errors.Is(err, manage.ErrNotPermitted):
		err = page.WithReason(page.ErrForbidden, err)
	}
	s.ShowFault(req, s.FaultOf(err), err, []any{"account", page.Clean(req.Me.Account.Name)})
}

// getStart redirects to the first tab.
func (s *server) getStart(req *page.Request) error {
	s.Redirect(req, "/admin/accounts")
	return nil
}

// now returns the time by which the pages tell what has expired.
func (s *server) now() time.Time { return s.Login.Clock() }
