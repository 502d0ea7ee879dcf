package gateway

import (
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// rewrite makes the request that the panel gets: path and query as they were
// sent, no cookie and no pass of ours, no upgrade but to WebSocket, and no header of the
// client's that panels take for a proxy's word. The word on who is there and where the
// request comes from is ours.
func (g *gateway) rewrite(p *httputil.ProxyRequest) {
	from := p.In.Context().Value(passedKey{}).(*passed)
	p.Out.URL.Scheme, p.Out.URL.Host = g.To.Scheme, g.To.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery // a ";" in it is the panel's business
	proto, host, _ := strings.Cut(g.Panel.Origin, "://")
	p.Out.Host = host
	p.Out.Trailer = nil // some servers read them as headers
	h := p.Out.Header
	for name := range h {
		if plain := access.PlainHeader(name); access.IsProxyHeader(plain) || plain == access.PassHeader {
			delete(h, name)
		}
	}
	if kept := access.PanelAuthorization(h); len(kept) < len(h["Authorization"]) {
		h["Authorization"] = kept
	}
	// One with a body is none (RFC 6455, section 4.1), and the panel might not read it.
	if access.IsWebSocket(p.In.Header) && p.In.ContentLength == 0 {
		respell(h)
	} else {
		h.Del("Upgrade")
		h.Del("Connection")
		h.Del("HTTP2-Settings")
	}
	h["X-Forwarded-For"] = []string{g.Proxies.Address(p.In).String()}
	h["X-Forwarded-Host"] = []string{host}
	h["X-Forwarded-Proto"] = []string{proto}
	withoutOurs(h)
	from.visitor.Identify(h)
}

// socketHeaders are spelled as RFC 6455 spells them: some devices look for that and not
// for Go's Sec-Websocket.
var socketHeaders = map[string]string{
	"Sec-Websocket-Accept":     "Sec-WebSocket-Accept",
	"Sec-Websocket-Extensions": "Sec-WebSocket-Extensions",
	"Sec-Websocket-Key":        "Sec-WebSocket-Key",
	"Sec-Websocket-Protocol":   "Sec-WebSocket-Protocol",
	"Sec-Websocket-Version":    "Sec-WebSocket-Version",
}

// respell spells the headers of a WebSocket's beginning as its RFC does.
func respell(h http.Header) {
	for name, spelled := range socketHeaders {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[spelled] = values
		}
	}
}

// isOurs reports whether a cookie is Sallyport's.
func isOurs(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimPrefix(name, "__Host-")), access.SessionCookie)
}

// withoutOurs removes our cookies from what the panel gets, and leaves the
// others as the browser wrote them.
func withoutOurs(h http.Header) {
	var kept []string
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if name, _, _ := strings.Cut(pair, "="); pair != "" && !isOurs(strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	h.Del("Cookie")
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}
