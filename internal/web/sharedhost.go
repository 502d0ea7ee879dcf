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

// If the portal is on its panel's host, the panel's scripts have the portal's origin: they can
// submit its forms and read its pages. They don't know the password and the code. So every form
// that changes how the account signs in must contain both; earlier proofs aren't enough.

// isShared reports whether the portal is on its panel's host.
func (s *server) isShared() bool { return len(s.Panels) == 1 && s.Panels[0].Shared }

// A panel may have registered service workers for the whole host before the gate refused them
// (see package gateway). Browsers remove them together with the host's storage: the portal's
// first page in each browser sends Clear-Site-Data, and so does every answer to a worker.
const (
	clearedCookie     = "sallyport-cleared"
	clearedCookieLife = 400 * 24 * time.Hour // the maximum in browsers
)

// isOwnDocument reports whether a request on the shared host is for a page in a tab. It also
// makes the browser remove the panel's service workers.
func (s *server) isOwnDocument(req *request) bool {
	document := access.IsDocument(req.Header)
	// A worker forwards the navigation, or requests the page itself as a script would.
	worker := !document && (access.ClientKindOf(req.Method, req.Header) == access.Navigation || req.Header.Get("Sec-Fetch-Site") == "same-origin")
	if worker || document && s.cookie(req.Request, clearedCookie) == "" {
		req.w.Header().Set("Clear-Site-Data", `"storage"`)
		s.setCookie(req.w, clearedCookie, "1", clearedCookieLife)
	}
	return document
}

// withoutPrefix removes the prefix from the paths of requests for next.
func withoutPrefix(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, inner *http.Request) {
			defer func() { r.Pattern = inner.Pattern }() // for [Options.Measure]
			next.ServeHTTP(w, inner)
		})).ServeHTTP(w, r)
	})
}

// proofFields are the fields that a [proofForm] adds to another form.
var proofFields = []string{"username", "password", "code", "next_code", "backup_code", "ask"}

// carriedField is a field of another form in a [proofForm].
type carriedField struct{ Name, Value string }

// proveInForm submits the proofs in the request's form, and gives the session a new token. If
// it returns false without an error, it has shown the form again, with fields for the proofs.
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
			form.carried = append(form.carried, carriedField{name, value})
		}
	}
	slices.SortFunc(form.carried, func(a, b carriedField) int { return strings.Compare(a.Name, b.Name) })
	if req.PostForm.Has("ask") || !req.PostForm.Has("password") || req.twoFactor && !req.PostForm.Has("code") && !req.PostForm.Has("backup_code") {
		page, err := s.reauthenticatePage(req, form)
		if err != nil {
			return false, err
		}
		return false, s.views.Render(req.w, http.StatusOK, "reauthenticate", &page)
	}
	progress, proven, err := s.submitProofs(req, form)
	if err != nil || !proven {
		return false, err
	}
	req.from.Session = progress.Session.Reveal()
	s.setCookie(req.w, sessionCookie, req.from.Session, s.Login.Life.Absolute)
	held, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), req.from.Session, s.Login.Life, s.Login.Clock())
	req.me = login.Me{Session: held, Account: owner, From: req.from}
	return err == nil, err
}
