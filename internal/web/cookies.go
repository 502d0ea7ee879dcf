package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/page"
)

// The portal's cookies besides those of package page. Browsers send them only to the portal's host.
const (
	attemptCookie = "sallyport-attempt" // an unfinished sign-in; never accepted as a session
	ticketCookie  = "sallyport-ticket"  // the token of an operator's link, until the wizard uses it
	onwardCookie  = "sallyport-onward"  // the page that a policy kept the browser from
	nameCookie    = "sallyport-name"    // the name of the account whose link was used, for the sign-in page
	unlockCookie  = "sallyport-unlock"  // identifies the browser that asked to be let in; mailed links are bound to it
	weakCookie    = "sallyport-weak"    // why the password that was just set is weak, until a page has said it
	cookiesCookie = "sallyport-cookies" // shows that the browser keeps cookies; see cookiesBlocked
)

// How long browsers keep these cookies. The server has its own limits for the tokens in them.
const (
	attemptCookieLife = 10 * time.Minute
	ticketCookieLife  = 15 * time.Minute
	nameCookieLife    = 10 * time.Minute
	unlockCookieLife  = time.Hour      // longer than the tries to send the mail and the life of its link
	weakCookieLife    = time.Minute    // the next page is only a redirect away
	cookiesCookieLife = 24 * time.Hour // longer than any sign-in
)

// cookiesBlocked reports whether the browser keeps no cookies. It concludes that from a request
// that comes from a sign-in page, which sets cookiesCookie, but has no cookie of Sallyport. A
// sign-in that has expired isn't mistaken for this, since cookiesCookie lives longer.
func (s *server) cookiesBlocked(req *page.Request) bool {
	if !strings.HasPrefix(req.Header.Get("Referer"), s.PublicURL+"/login") {
		return false
	}
	return !slices.ContainsFunc(req.Cookies(), func(c *http.Cookie) bool {
		return strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), page.SessionCookie)
	})
}
