package access

import (
	"net/http"
	"slices"
	"strings"
)

// ClientKind is the kind of client that sent a request. The form of the answer depends on it.
type ClientKind int

// The kinds of clients.
const (
	// Script is a program, a script in a page, or a page that loads a resource. It reads
	// a status and JSON.
	Script ClientKind = iota
	// Navigation is a browser that loads a page. It can be redirected to the sign-in and
	// back to the page.
	Navigation
	// Viewer is a browser that shows the answer to a person but can't be redirected back:
	// it submitted a form, or shows the answer in a frame. It gets a page with a link.
	Viewer
)

// ClientKindOf returns the kind of client that sent a request with this method and these headers.
// It reads the Fetch Metadata Request Headers, and without them the Accept header. A service
// worker that forwards a navigation sends the mode "navigate" with an empty destination; a script
// in a page can't send that mode.
func ClientKindOf(method string, h http.Header) ClientKind {
	mode, dest := firstValue(h["Sec-Fetch-Mode"]), firstValue(h["Sec-Fetch-Dest"])
	switch {
	case strings.HasPrefix(firstValue(h["Sec-Purpose"]), "prefetch"):
		return Script // the page might never be shown to a person
	case mode == "" && dest == "" && !strings.Contains(firstValue(h["Accept"]), "text/html"):
		return Script
	case mode != "navigate" && (mode != "" || dest != ""):
		return Script
	case method != http.MethodGet && method != http.MethodHead:
		return Viewer
	case dest != "" && dest != "document" && dest != "empty":
		return Viewer
	}
	return Navigation
}

// IsDocument reports whether a browser shows the answer as a page in a tab, rather than in
// a frame or through a service worker. Without Fetch Metadata Request Headers, it decides by
// the Accept header.
func IsDocument(h http.Header) bool {
	mode, dest := firstValue(h["Sec-Fetch-Mode"]), firstValue(h["Sec-Fetch-Dest"])
	if mode != "" || dest != "" {
		return mode == "navigate" && dest == "document"
	}
	return strings.Contains(firstValue(h["Accept"]), "text/html")
}

// mayBeBrowser reports whether a browser may have sent a request, by itself or for a script: the
// request has headers that browsers add, accepts HTML, carries one of Sallyport's cookies, or has
// the User-Agent of a browser. Browsers show a dialog of their own for the Basic challenge (RFC
// 7617), so they don't get that challenge.
func mayBeBrowser(h http.Header) bool {
	for name, values := range h {
		found := false
		switch name {
		case "Origin", "Referer", "X-Requested-With":
			found = len(values) > 0
		case "User-Agent":
			found = strings.HasPrefix(firstValue(values), "Mozilla/")
		case "Accept":
			found = anyContains(values, "text/html")
		case "Cookie":
			found = anyContains(values, SessionCookie) // part of the name of each Sallyport cookie
		default:
			found = strings.HasPrefix(name, "Sec-")
		}
		if found {
			return true
		}
	}
	return false
}

func anyContains(values []string, part string) bool {
	return slices.ContainsFunc(values, func(value string) bool { return strings.Contains(value, part) })
}

// The values of WWW-Authenticate. All answers share them, so that a refusal allocates none.
var (
	bearerChallenge          = []string{`Bearer realm="Sallyport"`}
	bearerAndBasicChallenges = []string{`Bearer realm="Sallyport"`, `Basic realm="Sallyport", charset="UTF-8"`}
)

// Challenge adds the WWW-Authenticate header to an answer with status 401, as RFC 9110,
// section 15.5.2, requires. A machine pass is a bearer token. Clients that wait for a
// challenge before they send a password, such as git and wget, send the pass as the password
// of HTTP Basic, so clients other than browsers get both challenges.
func Challenge(answer, request http.Header) {
	if mayBeBrowser(request) {
		answer["Www-Authenticate"] = bearerChallenge
	} else {
		answer["Www-Authenticate"] = bearerAndBasicChallenges
	}
}
