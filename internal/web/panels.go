package web

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

const (
	// enterPagePath is the page to which a panel's start path redirects.
	enterPagePath = "/enter"
	// continuePath is the page that continues to a panel after a form.
	continuePath = "/continue"
)

func (s panels) getHome(req *page.Request) error {
	data := homePage{Frame: s.frameOf(req, locale.Say("home.title"), ""), Name: req.Me.Account.ShownName(), TwoFactor: req.TwoFactor}
	mine, err := s.myPanels(req)
	if err != nil {
		return err
	}
	for _, panel := range mine {
		data.Title = locale.Say("home.panels")
		data.Panels = append(data.Panels, panelLink{URL: panel.Origin + "/", Name: panel.Name, Icon: s.PanelIcon(panel.Origin)})
	}
	return s.Render(req, http.StatusOK, "home", &data)
}

// getContinue shows a page that continues to the return URL by itself. It comes after a form, whose
// redirects must not lead to a panel's origin (see [access.PagePolicy]).
func (s panels) getContinue(req *page.Request) error {
	to := s.PublicURL + login.CheckReturn(req.URL.Query().Get("return"))
	req.W.Header().Set("Refresh", "0; url="+to)
	data := continuePage{Frame: page.Frame{Title: locale.Say("continue.title")}, URL: to}
	if panel := s.panelOfReturn(req.URL.Query().Get("return")); panel != nil {
		data.Panel = panel.Name
	}
	return s.Render(req, http.StatusOK, "continue", &data)
}

// getEnter compares the session with the panel's demand. If the session meets the demand, getEnter
// makes a handoff and redirects the browser to the panel with it. If a proof is missing, getEnter
// redirects the browser to the page for that proof, which redirects back to getEnter.
func (s panels) getEnter(req *page.Request) error {
	query := req.URL.Query()
	panel := s.panelByOrigin(query.Get("panel"))
	state := query.Get("state")
	if panel == nil || !panel.Shared && !secret.IsToken(state) {
		return page.ErrNotFound
	}
	back := login.CheckPath(query.Get("return"))
	again := query.Has("again")
	self := enterPageFor(panel, back, state, again)
	verdict, err := s.Entry.MayEnter(req.Context(), req.Me.Session, req.Me.Account, panel, demandPath(back))
	if err != nil {
		return err
	}
	switch verdict {
	case access.Admit:
		if panel.Shared {
			s.forgetPreviousAccount(req, panel, req.Me.Account.ID)
			http.Redirect(req.W, req.Request, panel.Origin+back, http.StatusSeeOther)
			return nil
		}
		token, err := s.Entry.HandOff(req.Context(), req.From.Session, req.Me.Account, session.Destination{Panel: panel.Origin, State: state, ReturnURL: back})
		if errors.Is(err, entry.ErrSessionEnded) {
			s.redirect(req, self) // another tab may have renewed the session's token in the meantime
			return nil
		}
		if err != nil {
			return err
		}
		handoff := url.Values{"handoff": {token.Reveal()}}
		if again {
			handoff.Set("again", "1")
		}
		http.Redirect(req.W, req.Request, panel.Origin+enterPath+"?"+handoff.Encode(), http.StatusSeeOther)
	case access.Reauthenticate:
		s.redirect(req, "/reauthenticate", "return", self)
	case access.Enroll:
		s.SetCookie(req.W, page.ReturnCookie, self, page.ReturnCookieLife)
		s.redirect(req, newAuthenticatorPath)
	default:
		return &entry.NotAdmittedError{Panel: panel, Username: req.Me.Account.Name}
	}
	return nil
}

// enterPageFor returns the path of getEnter with its query. If the parameter again is true, the
// browser has already returned once without the state cookie.
func enterPageFor(panel *access.Panel, back, state string, again bool) string {
	values := url.Values{"panel": {panel.Origin}, "return": {back}, "state": {state}}
	if again {
		values.Set("again", "1")
	}
	return enterPagePath + "?" + values.Encode()
}

func (s *server) panelByOrigin(origin string) *access.Panel {
	for _, p := range s.Panels {
		if p.Origin == origin {
			return p
		}
	}
	return nil
}

// panelOfReturn returns the panel of a return URL, or nil for a page of the portal. The panel's
// name on pages comes from the configuration, never from the URL.
func (s *server) panelOfReturn(returnURL string) *access.Panel {
	u, err := url.Parse(login.CheckReturn(returnURL))
	if err != nil || u.Path != enterPagePath {
		return nil
	}
	return s.panelByOrigin(u.Query().Get("panel"))
}

// panelRequiringTwoFactor returns the panel because of which the browser was redirected to enable
// two-factor authentication, or nil.
func (s *server) panelRequiringTwoFactor(req *page.Request) *access.Panel {
	return s.panelOfReturn(s.Cookie(req.Request, page.ReturnCookie))
}

// redirectedBack redirects a user who has enabled two-factor authentication to the panel that
// requires it, or to the page from which a policy kept the browser. It does so once, and reports
// whether it did.
func (s *server) redirectedBack(req *page.Request) bool {
	if !req.TwoFactor {
		return false
	}
	for _, name := range []string{page.ReturnCookie, onwardCookie} {
		if path := s.Cookie(req.Request, name); path != "" {
			s.SetCookie(req.W, page.ReturnCookie, "", 0)
			s.SetCookie(req.W, onwardCookie, "", 0)
			s.redirect(req, login.CheckReturn(path))
			return true
		}
	}
	return false
}
