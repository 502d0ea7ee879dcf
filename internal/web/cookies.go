package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/page"
)

// The portal's other cookies, which browsers send to the portal's host only.
const (
	attemptCookie = "sallyport-attempt" // an unfinished sign-in; never accepted as a session
	ticketCookie  = "sallyport-ticket"  // the token of an operator's link, until the wizard uses it
	onwardCookie  = "sallyport-onward"  // the page that a policy kept the browser from
	nameCookie    = "sallyport-name"    // the name of the account whose link was used, for the sign-in page
	unlockCookie  = "sallyport-unlock"  // binds the mailed links that let a browser in to the one that asked
	weakCookie    = "sallyport-weak"    // why a password that was just set is weak, until a page has said so
	cookiesCookie = "sallyport-cookies" // shows that the browser keeps cookies; see cookiesBlocked
)

// How long browsers keep them. The server enforces its own limits for the tokens in them.
const (
	attemptCookieLife = 10 * time.Minute
	ticketCookieLife  = 15 * time.Minute
	nameCookieLife    = 10 * time.Minute
	unlockCookieLife  = time.Hour      // longer than a mail is tried and its link works
	weakCookieLife    = time.Minute    // the next page is a redirect away
	cookiesCookieLife = 24 * time.Hour // longer than any sign-in
)

// cookiesBlocked reports whether the browser keeps no cookies: the request comes from a sign-in
// page, which sets cookiesCookie, but has no cookie of Sallyport. That cookie lives longer than
// any sign-in, so a sign-in that expired doesn't look the same.
func (s *server) cookiesBlocked(req *page.Request) bool {
	if !strings.HasPrefix(req.Header.Get("Referer"), s.PublicURL+"/login") {
		return false
	}
	return !slices.ContainsFunc(req.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), page.SessionCookie)
	})
}
