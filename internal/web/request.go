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

// The portal's cookies. They live on the portal's host only.
const (
	sessionCookie = access.SessionCookie
	attemptCookie = "sallyport-attempt" // a sign-in under way; never taken for a session
	ticketCookie  = "sallyport-ticket"  // an operator's link, until the wizard uses it
	deviceCookie  = "sallyport-device"  // marks a known browser; no factor
	returnCookie  = "sallyport-return"  // the panel that asked for two-factor authentication
	nameCookie    = "sallyport-name"    // whose link was used, for the sign-in page
	weakCookie    = "sallyport-weak"    // why a password just set is weak, until a page has said so
	cookiesCookie = "sallyport-cookies" // the browser keeps cookies; see cookiesBlocked
)

// How long the browser keeps those that aren't a session's or its own; the
// server has limits of its own.
const (
	attemptCookieLife = 10 * time.Minute
	ticketCookieLife  = 15 * time.Minute
	nameCookieLife    = 10 * time.Minute
	weakCookieLife    = time.Minute    // the next page is a redirect away
	cookiesCookieLife = 24 * time.Hour // longer than any sign-in under way
)

// cookie returns the value of the request's only cookie of that name.
func (s *server) cookie(r *http.Request, name string) string {
	return access.Cookie(r, access.CookieName(name, s.https))
}

// setCookie sets a cookie of the portal's host, or deletes it where value is
// empty.
func (s *server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	setHostCookie(w, s.https, name, value, life)
}

// setHostCookie sets a cookie of this host alone, or deletes it where value is
// empty.
func setHostCookie(w http.ResponseWriter, https bool, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: access.CookieName(name, https), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: https, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	h := w.Header() // of two with one name browsers differ in which they keep
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, c.Name+"=") })
	http.SetCookie(w, c)
}

// cookiesBlocked reports whether the browser comes from a sign-in page, which sets a
// cookie, and brings none of ours: it keeps none. A sign-in that took too long is told
// apart from that by the cookie, which lives longer.
func (s *server) cookiesBlocked(req *request) bool {
	if !strings.HasPrefix(req.Header.Get("Referer"), s.PublicURL+"/login") {
		return false
	}
	return !slices.ContainsFunc(req.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), sessionCookie)
	})
}

// id returns the id in the request's path, or "", which no row has, where it
// isn't one.
func (r *request) id() string {
	if id := r.PathValue("id"); secret.IsID(id) {
		return id
	}
	return ""
}

// field returns the form's only value of that name from the body. A field sent
// twice is nobody's browser: which of the two counts must not be a guess
// (ATTACKS 32).
func (r *request) field(name string) (string, error) {
	if err := r.ParseForm(); err != nil {
		if tooLarge(err) {
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

// fields reads several fields at once.
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

// here is the page that a person comes back to after proving who they are: the
// one they asked for, or for a form the tab that it stands on. No POST is ever
// repeated.
func here(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return login.CheckReturn(r.URL.RequestURI())
	}
	if wizard, ok := strings.CutSuffix(r.URL.Path, "/confirm"); ok {
		return login.CheckReturn(wizard) // its QR code was scanned already
	}
	switch r.URL.Path {
	case passesPath:
		return newPassPath
	case "/settings/security/authenticators":
		return newAuthenticatorPath
	}
	if form := formAt(r.URL.Path); form != "" {
		return form
	}
	for _, tab := range []string{"/settings/security", "/settings/sessions", "/settings/profile"} {
		if strings.HasPrefix(r.URL.Path, tab) {
			return tab
		}
	}
	return "/"
}

// Which form of a tab posts to a path, as the fragment of the tab's address.
var (
	forms = map[string]string{
		"/settings/security/password":     changePasswordForm,
		"/settings/security/backup-codes": "/settings/security#new-codes",
		"/settings/security/disable":      "/settings/security#disable",
		"/settings/sessions/let-in":       "/settings/sessions#let-in",
	}
	rowForm = regexp.MustCompile(`^/settings/security/(?:authenticators|passes)/([^/]+)/(rename|remove|revoke)$`)
)

// formAt returns the address of the form that posts to path, or "".
func formAt(path string) string {
	if row := rowForm.FindStringSubmatch(path); row != nil && secret.IsID(row[1]) {
		return "/settings/security#" + row[2] + "-" + row[1]
	}
	return forms[path]
}

// changePasswordForm is where the password is changed.
const changePasswordForm = "/settings/security#change-password"

// maxLogged bounds what others wrote and we keep or log.
const maxLogged = 300

func clean(text string) string { return audit.Clean(text, maxLogged) }

type referenceKey struct{}

// withReference gives the request an id that stands in the log and on error
// pages.
func withReference(ctx context.Context) context.Context {
	return context.WithValue(ctx, referenceKey{}, secret.NewID()[:12])
}

func reference(r *http.Request) string {
	id, _ := r.Context().Value(referenceKey{}).(string)
	return id
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController and MaxBytesReader.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// canonical reports whether the path is in the one form that routes are
// written in. ServeMux would answer others with a redirect of its own, 307 and
// relative, which sends a password a second time.
func canonical(r *http.Request) bool {
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

// loopback reports whether host, with or without a port, names this machine.
func loopback(host string) bool {
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
