package throttle

import "net/netip"

// Sizes of networks that usually belong to one owner, in bits.
const (
	prefixBits4     = 24
	prefixBits6     = 56
	prefixBits6Wide = 48
)

// PrefixOf returns the network of addr, its IPv4 /24 or IPv6 /56, as text. An IPv4-mapped IPv6
// address counts as IPv4. For an invalid address, PrefixOf returns "".
func PrefixOf(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is4() {
		return network(addr, prefixBits4)
	}
	return network(addr, prefixBits6)
}

// WidePrefixOf is like [PrefixOf] but returns the /48 of an IPv6 address.
func WidePrefixOf(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is4() {
		return network(addr, prefixBits4)
	}
	return network(addr, prefixBits6Wide)
}

func network(addr netip.Addr, bits int) string {
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	return p.String()
}

// PrefixTries returns the tries to reserve for the networks of addr, in addition to the try for
// the account accountID itself.
func PrefixTries(addr netip.Addr, accountID string) []Try {
	if !addr.IsValid() {
		return nil
	}
	tries := []Try{{Key: Key{Bucket: Prefix, Subject: PrefixOf(addr)}, Units: 1, Tag: accountID}}
	if addr = addr.Unmap(); addr.Is6() {
		tries = append(tries, Try{Key: Key{Bucket: WidePrefix, Subject: WidePrefixOf(addr)}, Units: 1, Tag: accountID})
	}
	return tries
}
