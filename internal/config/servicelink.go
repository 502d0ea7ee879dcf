package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// isServiceLink reports whether a variable is one that Kubernetes sets in every
// container of a namespace where a Service is called "sallyport" or "sallyport-…":
// SALLYPORT_SERVICE_HOST=10.0.0.1, SALLYPORT_PORT_80_TCP=tcp://10.0.0.1:80 and so on.
// It belongs to no key: name and value have a form that no setting has.
func isServiceLink(name, value string) bool {
	// The last one: the Service's own name may contain "SERVICE".
	if at := strings.LastIndex(name, "_SERVICE_"); at >= 0 {
		end := name[at+len("_SERVICE_"):]
		if end == "HOST" && isAddress(value) || (end == "PORT" || strings.HasPrefix(end, "PORT_")) && isPort(value) {
			return true
		}
	}
	if strings.HasSuffix(name, "_PORT") && isEndpoint(value) {
		return true
	}
	_, end, _ := strings.Cut(name, "_PORT_")
	number, end, _ := strings.Cut(end, "_")
	protocol, part, _ := strings.Cut(end, "_")
	if !isPort(number) || !isProtocol(protocol) {
		return false
	}
	switch part {
	case "":
		return isEndpoint(value)
	case "PROTO":
		return isProtocol(strings.ToUpper(value))
	case "PORT":
		return isPort(value)
	case "ADDR":
		return isAddress(value)
	}
	return false
}

func isEndpoint(value string) bool {
	protocol, at, found := strings.Cut(value, "://")
	_, err := netip.ParseAddrPort(at)
	return found && isProtocol(strings.ToUpper(protocol)) && err == nil
}

func isProtocol(name string) bool { return name == "TCP" || name == "UDP" || name == "SCTP" }

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}
