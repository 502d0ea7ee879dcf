package web

import (
	"encoding/base64"
	"iter"
	"net/http"
	"net/netip"
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

	// maxForgottenBytes bounds the lines of one answer that end a panel's cookies: nginx
	// keeps 4 KiB for the headers of an answer.
	maxForgottenBytes = 2500

	// maxForgetRounds is how many answers in a row may do that: enough for all the cookies
	// that a request can bring.
	maxForgetRounds = 10
)

// clearForAnother has the browser drop what it keeps of a panel when another account
// enters there than the last time.
func (s *server) clearForAnother(req *request, panel *access.Panel, accountID string) {
	mac := s.Login.Ring.MAC("account at a panel", panel.Origin+"\n"+accountID)
	value := base64.RawURLEncoding.EncodeToString(mac)
	before := panel.Cookie(req.Request, accountCookie)
	setHostCookie(req.w, panel.IsHTTPS(), accountCookie, value, accountCookieLife)
	switch {
	case before == "" || before == value:
	case panel.ForgetAtSignOut:
		forget(req.w.Header(), req.Request)
	default:
		req.w.Header().Set("Clear-Site-Data", `"cache"`)
	}
}

// forget has the browser drop everything of a panel that it keeps for this host: cached
// pages, stored data and workers, and the panel's cookies that it sent, as many as one
// answer can end; it reports whether there were any. Cookies are ended one by one, since
// Clear-Site-Data's "cookies" would reach every host of the registrable domain, and the
// portal's marks of known browsers there.
func forget(h http.Header, r *http.Request) (any bool) {
	h.Set("Clear-Site-Data", `"cache", "storage"`)
	domains := append([]string{""}, parents(r.Host)...)
	size := 0
	for name := range panelCookies(r) {
		any = true
		lines := make([]string, len(domains))
		for i, domain := range domains {
			// Nearly all cookies that come here have this path.
			lines[i] = name + "=; Max-Age=0; Path=/"
			if domain != "" {
				lines[i] += "; Domain=" + domain
			}
			if strings.HasPrefix(name, "__") {
				lines[i] += "; Secure"
			}
			size += access.HeaderLine("Set-Cookie", lines[i])
		}
		if size > maxForgottenBytes {
			break
		}
		for _, line := range lines {
			h.Add("Set-Cookie", line)
		}
	}
	return any
}

// panelCookies yields the names of the cookies that a request brings and that aren't ours,
// each once. PHP's may have brackets in them, which net/http takes for none.
func panelCookies(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, line := range r.Header["Cookie"] {
			for pair := range strings.SplitSeq(line, ";") {
				name, _, found := strings.Cut(strings.TrimSpace(pair), "=")
				ours := strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), access.SessionCookie)
				if !found || name == "" || ours || seen[name] {
					continue
				}
				seen[name] = true
				if !yield(name) {
					return
				}
			}
		}
	}
}

// parents returns every Domain attribute that matches host: its own name and the names
// above it that have a dot. Browsers accept no cookie for a public suffix.
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
