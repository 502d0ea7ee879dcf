package web

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
)

// The portal's cookies, which browsers send to the portal's host only.
const (
	sessionCookie = access.SessionCookie
	attemptCookie = "sallyport-attempt" // an unfinished sign-in; never accepted as a session
	ticketCookie  = "sallyport-ticket"  // the token of an operator's link, until the wizard uses it
	deviceCookie  = "sallyport-device"  // identifies a known browser; not an authentication factor
	returnCookie  = "sallyport-return"  // the panel that requires two-factor authentication
	nameCookie    = "sallyport-name"    // the name of the account whose link was used, for the sign-in page
	weakCookie    = "sallyport-weak"    // why a password that was just set is weak, until a page has said so
	cookiesCookie = "sallyport-cookies" // shows that the browser keeps cookies; see cookiesBlocked
)

// How long browsers keep the other cookies. The server enforces its own limits for the tokens
// in them.
const (
	attemptCookieLife = 10 * time.Minute
	ticketCookieLife  = 15 * time.Minute
	nameCookieLife    = 10 * time.Minute
	weakCookieLife    = time.Minute    // the next page is a redirect away
	cookiesCookieLife = 24 * time.Hour // longer than any sign-in
)

// cookie returns the value of the portal's cookie with that name; see [access.Cookie].
func (s *server) cookie(r *http.Request, name string) string {
	return access.Cookie(r, access.CookieName(name, s.https))
}

// setCookie sets a cookie of the portal's host, or deletes it if value is empty.
func (s *server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	setHostCookie(w, s.https, name, value, life)
}

// setHostCookie sets a cookie of the request's host alone, or deletes it if value is empty.
func setHostCookie(w http.ResponseWriter, https bool, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: access.CookieName(name, https), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: https, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	h := w.Header() // without an earlier Set-Cookie for the name, since browsers differ in which they use
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, c.Name+"=") })
	http.SetCookie(w, c)
}

// cookiesBlocked reports whether the browser keeps no cookies: the request comes from a sign-in
// page, which sets cookiesCookie, but has no cookie of Sallyport. That cookie lives longer than
// any sign-in, so a sign-in that expired doesn't look the same.
func (s *server) cookiesBlocked(req *request) bool {
	if !strings.HasPrefix(req.Header.Get("Referer"), s.PublicURL+"/login") {
		return false
	}
	return !slices.ContainsFunc(req.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), sessionCookie)
	})
}

// id returns the id in the request's path, or "" if the path has no valid id. No row has the
// id "".
func (r *request) id() string {
	if id := r.PathValue("id"); secret.IsID(id) {
		return id
	}
	return ""
}

// field returns the value of a field of the request's form, or "" if the form has no such field.
// A field that occurs twice is an error: no page of Sallyport sends it, and handlers mustn't
// choose between the values (attack 32).
func (r *request) field(name string) (string, error) {
	if err := r.ParseForm(); err != nil {
		if isTooLarge(err) {
			return "", err
		}
		return "", errBadForm
	}
	switch values := r.PostForm[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", errBadForm
	}
}

// fields returns the values of several fields, in the order of names; see [request.field].
func (r *request) fields(names ...string) ([]string, error) {
	values := make([]string, len(names))
	for i, name := range names {
		var err error
		if values[i], err = r.field(name); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// returnPathOf returns the path of the page to which the browser returns after a sign-in or
// reauthentication: the requested page, or for a form the page with the form. No POST is ever
// repeated.
func returnPathOf(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return login.CheckReturn(r.URL.RequestURI())
	}
	if wizard, ok := strings.CutSuffix(r.URL.Path, "/confirm"); ok {
		return login.CheckReturn(wizard) // the same wizard, since its QR code may be scanned already
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

// The forms of the settings tabs by the paths to which they are submitted. A form is a tab's
// path with a fragment.
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

// changePasswordForm is the form to change the password.
const changePasswordForm = "/settings/security#change-password"

// maxLogged is the maximum length, in bytes, of text from requests that is stored or logged.
const maxLogged = 300

// clean returns text from a request in a form that is safe to store and log; see [audit.Clean].
func clean(text string) string { return audit.Clean(text, maxLogged) }

type referenceKey struct{}

// withReference adds a random id to the context. The log and error pages contain it, so that an
// operator can find the log line for an error page.
func withReference(ctx context.Context) context.Context {
	return context.WithValue(ctx, referenceKey{}, secret.NewID()[:12])
}

func reference(r *http.Request) string {
	id, _ := r.Context().Value(referenceKey{}).(string)
	return id
}

// statusRecorder records the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusRecorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap implements the interface of [http.ResponseController], which [http.MaxBytesReader] uses.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// isCanonical reports whether the path has no dot segments and no doubled slashes, as routes
// do. ServeMux would answer others with a redirect that makes browsers send a form again, with
// its password.
func isCanonical(r *http.Request) bool {
	p := r.URL.Path
	if p == "*" {
		return true // OPTIONS *
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return strings.HasPrefix(p, "/") && p == clean
}

// isLoopback reports whether host, with or without a port, names this machine.
func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && addr.IsLoopback()
}

func port(host string) string {
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return ""
	}
	return port
}
