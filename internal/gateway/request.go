package gateway

import (
	"errors"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// rewrite makes the request for the panel from the client's. The path and the query are
// unchanged. rewrite removes Sallyport's cookies, machine passes, upgrades other than to
// WebSocket, and headers that panels would trust as written by a proxy. Then it sets loopHeader
// and the headers that name the user and say where the request comes from.
func (g *gateway) rewrite(p *httputil.ProxyRequest) {
	fwd := p.In.Context().Value(forwardedKey{}).(*forwarded)
	p.Out.URL.Scheme, p.Out.URL.Host = g.Upstream.Scheme, g.Upstream.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // unchanged, also if it has a ";"
	p.Out.Host = g.host
	p.Out.Trailer = nil // some servers read trailers as headers
	h := p.Out.Header
	for name := range h {
		if plain := access.PlainHeader(name); access.IsProxyHeader(plain) || plain == access.PassHeader || plain == loopHeader {
			delete(h, name)
		}
	}
	if kept := access.PanelAuthorization(h); len(kept) < len(h["Authorization"]) {
		h["Authorization"] = kept
	}
	// A request with a body is no WebSocket handshake (RFC 6455, section 4.1), and the panel
	// might not read the body.
	if access.IsWebSocket(p.In.Header) && p.In.ContentLength == 0 {
		restoreSocketHeaderCase(h)
	} else {
		delete(h, "Upgrade")
		delete(h, "Connection")
		delete(h, "Http2-Settings")
	}
	h["X-Forwarded-For"] = []string{g.Proxies.Address(p.In).String()}
	h["X-Forwarded-Host"] = g.forwardedHost
	h["X-Forwarded-Proto"] = g.forwardedProto
	if marks := g.loopMarks(p.In.Header); marks == nil {
		h[loopHeader] = g.loopMark
	} else {
		h[loopHeader] = append(marks, g.loopMark...)
	}
	removeSallyportCookies(h)
	fwd.visitor.Identify(h)
}

// loopHeader names the panels whose gateway forwarded a request, each with [Options].LoopKey. If
// a panel's upstream is the proxy in front of Sallyport, or Sallyport itself, the request comes
// back with the panel's name. Without this header, one request to an open path would go round
// until the server has no more connections.
//
// Panels see the key. A panel that misuses it can only cause the refusal of its own requests.
const loopHeader = "Sallyport-Loop"

// errLoop means that the panel's gateway has forwarded the same request before.
var errLoop = errors.New("upstream leads back to Sallyport: name the panel's own server there, not the proxy")

// loopMarks returns the marks in loopHeader that a gateway of this server, or of another node,
// wrote: those that begin with [Options].LoopKey. A proxy may have joined several marks to one
// line. The result is nil if the request has no such mark.
func (g *gateway) loopMarks(h http.Header) []string {
	var marks []string
	for _, line := range h[loopHeader] {
		for mark := range strings.SplitSeq(line, ",") {
			if mark = strings.TrimSpace(mark); strings.HasPrefix(mark, g.LoopKey+" ") {
				marks = append(marks, mark)
			}
		}
	}
	return marks
}

// socketHeaders maps Go's canonical names to the spelling of RFC 6455, which is the only one
// that some devices accept.
var socketHeaders = map[string]string{
	"Sec-Websocket-Accept":     "Sec-WebSocket-Accept",
	"Sec-Websocket-Extensions": "Sec-WebSocket-Extensions",
	"Sec-Websocket-Key":        "Sec-WebSocket-Key",
	"Sec-Websocket-Protocol":   "Sec-WebSocket-Protocol",
	"Sec-Websocket-Version":    "Sec-WebSocket-Version",
}

// restoreSocketHeaderCase spells the headers of a WebSocket handshake as RFC 6455 does.
func restoreSocketHeaderCase(h http.Header) {
	for name, spelled := range socketHeaders {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[spelled] = values
		}
	}
}

// isSallyportCookie reports whether a cookie's name is that of a Sallyport cookie.
func isSallyportCookie(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimPrefix(name, "__Host-")), access.SessionCookie)
}

// removeSallyportCookies removes Sallyport's cookies from the headers for the panel, and leaves
// the other cookies unchanged.
func removeSallyportCookies(h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if name, _, _ := strings.Cut(pair, "="); pair != "" && !isSallyportCookie(strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	h.Del("Cookie")
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}
