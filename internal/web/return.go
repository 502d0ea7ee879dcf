package web

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
)

// returnPathOf returns the path of the page to which the browser returns after a sign-in or
// reauthentication. That is the requested page or, if the request submits a form, the page with
// the form: no POST is ever repeated.
func returnPathOf(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return login.CheckReturn(r.URL.RequestURI())
	}
	if wizard, ok := strings.CutSuffix(r.URL.Path, "/confirm"); ok {
		return login.CheckReturn(wizard) // not a new wizard, since this one's QR code may be scanned already
	}
	switch r.URL.Path {
	case passesPath:
		return newPassPath
	case "/settings/security/authenticators":
		return newAuthenticatorPath
	}
	if form := formFor(r.URL.Path); form != "" {
		return form
	}
	for _, tab := range []string{"/settings/security", "/settings/sessions", "/settings/profile"} {
		if strings.HasPrefix(r.URL.Path, tab) {
			return tab
		}
	}
	return "/"
}

// The forms of the settings tabs, by the paths to which they are submitted. A form is represented
// by its tab's path with a fragment.
var (
	forms = map[string]string{
		"/settings/security/password":     changePasswordForm,
		"/settings/security/backup-codes": "/settings/security#new-codes",
		"/settings/security/disable":      "/settings/security#disable",
		"/settings/sessions/let-in":       "/settings/sessions#let-in",
	}
	rowForm = regexp.MustCompile(`^/settings/security/(?:authenticators|passes)/([^/]+)/(rename|remove|revoke)$`)
)

// formFor returns the form that is submitted to path, or "".
func formFor(path string) string {
	if row := rowForm.FindStringSubmatch(path); row != nil && secret.IsID(row[1]) {
		return "/settings/security#" + row[2] + "-" + row[1]
	}
	return forms[path]
}

// changePasswordForm is the form that changes the password.
const changePasswordForm = "/settings/security#change-password"
