package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// cleanAnswer removes from a panel's answer the headers that affect more than the panel, such as
// cookies of Sallyport. It also forbids shared caches to store the answer: a panel that leaves the
// sign-in to Sallyport may allow that for all its pages.
func (g *gateway) cleanAnswer(resp *http.Response) error {
	h := resp.Header
	removeSallyportSetCookies(h)
	for _, name := range removedAnswerHeaders {
		delete(h, name)
	}
	restrictClearSiteData(h)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if g.Panel.Shared {
		h.Del("Service-Worker-Allowed")
		// The gateway refuses requests for service workers here, so a cache mustn't
		// answer one with the same file that a page loaded as a script.
		h.Add("Vary", "Service-Worker")
	}
	if fwd := resp.Request.Context().Value(forwardedKey{}).(*forwarded); !fwd.open {
		forbidSharedCaching(h)
	}
	cleanChallenges(resp)
	return nil
}

// removedAnswerHeaders are the canonical names of response headers that make a browser bypass
// Sallyport (Alt-Svc), or that give commands to a proxy in front of Sallyport: for instance to
// fetch another address, or to cache the answer for all clients.
var removedAnswerHeaders = []string{
	"Alt-Svc", "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Charset", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url",
}

// removeSallyportSetCookies removes each Set-Cookie with the name of a Sallyport cookie.
func removeSallyportSetCookies(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		// Browsers send the cookie "=name=value" back as "name=value".
		if name, _, _ := strings.Cut(strings.TrimLeft(line, "= \t"), "="); !isSallyportCookie(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	if h.Del("Set-Cookie"); len(kept) > 0 {
		h["Set-Cookie"] = kept
	}
}

// restrictClearSiteData removes "cookies" from Clear-Site-Data. This directive deletes the cookies
// of every host of the registrable domain, among them the portal's session and its cookies for
// known browsers. "*" includes it, so "*" becomes "cache" and "storage", which apply to the panel's
// origin only.
func restrictClearSiteData(h http.Header) {
	lines, ok := h["Clear-Site-Data"]
	if !ok {
		return
	}
	var kept []string
	for kind := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		switch kind = strings.TrimSpace(kind); kind {
		case `"*"`:
			kept = append(kept, `"cache"`, `"storage"`)
		case `"cache"`, `"storage"`, `"executionContexts"`, `"clientHints"`, `"prefetchCache"`, `"prerenderCache"`:
			kept = append(kept, kind)
		}
	}
	if h.Del("Clear-Site-Data"); len(kept) > 0 {
		h.Set("Clear-Site-Data", strings.Join(kept, ", "))
	}
}

// sharedCaching are headers that control shared caches only, in addition to Cache-Control. A
// CDN may define another one, whose name ends in CDN-Cache-Control (RFC 9213).
var sharedCaching = []string{"Surrogate-Control", "Cdn-Cache-Control", "Edge-Control", "X-Litespeed-Cache-Control"}

// forbidSharedCaching forbids shared caches to store an answer that required a sign-in, since
// they would send it to users without a session (RFC 9111, section 5.2.2.7). The user's own
// browser may cache the same answers as before.
func forbidSharedCaching(h http.Header) {
	for name := range h {
		if slices.Contains(sharedCaching, name) || strings.HasSuffix(name, "-Cdn-Cache-Control") {
			delete(h, name)
		}
	}
	lines := h["Cache-Control"]
	kept := []string{"private"}
	for directive := range directives(strings.Join(lines, ",")) {
		name, _, _ := strings.Cut(directive, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "no-store":
			return // no cache stores it
		case "public", "s-maxage", "private", "proxy-revalidate", "":
		default:
			kept = append(kept, directive)
		}
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// directives yields the directives of a Cache-Control header. A quoted value may contain commas.
func directives(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, start := false, 0
		for i := range len(text) {
			switch {
			case text[i] == '"':
				quoted = !quoted
			case text[i] == ',' && !quoted:
				if !yield(strings.TrimSpace(text[start:i])) {
					return
				}
				start = i + 1
			}
		}
		yield(strings.TrimSpace(text[start:]))
	}
}

// hasConnectionAuth reports whether a value of Authorization or WWW-Authenticate has a scheme
// that authenticates a whole connection: NTLM or Negotiate.
func hasConnectionAuth(values []string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if isConnectionScheme(part) {
				return true
			}
		}
	}
	return false
}

func isConnectionScheme(challenge string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " ")
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

// cleanChallenges handles challenges of a panel for NTLM and Negotiate. If the client may have its
// own connection to the panel ([forwarded.mayDedicate]), its next requests use that connection, and
// the header Proxy-Support tells the client so. Otherwise cleanChallenges removes the challenges.
func cleanChallenges(resp *http.Response) {
	challenges := resp.Header["Www-Authenticate"]
	if !hasConnectionAuth(challenges) {
		return
	}
	fwd := resp.Request.Context().Value(forwardedKey{}).(*forwarded)
	if fwd.mayDedicate() {
		fwd.conn.dedicate(fwd)
		resp.Header.Set("Proxy-Support", "Session-Based-Authentication")
		return
	}
	resp.Header.Del("Www-Authenticate")
	for _, value := range challenges {
		var kept []string
		for part := range strings.SplitSeq(value, ",") {
			if !isConnectionScheme(part) {
				kept = append(kept, strings.TrimSpace(part))
			}
		}
		if len(kept) > 0 {
			resp.Header.Add("Www-Authenticate", strings.Join(kept, ", "))
		}
	}
}

// finalAnswer removes all headers but Link from the answers before the final one (103 Early
// Hints), since [gateway.cleanAnswer] doesn't get those answers.
type finalAnswer struct {
	http.ResponseWriter
	begun bool // the head of the final answer was written
}

// WriteHeader is called for each answer of the panel, also for those before the final one.
func (a *finalAnswer) WriteHeader(status int) {
	a.begun = status >= 200
	if status < 200 && status != http.StatusSwitchingProtocols {
		for name := range a.Header() {
			if name != "Link" {
				a.Header().Del(name)
			}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// flushIfBegun sends the buffered part of an answer that the panel didn't finish. If the connection
// ended before the browser got a byte of the answer, the browser would send the request again, even
// a POST.
func (a *finalAnswer) flushIfBegun() {
	if a.begun {
		http.NewResponseController(a.ResponseWriter).Flush() // an error means that the client disconnected
	}
}

// Unwrap implements the interface of [http.ResponseController].
func (a *finalAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
