package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// Paths of a panel's host at which a visit starts and ends.
const (
	enterPath     = access.OwnPrefix + "enter" // redeems a handoff
	logoutPath    = access.OwnPrefix + "logout"
	signedOutPath = access.OwnPrefix + "signed-out"
)

// stateCookieLife limits how long a sign-in that starts at a panel can take.
const stateCookieLife = 10 * time.Minute

// PanelHost answers requests for paths below /.sallyport/ on the panels' hosts: the start of a
// sign-in, the return from it, and the sign-out. It also answers requests for other paths that
// aren't forwarded to the panel.
type PanelHost struct {
	server *server
	pages  http.Handler
}

// panelPages are the pages of the panels' hosts. A PanelHost loads no other pages, since each takes
// about 70 kB of memory.
var panelPages = []string{"panel-back", "panel-keep", "panel-logout", "panel-sign-in", "panel-signed-in", "panel-signed-out"}

// NewPanelHost returns the handler for all panels.
func NewPanelHost(o Options) (*PanelHost, error) {
	o.Look.Icons = nil // only the portal's first page shows the icons
	s, err := newServer(o, access.OwnPrefix, panelPages...)
	if err != nil {
		return nil, err
	}
	foreign := http.NewCrossOriginProtection()
	for _, panel := range o.Panels {
		if err := foreign.AddTrustedOrigin(panel.Origin); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	s.servePanelHost(mux, panels{s}.panelRoutes())
	s.servePanelHost(mux, map[string]panelHandler{
		"GET " + enterPath:     panels{s}.getPanelEnter,
		"POST " + logoutPath:   panels{s}.postPanelLogout,
		"GET " + signedOutPath: panels{s}.getPanelSignedOut,
		"/":                    func(*page.Request, *access.Panel) error { return page.ErrNotFound },
	})
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.NewRequest(w, r), page.ErrCrossOrigin)
	}))
	return &PanelHost{server: s, pages: s.Wrap(s.canonicalOnly(foreign.Handler(mux)))}, nil
}

type panelHandler func(*page.Request, *access.Panel) error

// panelRoutes returns the routes that every panel's host has, even one that the portal shares.
func (s panels) panelRoutes() map[string]panelHandler {
	return map[string]panelHandler{
		"GET " + access.StartPath:   s.getStart,
		"GET " + scriptPath:         s.getScript(),
		"GET " + checkPath:          s.getCheck,
		"GET " + signedInPath:       s.getSignedIn,
		"GET " + logoutPath:         s.getPanelLogout,
		"GET " + backPath + "{key}": s.getBack,
	}
}

func (s *server) servePanelHost(mux *http.ServeMux, routes map[string]panelHandler) {
	for pattern, handle := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			req := s.NewRequest(w, r)
			panel := s.panelAtHost(r.Host)
			if panel == nil {
				s.fail(req, page.ErrMisdirected)
			} else if err := handle(req, panel); err != nil {
				s.fail(req, err)
			}
		})
	}
}

// Static serves the files of the pages on the panels' hosts.
func (h *PanelHost) Static(w http.ResponseWriter, r *http.Request) {
	h.server.Wrap(h.server.Static()).ServeHTTP(w, r)
}

func (h *PanelHost) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.pages.ServeHTTP(w, r) }

// Refusal says why a request for a panel isn't forwarded.
type Refusal int

// The refusals.
const (
	Denied         Refusal = iota // the account has no access, or it isn't clear which resource the request names
	PanelDown                     // the panel doesn't answer
	PanelSlow                     // the panel didn't answer in time
	PanelUntrusted                // the panel's certificate isn't the configured one
	Unavailable                   // Sallyport's database doesn't answer
	UntrustedProxy                // the request didn't come through a trusted proxy
	HeadersTooLong                // the headers are longer than max_header_kib
	Misdirected                   // the request is for a host that isn't served at this address
)

// Refuse answers with an error page for the refusal. The parameter reason is for the log.
func (h *PanelHost) Refuse(w http.ResponseWriter, r *http.Request, refusal Refusal, reason error) {
	var fault error
	switch refusal {
	case PanelDown:
		fault = page.WithReason(errPanelDown, reason)
	case PanelSlow:
		fault = page.WithReason(errPanelSlow, reason)
	case PanelUntrusted:
		fault = page.WithReason(errPanelUntrusted, reason)
	case Unavailable:
		fault = reason
	case UntrustedProxy:
		fault = &untrustedProxyError{access.Peer(r)}
	case HeadersTooLong:
		fault = &headersTooLongError{longestCookies(r)}
	case Misdirected:
		fault = page.WithReason(page.ErrMisdirected, reason)
	default:
		fault = page.WithReason(page.ErrForbidden, reason)
	}
	h.fail(w, r, fault)
}

// PanelRefused answers a request that Sallyport admitted but the panel itself refused, if a proxy
// asks for a page to replace the panel's answer. The page only has a link that repeats the
// request, since a redirect to the panel would loop.
func (h *PanelHost) PanelRefused(w http.ResponseWriter, r *http.Request, panel *access.Panel, target string) {
	h.fail(w, r, &panelRefusedError{panel, panel.Origin + login.CheckAddress(target)})
}

func (h *PanelHost) fail(w http.ResponseWriter, r *http.Request, fault error) {
	h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if access.ClientKindOf(r.Method, r.Header) == access.Viewer {
			allowFrame(w.Header())
		}
		h.server.fail(h.server.NewRequest(w, r), fault)
	})).ServeHTTP(w, r)
}

// allowFrame allows browsers to show an answer in a frame. The frame can be the panel's own, or that
// of another page that shows the panel.
func allowFrame(h http.Header) {
	h.Set("Content-Security-Policy", access.FramedPolicy)
	h.Del("X-Frame-Options")
}

// RedirectToHTTPS answers a browser that requested a page of a panel by plain http. It redirects
// the browser to the same page by https.
func (h *PanelHost) RedirectToHTTPS(w http.ResponseWriter, r *http.Request, panel *access.Panel) {
	h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.server.redirectToHTTPS(w, r, panel.Origin)
	})).ServeHTTP(w, r)
}

// RedirectWithoutDot answers a proxy that asks about a request for a panel's host with a dot at its
// end. Browsers don't send the panel's cookies to such a host. RedirectWithoutDot redirects a
// navigation to the host without the dot.
func (h *PanelHost) RedirectWithoutDot(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string) {
	w.Header()["Cache-Control"] = noStore
	if access.ClientKindOf(method, r.Header) == access.Navigation {
		w.Header().Set("Location", panel.Origin+target)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	h.Refuse(w, r, Misdirected, errors.New("a dot stands at the end of the panel's host"))
}

// StartSignIn answers a request for target on a panel if the request requires a sign-in. It
// redirects a navigation to the sign-in. For a form or a frame, it shows a page that links to the
// sign-in. Other clients get the sign-in's URL as JSON. If the request has a machine pass that isn't
// accepted, the parameter refused is the reason, which the JSON contains; otherwise it is nil.
func (h *PanelHost) StartSignIn(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string, refused error) {
	address := panel.ReturnPath(method, target, r.Header)
	back := newReturnAddress(login.CheckAddress(address))
	if len(address) > login.MaxAddress { // only a script can store such an address
		address = login.CheckPath(folderOf(address))
		back = returnAddress{path: storedAddressPath(address, keptKey), kept: true}
	} else {
		address = login.CheckAddress(address)
	}
	w.Header()["Cache-Control"] = noStore
	switch kind := access.ClientKindOf(method, r.Header); {
	case kind == access.Navigation && back.kept:
		h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			panels{h.server}.showKeepPage(w, r, panel, address, back.path)
		})).ServeHTTP(w, r)
	case kind == access.Navigation:
		if back.cookie != "" {
			setBackCookie(w, panel, back, backCookieLife)
		}
		// Not http.Redirect, whose body depends on r.Method. If a proxy asks, r.Method is the
		// method of the proxy's query, not of the client's request.
		w.Header().Set("Location", panel.StartURL(back.path))
		w.WriteHeader(http.StatusSeeOther)
	case kind == access.Viewer:
		start := startLink(panel, address, back)
		h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			panels{h.server}.showSignInPage(w, r, panel, start, method != http.MethodGet && method != http.MethodHead)
		})).ServeHTTP(w, r)
	default:
		writeUnauthorized(w, r, startLink(panel, address, back), refused)
	}
}

// startLink returns the URL that starts a sign-in, for clients that can't be redirected. The
// sign-in returns to the address or, if the address is too long for the URL, to its folder.
func startLink(panel *access.Panel, address string, back returnAddress) string {
	if back.cookie != "" || back.kept {
		return panel.StartURL(folderOf(address))
	}
	return panel.StartURL(address)
}

// showSignInPage shows a page with a link to the sign-in. It answers a request of a frame, or a
// form, which isn't forwarded to the panel.
func (s panels) showSignInPage(w http.ResponseWriter, r *http.Request, panel *access.Panel, start string, form bool) {
	h := w.Header()
	allowFrame(h)
	access.Challenge(h, r.Header)
	data := panelSignInPage{Frame: page.Frame{Title: locale.Say("panel_sign_in.title", "panel", panel.Name)}, Panel: panel.Name, URL: start, Form: form}
	req := s.NewRequest(w, r)
	if err := s.Render(req, http.StatusUnauthorized, "panel-sign-in", &data); err != nil {
		s.fail(req, err)
	}
}

// Header values that all answers share, so that an answer doesn't allocate them.
var noStore, contentJSON = []string{"no-store"}, []string{"application/json"}

// writeUnauthorized answers 401 with JSON, which contains the URL that starts a sign-in. If the
// parameter refused isn't nil, the JSON also contains it as the reason why a machine pass is
// refused.
func writeUnauthorized(w http.ResponseWriter, r *http.Request, start string, refused error) {
	pass := ""
	if refused != nil {
		reason, _ := json.Marshal(refused.Error()) // no error for a string
		pass = `,"pass":` + string(reason)
	}
	w.Header()["Content-Type"] = contentJSON
	access.Challenge(w.Header(), r.Header)
	w.WriteHeader(http.StatusUnauthorized)
	// An origin and an escaped path need no escaping in JSON.
	io.WriteString(w, `{"login":"`+start+`"`+pass+"}\n")
}

func (s *server) panelAtHost(host string) *access.Panel {
	name, err := access.CanonicalHost(host)
	if err != nil {
		return nil
	}
	return s.panels[name]
}

// getStart stores a random state in a cookie of the panel's host, and redirects the browser to
// the portal. The handoff will be valid only in the browser that has this state. Otherwise
// attackers could prepare links that sign other users in to the attacker's account.
func (s panels) getStart(req *page.Request, panel *access.Panel) error {
	state := ""
	if !panel.Shared { // a shared host needs no handoff
		if state = panel.Cookie(req.Request, access.StateCookie); !secret.IsToken(state) {
			state = secret.NewToken().Reveal() // all tabs share it
		}
		page.SetHostCookie(req.W, panel.IsHTTPS(), access.StateCookie, state, stateCookieLife)
	}
	query := req.URL.Query()
	enter := enterPageFor(panel, login.CheckPath(query.Get("return")), state, query.Has("again"))
	if login.CheckReturn(enter) != enter {
		enter = enterPageFor(panel, "/", state, query.Has("again")) // the return path was too long
	}
	http.Redirect(req.W, req.Request, s.PublicURL+enter, http.StatusSeeOther)
	return nil
}

// getPanelEnter redeems a handoff and starts a visit.
func (s panels) getPanelEnter(req *page.Request, panel *access.Panel) error {
	state := panel.Cookie(req.Request, access.StateCookie)
	visit, back, err := s.Entry.Enter(req.Context(), panel, req.URL.Query().Get("handoff"), state)
	switch {
	case errors.Is(err, session.ErrHandoff):
		back = "/" // the handoff has expired or was used, as after the back button; the next request is checked anyway
	case errors.Is(err, session.ErrState) && state == "" && req.URL.Query().Has("again"):
		return errNoCookies
	case errors.Is(err, session.ErrState) && state == "":
		// The state cookie expired during the sign-in, or the browser keeps no cookies. A
		// second request without the cookie shows which.
		http.Redirect(req.W, req.Request, panel.StartURL(login.CheckPath(back))+"&again=1", http.StatusSeeOther)
		return nil
	case errors.Is(err, session.ErrState):
		// The link is from another browser. This browser starts a sign-in of its own.
	case err != nil:
		return err
	default:
		page.SetHostCookie(req.W, panel.IsHTTPS(), access.VisitCookie, visit.Token.Reveal(), s.Login.Life.Absolute)
		s.forgetPreviousAccount(req, panel, visit.Account)
	}
	http.Redirect(req.W, req.Request, panel.Origin+login.CheckPath(back), http.StatusSeeOther)
	return nil
}

func (s panels) getPanelLogout(req *page.Request, panel *access.Panel) error {
	return s.Render(req, http.StatusOK, "panel-logout", &panelLogoutPage{
		Frame: page.Frame{Title: locale.Say("panel_logout.title")}, Panel: panel.Name, Action: logoutPath, Back: panel.Origin + "/",
	})
}

// postPanelLogout ends the session and redirects to a page of the panel's host. It can't redirect
// to the portal: browsers don't let a form redirect to another origin (see [access.PagePolicy]).
func (s panels) postPanelLogout(req *page.Request, panel *access.Panel) error {
	if err := s.Manage.Sessions.SignOutAtPanel(req.Context(), panel, panel.VisitToken(req.Request), req.From); err != nil {
		return err
	}
	page.SetHostCookie(req.W, panel.IsHTTPS(), access.VisitCookie, "", 0)
	if panel.ForgetAtSignOut {
		forgetPanel(req.W.Header(), req.Request)
	}
	http.Redirect(req.W, req.Request, panel.Origin+signedOutPath, http.StatusSeeOther)
	return nil
}

// getPanelSignedOut redirects to the portal. If the browser must delete the panel's cookies, it
// first redirects to itself until they are deleted, since one answer can't delete many.
func (s panels) getPanelSignedOut(req *page.Request, panel *access.Panel) error {
	round, _ := strconv.Atoi(req.URL.Query().Get("round"))
	if panel.ForgetAtSignOut && panel.VisitToken(req.Request) == "" && round < maxForgetRounds && forgetPanel(req.W.Header(), req.Request) {
		http.Redirect(req.W, req.Request, panel.Origin+signedOutPath+"?round="+strconv.Itoa(round+1), http.StatusSeeOther)
		return nil
	}
	to := s.PublicURL + "/login?notice=signed_out"
	req.W.Header().Set("Refresh", "0; url="+to)
	return s.Render(req, http.StatusOK, "panel-signed-out", &continuePage{Frame: page.Frame{Title: locale.Say("panel_signed_out.title")}, URL: to})
}
