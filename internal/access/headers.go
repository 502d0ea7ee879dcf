package access

import (
	"net/http"
	"slices"
	"strings"
)

// proxyFamilies are prefixes of plain header names. A header with such a name gives the request's
// address, scheme, host, path or user, and panels assume that the proxy in front of them wrote
// it. Some panels serve the path in X-Original-URL, although Sallyport checked the path in the
// request line.
var proxyFamilies = []string{
	"Cf-Connecting-", "Client-Cert", "Cloudfront-Viewer-", "Fastly-Client-", "Fly-", "Forwarded", "Iv-", "Oidc-", "Proxy", "Remote-",
	"Shib-", "Sm-User", "Ssl-Client-", "Tailscale-User-", "Wl-Proxy-",
	"X-Accel-", "X-Appengine-", "X-Auth-Request-", "X-Authenticated-", "X-Authentik-", "X-Azure-", "X-Client-Cert",
	"X-Consumer-", "X-Envoy-Original-", "X-Forwarded", "X-Goog-Authenticated-User-", "X-Ms-Client-Principal", "X-Oidc-",
	"X-Original-", "X-Pomerium-", "X-Proxyuser-", "X-Real-", "X-Remote-", "X-Rewrite-", "X-Sendfile-", "X-Ssl-", "X-Vercel-",
	"X-Webauth-",
}

// familiesByLetter are the proxyFamilies by their first letter. Every header of a request to a
// panel is compared with them, and most families begin with an X.
var familiesByLetter = func() (all [256][]string) {
	for _, family := range proxyFamilies {
		all[family[0]] = append(all[family[0]], family)
	}
	return all
}()

// proxyHeaders are the plain names of headers that known products read. The configuration
// files in deploy/proxy delete each of them, since most proxies can't delete a whole family.
var proxyHeaders = []string{
	// The client's address and certificate.
	"Ali-Cdn-Real-Ip", "Cdn-Src-Ip", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Pseudo-Ipv4", "Client-Cert", "Client-Cert-Chain",
	"Client-Ip", "Do-Connecting-Ip", "Fastly-Client-Ip", "Incap-Client-Ip", "Fly-Client-Ip", "Forwarded", "Forwarded-For", "Proxy-Client-Ip", "Remote-Addr", "Remote-Host",
	"Ssl-Client-Cert", "Ssl-Client-S-Dn", "Ssl-Client-Verify", "True-Client-Ip", "Wl-Proxy-Client-Ip", "X-Appengine-Remote-Addr",
	"X-Appengine-User-Ip", "X-Arr-Clientcert", "X-Azure-Clientip", "X-Azure-Socketip", "X-Client-Cert", "X-Client-Dn", "X-Client-Ip",
	"X-Client-Port", "X-Client-Verify", "X-Cluster-Client-Ip", "X-Envoy-External-Address", "X-Forwarded", "X-Forwarded-By",
	"X-Forwarded-Client-Cert", "X-Forwarded-For", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
	"X-Nf-Client-Connection-Ip", "X-Originating-Ip", "X-Proxyuser-Ip", "X-Real-Ip", "X-Real-Port", "X-Remote-Addr", "X-Remote-Ip",
	"X-Ssl-Client-Cert", "X-Ssl-Client-Dn", "X-Ssl-Client-S-Dn", "X-Ssl-Client-Verify", "X-Sucuri-Clientip",
	// The scheme.
	"Cf-Visitor", "Cloudfront-Forwarded-Proto", "Fastly-Ssl", "Front-End-Https", "Https", "X-Arr-Ssl", "X-Forwarded-Proto",
	"X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Https", "X-Original-Proto", "X-Original-Scheme", "X-Scheme",
	"X-Ssl", "X-Url-Scheme",
	// Host and path.
	"Forwarded-Host", "Forwarded-Proto", "Proxy", "Proxy-Host", "Proxy-Url", "Request-Uri", "X-Accel-Mapping", "X-Backend-Host",
	"X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
	"X-Forwarded-Uri", "X-Host", "X-Http-Host-Override", "X-Http-Path-Override", "X-Ingress-Path", "X-Original-Forwarded-For",
	"X-Original-Host", "X-Original-Method", "X-Original-Remote-Addr", "X-Original-Uri", "X-Original-Url", "X-Proxy-Host", "X-Proxy-Url",
	"X-Request-Uri", "X-Rewrite-Url", "X-Script-Name", "X-Sendfile-Type", "X-Url",
	// The user.
	"Cf-Access-Authenticated-User-Email", "Remote-Ident", "Tailscale-User-Login", "Tailscale-User-Name", "X-Amzn-Oidc-Identity",
	"X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username", "X-Auth-Request-User",
	"X-Authenticated-User", "X-Authenticated-Userid", "X-Authentik-Email", "X-Authentik-Groups", "X-Authentik-Name",
	"X-Authentik-Username", "X-Forwarded-Access-Token", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
	"X-Forwarded-User", "X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-Id", "X-Ms-Client-Principal",
	"X-Ms-Client-Principal-Id", "X-Ms-Client-Principal-Name", "X-Remote-Email", "X-Remote-Groups", "X-Remote-Name", "X-Remote-User",
	"X-Token-Subject", "X-Token-User-Email", "X-Token-User-Name", "X-Vouch-User", "X-Webauth-Email", "X-Webauth-Groups",
	"X-Webauth-Name", "X-Webauth-Role", "X-Webauth-User",
}

var isProxyHeader = func() map[string]bool {
	all := map[string]bool{}
	for _, name := range proxyHeaders {
		all[name] = true
	}
	return all
}()

// ProxyHeaders returns the sorted plain names of the headers that each file in deploy/proxy
// deletes or sets itself. The gateway removes their whole families.
func ProxyHeaders() []string { return slices.Sorted(slices.Values(proxyHeaders)) }

// IsProxyHeader reports whether a header gives the request's address, scheme, host, path or user
// to panels that assume that a proxy wrote it. The name is a plain one (see [PlainHeader]). The
// gateway removes such headers from every request. The identity headers are among them.
func IsProxyHeader(plain string) bool {
	switch plain[:min(1, len(plain))] {
	default:
		return false // most headers
	case "A", "C", "D", "F", "H", "I", "O", "P", "R", "S", "T", "W", "X":
	}
	for _, family := range familiesByLetter[plain[0]] {
		if strings.HasPrefix(plain, family) {
			return true
		}
	}
	return isProxyHeader[plain]
}

// IsProxyAlias reports whether CGI, WSGI or PHP would read a header as one that proxies write
// (see [IsProxyHeader]) although it is spelled differently, such as X_forwarded_for or X.real.ip.
// Clients don't send such a header by accident.
func IsProxyAlias(name string) bool { return !isPlainName(name) && IsProxyHeader(PlainHeader(name)) }

// HeaderLine returns the number of bytes that a header takes in a request, with its line end.
func HeaderLine(name, value string) int { return len(name) + len(value) + len(": \r\n") }

// IsWebSocket reports whether a request asks for an upgrade to WebSocket (RFC 6455, section 4.2.1)
// and to no other protocol. Every other upgrade must be refused: through the upgraded connection,
// the client could send requests that no rule sees, such as those of HTTP/2 after "h2c".
func IsWebSocket(h http.Header) bool {
	given := h["Upgrade"]
	return len(given) == 1 && strings.EqualFold(given[0], "websocket")
}
