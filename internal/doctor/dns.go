package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// addUnreachable adds a finding for a request without an answer.
func (d *doctor) addUnreachable(r request, a answer) {
	id := "host.unreachable"
	switch {
	case hasNoAddress(a):
		id = "dns.missing"
	case isLookupError(a):
		id = "dns.failed"
	}
	d.add(id, r.origin, r, a)
}

// hasNoAddress reports whether a request wasn't sent because DNS has no address for the name.
func hasNoAddress(a answer) bool {
	var lookup *net.DNSError
	return errors.As(a.err, &lookup) && lookup.IsNotFound
}

// isLookupError reports whether a request wasn't sent because the lookup of the name gave an
// error. Whether DNS has an address for the name is then unknown, unless [hasNoAddress].
func isLookupError(a answer) bool { return errors.As(a.err, new(*net.DNSError)) }

// isPortalElsewhere reports whether the portal doesn't answer r at the address of its name, but
// at another address, and adds the finding. a is the answer at the name's address.
func (d *doctor) isPortalElsewhere(ctx context.Context, r request, a answer) bool {
	return !d.isSallyport(a) && d.findElsewhere(ctx, r, a, func(there answer) bool {
		return there.status == http.StatusOK && d.isSallyport(there)
	})
}

// isElsewhere is isPortalElsewhere for a panel, but the answer a may be the answer to any request.
// If the server at the name's address is a proxy that asks Sallyport, or is known to be the panel
// itself, the address is right and the fault is another one. If it is unknown what that server is,
// it may be the panel without a gate, and isElsewhere adds the finding for that as well.
func (p *panelTest) isElsewhere(ctx context.Context, a answer) bool {
	r := request{origin: p.Origin, path: p.missingPage()}
	if p.isSallyport(a) || r.path == "" {
		return false
	}
	known, same := false, false
	if a.err == nil {
		a = p.client.send(ctx, r)
		_, _, refused := parseRefusal(a)
		if known, same = p.fromUpstream(ctx, r, a); same || refused || isNginx401(a) || p.isSallyport(a) {
			return false
		}
	}
	found := p.findElsewhere(ctx, r, a, func(there answer) bool {
		origin, _, refused := parseRefusal(there)
		return refused && origin == p.Origin
	})
	if found && a.err == nil && !known && p.classifyAnswer(ctx, r, a) == resultExposed {
		p.add("gate.absent", p.Origin, r, a)
	}
	return found
}

// findElsewhere reports whether r has a right answer at an address other than those of its name,
// and adds a finding. a is the answer at the name's address. findElsewhere returns false after a
// failed lookup, which doesn't tell what DNS has, and for an answer that a CDN or a proxy may have
// made, which isn't the fault of DNS.
func (d *doctor) findElsewhere(ctx context.Context, r request, a answer, isRight func(answer) bool) bool {
	if mayBeProxysOwn(a) || isLookupError(a) && !hasNoAddress(a) {
		return false
	}
	scheme, _, _ := strings.Cut(r.origin, "://")
	for _, address := range d.otherListeners(ctx, r.origin) {
		there := r
		there.via, there.description = scheme+"://"+address, "at "+address
		b := d.client.send(ctx, there)
		if !isRight(b) {
			continue
		}
		id := "dns.wrong"
		if hasNoAddress(a) {
			id = "dns.missing"
		} else {
			r.description = "at " + d.client.addressList(ctx, r.origin) + ", to which DNS leads"
		}
		d.records[r.origin] = record(address, d.client.addresses(ctx, d.PublicURL))
		d.add(id, r.origin, r, a)
		d.addObservation(id, r.origin, there.String(), "Sallyport's answer")
		return true
	}
	return false
}

// hasWrongAddress reports whether DNS was found to lead an origin to another server.
func (d *doctor) hasWrongAddress(origin string) bool { return d.hasFinding("dns.wrong", origin) }

// mayBeProxysOwn reports whether an answer may come from a CDN or a proxy that refuses the
// request, or that doesn't reach the server. CDNs use statuses up to 530 for that.
func mayBeProxysOwn(a answer) bool {
	return a.status == http.StatusForbidden || a.status == http.StatusTooManyRequests || a.status >= 500
}

// otherListeners returns addresses with ports where the proxy of an origin may listen, except the
// origin's own addresses: those of the portal and the panels and, if the server is on this
// machine, this machine's. doctor advises the first of them that works, so the addresses that DNS
// has come first, and loopback comes last.
func (d *doctor) otherListeners(ctx context.Context, origin string) []string {
	scheme, _, _ := strings.Cut(origin, "://")
	_, port, _ := net.SplitHostPort(hostPort(origin))
	var all []string
	for _, other := range append([]string{d.PublicURL}, d.panelOrigins()...) {
		if _, otherPort, _ := net.SplitHostPort(hostPort(other)); strings.HasPrefix(other, scheme+"://") && otherPort == port {
			all = append(all, d.client.listeners(ctx, other)...)
		}
	}
	if d.serverUp {
		_, port, _ := net.SplitHostPort(d.client.dialAddress(hostPort(origin)))
		for _, addr := range append(interfaceAddresses(), netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
			all = append(all, net.JoinHostPort(addr.String(), port))
		}
	}
	own := d.client.listeners(ctx, origin)
	all = slices.DeleteFunc(all, func(address string) bool { return slices.Contains(own, address) })
	var once []string
	for _, address := range all {
		if !slices.Contains(once, address) {
			once = append(once, address)
		}
	}
	return once
}

// record returns the DNS record that leads to address, which has a port. It returns an example if
// address is loopback, or if it is local and none of portalAddresses is: clients elsewhere
// couldn't use such an address. portalAddresses are the addresses that DNS has for the portal.
func record(address string, portalAddresses []netip.Addr) string {
	to, err := netip.ParseAddrPort(address)
	switch addr := to.Addr(); {
	case err != nil, addr.IsLoopback(), isLocal(addr) && !slices.ContainsFunc(portalAddresses, isLocal):
		return exampleRecord
	case addr.Is6():
		return "AAAA " + addr.String()
	default:
		return "A " + addr.String()
	}
}

// sharedAddresses are those of carriers' networks and of some VPNs (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// isLocal reports whether only the machines of some networks reach an address. Loopback, which
// other machines never reach, isn't local.
func isLocal(addr netip.Addr) bool {
	return !addr.IsLoopback() && (addr.IsPrivate() || addr.IsLinkLocalUnicast() || sharedAddresses.Contains(addr))
}

// exampleRecord is a DNS record with an address for documentation (RFC 5737).
const exampleRecord = "A 192.0.2.1"
