package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/login"
)

// What the optional script of panels is made of: itself, the question whether a
// path is open, and the page where a sign-in in another tab ends.
const (
	scriptPath   = access.OwnPrefix + "session.js"
	checkPath    = access.OwnPrefix + "session"
	signedInPath = access.OwnPrefix + "signed-in"
)

// scriptCaching: panels name the script without a version, so a browser asks
// after an hour whether it is still the same.
const scriptCaching = "max-age=3600"

//go:embed session.js
var sessionScript []byte

// getScript serves the script with its words from the catalogue. All of it is
// within a function: it leaves one name among the panel's own.
func (s *server) getScript() func(*request, *access.Panel) error {
	c := s.views.catalogue
	words, _ := json.Marshal(map[string]string{
		"lang": c.lang, "ended": c.text("panel_script.ended"), "sign_in": c.text("panel_script.sign_in"), "close": c.text("panel_script.close"),
	}) // strings always can be
	script := fmt.Appendf(nil, "(words => {\n%s})(%s);\n", sessionScript, words)
	sum := sha256.Sum256(script)
	tag := `"` + hex.EncodeToString(sum[:assetHashBytes]) + `"`
	return func(req *request, _ *access.Panel) error {
		h := req.w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", scriptCaching)
		h.Set("ETag", tag)
		http.ServeContent(req.w, req.Request, "", time.Time{}, bytes.NewReader(script))
		return nil
	}
}

// getCheck answers whether the visit opens a path of the panel, and changes
// nothing: 204, or 401 with the address of a sign-in that ends at signedInPath.
func (s *server) getCheck(req *request, panel *access.Panel) error {
	path, a, err := s.checked(req, panel)
	switch {
	case err != nil:
		return err
	case a.Verdict == access.Admit:
		req.w.WriteHeader(http.StatusNoContent)
		return nil
	case a.Verdict == access.Deny:
		return because(errForbidden, a.Denied)
	}
	unauthorized(req.w, req.Request, panel.StartURL(signedInFor(path)), nil)
	return nil
}

// getSignedIn is where a sign-in ends that another tab waits for.
func (s *server) getSignedIn(req *request, panel *access.Panel) error {
	path, a, err := s.checked(req, panel)
	switch {
	case err != nil:
		return err
	case a.Verdict == access.Deny:
		return because(errForbidden, a.Denied)
	case a.Verdict != access.Admit:
		http.Redirect(req.w, req.Request, panel.StartURL(signedInFor(path)), http.StatusSeeOther)
		return nil
	}
	return s.views.page(req.w, http.StatusOK, "panel-signed-in", panelSignedInPage{
		frame: frame{Title: say("panel_signed_in.title")}, Panel: panelLink{URL: panel.Origin + "/", Name: panel.Name}, Script: scriptPath,
	})
}

// checked holds the visit against what the panel demands of the path in the
// query.
func (s *server) checked(req *request, panel *access.Panel) (path string, a login.Admission, err error) {
	path = login.CheckPath(req.URL.Query().Get("for"))
	a, err = s.Login.Admit(req.Context(), panel, login.Request{Request: access.Request{Method: http.MethodGet, Target: path}, Visit: panel.VisitToken(req.Request)})
	return path, a, err
}

func signedInFor(path string) string { return signedInPath + "?" + url.Values{"for": {path}}.Encode() }
