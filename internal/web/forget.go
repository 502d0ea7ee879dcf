package web

import (
	"encoding/base64"
	"iter"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// A panel's pages, cookies and stored data stay in the browser after a visit. Without the code in
// this file, the next user of the same browser would use them under another account.

const (
	// accountCookie identifies the account that last entered a panel, on the panel's host. Its
	// value is a MAC, from which the account can't be derived.
	accountCookie     = "sallyport-account"
	accountCookieLife = 400 * 24 * time.Hour // the maximum in browsers

	// maxForgottenBytes is the maximum size, in one answer, of the headers that delete a
	// panel's cookies. By default, nginx accepts 4 KiB for all headers of an answer.
	maxForgottenBytes = 2500

	// maxForgetRounds is the maximum number of successive answers that delete cookies. It is
	// enough for all cookies of one request.
	maxForgetRounds = 10
)

// forgetPreviousAccount makes the browser delete the panel's data if the account that enters isn't
// the one that entered last.
func (s *server) forgetPreviousAccount(req *page.Request, panel *access.Panel, accountID string) {
	mac := s.Login.Ring.MAC("account at a panel", panel.Origin+"\n"+accountID)
	value := base64.RawURLEncoding.EncodeToString(mac)
	before := panel.Cookie(req.Request, accountCookie)
	page.SetHostCookie(req.W, panel.IsHTTPS(), accountCookie, value, accountCookieLife)
	switch {
	case before == "" || before == value:
	case panel.ForgetAtSignOut:
		forgetPanel(req.W.Header(), req.Request)
	default:
		req.W.Header().Set("Clear-Site-Data", `"cache"`)
	}
}

// forgetPanel adds headers to an answer that make the browser delete the panel's data for this
// host: cached pages, stored data and workers, and as many of the panel's cookies in the request
// as one answer can delete. It reports whether the request had cookies of the panel. It deletes
// them one by one, since Clear-Site-Data's "cookies" would delete the cookies of every host of the
// registrable domain, among them the portal's cookies for known browsers.
func forgetPanel(h http.Header, r *http.Request) (hadCookies bool) {
	h.Set("Clear-Site-Data", `"cache", "storage"`)
	domains := append([]string{""}, parents(r.Host)...)
	size := 0
	for name := range panelCookies(r) {
		hadCookies = true
		lines := make([]string, len(domains))
		for i, domain := range domains {
			// Assume Path=/, which nearly all cookies have that browsers send to this path.
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
	return hadCookies
}

// panelCookies yields the names of a request's cookies that aren't Sallyport's, without duplicates.
// It parses the headers itself, since PHP allows names with brackets, which net/http rejects.
func panelCookies(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, line := range r.Header["Cookie"] {
			for pair := range strings.SplitSeq(line, ";") {
				name, _, found := strings.Cut(strings.TrimSpace(pair), "=")
				isSallyport := strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), access.SessionCookie)
				if !found || name == "" || isSallyport || seen[name] {
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

// parents returns every Domain attribute that matches host: its own name, and each parent
// domain that has a dot. Some of these may be public suffixes, for which browsers accept no cookie.
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
