package access

// The Content-Security-Policy of every page of Sallyport. Package doctor recognizes the pages by
// it. It restricts forms to the portal's origin. Chromium applies this restriction to redirects
// after a form as well, and a panel may redirect anywhere. So the answer to a form is a page of
// Sallyport that continues to the panel.
const (
	PagePolicy = pagePolicy + "frame-ancestors 'none'"
	// FramedPolicy is for a page that consists of a link and may be shown in a frame.
	FramedPolicy = pagePolicy + "frame-ancestors *"

	pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; " +
		"form-action 'self'; base-uri 'none'; object-src 'none'; "
)
