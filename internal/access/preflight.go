package access

import (
	"net/http"
	"slices"
)

// Preflight reports whether a request for a path, written as in the request line,
// is a CORS preflight that the panel may answer whoever asks: OPTIONS, as browsers
// send it before a script of another origin may ask (Fetch, "CORS-preflight fetch"),
// for a path that [Panel.Preflights] leaves open. It carries nobody's identity, so
// neither is one looked for. Whether it has a body its caller must see.
func (p *Panel) Preflight(method, rawPath string, h http.Header) bool {
	if p.Preflights == nil || method != http.MethodOptions || !once(h, "Origin") || !once(h, "Access-Control-Request-Method") || overridden(h) {
		return false
	}
	d, ok := p.Preflights.DemandOf(rawPath)
	return ok && d.Requirement == Public
}

func once(h http.Header, name string) bool {
	values := h.Values(name)
	return len(values) == 1 && values[0] != ""
}

// overridden reports whether some frameworks would take the request for one with
// another method. No browser's preflight has such a header.
func overridden(h http.Header) bool {
	for name := range h {
		if slices.Contains([]string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}, PlainHeader(name)) {
			return true
		}
	}
	return false
}
