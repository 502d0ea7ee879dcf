package web

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// If the portal is on its panel's host, the panel's scripts have the portal's origin: they can
// submit the portal's forms and read its pages. But they don't know the password and the code. So
// every form that changes how the account signs in must contain both; earlier proofs aren't enough.

// isShared reports whether the portal is on its panel's host.
func (s *server) isShared() bool { return len(s.Panels) == 1 && s.Panels[0].Shared }

// A panel may have registered service workers for the whole host before the gateway refused them
// (see package gateway). Browsers remove workers together with the host's storage. So the first
// page of the portal in each browser has the header Clear-Site-Data, and so has every answer to a
// worker.
const (
	clearedCookie     = "sallyport-cleared"
	clearedCookieLife = 400 * 24 * time.Hour // the maximum in browsers
)

// isOwnDocument reports whether a request on the shared host is for a page in a tab. It also
// makes the browser remove the panel's service workers.
func (s *server) isOwnDocument(req *page.Request) bool {
	document := access.IsDocument(req.Header)
	// A worker forwards the browser's navigation, or requests the page itself, as a script would.
	worker := !document && (access.ClientKindOf(req.Method, req.Header) == access.Navigation || req.Header.Get("Sec-Fetch-Site") == "same-origin")
	if worker || document && s.Cookie(req.Request, clearedCookie) == "" {
		req.W.Header().Set("Clear-Site-Data", `"storage"`)
		s.SetCookie(req.W, clearedCookie, "1", clearedCookieLife)
	}
	return document
}

// withoutPrefix returns a handler that removes the prefix from the path of a request and passes the
// request to next.
func withoutPrefix(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, inner *http.Request) {
			defer func() { r.Pattern = inner.Pattern }() // [Options.Measure] needs it
			next.ServeHTTP(w, inner)
		})).ServeHTTP(w, r)
	})
}

// proofFields are the fields that a [proofForm] adds to another form.
var proofFields = []string{"username", "password", "code", "next_code", "backup_code", "ask"}

// carriedField is a field of another form in a [proofForm].
type carriedField struct{ Name, Value string }

// proveInForm submits the proofs in the request's form. If they are right, it gives the session a
// new token and returns true. If they are wrong or missing, it shows the form again with fields for
// the proofs, and returns false and no error.
func (s signIn) proveInForm(req *page.Request) (bool, error) {
	typed := req.ReadForm()
	if err := typed.Err(); err != nil {
		return false, err
	}
	form := proofForm{action: req.URL.Path, ask: typed.Value("ask")}
	for _, name := range typed.Names() {
		if !slices.Contains(proofFields, name) {
			form.carried = append(form.carried, carriedField{name, typed.Value(name)})
		}
	}
	if typed.Has("ask") || !typed.Has("password") || req.TwoFactor && !typed.Has("code") && !typed.Has("backup_code") {
		data, err := s.reauthenticatePage(req, form)
		if err != nil {
			return false, err
		}
		return false, s.Render(req, http.StatusOK, "reauthenticate", &data)
	}
	progress, proven, err := s.submitProofs(req, form)
	if err != nil || !proven {
		return false, err
	}
	req.From.Session = progress.Session.Reveal()
	s.SetCookie(req.W, page.SessionCookie, req.From.Session, s.Login.Life.Absolute)
	req.Me, err = s.meWith(req, progress.Session)
	return err == nil, err
}

// meWith returns the session with this token, and its account. A sign-in or a reauthentication has
// just given the session this token. If the session has ended in the meantime, meWith returns
// [login.ErrNoAttempt].
func (s *server) meWith(req *page.Request, token secret.Text) (login.Me, error) {
	held, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), token.Reveal(), s.Login.Life, s.Login.Clock())
	if errors.Is(err, db.ErrNotFound) {
		err = login.ErrNoAttempt
	}
	return login.Me{Session: held, Account: owner, From: req.From}, err
}
