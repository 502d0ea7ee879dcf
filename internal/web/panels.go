package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
)

// returnCookieLife is how long a person may take to enable two-factor
// authentication and still be led to the panel that asked for it: the wizard is open for
// 15 minutes, and then there are backup codes to put away.
const returnCookieLife = time.Hour

const (
	// enterPagePath is where a panel's start page sends a browser.
	enterPagePath = "/enter"
	// continuePath is the page that leads on to a panel after a form.
	continuePath = "/continue"
)

// getContinue ends the redirects that follow a form, and leads on by itself.
func (s *server) getContinue(req *request) error {
	to := s.PublicURL + login.CheckReturn(req.URL.Query().Get("return"))
	req.w.Header().Set("Refresh", "0; url="+to)
	page := continuePage{frame: frame{Title: say("continue.title")}, URL: to}
	if panel := s.panelOf(req.URL.Query().Get("return")); panel != nil {
		page.Panel = panel.Name
	}
	return s.views.page(req.w, http.StatusOK, "continue", page)
}

// getEnter is where a panel's start page sends a browser. Whoever meets what
// the panel demands is handed over; others are led to what is missing, and
// back here.
func (s *server) getEnter(req *request) error {
	query := req.URL.Query()
	panel := s.panel(query.Get("panel"))
	state := query.Get("state")
	if panel == nil || !panel.Shared && !secret.IsToken(state) {
		return errNotFound
	}
	back := login.CheckPath(query.Get("return"))
	again := query.Has("again")
	self := enterAt(panel, back, state, again)
	verdict, err := s.Login.MayEnter(req.Context(), req.me, panel, demandPath(back))
	if err != nil {
		return err
	}
	switch verdict {
	case access.Admit:
		if panel.Shared {
			s.clearForAnother(req, panel, req.me.Account.ID)
			http.Redirect(req.w, req.Request, panel.Origin+back, http.StatusSeeOther)
			return nil
		}
		token, err := s.Login.HandOff(req.Context(), req.me, panel, state, back)
		if errors.Is(err, login.ErrGone) {
			s.redirect(req, self) // by now another tab may have got the session's new token
			return nil
		}
		if err != nil {
			return err
		}
		handoff := url.Values{"handoff": {token.Reveal()}}
		if again {
			handoff.Set("again", "1")
		}
		http.Redirect(req.w, req.Request, panel.Origin+enterPath+"?"+handoff.Encode(), http.StatusSeeOther)
	case access.Reauthenticate:
		s.redirect(req, "/reauthenticate", "return", self)
	case access.Enroll:
		s.setCookie(req.w, returnCookie, self, returnCookieLife)
		s.redirect(req, newAuthenticatorPath)
	default:
		return &login.NotAdmittedError{Panel: panel, Username: req.me.Account.Name}
	}
	return nil
}

// enterAt is the path of getEnter for a panel's page; again: the browser came back without
// the state's cookie before.
func enterAt(panel *access.Panel, back, state string, again bool) string {
	values := url.Values{"panel": {panel.Origin}, "return": {back}, "state": {state}}
	if again {
		values.Set("again", "1")
	}
	return enterPagePath + "?" + values.Encode()
}

func (s *server) panel(origin string) *access.Panel {
	for _, p := range s.Panels {
		if p.Origin == origin {
			return p
		}
	}
	return nil
}

// panelOf returns the panel that a return URL leads to, or nil where it leads to a page of
// the portal. What pages say of the panel comes from the configuration, never from the URL.
func (s *server) panelOf(returnURL string) *access.Panel {
	u, err := url.Parse(login.CheckReturn(returnURL))
	if err != nil || u.Path != enterPagePath {
		return nil
	}
	return s.panel(u.Query().Get("panel"))
}

// requiring returns the panel that sent the browser to enable two-factor authentication,
// or nil.
func (s *server) requiring(req *request) *access.Panel {
	return s.panelOf(s.cookie(req.Request, returnCookie))
}

// onward leads who has enabled two-factor authentication on to the panel that
// asked for it, once, and reports whether it did.
func (s *server) onward(req *request) bool {
	path := s.cookie(req.Request, returnCookie)
	if path == "" || !req.twoFactor {
		return false
	}
	s.setCookie(req.w, returnCookie, "", 0)
	s.redirect(req, login.CheckReturn(path))
	return true
}
