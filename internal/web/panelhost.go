package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// Where a browser brings a handoff to, and where it leaves.
const (
	enterPath     = access.OwnPrefix + "enter"
	logoutPath    = access.OwnPrefix + "logout"
	signedOutPath = access.OwnPrefix + "signed-out"
)

// stateCookieLife is how long a sign-in that began at a panel may take.
const stateCookieLife = 10 * time.Minute

// PanelHost answers what is below /.sallyport/ on the panels' hosts: where a
// sign-in begins, where it comes back to, and where it ends.
type PanelHost struct {
	server *server
	pages  http.Handler
}

// panelPages are all that the panels' hosts show: each keeps some 70 kB.
var panelPages = []string{"error", "panel-back", "panel-keep", "panel-logout", "panel-sign-in", "panel-signed-in", "panel-signed-out"}

// NewPanelHost returns the handler for all panels.
func NewPanelHost(o Options) (*PanelHost, error) {
	o.Look.Icons = nil // which stand on the portal's first page
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
	s.servePanelHost(mux, s.panelRoutes())
	s.servePanelHost(mux, map[string]panelHandler{
		"GET " + enterPath:     s.getPanelEnter,
		"POST " + logoutPath:   s.postPanelLogout,
		"GET " + signedOutPath: s.getPanelSignedOut,
		"/":                    func(*request, *access.Panel) error { return errNotFound },
	})
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.newRequest(w, r), errCrossOrigin)
	}))
	return &PanelHost{server: s, pages: s.frame(s.canonicalOnly(foreign.Handler(mux)))}, nil
}

type panelHandler func(*request, *access.Panel) error

// panelRoutes are those that every panel's host has, the portal's own too.
func (s *server) panelRoutes() map[string]panelHandler {
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
			req := s.newRequest(w, r)
			panel := s.panelAt(r.Host)
			if panel == nil {
				s.fail(req, errMisdirected)
			} else if err := handle(req, panel); err != nil {
				s.fail(req, err)
			}
		})
	}
}

// Static answers for the files of the pages that panels' hosts show.
func (h *PanelHost) Static(w http.ResponseWriter, r *http.Request) {
	h.server.frame(h.server.views.static()).ServeHTTP(w, r)
}

func (h *PanelHost) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.pages.ServeHTTP(w, r) }

// Refusal is why a request for a panel wasn't passed on.
type Refusal int

// The refusals.
const (
	Denied         Refusal = iota // the account may not, or the gate can't tell what the request is about
	PanelDown                     // the panel doesn't answer
	PanelSlow                     // the panel didn't answer in time
	PanelUntrusted                // the panel's certificate isn't the one that the configuration asks for
	Unavailable                   // our database doesn't answer
	UntrustedProxy                // the request came around the proxy
	HeadersTooLong                // the request has more headers than max_header_kib
	Misdirected                   // the request is for a host that isn't ours here
)

// Refuse answers with a page that says why a request for a panel wasn't passed
// on; reason is for the log.
func (h *PanelHost) Refuse(w http.ResponseWriter, r *http.Request, why Refusal, reason error) {
	var fault error
	switch why {
	case PanelDown:
		fault = because(errPanelDown, reason)
	case PanelSlow:
		fault = because(errPanelSlow, reason)
	case PanelUntrusted:
		fault = because(errPanelUntrusted, reason)
	case Unavailable:
		fault = reason
	case UntrustedProxy:
		fault = &untrustedProxy{access.Peer(r)}
	case HeadersTooLong:
		fault = &headersTooLong{longestCookies(r)}
	case Misdirected:
		fault = because(errMisdirected, reason)
	default:
		fault = because(errForbidden, reason)
	}
	h.fail(w, r, fault)
}

// PanelRefused answers for a proxy that asks what to show in place of a panel's answer,
// although the gate admits the request: the panel itself refused it. There is no way on
// but to load the page again, since an answer that leads on would go round for ever.
func (h *PanelHost) PanelRefused(w http.ResponseWriter, r *http.Request, panel *access.Panel, target string) {
	h.fail(w, r, &panelRefused{panel, panel.Origin + login.CheckAddress(target)})
}

func (h *PanelHost) fail(w http.ResponseWriter, r *http.Request, fault error) {
	h.server.frame(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if access.ClientKindOf(r.Method, r.Header) == access.Viewer {
			allowFrame(w.Header())
		}
		h.server.fail(h.server.newRequest(w, r), fault)
	})).ServeHTTP(w, r)
}

// allowFrame lets a page fill a frame of the panel's, or of a page that shows the panel.
func allowFrame(h http.Header) {
	h.Set("Content-Security-Policy", access.FramedPolicy)
	h.Del("X-Frame-Options")
}

// ToHTTPS leads a person who came to a panel by plain http to the same page by https.
func (h *PanelHost) ToHTTPS(w http.ResponseWriter, r *http.Request, panel *access.Panel) {
	h.server.frame(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.server.toHTTPS(w, r, panel.Origin)
	})).ServeHTTP(w, r)
}

// Moved answers a proxy's question about a host of a panel that is written with a dot at
// its end, where no browser has the panel's cookies: a person is led to the host without
// it.
func (h *PanelHost) Moved(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string) {
	w.Header()["Cache-Control"] = noStore
	if access.ClientKindOf(method, r.Header) == access.Navigation {
		w.Header().Set("Location", panel.Origin+target)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	h.Refuse(w, r, Misdirected, errors.New("a dot stands at the end of the panel's host"))
}

// Begin answers a request for target on a panel by somebody who must sign in
// first: it leads a person there, or shows a page with the way where nobody can be led,
// and tells everything else where it is, and why the pass that it brought opens nothing;
// nil where it brought none.
func (h *PanelHost) Begin(w http.ResponseWriter, r *http.Request, panel *access.Panel, method, target string, refused error) {
	address := panel.ReturnPath(method, target, r.Header)
	back := wayBackTo(login.CheckAddress(address))
	if len(address) > login.LongestAddress { // only a script can keep it
		address = login.CheckPath(folderOf(address))
		back = wayBack{path: backAt(address, keptKey), kept: true}
	} else {
		address = login.CheckAddress(address)
	}
	w.Header()["Cache-Control"] = noStore
	switch asker := access.ClientKindOf(method, r.Header); {
	case asker == access.Navigation && back.kept:
		h.server.frame(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.server.keepAddress(w, r, panel, address, back.path)
		})).ServeHTTP(w, r)
	case asker == access.Navigation:
		if back.cookie != "" {
			setBackCookie(w, panel, back, backCookieLife)
		}
		// Not http.Redirect, which takes the method of whoever asks for the
		// client's.
		w.Header().Set("Location", panel.StartURL(back.path))
		w.WriteHeader(http.StatusSeeOther)
	case asker == access.Viewer:
		start := startByLink(panel, address, back)
		h.server.frame(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.server.signInHere(w, r, panel, start, method != http.MethodGet && method != http.MethodHead)
		})).ServeHTTP(w, r)
	default:
		unauthorized(w, r, startByLink(panel, address, back), refused)
	}
}

// startByLink returns the link to a sign-in for clients that can't be redirected. The
// sign-in comes back to the address, or, if the address is too long for a link, to its
// folder.
func startByLink(panel *access.Panel, address string, back wayBack) string {
	if back.cookie != "" || back.kept {
		return panel.StartURL(folderOf(address))
	}
	return panel.StartURL(address)
}

// signInHere shows the way to the sign-in to a person who can't be led there: the page
// fills a frame, or answers a form, which wasn't sent on.
func (s *server) signInHere(w http.ResponseWriter, r *http.Request, panel *access.Panel, start string, form bool) {
	h := w.Header()
	allowFrame(h)
	access.Challenge(h, r.Header)
	page := panelSignInPage{frame: frame{Title: say("panel_sign_in.title", "panel", panel.Name)}, Panel: panel.Name, URL: start, Form: form}
	if err := s.views.page(w, http.StatusUnauthorized, "panel-sign-in", page); err != nil {
		s.fail(s.newRequest(w, r), err)
	}
}

// Values that answers share.
var noStore, contentJSON = []string{"no-store"}, []string{"application/json"}

// unauthorized tells whatever isn't a person's browser where a person may sign in, and
// what was wrong with its pass.
func unauthorized(w http.ResponseWriter, r *http.Request, start string, refused error) {
	pass := ""
	if refused != nil {
		reason, _ := json.Marshal(refused.Error()) // of a string: never an error
		pass = `,"pass":` + string(reason)
	}
	w.Header()["Content-Type"] = contentJSON
	access.Challenge(w.Header(), r.Header)
	w.WriteHeader(http.StatusUnauthorized)
	// An origin and an escaped path are plain in JSON.
	io.WriteString(w, `{"login":"`+start+`"`+pass+"}\n")
}

func (s *server) panelAt(host string) *access.Panel {
	name, err := access.CanonicalHost(host)
	if err != nil {
		return nil
	}
	return s.panels[name]
}

// getStart marks the browser and sends it to the portal. The mark, which only
// this browser at this host has, is what the handoff will be held against: a
// link that somebody else prepared lets nobody in as him.
func (s *server) getStart(req *request, panel *access.Panel) error {
	state := ""
	if !panel.Shared { // nothing is handed over there
		if state = panel.Cookie(req.Request, access.StateCookie); !secret.IsToken(state) {
			state = secret.NewToken().Reveal() // several tabs share one
		}
		setHostCookie(req.w, panel.IsHTTPS(), access.StateCookie, state, stateCookieLife)
	}
	query := req.URL.Query()
	enter := enterAt(panel, login.CheckPath(query.Get("return")), state, query.Has("again"))
	if login.CheckReturn(enter) != enter {
		enter = enterAt(panel, "/", state, query.Has("again")) // too long to come back to
	}
	http.Redirect(req.w, req.Request, s.PublicURL+enter, http.StatusSeeOther)
	return nil
}

// getPanelEnter spends a handoff and begins a visit.
func (s *server) getPanelEnter(req *request, panel *access.Panel) error {
	state := panel.Cookie(req.Request, access.StateCookie)
	entry, back, err := s.Login.Enter(req.Context(), panel, req.URL.Query().Get("handoff"), state)
	switch {
	case errors.Is(err, session.ErrHandoff):
		back = "/" // it was used, as with the back button, or is too old: begin again, or go on
	case errors.Is(err, session.ErrState) && state == "" && req.URL.Query().Has("again"):
		return errNoCookies
	case errors.Is(err, session.ErrState) && state == "":
		// The sign-in took longer than the state's cookie lives, or there are no cookies:
		// whoever comes without one again has none.
		http.Redirect(req.w, req.Request, panel.StartURL(login.CheckPath(back))+"&again=1", http.StatusSeeOther)
		return nil
	case errors.Is(err, session.ErrState):
		// Another browser's link: this one begins anew.
	case err != nil:
		return err
	default:
		setHostCookie(req.w, panel.IsHTTPS(), access.VisitCookie, entry.Token.Reveal(), s.Login.Life.Absolute)
		s.clearForAnother(req, panel, entry.Account)
	}
	http.Redirect(req.w, req.Request, panel.Origin+login.CheckPath(back), http.StatusSeeOther)
	return nil
}

func (s *server) getPanelLogout(req *request, panel *access.Panel) error {
	return s.views.page(req.w, http.StatusOK, "panel-logout", panelLogoutPage{
		frame: frame{Title: say("panel_logout.title")}, Panel: panel.Name, Action: logoutPath, Back: panel.Origin + "/",
	})
}

// postPanelLogout ends the session, and leads on by a page of the panel's host: a form
// leads to no other origin (see [access.PagePolicy]).
func (s *server) postPanelLogout(req *request, panel *access.Panel) error {
	if err := s.Login.LeavePanel(req.Context(), panel, panel.VisitToken(req.Request), req.from); err != nil {
		return err
	}
	setHostCookie(req.w, panel.IsHTTPS(), access.VisitCookie, "", 0)
	if panel.ForgetAtSignOut {
		forget(req.w.Header(), req.Request)
	}
	http.Redirect(req.w, req.Request, panel.Origin+signedOutPath, http.StatusSeeOther)
	return nil
}

// getPanelSignedOut leads on to the portal, once the browser has dropped the panel's cookies
// where it must: more of them than one answer can end are ended by the next.
func (s *server) getPanelSignedOut(req *request, panel *access.Panel) error {
	round, _ := strconv.Atoi(req.URL.Query().Get("round"))
	if panel.ForgetAtSignOut && panel.VisitToken(req.Request) == "" && round < maxForgetRounds && forget(req.w.Header(), req.Request) {
		http.Redirect(req.w, req.Request, panel.Origin+signedOutPath+"?round="+strconv.Itoa(round+1), http.StatusSeeOther)
		return nil
	}
	to := s.PublicURL + "/login?notice=signed_out"
	req.w.Header().Set("Refresh", "0; url="+to)
	return s.views.page(req.w, http.StatusOK, "panel-signed-out", continuePage{frame: frame{Title: say("panel_signed_out.title")}, URL: to})
}
