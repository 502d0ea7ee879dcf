package page

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// ReturnCookieLife is how much time a user has to enable two-factor authentication and still be led
// back to the page that requires it.
const ReturnCookieLife = time.Hour

// The cookies that doors share. Browsers send them only to the portal's host.
const (
	SessionCookie = access.SessionCookie
	DeviceCookie  = "sallyport-device" // identifies a known browser; not an authentication factor
	ReturnCookie  = "sallyport-return" // where to go once two-factor authentication is on
)

// Cookie returns the value of the portal's cookie with that name; see [access.Cookie].
func (s *Site) Cookie(r *http.Request, name string) string {
	return access.Cookie(r, access.CookieName(name, s.HTTPS))
}

// SetCookie sets a cookie of the portal's host, or deletes it if value is empty.
func (s *Site) SetCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	SetHostCookie(w, s.HTTPS, name, value, life)
}

// SetHostCookie sets a cookie only for the request's host, or deletes the cookie if value is empty.
func SetHostCookie(w http.ResponseWriter, https bool, name, value string, life time.Duration) {
	c := &http.Cookie{
		Name: access.CookieName(name, https), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: https, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	h := w.Header() // drop an earlier Set-Cookie for the name, since browsers differ in which of two they use
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, c.Name+"=") })
	http.SetCookie(w, c)
}
