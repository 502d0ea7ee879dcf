package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// isServiceLink reports whether a variable is one of those that Kubernetes sets in every
// container of a namespace with a Service called "sallyport" or "sallyport-…":
// SALLYPORT_SERVICE_HOST=10.0.0.1, SALLYPORT_PORT_80_TCP=tcp://10.0.0.1:80 and so on. No
// setting has such a name and value, so ignoring them hides no mistake of the operator.
func isServiceLink(name, value string) bool {
	// The last occurrence, since the Service's name may contain "SERVICE" too.
	if i := strings.LastIndex(name, "_SERVICE_"); i >= 0 {
		end := name[i+len("_SERVICE_"):]
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
	protocol, address, found := strings.Cut(value, "://")
	_, err := netip.ParseAddrPort(address)
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
