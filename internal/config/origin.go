package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Origin is a scheme, host and port in the form of the Origin header of browsers, so that
// == compares origins. The zero value means that it isn't set.
type Origin struct {
	Scheme string // "http" or "https"
	Host   string // lower case; with a port unless it is the default of the scheme
}

// String returns the origin without a slash at its end, or "".
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return o.Scheme + "://" + o.Host
}

// MarshalText returns o.String().
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is [ParseOrigin]; for empty text it sets the zero value.
func (o *Origin) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*o = Origin{}
		return nil
	}
	parsed, err := ParseOrigin(string(text))
	if err != nil {
		return err
	}
	*o = parsed
	return nil
}

// Upstream is the scheme, host and port of a panel's own server. The zero value means that it
// isn't set.
type Upstream Origin

// String returns the address without a slash at its end, or "".
func (u Upstream) String() string { return Origin(u).String() }

// MarshalText returns u.String().
func (u Upstream) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText is [ParseOrigin]; for empty text it sets the zero value.
func (u *Upstream) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*u = Upstream{}
		return nil
	}
	parsed, err := ParseOrigin(string(text))
	switch {
	case err != nil && strings.Contains(string(text), "@"):
		// The error doesn't contain the text, which may hold a password.
		return errors.New("must not contain a user name or password; write it like http://127.0.0.1:8082")
	case err != nil:
		return fmt.Errorf("%s must be http:// or https://, a host, a port if needed, and nothing else; write it like http://127.0.0.1:8082", quote(string(text)))
	}
	*u = Upstream(parsed)
	return nil
}

// ParseOrigin parses an http or https URL that consists of an origin only; it ignores a slash
// at the end. It returns an error for hosts that browsers rewrite, such as 127.1 and Unicode
// names: no request would match them.
func ParseOrigin(text string) (Origin, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil && strings.Contains(text, "@"), err == nil && u.User != nil:
		// The error doesn't contain the text, which may hold a password.
		return Origin{}, errors.New("must not contain a user name or password; write it like https://auth.example.com")
	case err != nil:
		return Origin{}, fmt.Errorf("%s isn't a URL; write it like https://auth.example.com", quote(text))
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return Origin{}, fmt.Errorf("%s must be http:// or https:// and a host; write it like https://auth.example.com", quote(text))
	case u.Path != "" && u.Path != "/":
		return Origin{}, fmt.Errorf("%s has a path, and neither a portal nor a panel can be under one; give it a host name of its own", quote(text))
	case strings.ContainsAny(text, "?#"):
		return Origin{}, fmt.Errorf("%s has a query or fragment; leave out what follows the host", quote(text))
	}
	host, err := canonicalHost(u.Hostname())
	if err != nil {
		return Origin{}, err
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Origin{}, fmt.Errorf("%s has a port outside 1 to 65535; correct the port", quote(text))
		}
		if (u.Scheme != "http" || n != 80) && (u.Scheme != "https" || n != 443) {
			host = fmt.Sprintf("%s:%d", host, n)
		}
	}
	return Origin{Scheme: u.Scheme, Host: host}, nil
}

// canonicalHost returns host in the form in which browsers write it, IPv6 in brackets.
func canonicalHost(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.IsUnspecified():
			return "", fmt.Errorf("browsers can't reach %s; write this machine's host name or address", quote(host))
		case addr.Zone() != "", addr.Is4In6():
			return "", fmt.Errorf("browsers don't agree on the address %s; write a host name", quote(host))
		case addr.Is6():
			return "[" + addr.String() + "]", nil
		}
		return addr.String(), nil
	}
	host = strings.ToLower(host)
	if strings.Contains(host, "*") {
		return "", fmt.Errorf("%s isn't one host, and a * isn't a wildcard here; write each host in an entry of its own", quote(host))
	}
	if !isHostName(host) {
		return "", fmt.Errorf("%s isn't a host name; write names with letters beyond a to z in their xn-- form", quote(host))
	}
	return host, nil
}

// Greatest lengths (RFC 1035, section 2.3.4), without the dot at the end.
const (
	maxHostName  = 253
	maxHostLabel = 63
)

// isHostName reports whether name is a host name in lower case. It returns false if the last
// label is a number, since browsers take such a name for an IPv4 address (WHATWG URL, "ends
// in a number").
func isHostName(name string) bool {
	if len(name) > maxHostName {
		return false
	}
	last := ""
	for last = range strings.SplitSeq(name, ".") {
		if last == "" || len(last) > maxHostLabel ||
			strings.Trim(last, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" ||
			strings.HasPrefix(last, "-") || strings.HasSuffix(last, "-") {
			return false
		}
	}
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

// splitListen parses the address and port of a listener. The host may be empty.
func splitListen(text string) (host, port string, err error) {
	fault := fmt.Errorf("%s isn't an address and port; write it like 127.0.0.1:9091", quote(text))
	host, port, err = net.SplitHostPort(text)
	if err != nil {
		return "", "", fault
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", "", fmt.Errorf("%s needs a port from 1 to 65535", quote(text))
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostName(strings.ToLower(host)) {
		return "", "", fault
	}
	return host, port, nil
}

// originOf returns the origin of a portal that listens at host and port. For a wildcard host
// it is the origin for browsers on this machine.
func originOf(host, port string) (Origin, error) {
	addr, err := netip.ParseAddr(host)
	if host == "" || err == nil && addr.Unmap().IsUnspecified() {
		host = "127.0.0.1"
	}
	return ParseOrigin("http://" + net.JoinHostPort(host, port))
}

// IsLoopback reports whether the origin is on this machine, so that no network is on the path
// to it.
func (o Origin) IsLoopback() bool {
	host := o.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Hostname returns the host without port and brackets. Cookies belong to a host name.
func (o Origin) Hostname() string {
	if host, _, err := net.SplitHostPort(o.Host); err == nil {
		return host
	}
	return strings.Trim(o.Host, "[]")
}

// port returns the port, or the default of the scheme.
func (o Origin) port() string {
	if _, port, err := net.SplitHostPort(o.Host); err == nil {
		return port
	}
	if o.Scheme == "https" {
		return "443"
	}
	return "80"
}

// reaches reports whether o leads to a server of this machine that listens at host and port.
// It doesn't resolve names, so it may return false for a name that leads to that server.
func (o Origin) reaches(host, port string) bool {
	if o.port() != port {
		return false
	}
	listener := Origin{Host: strings.ToLower(host)}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		listener.Host = addr.Unmap().String()
	case host == "":
		addr = netip.IPv6Unspecified()
	}
	if addr.IsValid() && addr.Unmap().IsUnspecified() {
		return o.IsLoopback()
	}
	byName := o.Hostname() == "localhost" || listener.Host == "localhost" // 127.0.0.1, ::1 or both
	return o.Hostname() == listener.Host || byName && o.IsLoopback() && listener.IsLoopback()
}
