package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// canonicalOnly answers paths that aren't canonical with an error page; see isCanonical.
func (s *server) canonicalOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isCanonical(r) {
			s.fail(s.NewRequest(w, r), page.ErrNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard passes on only requests for the portal's host. If the portal's URL is https, it also refuses
// requests that came neither by TLS nor through a trusted proxy, and those that reached a proxy by
// plain http.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.HTTPS && !s.TrustedProxies.IsPrivate(r):
			s.fail(s.NewRequest(w, r), &untrustedProxyError{access.Peer(r)})
		case !access.SameHost(r.Host, s.Origin.Host):
			s.answerMisdirected(w, r)
		case s.HTTPS && s.TrustedProxies.CameByHTTP(r):
			s.redirectToHTTPS(w, r, originOf(s.Origin))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// answerMisdirected answers a request whose host isn't that of public_url, so that cookies and links
// wouldn't work. It redirects requests for another name of this machine and for a known host with a
// dot at its end. All others get an error page.
func (s *server) answerMisdirected(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && isLoopback(r.Host) && isLoopback(s.Origin.Host) && port(r.Host) == s.Origin.Port() {
		http.Redirect(w, r, originOf(s.Origin)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return
	}
	if origin := s.originWithoutDot(r.Host); origin != "" && access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	s.fail(s.NewRequest(w, r), page.WithReason(page.ErrMisdirected, fmt.Errorf("host %q", page.Clean(r.Host))))
}

// originWithoutDot returns the origin of the portal or panel whose host is the given host without
// the dot at its end. It returns "" if there is none, or if host has no such dot.
func (s *server) originWithoutDot(host string) string {
	name := access.WithoutLastDot(host)
	switch {
	case name == "":
		return ""
	case access.SameHost(name, s.Origin.Host):
		return originOf(s.Origin)
	case s.panels[name] != nil:
		return s.panels[name].Origin
	}
	return ""
}

// httpsCookieLife is the lifetime of the cookie that proves https. It only has to outlive the
// redirect.
const httpsCookieLife = time.Minute

// redirectToHTTPS redirects a navigation by plain http to the same page by https, and answers other
// requests with an error page. The redirect can't loop, even if the proxy wrongly says that the
// browser uses http: redirectToHTTPS sets a cookie that browsers store only if they use https.
func (s *server) redirectToHTTPS(w http.ResponseWriter, r *http.Request, origin string) {
	page.SetHostCookie(w, true, access.HTTPSCookie, "1", httpsCookieLife)
	if access.ClientKindOf(r.Method, r.Header) == access.Navigation && strings.HasPrefix(r.RequestURI, "/") {
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	s.fail(s.NewRequest(w, r), &plainHTTPError{origin})
}

// isCanonical reports whether the path has no dot segments and no doubled slashes. No route's path
// has them. ServeMux would answer such a path with a redirect that makes the browser send a form
// again, with the password in it.
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
