package access

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// The identity headers name the user to a panel. All four are set in every request to a panel,
// after the client's own are removed.
const (
	UserHeader   = "Remote-User"
	NameHeader   = "Remote-Name"
	EmailHeader  = "Remote-Email"
	GroupsHeader = "Remote-Groups"
)

// IdentityHeaders returns the canonical names of all identity headers.
func IdentityHeaders() []string { return []string{UserHeader, NameHeader, EmailHeader, GroupsHeader} }

// IsIdentityHeader reports whether a canonical name is that of an identity header.
func IsIdentityHeader(name string) bool {
	switch name {
	case UserHeader, NameHeader, EmailHeader, GroupsHeader:
		return true
	}
	return false
}

// IdentityAlias returns the name of a header that CGI, WSGI or PHP would read as an identity
// header although it is spelled differently, or "" if the request has no such header. Clients
// don't send such a header by accident.
func IdentityAlias(h http.Header) string {
	for name := range h {
		if plain := PlainHeader(name); IsIdentityHeader(plain) && plain != http.CanonicalHeaderKey(name) {
			return name
		}
	}
	return ""
}

// PlainHeader returns the canonical name of a header, with "-" in place of every character
// that CGI, WSGI or PHP replace by "_". For some servers these are all characters except
// letters and digits.
func PlainHeader(name string) string {
	if isPlainName(name) {
		return name // the usual case: this is called for each header of each request
	}
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return '-'
		}
		return c
	}, name))
}

// isPlainName reports whether [PlainHeader] returns the name unchanged.
func isPlainName(name string) bool {
	first := true
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z' && !first, 'A' <= c && c <= 'Z' && first, '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
		first = c == '-'
	}
	return true
}

// ReturnPath returns the path on the panel to which the browser returns after the sign-in. For
// GET and HEAD, that is the path of the request. For a form, it is the path in the Referer, which
// is the page with the form, or "/" if that isn't a page of this panel. A form is never submitted
// again.
func (p *Panel) ReturnPath(method, target string, h http.Header) string {
	if method == http.MethodGet || method == http.MethodHead {
		return target
	}
	if path, ok := strings.CutPrefix(h.Get("Referer"), p.Origin+"/"); ok {
		return "/" + path
	}
	return "/"
}

// StartPath is the path on a panel's host that starts a sign-in, without its query.
const StartPath = "/.sallyport/start"

// OwnPrefix is the prefix of the paths on each panel's host that Sallyport answers itself.
const OwnPrefix = "/.sallyport/"

// StartURL returns the absolute URL that starts a sign-in and returns to a path of the panel.
func (p *Panel) StartURL(returnPath string) string {
	return p.Origin + StartPath + "?return=" + url.QueryEscape(returnPath)
}

// Names of the cookies on panels' hosts, and of the session cookie on the portal's host.
const (
	VisitCookie   = "sallyport-visit"
	StateCookie   = "sallyport-state"
	HTTPSCookie   = "sallyport-https" // proves that the browser uses https; see [Proxies.CameByHTTP]
	SessionCookie = "sallyport"
)

// CookieName returns the name of a cookie with the prefix "__Host-", which prevents a sibling
// host from setting the cookie (RFC 6265bis, section 4.1.3). Without https, as on a LAN, browsers
// don't accept the prefix, so the name is without it.
func CookieName(name string, https bool) string {
	if https {
		return "__Host-" + name
	}
	return name
}

// IsHTTPS reports whether browsers reach the panel by https.
func (p *Panel) IsHTTPS() bool { return strings.HasPrefix(p.Origin, "https://") }

// Host returns the panel's host, with a port if the origin has one.
func (p *Panel) Host() string {
	_, host, _ := strings.Cut(p.Origin, "://")
	return host
}

// Cookie returns the value of the only cookie with that name. If there are several, another host
// or script may have set one of them, so it returns "" (attack 73). It parses as net/http does,
// but without allocations, since it runs for every request.
func Cookie(r *http.Request, name string) string {
	value, found := "", false
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			given, rest, _ := strings.Cut(textproto.TrimString(pair), "=")
			if textproto.TrimString(given) != name {
				continue
			}
			if found {
				return ""
			}
			value, found = rest, true
		}
	}
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	return value
}

// Cookie returns the value of a cookie of the panel's host; see the function [Cookie].
func (p *Panel) Cookie(r *http.Request, name string) string {
	return Cookie(r, CookieName(name, p.IsHTTPS()))
}

// VisitToken returns the token of the visit, or that of the session if the portal is on the
// panel's host. It returns "" if the request has no such cookie.
func (p *Panel) VisitToken(r *http.Request) string {
	if p.Shared {
		return p.Cookie(r, SessionCookie)
	}
	return p.Cookie(r, VisitCookie)
}

// Proxies are the addresses of trusted proxies, whose forwarded headers are used.
type Proxies []netip.Prefix

// Contains reports whether addr is a trusted proxy's.
func (p Proxies) Contains(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Peer returns the address at the other end of the connection, or an invalid one.
func Peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Address returns the client's address: the peer, or if the peer is a trusted proxy, the last
// address in X-Forwarded-For that isn't a trusted proxy's. The client may have written the
// addresses further left (R21). If the search comes to a value that isn't an address, the result
// is the proxy to its right.
func (p Proxies) Address(r *http.Request) netip.Addr {
	addr, _ := p.ReadForwardedFor(r)
	return addr
}

// ReadForwardedFor returns the same address as [Proxies.Address]. If a value in X-Forwarded-For
// ended the search because it isn't an address, unreadable is that value.
func (p Proxies) ReadForwardedFor(r *http.Request) (addr netip.Addr, unreadable string) {
	addr = Peer(r)
	given := r.Header["X-Forwarded-For"]
	hops := strings.Join(given, ",")
	for end := len(hops); len(given) > 0 && end >= 0 && p.Contains(addr); {
		start := strings.LastIndexByte(hops[:end], ',') + 1
		next := HopAddress(hops[start:end])
		if !next.IsValid() {
			return addr, strings.TrimSpace(hops[start:end])
		}
		addr, end = next, start-1
	}
	return addr, ""
}

// HopAddress parses an address in the forms that proxies write, with or without a port:
// 192.0.2.7, 192.0.2.7:40000, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:40000. It returns an
// invalid address for any other text.
func HopAddress(text string) netip.Addr {
	text = strings.TrimSpace(text)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		var at netip.AddrPort
		at, err = netip.ParseAddrPort(text)
		addr = at.Addr()
	}
	if err != nil {
		inner, opened := strings.CutPrefix(text, "[")
		inner, closed := strings.CutSuffix(inner, "]")
		if addr, err = netip.ParseAddr(inner); err != nil || !opened || !closed || !addr.Is6() {
			return netip.Addr{}
		}
	}
	return addr.Unmap().WithZone("")
}

// CameByHTTP reports whether a trusted proxy says that a browser reached the proxy by plain http,
// although the site is https. It is false if the request has a cookie of Sallyport that
// browsers send only by https: then another proxy in front of the trusted one ends TLS. It is
// also false for scripts, which have no such cookie and can't be redirected.
func (p Proxies) CameByHTTP(r *http.Request) bool {
	given := r.Header["X-Forwarded-Proto"]
	if len(given) == 0 || r.TLS != nil || !p.Contains(Peer(r)) || ClientKindOf(r.Method, r.Header) == Script {
		return false
	}
	last := given[len(given)-1]
	last = last[strings.LastIndexByte(last, ',')+1:]
	if !strings.EqualFold(strings.TrimSpace(last), "http") {
		return false
	}
	for _, line := range r.Header["Cookie"] {
		if strings.Contains(line, CookieName(SessionCookie, true)) { // part of each name
			return false
		}
	}
	return true
}

// IsPrivate reports whether the request was protected by TLS on its way: the TLS connection
// ends here, or at a trusted proxy. Otherwise there may be a proxy that isn't declared as
// trusted, and all clients would share its address.
func (p Proxies) IsPrivate(r *http.Request) bool { return r.TLS != nil || p.Contains(Peer(r)) }

// firstValue returns the first of a header's values, or "".
func firstValue(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
