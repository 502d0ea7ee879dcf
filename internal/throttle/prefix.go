package throttle

import "net/netip"

// Sizes of what one owner of addresses usually holds.
const (
	prefixBits4 = 24
	prefixBits6 = 48
)

// Prefix returns the network that addr counts for, IPv4 /24 or IPv6 /48, as
// text; an IPv4 address inside IPv6 counts as itself, and no address as "".
func Prefix(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := prefixBits6
	if addr.Is4() {
		bits = prefixBits4
	}
	p, err := addr.Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	return p.String()
}
