package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/throttle"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Errors that this package detects itself.
var (
	errNotFound    = errors.New("no such page")
	errForbidden   = errors.New("forbidden")
	errCrossOrigin = errors.New("form from another origin")
	errNoDocument  = errors.New("asked for by a script or a frame, on a panel's host")
	errBadForm     = errors.New("form can't be read")
	errMisdirected = errors.New("request for another host")
	errNoCookies   = errors.New("the browser keeps no cookie of this host")
	errPanelDown   = errors.New("panel doesn't answer")
	errPanelSlow   = errors.New("panel didn't answer in time")

	errPanelUntrusted = errors.New("the panel's certificate isn't the configured one")
)

// untrustedProxyError means that the portal is served by https, and the request came without
// TLS from a peer that isn't a trusted proxy.
type untrustedProxyError struct{ peer netip.Addr }

func (e *untrustedProxyError) Error() string { return "peer is not in trusted_proxies" }

// plainHTTPError means that a trusted proxy received the request by plain http, although the
// site at origin is https.
type plainHTTPError struct{ origin string }

func (e *plainHTTPError) Error() string { return "request by plain http for " + e.origin }

// panelRefusedError means that the gate admits the request to the address, but that the panel
// itself refused it.
type panelRefusedError struct {
	panel   *access.Panel
	address string
}

func (e *panelRefusedError) Error() string { return "the panel itself refused the request" }

// headersTooLongError means that the request's headers exceed the limit, usually because of
// large cookies.
type headersTooLongError struct{ cookies string }

func (e *headersTooLongError) Error() string {
	return "the request's headers are too long: " + e.cookies
}

// longestNamed is the number of cookies that the error page names.
const longestNamed = 5

// longestCookies returns the names and sizes of a request's longest cookies, as text.
func longestCookies(r *http.Request) string {
	all := r.Cookies()
	slices.SortStableFunc(all, func(a, b *http.Cookie) int { return len(b.Value) - len(a.Value) })
	var named []string
	for _, c := range all[:min(longestNamed, len(all))] {
		named = append(named, fmt.Sprintf("%s (%d bytes)", clean(c.Name), len(c.Value)))
	}
	if len(named) == 0 {
		return "no cookies"
	}
	return strings.Join(named, ", ")
}

// withReason returns fault, joined with reason unless that is nil.
func withReason(fault, reason error) error {
	if reason == nil {
		return fault
	}
	return fmt.Errorf("%w: %w", fault, reason)
}

// retryBusy is the Retry-After of a full queue: the queue's current jobs are done by then.
const retryBusy = 2 * time.Second

// fail answers a request that failed with err. The page says what the user can do. The log has
// the reason under the same reference.
func (s *server) fail(req *request, err error) {
	var (
		status          = http.StatusInternalServerError
		heading, advice = locale.Say("error.internal.heading"), locale.Say("error.internal.advice")
		linkURL         = "/"
		linkText        = locale.Say("error.home")
		homeURL         string
		signOut         string
		wait            *login.WaitError
		proxy           *untrustedProxyError
		other           *otherStageError
		plain           *plainHTTPError
		notAdmitted     *entry.NotAdmittedError
		refused         *access.RefusedError
		byPanel         *panelRefusedError
		long            *headersTooLongError
	)
	switch {
	case errors.As(err, &other):
		s.redirect(req, stagePath(other.stage))
		return
	case errors.Is(err, login.ErrNoAttempt) && s.cookiesBlocked(req):
		status, heading, advice = http.StatusBadRequest, locale.Say("error.no_cookies.heading"), locale.Say("error.no_cookies.advice")
		linkURL, linkText = "", nil
	case errors.Is(err, login.ErrNoAttempt) && req.isSignedIn() && req.PostForm.Has("return"):
		// The form was submitted twice, or another tab finished the sign-in.
		s.redirect(req, login.CheckReturn(req.PostForm.Get("return")))
		return
	case errors.Is(err, login.ErrNoAttempt):
		s.setCookie(req.w, attemptCookie, "", 0)
		s.redirect(req, "/login", "notice", "expired")
		return
	case errors.Is(err, login.ErrEnded):
		s.setCookie(req.w, attemptCookie, "", 0)
		s.redirect(req, "/login", "notice", "ended")
		return
	case errors.Is(err, errNotFound), errors.Is(err, login.ErrGone):
		status, heading, advice = http.StatusNotFound, locale.Say("error.not_found.heading"), locale.Say("error.not_found.advice")
	case errors.As(err, &refused) && errors.Is(err, access.ErrPath):
		status, heading = http.StatusForbidden, locale.Say("error.path.heading")
		advice = locale.Say("error.path.advice", "path", clean(refused.Target))
	case errors.As(err, &refused):
		status, heading = http.StatusForbidden, locale.Say("error.named.heading")
		advice = locale.Say("error.named.advice", "path", clean(refused.Target))
	case errors.As(err, &byPanel):
		status, heading, advice = http.StatusForbidden, locale.Say("error.by_panel.heading", "panel", byPanel.panel.Name), locale.Say("error.by_panel.advice", "panel", byPanel.panel.Name)
		linkURL, linkText = byPanel.address, locale.Say("error.reload")
	case errors.As(err, &plain):
		status, heading, advice = http.StatusForbidden, locale.Say("error.plain_http.heading"), locale.Say("error.plain_http.advice", "url", plain.origin)
		linkURL, linkText = plain.origin+"/", locale.Say("error.open")
	case errors.As(err, &long):
		status, heading = http.StatusRequestHeaderFieldsTooLarge, locale.Say("error.headers.heading")
		advice = locale.Say("error.headers.advice", "cookies", long.cookies)
		linkURL = ""
	case errors.As(err, &notAdmitted):
		status, heading = http.StatusForbidden, locale.Say("error.not_admitted.heading", "panel", notAdmitted.Panel.Name)
		advice = locale.Say("error.not_admitted.advice", "name", notAdmitted.Username)
		linkText, signOut = locale.Say("home.panels"), s.base+"logout"
	case errors.Is(err, errForbidden):
		status, heading, advice = http.StatusForbidden, locale.Say("error.forbidden.heading"), locale.Say("error.forbidden.advice")
	case errors.Is(err, errCrossOrigin):
		status, heading, advice = http.StatusForbidden, locale.Say("error.cross_origin.heading"), locale.Say("error.cross_origin.advice")
	case errors.Is(err, errNoDocument):
		status, heading, advice = http.StatusForbidden, locale.Say("error.no_document.heading"), locale.Say("error.no_document.advice")
	case errors.Is(err, errBadForm):
		status, heading, advice = http.StatusBadRequest, locale.Say("error.bad_request.heading"), locale.Say("error.bad_request.advice")
	case isTooLarge(err):
		status, heading, advice = http.StatusRequestEntityTooLarge, locale.Say("error.too_large.heading"), locale.Say("error.too_large.advice")
	case errors.Is(err, manage.ErrSetupTicket):
		status, heading, advice = http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.setup_link.advice")
	case errors.Is(err, ticket.ErrInvalid):
		status, heading, advice = http.StatusNotFound, locale.Say("error.link_invalid.heading"), locale.Say("error.link_invalid.advice")
	case errors.Is(err, errMisdirected):
		status, heading, advice = http.StatusMisdirectedRequest, locale.Say("error.misdirected.heading"), locale.Say("error.misdirected.advice", "url", s.PublicURL)
		linkURL, linkText = s.PublicURL, locale.Say("error.open")
	case errors.Is(err, errNoCookies):
		status, heading, advice = http.StatusBadRequest, locale.Say("error.no_cookies.heading"), locale.Say("error.no_cookies.advice")
		linkURL, linkText = "", nil
	case errors.Is(err, errPanelDown):
		status, heading, advice = http.StatusBadGateway, locale.Say("error.panel_down.heading", "panel", s.panelName(req)), locale.Say("error.panel_down.advice")
		linkURL, linkText, homeURL = s.retryURL(req), locale.Say("error.again"), s.PublicURL+"/"
	case errors.Is(err, errPanelUntrusted):
		status, heading, advice = http.StatusBadGateway, locale.Say("error.panel_untrusted.heading", "panel", s.panelName(req)), locale.Say("error.panel_untrusted.advice", "panel", s.panelName(req))
		linkText = locale.Say("home.panels")
	case errors.Is(err, errPanelSlow):
		status, heading, advice = http.StatusGatewayTimeout, locale.Say("error.panel_slow.heading", "panel", s.panelName(req)), locale.Say("error.panel_slow.advice")
		linkURL, linkText, homeURL = s.retryURL(req), locale.Say("error.again"), s.PublicURL+"/"
	case errors.As(err, &proxy):
		bits := netip.PrefixFrom(proxy.peer, proxy.peer.BitLen())
		status, heading = http.StatusForbidden, locale.Say("error.untrusted_proxy.heading")
		advice = locale.Say("error.untrusted_proxy.advice", "address", proxy.peer, "line", fmt.Sprintf("trusted_proxies: [%s]", bits))
		linkURL = ""
	case errors.As(err, &wait):
		n := seconds(wait.RetryAfter)
		status, heading, advice = http.StatusTooManyRequests, locale.Say("error.too_many.heading"), locale.Say("error.too_many.advice", "n", n)
		if wait.Change {
			heading, advice = locale.Say("error.many_changes.heading"), locale.Say("error.many_changes.advice")
		}
		req.w.Header().Set("Retry-After", strconv.Itoa(n))
	case errors.Is(err, throttle.ErrQueueFull), errors.Is(err, throttle.ErrBusy):
		status, heading, advice = http.StatusServiceUnavailable, locale.Say("error.busy.heading"), locale.Say("error.busy.advice")
		req.w.Header().Set("Retry-After", strconv.Itoa(seconds(retryBusy)))
	case errors.Is(err, db.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status, heading, advice = http.StatusServiceUnavailable, locale.Say("error.unavailable.heading"), locale.Say("error.unavailable.advice")
		req.w.Header().Set("Retry-After", strconv.Itoa(seconds(retryBusy)))
	}
	level := s.Log.Warn
	if status >= http.StatusInternalServerError {
		level = s.Log.Error
	}
	line := append([]any{"request", reference(req.Request), "status", status, "method", clean(req.Method)}, s.logContext(req, err)...)
	level("refused", append(line, "path", clean(req.URL.Path), "address", req.from.Address.String(), "reason", cleanReason(err))...)
	if linkURL == "/" {
		linkURL = s.PublicURL + "/"
	}
	page := page.ErrorPage{
		Frame: page.Frame{Title: heading}, Advice: advice,
		LinkURL: linkURL, LinkText: linkText, HomeURL: homeURL, SignOut: signOut, Reference: reference(req.Request),
	}
	if err := s.views.Render(req.w, status, "error", &page); err != nil {
		s.Log.Error("error page", "request", reference(req.Request), "reason", err)
		http.Error(req.w, http.StatusText(status), status)
	}
}

// logContext returns the attributes for a failed request's log line: its host, and the panel
// and the account if they are known. It has nothing that a user typed, and no query.
func (s *server) logContext(req *request, err error) []any {
	var (
		panel       = s.panelAtHost(req.Host)
		username    = req.me.Account.Name
		notAdmitted *entry.NotAdmittedError
		byPanel     *panelRefusedError
		more        *entry.AboutError
	)
	if panel == nil && req.URL.Path == s.origin.Path+enterPagePath {
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

// logFields returns log attributes for a host, and for a panel and an account unless they are
// nil or empty.
func logFields(host string, panel *access.Panel, username string) []any {
	line := []any{"host", clean(host)}
	if panel != nil {
		line = append(line, "panel", panel.Host())
	}
	if username != "" {
		line = append(line, "account", clean(username))
	}
	return line
}

// cleanReason returns the text of an error on one line, with ": " between joined errors.
func cleanReason(err error) string { return clean(strings.ReplaceAll(err.Error(), "\n", ": ")) }

// panelName returns the name of the panel at the request's host, or the site's name.
func (s *server) panelName(req *request) string {
	if panel := s.panelAtHost(req.Host); panel != nil {
		return panel.Name
	}
	return s.SiteName
}

// retryURL returns the URL of a request for a panel, so that a link can repeat it. For methods
// other than GET and HEAD it returns the panel's first page.
func (s *server) retryURL(req *request) string {
	panel := s.panelAtHost(req.Host)
	switch {
	case panel == nil:
		return "/"
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		return panel.Origin + "/"
	}
	return panel.Origin + login.CheckAddress(req.URL.RequestURI())
}

// seconds returns d in seconds, rounded up, so that a client that retries then isn't too early.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

func isTooLarge(err error) bool {
	var large *http.MaxBytesError
	return errors.As(err, &large)
}
