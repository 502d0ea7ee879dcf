package access

import "net/http"

// IsOpenPreflight reports whether a request is a CORS preflight that the panel answers without a
// session: the OPTIONS request that browsers send before the request of a script from another
// origin (Fetch, "CORS-preflight fetch"), for a path that [Panel.Preflights] leaves open. rawPath
// is written as in the request line. Browsers send no cookies with a preflight, so cookies aren't
// read. The caller must check that the request has no body.
func (p *Panel) IsOpenPreflight(method, rawPath string, h http.Header) bool {
	if p.Preflights == nil || method != http.MethodOptions || !hasOneValue(h, "Origin") || !hasOneValue(h, "Access-Control-Request-Method") || hasOverride(h) {
		return false
	}
	d, ok := p.Preflights.DemandOf(rawPath)
	return ok && d.Requirement == Public
}

func hasOneValue(h http.Header, name string) bool {
	values := h.Values(name)
	return len(values) == 1 && values[0] != ""
}

// hasOverride reports whether a header makes some frameworks treat the request as one with
// another method. No browser's preflight has such a header.
func hasOverride(h http.Header) bool {
	for name := range h {
		if isOverride(PlainHeader(name)) {
			return true
		}
	}
	return false
}

// isOverride reports whether the header with this plain name makes some frameworks treat the
// request as one with the method in its value.
func isOverride(plain string) bool {
	return plain == "X-Http-Method-Override" || plain == "X-Http-Method" || plain == "X-Method-Override"
}
