package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/session"
)

// Where the portal is on its panel's host, the panel's scripts share its origin:
// a form of theirs is no foreign one, and they can read what they open. What they
// can't do is type a password and a code. So every change of how one signs in
// holds both itself there: a proof of some minutes ago isn't enough.

// shared reports whether the portal is on its panel's host.
func (s *server) shared() bool { return len(s.Panels) == 1 && s.Panels[0].Shared }

// Workers of the panel that were registered for the whole host before the gate refused
// them (see package gateway) end with the browser's storage: the portal's first
// page in each browser sends Clear-Site-Data, and so does every answer to a worker.
const (
	clearedCookie     = "sallyport-cleared"
	clearedCookieLife = 400 * 24 * time.Hour // the longest that browsers keep one
)

// ownDocument reports whether a request on the shared host is for a page in a tab of its
// own, and has the browser forget the workers of the panel.
func (s *server) ownDocument(req *request) bool {
	document := access.IsDocument(req.Header)
	// A worker passes the navigation on, or asks for the page anew as a script would.
	worker := !document && (access.ClientKindOf(req.Method, req.Header) == access.Navigation || req.Header.Get("Sec-Fetch-Site") == "same-origin")
	if worker || document && s.cookie(req.Request, clearedCookie) == "" {
		req.w.Header().Set("Clear-Site-Data", `"storage"`)
		s.setCookie(req.w, clearedCookie, "1", clearedCookieLife)
	}
	return document
}

// below has next see paths without the prefix.
func below(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, inner *http.Request) {
			defer func() { r.Pattern = inner.Pattern }() // which is measured
			next.ServeHTTP(w, inner)
		})).ServeHTTP(w, r)
	})
}

// proofFields are what the form of a proof adds to another form.
var proofFields = []string{"username", "password", "code", "next_code", "backup_code", "ask"}

// carried is a field of a form that waits for a proof.
type carried struct{ Name, Value string }

// proveInForm proves from the request's own form who sends it, and gives its
// session a new token. false: the form was shown again, with the fields that a
// proof needs.
func (s *server) proveInForm(req *request) (bool, error) {
	ask, err := req.field("ask")
	if err != nil {
		return false, err
	}
	form := proofForm{action: req.URL.Path, ask: ask}
	for name := range req.PostForm {
		value, err := req.field(name)
		if err != nil {
			return false, err
		}
		if !slices.Contains(proofFields, name) {
			form.carried = append(form.carried, carried{name, value})
		}
	}
	slices.SortFunc(form.carried, func(a, b carried) int { return strings.Compare(a.Name, b.Name) })
	if req.PostForm.Has("ask") || !req.PostForm.Has("password") || req.twoFactor && !req.PostForm.Has("code") && !req.PostForm.Has("backup_code") {
		page, err := s.reauthenticatePage(req, form)
		if err != nil {
			return false, err
		}
		return false, s.views.page(req.w, http.StatusOK, "reauthenticate", page)
	}
	progress, proven, err := s.proveAgain(req, form)
	if err != nil || !proven {
		return false, err
	}
	token := progress.Session.Reveal()
	s.setCookie(req.w, sessionCookie, token, s.Login.Life.Absolute)
	held, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), token, s.Login.Life, s.Login.Clock())
	req.me = login.Me{Session: held, Token: token, Account: owner, From: req.from}
	return err == nil, err
}
