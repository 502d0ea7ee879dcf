package doctor

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// usualPaths are paths that many configurations of proxies exempt from a sign-in: live
// connections, health checks, APIs, static files. For one that ends in a slash, a missing
// page below it is requested. A folder comes before paths in it, since a fix names the first
// path that is open.
var usualPaths = []string{
	"/ws", "/socket", "/websocket", "/socket.io/", "/live", "/stream", "/events",
	"/health", "/healthz", "/status", "/ping", "/metrics",
	"/api/", "/api/health", "/rpc", "/graphql", "/webhook/", "/hooks/",
	"/static/", "/assets/", "/public/", "/media/", "/favicon.ico",
	"/admin/", "/login", "/.well-known/",
}

// usualEndings are endings of paths that configurations exempt as static files.
var usualEndings = []string{".css", ".js", ".json", ".png", ".svg", ".ico", ".woff2", "/x.css", ".php"}

// methods are the methods to test, on a missing page. SALLYPORT is one that doesn't exist.
var methods = []string{http.MethodOptions, http.MethodPost, http.MethodPut, "PROPFIND", "COPY", http.MethodTrace, "get", "SALLYPORT"}

// requestVariant is a set of headers to send.
type requestVariant struct {
	description string
	headers     [][2]string
}

// requestVariants have headers for which configurations of proxies make exceptions: they name
// a kind of client or request, an origin, or credentials.
var requestVariants = []requestVariant{
	{"as a script", [][2]string{{"Sec-Fetch-Mode", "cors"}, {"Sec-Fetch-Dest", "empty"}, {"X-Requested-With", "XMLHttpRequest"}}},
	{"as an image", [][2]string{{"Sec-Fetch-Mode", "no-cors"}, {"Sec-Fetch-Dest", "image"}, {"Accept", "image/*"}}},
	{"as a prefetch", [][2]string{{"Sec-Purpose", "prefetch"}, {"Purpose", "prefetch"}}},
	{"as an event stream", [][2]string{{"Accept", "text/event-stream"}}},
	{"as gRPC", [][2]string{{"Content-Type", "application/grpc"}, {"Te", "trailers"}}},
	{"as a WebSocket", [][2]string{{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "c2FsbHlwb3J0LWRvY3Rvcg=="}}},
	{"with an upgrade to HTTP/2", [][2]string{{"Connection", "Upgrade, HTTP2-Settings"}, {"Upgrade", "h2c"}, {"HTTP2-Settings", "AAMAAABkAAQAAP__"}}},
	{"from kube-probe", [][2]string{{"User-Agent", "kube-probe/1.30"}}},
	{"from GoogleHC", [][2]string{{"User-Agent", "GoogleHC/1.0"}}},
	{"from ELB-HealthChecker", [][2]string{{"User-Agent", "ELB-HealthChecker/2.0"}}},
	{"from Uptime-Kuma", [][2]string{{"User-Agent", "Uptime-Kuma/1.23"}}},
	{"from curl", [][2]string{{"User-Agent", "curl/8.5.0"}}},
	{"from Googlebot", [][2]string{{"User-Agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}}},
	{"as if from this machine", [][2]string{{"X-Forwarded-For", "127.0.0.1"}, {"X-Real-Ip", "127.0.0.1"}, {"Forwarded", "for=127.0.0.1"}, {"X-Client-Ip", "127.0.0.1"}}},
	{"as if from a private network", [][2]string{{"X-Forwarded-For", "10.0.0.1"}, {"X-Real-Ip", "10.0.0.1"}}},
	{"with a bearer token", [][2]string{{"Authorization", "Bearer sallyport-doctor"}}},
	{"with a password", [][2]string{{"Authorization", "Basic c2FsbHlwb3J0OmRvY3Rvcg=="}}},
	{"with made-up cookies", [][2]string{{"Cookie", "sallyport-visit=x; __Host-sallyport-visit=x; session=x"}}},
	{"with another method in a header", [][2]string{{"X-Http-Method-Override", "OPTIONS"}}},
}

// forgedHeaders returns sets of headers. Each may make a proxy that trusts its clients ask
// Sallyport about target.
func forgedHeaders(target request) [][][2]string {
	host := hostOf(target.origin)
	return [][][2]string{
		{{"X-Original-URL", target.origin + target.path}},
		{{"X-Original-URL", target.origin + target.path}, {"X-Original-Method", "GET"}},
		{{"X-Original-URL", target.path}},
		{{"X-Original-Method", "OPTIONS"}},
		{{"X-Forwarded-Uri", target.path}},
		{{"X-Forwarded-Uri", target.path}, {"X-Forwarded-Host", host}, {"X-Forwarded-Method", "GET"}},
		{{"X-Forwarded-Host", host}},
		{{"X-Forwarded-Method", "OPTIONS"}},
		{{"X-Forwarded-Prefix", target.path}},
		{{"X-Rewrite-Url", target.path}},
		{{"Forwarded", "host=" + host}},
		{{"X_Original_URL", target.origin + target.path}, {"X_Forwarded_Uri", target.path}, {"X_Forwarded_Host", host}, {"X_Forwarded_Method", "GET"}},
		{{"X.Original.URL", target.origin + target.path}, {"X.Forwarded.Uri", target.path}, {"X.Forwarded.Host", host}, {"X.Forwarded.Method", "GET"}},
	}
}

// targetHeaders returns all headers by which a proxy in front of this one would say that target
// is the client's request, and X-Forwarded-For with a nearby address.
func targetHeaders(target request) [][2]string {
	all := [][2]string{{"X-Forwarded-For", "127.0.0.1"}}
	for _, name := range access.ProxyHeaders() {
		if value := targetHeader(name, target); value != "" {
			all = append(all, [2]string{name, value})
		}
	}
	return all
}

// targetHeader returns the value of a header that says that target is the client's request, or ""
// if the header doesn't name a target.
func targetHeader(name string, target request) string {
	host := hostOf(target.origin)
	switch name {
	case "Forwarded", "X-Forwarded":
		return "host=" + host + ";proto=https"
	case "X-Http-Host-Override":
		return host
	case "X-Http-Path-Override", "X-Script-Name":
		return target.path
	}
	switch name[strings.LastIndexByte(name, '-')+1:] {
	case "Host", "Server":
		return host
	case "Url":
		return target.origin + target.path
	case "Uri", "Path", "Prefix":
		return target.path
	case "Method":
		return http.MethodGet
	case "Proto", "Protocol", "Scheme":
		return "https"
	}
	return ""
}

// upgrades are the values of Upgrade that no proxy may pass to a panel: the requests that
// follow would reach it without a check. A list with "websocket" is one too, since the panel
// may choose another protocol of the list.
var upgrades = []string{"h2c", "TLS/1.0", "websocket, h2c", "h2c, websocket", "SPDY/3.1"}

// resourceHeaders are headers that name a second resource, in WebDAV and in the protocols of
// object stores.
var resourceHeaders = []string{
	"Destination", "X-Amz-Copy-Source", "X-Amz-Rename-Source", "X-Copy-From", "X-Goog-Copy-Source", "X-Ms-Copy-Source", "X-Oss-Copy-Source",
}
