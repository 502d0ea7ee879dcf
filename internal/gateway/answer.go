package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// clean removes from a panel's answer what reaches beyond the panel, and what isn't true
// any more behind a gate: a panel that stood open tells every cache to keep its pages for
// everybody.
func (g *gateway) clean(resp *http.Response) error {
	h := resp.Header
	withoutOurSetCookie(h)
	for _, name := range beyondThePanel {
		h.Del(name)
	}
	clearLess(h)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if g.Panel.Shared {
		h.Del("Service-Worker-Allowed")
		// A script that was loaded as a script mustn't come from a cache as a worker,
		// which is refused.
		h.Add("Vary", "Service-Worker")
	}
	if from := resp.Request.Context().Value(passedKey{}).(*passed); !from.open {
		keepPrivate(h)
	}
	cleanChallenges(resp)
	return nil
}

// beyondThePanel are headers of an answer that lead browsers past the gate (Alt-Svc), or
// that a proxy in front of us obeys: such as to fetch another address, or to keep the
// answer for everybody.
var beyondThePanel = []string{
	"Alt-Svc", "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate", "X-Accel-Charset", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url",
}

// withoutOurSetCookie removes what would set a cookie of ours.
func withoutOurSetCookie(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		// Browsers send back "=name=value" without the first sign.
		if name, _, _ := strings.Cut(strings.TrimLeft(line, "= \t"), "="); !isOurs(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	if h.Del("Set-Cookie"); len(kept) > 0 {
		h["Set-Cookie"] = kept
	}
}

// clearLess takes "cookies" and "*" out of Clear-Site-Data: they reach every host of the
// registrable domain, and so the portal's session and its marks of known browsers. What
// else "*" means for this origin stays.
func clearLess(h http.Header) {
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

// sharedCaching are headers that only shared caches obey, besides Cache-Control.
// A CDN's own header ends in CDN-Cache-Control (RFC 9213).
var sharedCaching = []string{"Surrogate-Control", "Cdn-Cache-Control", "Edge-Control", "X-Litespeed-Cache-Control"}

// keepPrivate has no shared cache keep an answer that asked for a sign-in: it would be
// shown to people who aren't signed in (RFC 9111, section 5.2.2.7). What the person's own
// browser may keep doesn't change.
func keepPrivate(h http.Header) {
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
			return // nobody keeps it
		case "public", "s-maxage", "private", "proxy-revalidate", "":
		default:
			kept = append(kept, directive)
		}
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// directives are the parts of a Cache-Control, whose values may be quoted and hold commas.
func directives(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, begin := false, 0
		for i := range len(text) {
			switch {
			case text[i] == '"':
				quoted = !quoted
			case text[i] == ',' && !quoted:
				if !yield(strings.TrimSpace(text[begin:i])) {
					return
				}
				begin = i + 1
			}
		}
		yield(strings.TrimSpace(text[begin:]))
	}
}

// hasConnectionAuth reports whether an Authorization or WWW-Authenticate has a scheme by which a
// server remembers who authenticated on a connection.
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

// cleanChallenges says that such challenges are for one connection of one client, and
// removes them where the client has no such connection.
func cleanChallenges(resp *http.Response) {
	challenges := resp.Header["Www-Authenticate"]
	if !hasConnectionAuth(challenges) {
		return
	}
	from := resp.Request.Context().Value(passedKey{}).(*passed)
	if from.mayDedicate() {
		from.link.dedicate(from)
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

// finalAnswer lets only the final answer set headers: of those before it (103 Early Hints)
// only Link passes, since [gateway.clean] sees none of them.
type finalAnswer struct{ http.ResponseWriter }

// WriteHeader is called for each answer of the panel.
func (a finalAnswer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		for name := range a.Header() {
			if name != "Link" {
				a.Header().Del(name)
			}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a finalAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
