package access

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxHostLength and maxLabelLength are the limits of RFC 1035 for a name and for one label of
// it, in bytes. Errors quote at most maxHostLength bytes of a request.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// CanonicalHost returns the host of a Host header or an authority in its canonical form: a name
// in lower case, an IPv4 address, or an IPv6 address in brackets, without the port. The error
// says why some software might read another host. A trailing dot is an error, since a browser
// keeps the cookies of that host apart from those of the name without the dot, so that no sign-in
// there would succeed. Characters beyond ASCII are an error too, since browsers send names in
// Punycode.
func CanonicalHost(host string) (string, error) {
	name, port, err := splitPort(host)
	if err == nil && port != "" {
		err = checkPort(port[1:])
	}
	if err == nil {
		name, err = canonicalName(name)
	}
	if err != nil {
		return "", fmt.Errorf("host %.*q: %w", maxHostLength, host, err)
	}
	return name, nil
}

// splitPort separates the port from a host. The port keeps its colon; "" means no port.
func splitPort(host string) (name, port string, err error) {
	i := strings.IndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']') + 1
		if end == 0 || end < len(host) && host[end] != ':' {
			return "", "", hostFault("a bracket isn't closed, or something follows it")
		}
		i = end
	}
	if i < 0 || i == len(host) {
		return host, "", nil
	}
	return host[:i], host[i:], nil
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return hostFault("the port isn't a number from 1 to 65535")
	}
	return nil
}

func canonicalName(name string) (string, error) {
	if inner, ok := strings.CutPrefix(name, "["); ok {
		// A zone names a network interface of the client.
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !address.Is6() || address.Zone() != "" {
			return "", hostFault("there is no IPv6 address in the brackets")
		}
		return "[" + address.String() + "]", nil
	}
	if len(name) > maxHostLength {
		return "", hostFault("longer than a name may be")
	}
	for i := range len(name) {
		// Check for ASCII before strings.ToLower, which turns the Kelvin sign into a k.
		c := lower(name[i])
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", hostFault("a character that no host name has")
		}
	}
	name = strings.ToLower(name)
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabelLength {
			return "", hostFault("a part of the name is empty or too long")
		}
		last = label
	}
	// Browsers read a name whose last label is a number as an IPv4 address. Only some do so
	// with a form such as 0x7f.1.
	digits, hexadecimal := strings.CutPrefix(last, "0x")
	if strings.Trim(last, "0123456789") == "" || hexadecimal && strings.Trim(digits, "0123456789abcdef") == "" {
		if address, err := netip.ParseAddr(name); err != nil || !address.Is4() {
			return "", hostFault("ends in a number, but isn't an IPv4 address")
		}
	}
	return name, nil
}

// hostFault is the reason why a host has no canonical form.
type hostFault string

func (f hostFault) Error() string { return string(f) }

// SameHost reports whether two Host headers or authorities name the same host. Case, port and
// the spelling of an IPv6 address don't matter. It is false if either has no canonical form.
func SameHost(a, b string) bool {
	one, err := CanonicalHost(a)
	if err != nil {
		return false
	}
	two, err := CanonicalHost(b)
	return err == nil && one == two
}

// WithoutLastDot returns the canonical form of a host without its trailing dot, or "" if the
// host has no trailing dot or no canonical form. Browsers keep the cookies of "a.example."
// apart from those of "a.example", so no request there carries a session.
func WithoutLastDot(host string) string {
	name, _, err := splitPort(host)
	if err != nil || !strings.HasSuffix(name, ".") {
		return ""
	}
	name, err = CanonicalHost(strings.TrimSuffix(name, "."))
	if err != nil {
		return ""
	}
	return name
}
