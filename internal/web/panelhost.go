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

// stateCookieLife is the time limit for a sign-in that a panel started.
const stateCookieLife = 10 * time.Minute

// PanelHost answers requests below /.sallyport/ on the panels' hosts: the start of a sign-in, the
// return from it, and the sign-out. It also answers requests that aren't forwarded to the panel.
type PanelHost struct {
	server *server
	pages  http.Handler
}

// panelPages are the pages of the panels' hosts. Only these are loaded, since each page takes
// about 70 kB of memory.
var panelPages = []string{"panel-back", "panel-keep", "panel-logout", "panel-sign-in", "panel-signed-in", "panel-signed-out"}

// NewPanelHost returns the handler for all panels.
func NewPanelHost(o Options) (*PanelHost, error) {
	o.Look.Icons = nil // only the portal's first page shows them
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

// panelRoutes returns the routes of every panel's host, also of one that the portal shares.
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

// Refusal is the kind of reason why a request for a panel isn't forwarded.
type Refusal int

// The refusals.
const (
	Denied         Refusal = iota // the account isn't allowed to, or Sallyport can't know which resources the request names
	PanelDown                     // the panel doesn't answer
	PanelSlow                     // the panel didn't answer in time
	PanelUntrusted                // the panel's certificate isn't the configured one
	Unavailable                   // Sallyport's database doesn't answer
	UntrustedProxy                // the request didn't come through a trusted proxy
	HeadersTooLong                // the headers are longer than max_header_kib
	Misdirected                   // the request is for a host that isn't served at this address
)

// Refuse answers with an error page for the refusal. reason is for the log.
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

// PanelRefused answers a request that is admitted but that the panel itself refused, if a proxy
// asks for a page in place of the panel's answer. The page only offers to load it again: a
// redirect to the panel would loop.
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

// allowFrame allows an answer to be shown in a frame: a frame of the panel, or one of another
// page that shows the panel.
func allowFrame(h http.Header) {
	h.Set("Content-Security-Policy", access.FramedPolicy)
	h.Del("X-Frame-Options")
}

// RedirectToHTTPS redirects a browser that requested a panel by plain http to the same page by
// https.
func (h *PanelHost) RedirectToHTTPS(w http.ResponseWriter, r *http.Request, panel *access.Panel) {
	h.server.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.server.redirectToHTTPS(w, r, panel.Origin)
	})).ServeHTTP(w, r)
}

// RedirectWithoutDot answers a proxy's question about a panel's host with a dot at its end, to
// which browsers don't send the panel's cookies. It redirects a navigation to the host without the
// dot.
func (h *PanelHost) RedirectWithoutDot(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string) {
	w.Header()["Cache-Control"] = noStore
	if access.ClientKindOf(method, r.Header) == access.Navigation {
		w.Header().Set("Location", panel.Origin+target)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	h.Refuse(w, r, Misdirected, errors.New("a dot stands at the end of the panel's host"))
}

// StartSignIn answers a request for target on a panel that requires a sign-in. It redirects a
// navigation to the sign-in. It shows a page with a link to a browser that can't be redirected.
// Other clients get the sign-in's address as JSON. If the request has a machine pass that isn't
// accepted, refused is the reason, which the JSON contains too; otherwise refused is nil.
func (h *PanelHost) StartSignIn(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string, refused error) {
	address := panel.ReturnPath(method, target, r.Header)
	back := newReturnAddress(login.CheckAddress(address))
	if len(address) > login.MaxAddress { // only a script can store it
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
		// Not http.Redirect, whose body depends on r.Method: behind a proxy that is the
		// method of the question, not the client's.
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
// sign-in returns to the address, or to its folder if the address is too long for the URL.
func startLink(panel *access.Panel, address string, back returnAddress) string {
	if back.cookie != "" || back.kept {
		return panel.StartURL(folderOf(address))
	}
	return panel.StartURL(address)
}

// showSignInPage shows a page with a link to the sign-in, in a frame or as the answer to a
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

// All answers share the values, so that an answer doesn't allocate them.
var noStore, contentJSON = []string{"no-store"}, []string{"application/json"}

// writeUnauthorized answers 401 with JSON: the URL that starts a sign-in, and the reason why a
// machine pass is refused, unless refused is nil.
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
// the portal. The handoff will be valid only in the browser with this state. Otherwise an
// attacker could sign a user in to the attacker's account with a prepared link.
func (s panels) getStart(req *page.Request, panel *access.Panel) error {
	state := ""
	if !panel.Shared { // a shared host needs no handoff
		if state = panel.Cookie(req.Request, access.StateCookie); !secret.IsToken(state) {
			state = secret.NewToken().Reveal() // shared by all tabs
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
		back = "/" // used already, as after the back button, or expired: Sallyport checks the next request again
	case errors.Is(err, session.ErrState) && state == "" && req.URL.Query().Has("again"):
		return errNoCookies
	case errors.Is(err, session.ErrState) && state == "":
		// The state cookie expired during the sign-in, or the browser keeps no cookies. A
		// second request without the cookie shows which.
		http.Redirect(req.W, req.Request, panel.StartURL(login.CheckPath(back))+"&again=1", http.StatusSeeOther)
		return nil
	case errors.Is(err, session.ErrState):
		// A link from another browser: this browser starts its own sign-in.
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

// postPanelLogout ends the session and redirects to a page of the panel's host, since a form
// can't redirect to the portal's origin (see [access.PagePolicy]).
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

// getPanelSignedOut redirects to the portal. If the browser must delete the panel's cookies, and
// has more of them than one answer can delete, it redirects to itself first.
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
