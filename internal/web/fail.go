package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Errors that this package detects itself.
var (
	errNoDocument = errors.New("asked for by a script or a frame, on a panel's host")
	errNoCookies  = errors.New("the browser keeps no cookie of this host")
	errPanelDown  = errors.New("panel doesn't answer")
	errPanelSlow  = errors.New("panel didn't answer in time")

	errPanelUntrusted = errors.New("the panel's certificate isn't the configured one")
)

// untrustedProxyError means that a request to a portal with an https URL came without TLS from a
// peer that isn't a trusted proxy.
type untrustedProxyError struct{ peer netip.Addr }

func (e *untrustedProxyError) Error() string { return "peer is not in trusted_proxies" }

// plainHTTPError means that a trusted proxy received the request by plain http, although the
// site at origin is https.
type plainHTTPError struct{ origin string }

func (e *plainHTTPError) Error() string { return "request by plain http for " + e.origin }

// panelRefusedError means that Sallyport admitted the request for the address, but the panel
// itself refused it.
type panelRefusedError struct {
	panel   *access.Panel
	address string
}

func (e *panelRefusedError) Error() string { return "the panel itself refused the request" }

// headersTooLongError means that the request's headers exceed the limit, usually because of
// large cookies.
type headersTooLongError struct{ longest []*http.Cookie }

func (e *headersTooLongError) Error() string {
	if len(e.longest) == 0 {
		return "the request's headers are too long: no cookies"
	}
	var named []string
	for _, c := range e.longest {
		named = append(named, fmt.Sprintf("%s (%d bytes)", page.Clean(c.Name), len(c.Value)))
	}
	return "the request's headers are too long: " + strings.Join(named, ", ")
}

// list returns the names and sizes of the cookies in the language of the answer.
func (e *headersTooLongError) list(req *page.Request) []string {
	if len(e.longest) == 0 {
		return []string{req.Text(locale.Say("error.headers.no_cookies"))}
	}
	var named []string
	for _, c := range e.longest {
		named = append(named, req.Text(locale.Say("error.headers.cookie", "name", page.Clean(c.Name), "n", len(c.Value))))
	}
	return named
}

// longestNamed is the number of cookies that the error page names.
const longestNamed = 5

// longestCookies returns a request's longest cookies.
func longestCookies(r *http.Request) []*http.Cookie {
	all := r.Cookies()
	slices.SortStableFunc(all, func(a, b *http.Cookie) int { return len(b.Value) - len(a.Value) })
	return all[:min(longestNamed, len(all))]
}

// fail answers a request that failed with err. It redirects if the browser can go on elsewhere, and
// otherwise shows an error page.
func (s *server) fail(req *page.Request, err error) {
	var other *otherStageError
	switch {
	case errors.As(err, &other):
		s.redirect(req, stagePath(other.stage))
	case errors.Is(err, login.ErrNoAttempt) && s.cookiesBlocked(req):
		s.ShowFault(req, noCookies(), err, s.logContext(req, err))
	case errors.Is(err, login.ErrNoAttempt) && req.IsSignedIn() && req.PostForm.Has("return"):
		// The form was submitted twice, or another tab has finished the sign-in.
		s.redirect(req, login.CheckReturn(req.PostForm.Get("return")))
	case errors.Is(err, login.ErrNoAttempt):
		s.SetCookie(req.W, attemptCookie, "", 0)
		s.redirect(req, "/login", "notice", "expired")
	case errors.Is(err, login.ErrEnded):
		s.SetCookie(req.W, attemptCookie, "", 0)
		s.redirect(req, "/login", "notice", "ended")
	default:
		s.ShowFault(req, s.faultOf(req, err), err, s.logContext(req, err))
	}
}

// noCookies returns the fault of a browser that keeps no cookies.
func noCookies() page.Fault {
	f := page.NewFault(http.StatusBadRequest, locale.Say("error.no_cookies.heading"), locale.Say("error.no_cookies.advice"))
	return f.WithLink("", nil)
}

// faultOf returns the fault for an error. It knows the errors of one-time links, panels and proxies,
// and leaves others to [page.Site.FaultOf].
func (s *server) faultOf(req *page.Request, err error) page.Fault {
	var (
		proxy       *untrustedProxyError
		plain       *plainHTTPError
		notAdmitted *entry.NotAdmittedError
		refused     *access.RefusedError
		byPanel     *panelRefusedError
		long        *headersTooLongError
		name        = s.panelName(req)
	)
	switch {
	case errors.As(err, &refused) && errors.Is(err, access.ErrPath):
		return page.NewFault(http.StatusForbidden, locale.Say("error.path.heading"), locale.Say("error.path.advice", "path", page.Clean(refused.Target)))
	case errors.As(err, &refused):
		return page.NewFault(http.StatusForbidden, locale.Say("error.named.heading"), locale.Say("error.named.advice", "path", page.Clean(refused.Target)))
	case errors.As(err, &byPanel):
		name := byPanel.panel.Name
		f := page.NewFault(http.StatusForbidden, locale.Say("error.by_panel.heading", "panel", name), locale.Say("error.by_panel.advice", "panel", name))
		return f.WithLink(byPanel.address, locale.Say("error.reload"))
	case errors.As(err, &plain):
		f := page.NewFault(http.StatusForbidden, locale.Say("error.plain_http.heading"), locale.Say("error.plain_http.advice", "url", plain.origin))
		return f.WithLink(plain.origin+"/", locale.Say("error.open"))
	case errors.As(err, &long):
		f := page.NewFault(http.StatusRequestHeaderFieldsTooLarge, locale.Say("error.headers.heading"), locale.Say("error.headers.advice", "cookies", long.list(req)))
		return f.WithLink("", nil)
	case errors.As(err, &notAdmitted):
		f := page.NewFault(http.StatusForbidden,
			locale.Say("error.not_admitted.heading", "panel", notAdmitted.Panel.Name), locale.Say("error.not_admitted.advice", "name", notAdmitted.Username))
		f.LinkText, f.SignOut = locale.Say("home.panels"), s.Base+"logout"
		return f
	case errors.Is(err, errNoDocument):
		return page.NewFault(http.StatusForbidden, locale.Say("error.no_document.heading"), locale.Say("error.no_document.advice"))
	case errors.Is(err, manage.ErrSetupTicket):
		return page.NewFault(http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.setup_link.advice"))
	case errors.Is(err, errResetLink):
		f := page.NewFault(http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.reset_link.advice"))
		return f.WithLink(s.Base+"forgot", locale.Say("login.forgot_link"))
	case errors.Is(err, errUnlockLink):
		f := page.NewFault(http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.unlock_link.advice"))
		return f.WithLink(s.Base+"login", locale.Say("forgot.back"))
	case errors.Is(err, ticket.ErrInvalid):
		return page.NewFault(http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.link_invalid.advice"))
	case errors.Is(err, errNoCookies):
		return noCookies()
	case errors.Is(err, errPanelDown):
		return s.mayRetry(req, page.NewFault(http.StatusBadGateway, locale.Say("error.panel_down.heading", "panel", name), locale.Say("error.panel_down.advice")))
	case errors.Is(err, errPanelUntrusted):
		f := page.NewFault(http.StatusBadGateway, locale.Say("error.panel_untrusted.heading", "panel", name), locale.Say("error.panel_untrusted.advice", "panel", name))
		f.LinkText = locale.Say("home.panels")
		return f
	case errors.Is(err, errPanelSlow):
		return s.mayRetry(req, page.NewFault(http.StatusGatewayTimeout, locale.Say("error.panel_slow.heading", "panel", name), locale.Say("error.panel_slow.advice")))
	case errors.As(err, &proxy):
		line := fmt.Sprintf("trusted_proxies: [%s]", netip.PrefixFrom(proxy.peer, proxy.peer.BitLen()))
		f := page.NewFault(http.StatusForbidden, locale.Say("error.untrusted_proxy.heading"), locale.Say("error.untrusted_proxy.advice", "address", proxy.peer, "line", line))
		return f.WithLink("", nil)
	}
	return s.FaultOf(err)
}

// mayRetry returns the fault with two more links: one repeats the request, the other leads to the
// list of panels.
func (s *server) mayRetry(req *page.Request, f page.Fault) page.Fault {
	f.HomeURL = s.PublicURL + "/"
	return f.WithLink(s.retryURL(req), locale.Say("error.again"))
}

// logContext returns the attributes for a failed request's log line: the request's host, and the
// panel and the account if they are known. They contain nothing that the user typed, and no query.
func (s *server) logContext(req *page.Request, err error) []any {
	var (
		panel       = s.panelAtHost(req.Host)
		username    = req.Me.Account.Name
		notAdmitted *entry.NotAdmittedError
		byPanel     *panelRefusedError
		more        *entry.AboutError
	)
	if panel == nil && req.URL.Path == s.Origin.Path+enterPagePath {
		panel = s.panelByOrigin(req.URL.Query().Get("panel"))
	}
	if errors.As(err, &byPanel) {
		panel = byPanel.panel
	}
	if errors.As(err, &more) {
		panel, username = more.Panel, cmp.Or(username, more.Username)
	}
	if errors.As(err, &notAdmitted) {
		panel, username = notAdmitted.Panel, notAdmitted.Username
	}
	return logFields(req.Host, panel, username)
}

// logFields returns log attributes for a host, for a panel unless panel is nil, and for an account
// unless username is empty.
func logFields(host string, panel *access.Panel, username string) []any {
	line := []any{"host", page.Clean(host)}
	if panel != nil {
		line = append(line, "panel", panel.Host())
	}
	if username != "" {
		line = append(line, "account", page.Clean(username))
	}
	return line
}

// panelName returns the name of the panel at the request's host, or the site's name.
func (s *server) panelName(req *page.Request) string {
	if panel := s.panelAtHost(req.Host); panel != nil {
		return panel.Name
	}
	return s.SiteName
}

// retryURL returns the URL for a link that repeats a request for a panel. For a request that isn't
// GET or HEAD, it returns the URL of the panel's first page.
func (s *server) retryURL(req *page.Request) string {
	panel := s.panelAtHost(req.Host)
	switch {
	case panel == nil:
		return "/"
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		return panel.Origin + "/"
	}
	return panel.Origin + login.CheckAddress(req.URL.RequestURI())
}
