package access

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// Identity headers tell a panel who is there. All four are always sent; the
// client's own are removed first.
const (
	UserHeader   = "Remote-User"
	NameHeader   = "Remote-Name"
	EmailHeader  = "Remote-Email"
	GroupsHeader = "Remote-Groups"
)

// IdentityHeaders are all of them.
func IdentityHeaders() []string { return []string{UserHeader, NameHeader, EmailHeader, GroupsHeader} }

// IsIdentity reports whether a header, by its canonical name, is one of them.
func IsIdentity(name string) bool {
	switch name {
	case UserHeader, NameHeader, EmailHeader, GroupsHeader:
		return true
	}
	return false
}

// Aliased returns a header that isn't spelled like an identity header but that
// CGI, WSGI or PHP would read as one; or "". Nobody sends one by accident.
func Aliased(h http.Header) string {
	for name := range h {
		if plain := PlainHeader(name); IsIdentity(plain) && plain != http.CanonicalHeaderKey(name) {
			return name
		}
	}
	return ""
}

// PlainHeader returns the canonical name of a header, with "-" for every sign
// that CGI, WSGI or PHP write as "_": for some servers that is all but letters
// and digits.
func PlainHeader(name string) string {
	if isPlain(name) {
		return name // mostly, and each click asks for each of its headers
	}
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return '-'
		}
		return c
	}, name))
}

// isPlain reports whether [PlainHeader] would return the name as it is.
func isPlain(name string) bool {
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

// ReturnPath is where a person comes back to on the panel after the sign-in:
// the page they asked for, or for a form the page that it stands on, if the
// Referer is of this panel, else "/". No form is ever repeated.
func (p *Panel) ReturnPath(method, target string, h http.Header) string {
	if method == http.MethodGet || method == http.MethodHead {
		return target
	}
	if path, ok := strings.CutPrefix(h.Get("Referer"), p.Origin+"/"); ok {
		return "/" + path
	}
	return "/"
}

// StartPath is where a sign-in begins on a panel's host, without its query.
const StartPath = "/.sallyport/start"

// OwnPrefix is the part of each panel's host that is ours.
const OwnPrefix = "/.sallyport/"

// StartURL returns the absolute address where a sign-in begins that comes back
// to a path of the panel.
func (p *Panel) StartURL(returnPath string) string {
	return p.Origin + StartPath + "?return=" + url.QueryEscape(returnPath)
}

// Names of the cookies on panels' hosts, and of the session's on the portal's.
const (
	VisitCookie   = "sallyport-visit"
	StateCookie   = "sallyport-state"
	HTTPSCookie   = "sallyport-https" // proves that the browser comes by https; see [Proxies.CameByHTTP]
	SessionCookie = "sallyport"
)

// CookieName returns the name with the prefix that keeps a sibling host from
// planting one (RFC 6265bis, section 4.1.3). Plain http, on a LAN, can't have
// it.
func CookieName(name string, https bool) string {
	if https {
		return "__Host-" + name
	}
	return name
}

// HTTPS reports whether browsers reach the panel by https.
func (p *Panel) HTTPS() bool { return strings.HasPrefix(p.Origin, "https://") }

// Host is the panel's host, with a port where the origin has one.
func (p *Panel) Host() string {
	_, host, _ := strings.Cut(p.Origin, "://")
	return host
}

// Cookie returns the value of the only cookie of that name. Several of one
// name are somebody's plant, and none is believed (ATTACKS 73). It reads as
// net/http does, without its copies: every click asks.
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

// Cookie is that function for a cookie of the panel's host.
func (p *Panel) Cookie(r *http.Request, name string) string {
	return Cookie(r, CookieName(name, p.HTTPS()))
}

// Visit returns the token that opens the panel: a visit's, or a session's where
// the portal is on the panel's host.
func (p *Panel) Visit(r *http.Request) string {
	if p.Shared {
		return p.Cookie(r, SessionCookie)
	}
	return p.Cookie(r, VisitCookie)
}

// Proxies are the addresses whose forwarded headers are believed.
type Proxies []netip.Prefix

// Contain reports whether addr is one of them.
func (p Proxies) Contain(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Peer returns the address that the connection comes from.
func Peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// Address returns where the request comes from: the peer, or behind trusted
// proxies the last address in X-Forwarded-For that isn't one of them. What
// stands further left the client may have written (R21); what can't be read
// ends the walk.
func (p Proxies) Address(r *http.Request) netip.Addr {
	addr, _ := p.Hops(r)
	return addr
}

// Hops returns the same address, and what stands in X-Forwarded-For where a trusted
// proxy should have written an address; "" where every address could be read.
func (p Proxies) Hops(r *http.Request) (addr netip.Addr, unreadable string) {
	addr = Peer(r)
	given := r.Header["X-Forwarded-For"]
	if len(given) == 0 {
		return addr, ""
	}
	hops := strings.Split(strings.Join(given, ","), ",")
	for i := len(hops) - 1; i >= 0 && p.Contain(addr); i-- {
		next := HopAddress(hops[i])
		if !next.IsValid() {
			return addr, strings.TrimSpace(hops[i])
		}
		addr = next
	}
	return addr, ""
}

// HopAddress reads an address as proxies write it, with or without a port: 192.0.2.7,
// 192.0.2.7:40000, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:40000. It is invalid where
// there is none.
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

// CameByHTTP reports whether a trusted proxy says that a person's browser reached it by
// plain http, although the site is https. A cookie of ours that only https carries proves
// the contrary: then a proxy further out ends TLS, and the inner one doesn't know. Scripts
// have no such cookie to prove it with, and can't be led elsewhere.
func (p Proxies) CameByHTTP(r *http.Request) bool {
	given := r.Header["X-Forwarded-Proto"]
	if len(given) == 0 || r.TLS != nil || !p.Contain(Peer(r)) || AskerOf(r.Method, r.Header) == Script {
		return false
	}
	last := given[len(given)-1]
	last = last[strings.LastIndexByte(last, ',')+1:]
	if !strings.EqualFold(strings.TrimSpace(last), "http") {
		return false
	}
	for _, line := range r.Header["Cookie"] {
		if strings.Contains(line, CookieName(SessionCookie, true)) { // begins the name of each of ours
			return false
		}
	}
	return true
}

// Private reports whether nobody was on the way: the request came by TLS that
// ends here, or from a proxy that is named, where it ended. Else, behind a
// proxy that isn't named, all the world would count as one address.
func (p Proxies) Private(r *http.Request) bool { return r.TLS != nil || p.Contain(Peer(r)) }

// first is the first of a header's values, or "".
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
