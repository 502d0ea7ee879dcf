package access

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// hostMax and labelMax are RFC 1035's bounds of a name and a part of it, in
// bytes; with them goes what an error repeats of a request.
const (
	hostMax  = 253
	labelMax = 63
)

// CanonicalHost returns the host of a Host header or an authority, the way that
// panels are told apart by: a name in lower case, an IPv4 address, or an IPv6
// address in brackets, without the port. The error says why it is not one host
// that everybody reads alike. A dot at the end is refused, since a browser keeps
// its cookies apart from those of the name without: nobody could sign in there.
// So is what isn't ASCII: browsers send names in Punycode.
func CanonicalHost(host string) (string, error) {
	name, port, err := splitPort(host)
	if err == nil && port != "" {
		err = checkPort(port[1:])
	}
	if err == nil {
		name, err = canonicalName(name)
	}
	if err != nil {
		return "", fmt.Errorf("host %.*q: %w", hostMax, host, err)
	}
	return name, nil
}

// splitPort cuts the port off, which keeps its colon: "" is none.
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
		// A zone names an interface of whoever sent it.
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !address.Is6() || address.Zone() != "" {
			return "", hostFault("there is no IPv6 address in the brackets")
		}
		return "[" + address.String() + "]", nil
	}
	if len(name) > hostMax {
		return "", hostFault("longer than a name may be")
	}
	for i := range len(name) {
		// ASCII before lower case: to Unicode the Kelvin sign is a k.
		c := lower(name[i])
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", hostFault("a character that no host name has")
		}
	}
	name = strings.ToLower(name)
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > labelMax {
			return "", hostFault("a part of the name is empty or too long")
		}
		last = label
	}
	// What ends in a number is an address for browsers, and one written 0x7f.1
	// only for some.
	digits, hexadecimal := strings.CutPrefix(last, "0x")
	if strings.Trim(last, "0123456789") == "" || hexadecimal && strings.Trim(digits, "0123456789abcdef") == "" {
		if address, err := netip.ParseAddr(name); err != nil || !address.Is4() {
			return "", hostFault("ends in a number, but isn't an IPv4 address")
		}
	}
	return name, nil
}

// hostFault is why a host is refused.
type hostFault string

func (f hostFault) Error() string { return string(f) }

// SameHost reports whether two values of Host headers or authorities name the same host:
// in any case, with any port, with any spelling of an IPv6 address. One that isn't a host
// is the same as none.
func SameHost(a, b string) bool {
	one, err := CanonicalHost(a)
	if err != nil {
		return false
	}
	two, err := CanonicalHost(b)
	return err == nil && one == two
}

// WithoutLastDot returns the canonical host that is written with a dot at its end, or
// "" where there is no such dot or no host. Browsers keep the cookies of "a.example."
// apart from those of "a.example", so nobody is signed in there.
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
