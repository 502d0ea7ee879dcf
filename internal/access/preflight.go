package access

import "net/http"

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
		if isOverride(PlainHeader(name)) {
			return true
		}
	}
	return false
}

// isOverride reports whether a header, by its plain name, has some frameworks take the
// request for one with the method that it says.
func isOverride(plain string) bool {
	return plain == "X-Http-Method-Override" || plain == "X-Http-Method" || plain == "X-Method-Override"
}
