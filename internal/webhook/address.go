package webhook

import (
	"fmt"
	"net/netip"
	"slices"
)

// AddressError means that no request is sent to an address.
type AddressError struct {
	Addr    netip.Addr
	Private bool // the address isn't public; if false, it is public but the URL is http
}

func (e *AddressError) Error() string {
	if e.Private {
		return fmt.Sprintf("the receiver's address %v isn't public; if it is the right one, name its network in webhook.networks", e.Addr)
	}
	return fmt.Sprintf("the receiver's address %v is public, so webhook.url must begin with https://; or name its network in webhook.networks", e.Addr)
}

// CheckAddress returns an [*AddressError] unless requests may be sent to the address. That is the
// case if it is in one of the networks, or if it is public and scheme is https.
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

// notPublic4 are the blocks of IPv4 that are not globally reachable, by the IANA IPv4
// Special-Purpose Address Registry, with multicast.
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

// globalUnicast is the only block of IPv6 that is assigned to hosts on the Internet. Loopback,
// unique local, link-local, site-local, multicast and IPv4-compatible addresses are outside of
// it.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// notPublic6 are the blocks within it that are not globally reachable, by the IANA IPv6
// Special-Purpose Address Registry, or whose addresses contain an IPv4 address to which they
// lead.
var notPublic6 = prefixes(
	"2001::/23",     // protocol assignments, with Teredo
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

// nat64 is the prefix by which hosts with IPv6 alone reach IPv4 (RFC 6052, section 2.1). The
// IPv4 address is in the last 4 bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(all ...string) (list []netip.Prefix) {
	for _, one := range all {
		list = append(list, netip.MustParsePrefix(one))
	}
	return list
}

// isPublic reports whether an address, which isn't IPv4 mapped to IPv6, is that of a host on the
// Internet.
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
