package webhook

import (
	"fmt"
	"net/netip"
	"slices"
)

// AddressError means that Sallyport sends no request to an address.
type AddressError struct {
	Addr    netip.Addr
	Private bool // true: the address isn't public; false: it is public, but the URL is http
}

func (e *AddressError) Error() string {
	if e.Private {
		return fmt.Sprintf("the receiver's address %v isn't public; if it is the right one, name its network in webhook.networks", e.Addr)
	}
	return fmt.Sprintf("the receiver's address %v is public, so webhook.url must begin with https://; or name its network in webhook.networks", e.Addr)
}

// CheckAddress returns nil if requests may be sent to the address addr, and an [*AddressError]
// otherwise. They may if addr is in one of the networks, or if addr is public and scheme is https.
func CheckAddress(scheme string, addr netip.Addr, networks []netip.Prefix) error {
	addr = addr.Unmap()
	isNamed := slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) })
	switch {
	case isNamed:
		return nil
	case !isPublic(addr):
		return &AddressError{Addr: addr, Private: true}
	case scheme != "https":
		return &AddressError{Addr: addr}
	}
	return nil
}

// notPublic4 are the blocks of IPv4 that are not globally reachable according to the IANA IPv4
// Special-Purpose Address Registry, and multicast.
var notPublic4 = prefixes(
	"0.0.0.0/8",       // this network: Linux takes 0.0.0.0 for this machine
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by the customers of a provider
	"127.0.0.0/8",     // this machine
	"169.254.0.0/16",  // link-local, where clouds have their metadata
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4, which are deprecated
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
)

// globalUnicast is the only block of IPv6 from which hosts on the Internet have addresses.
// Loopback, unique local, link-local, site-local, multicast and IPv4-compatible addresses are
// outside this block.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// notPublic6 are the blocks within globalUnicast that are not globally reachable according to the
// IANA IPv6 Special-Purpose Address Registry, or whose addresses lead to an IPv4 address that
// they contain.
var notPublic6 = prefixes(
	"2001::/23",     // protocol assignments, with Teredo
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

// nat64 is the prefix by which IPv6-only hosts reach IPv4 addresses (RFC 6052, section 2.1). The
// last 4 bytes of such an address are the IPv4 address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(all ...string) (list []netip.Prefix) {
	for _, one := range all {
		list = append(list, netip.MustParsePrefix(one))
	}
	return list
}

// isPublic reports whether addr is an address of a host on the Internet. It must not be an
// IPv4-mapped IPv6 address.
func isPublic(addr netip.Addr) bool {
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	isIn := func(p netip.Prefix) bool { return p.Contains(addr) }
	if addr.Is4() {
		return !slices.ContainsFunc(notPublic4, isIn)
	}
	return isIn(globalUnicast) && !slices.ContainsFunc(notPublic6, isIn)
}
