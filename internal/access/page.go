package access

// The Content-Security-Policy of every page of ours. doctor knows our pages by it. A form
// leads to no other origin: Chromium holds the redirects after a form against
// form-action, and a panel may redirect anywhere, so after a form a page of ours leads
// on.
const (
	PagePolicy = pagePolicy + "frame-ancestors 'none'"
	// FramedPolicy is that of a page with nothing but a link, which may fill a frame.
	FramedPolicy = pagePolicy + "frame-ancestors *"

	pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
		"form-action 'self'; base-uri 'none'; object-src 'none'; "
)
