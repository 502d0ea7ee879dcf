package web

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// A panel's pages, cookies and stored data outlive a visit in the browser. The next
// person at the same machine would meet them under another name.

const (
	// accountCookie tells on a panel's host whether the account that enters is the one
	// that entered before. Its value is a MAC, which says nothing of the account.
	accountCookie     = "sallyport-account"
	accountCookieLife = 400 * 24 * time.Hour // the longest that browsers keep one

	// maxForgottenLines bounds the lines of an answer that end a panel's cookies: with 80
	// bytes each they stay below the 32 KiB of headers that browsers and proxies take.
	maxForgottenLines = 200
)

// clearForAnother has the browser drop what it keeps of a panel when another account
// enters there than the last time.
func (s *server) clearForAnother(req *request, panel *access.Panel, accountID string) {
	mac := s.Login.Ring.MAC("account at a panel", panel.Origin+"\n"+accountID)
	value := base64.RawURLEncoding.EncodeToString(mac)
	before := panel.Cookie(req.Request, accountCookie)
	setHostCookie(req.w, panel.HTTPS(), accountCookie, value, accountCookieLife)
	switch {
	case before == "" || before == value:
	case panel.ForgetAtSignOut:
		forget(req.w.Header(), req.Request)
	default:
		req.w.Header().Set("Clear-Site-Data", `"cache"`)
	}
}

// forget has the browser drop everything of a panel that it keeps for this host: cached
// pages, stored data and workers, and the panel's cookies that it sent. Clear-Site-Data's
// "cookies" isn't used: it would reach every host of the registrable domain, and the
// portal's marks of known browsers there.
func forget(h http.Header, r *http.Request) {
	h.Set("Clear-Site-Data", `"cache", "storage"`)
	paths := prefixes(r.URL.Path)
	if from, err := url.Parse(r.Header.Get("Referer")); err == nil && access.SameHost(from.Host, r.Host) {
		paths = append(paths, prefixes(from.Path)...)
	}
	domains := append([]string{""}, parents(r.Host)...)
	seen := map[string]bool{}
	for _, c := range r.Cookies() {
		if strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), access.SessionCookie) {
			continue // ours
		}
		for _, path := range paths {
			for _, domain := range domains {
				line := c.Name + "=; Max-Age=0; Path=" + path
				if domain != "" {
					line += "; Domain=" + domain
				}
				if strings.HasPrefix(c.Name, "__") {
					line += "; Secure"
				}
				if !seen[line] && len(seen) < maxForgottenLines {
					seen[line] = true
					h.Add("Set-Cookie", line)
				}
			}
		}
	}
}

// prefixes returns the paths that a cookie may have that is sent to path: "/", "/a",
// "/a/", "/a/b".
func prefixes(path string) []string {
	all := []string{"/"}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			all = append(all, path[:i], path[:i+1])
		}
	}
	if len(path) > 1 && !strings.ContainsAny(path, ";, \t\r\n") {
		all = append(all, path)
	}
	return all
}

// parents returns the domains that a cookie may have that is sent to host: its own name
// and the names above it with a dot in them. Browsers take no cookie of a public suffix.
func parents(host string) []string {
	name, err := access.CanonicalHost(host)
	if err != nil {
		return nil
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return nil
	}
	var all []string
	for strings.Contains(name, ".") {
		all = append(all, name)
		_, name, _ = strings.Cut(name, ".")
	}
	return all
}
