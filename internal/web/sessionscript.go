package web

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

// Paths of the optional script that panels can include; see docs/proxies.md.
const (
	scriptPath   = access.OwnPrefix + "session.js"
	checkPath    = access.OwnPrefix + "session"   // answers whether the visit opens a path
	signedInPath = access.OwnPrefix + "signed-in" // the last page of a sign-in in another tab
)

// scriptCaching is the Cache-Control of the script. Its URL has no version, so browsers check
// after an hour whether it has changed.
const scriptCaching = "max-age=3600"

//go:embed session.js
var sessionScript []byte

// getScript returns the handler that serves the script, with its texts from the catalogue. All of
// the script is inside one function, so that it adds only one name to the panel's global names.
func (s panels) getScript() func(*page.Request, *access.Panel) error {
	c := s.Catalogue()
	words, _ := json.Marshal(map[string]string{
		"lang": c.Lang, "dir": c.Dir, "ended": c.Text("panel_script.ended"), "sign_in": c.Text("panel_script.sign_in"), "close": c.Text("panel_script.close"),
	}) // no error for strings
	script := fmt.Appendf(nil, "(words => {\n%s})(%s);\n", sessionScript, words)
	tag := `"` + page.ContentHash(script) + `"`
	return func(req *page.Request, _ *access.Panel) error {
		h := req.W.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", scriptCaching)
		h.Set("ETag", tag)
		http.ServeContent(req.W, req.Request, "", time.Time{}, bytes.NewReader(script))
		return nil
	}
}

// getCheck answers whether the visit opens a path of the panel. If it does, the answer is 204. If a
// sign-in is needed, the answer is 401 with the URL of a sign-in that ends at signedInPath.
func (s panels) getCheck(req *page.Request, panel *access.Panel) error {
	path, a, err := s.admitPath(req, panel)
	switch {
	case err != nil:
		return err
	case a.Verdict == access.Admit:
		req.W.WriteHeader(http.StatusNoContent)
		return nil
	case a.Verdict == access.Deny:
		return page.WithReason(page.ErrForbidden, a.Denied)
	}
	writeUnauthorized(req.W, req.Request, panel.StartURL(signedInURL(path)), nil)
	return nil
}

// getSignedIn shows the last page of a sign-in if another tab waits for the sign-in.
func (s panels) getSignedIn(req *page.Request, panel *access.Panel) error {
	path, a, err := s.admitPath(req, panel)
	switch {
	case err != nil:
		return err
	case a.Verdict == access.Deny:
		return page.WithReason(page.ErrForbidden, a.Denied)
	case a.Verdict != access.Admit:
		http.Redirect(req.W, req.Request, panel.StartURL(signedInURL(path)), http.StatusSeeOther)
		return nil
	}
	return s.Render(req, http.StatusOK, "panel-signed-in", &panelSignedInPage{
		Frame: page.Frame{Title: locale.Say("panel_signed_in.title")}, Panel: panelLink{URL: panel.Origin + "/", Name: panel.Name}, Script: scriptPath,
	})
}

// admitPath returns the path in the query, and whether the visit meets the panel's demand for
// this path.
func (s panels) admitPath(req *page.Request, panel *access.Panel) (path string, a entry.Admission, err error) {
	path = login.CheckPath(req.URL.Query().Get("for"))
	a, err = s.Entry.Admit(req.Context(), panel, entry.Request{Request: access.Request{Method: http.MethodGet, Target: path}, Visit: panel.VisitToken(req.Request)})
	return path, a, err
}

func signedInURL(path string) string { return signedInPath + "?" + url.Values{"for": {path}}.Encode() }
