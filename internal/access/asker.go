package access

import (
	"net/http"
	"strings"
)

// Asker is the kind of client that sent a request. It decides the form of the answer.
type Asker int

// The askers.
const (
	// Script is a program, a page's script or what a page loads: it reads a status
	// and JSON.
	Script Asker = iota
	// Navigation is a browser on its way to a page: it can be led to the sign-in and
	// back.
	Navigation
	// Viewer is a browser that shows the answer to a person and can't be led back: a
	// form was sent, or the answer fills a frame. It gets a page with a link.
	Viewer
)

// AskerOf returns what waits for the answer to a request with that method, from what
// browsers say of it (Fetch Metadata Request Headers), or, where they say nothing, from
// what they accept. A service worker that passes a navigation on says "navigate" with
// an empty destination; no page's script can.
func AskerOf(method string, h http.Header) Asker {
	mode, dest := first(h["Sec-Fetch-Mode"]), first(h["Sec-Fetch-Dest"])
	switch {
	case strings.HasPrefix(first(h["Sec-Purpose"]), "prefetch"):
		return Script // nobody may ever look at it
	case mode == "" && dest == "" && !strings.Contains(first(h["Accept"]), "text/html"):
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

// IsDocument reports whether a browser shows the answer as a page of its own, in a tab
// and not in a frame, and no service worker stands between. Browsers that don't say so
// are told by what they accept.
func IsDocument(h http.Header) bool {
	mode, dest := first(h["Sec-Fetch-Mode"]), first(h["Sec-Fetch-Dest"])
	if mode != "" || dest != "" {
		return mode == "navigate" && dest == "document"
	}
	return strings.Contains(first(h["Accept"]), "text/html")
}

// FromBrowser reports whether a browser may have sent a request, whatever it is for: it
// says what the request is for, where it comes from or that it accepts HTML, or calls
// itself one, as all browsers do. A browser would show a dialog of its own where it is
// challenged to give a password (Basic, RFC 7617).
func FromBrowser(h http.Header) bool {
	if strings.HasPrefix(first(h["User-Agent"]), "Mozilla/") || len(h["Origin"]) > 0 || len(h["Referer"]) > 0 || len(h["X-Requested-With"]) > 0 {
		return true
	}
	for _, line := range h["Accept"] {
		if strings.Contains(line, "text/html") {
			return true
		}
	}
	for _, line := range h["Cookie"] {
		if strings.Contains(line, SessionCookie) { // begins the name of each of ours
			return true
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "Sec-") {
			return true
		}
	}
	return false
}

// Values that all answers share.
var (
	bearerChallenge = []string{`Bearer realm="Sallyport"`}
	bothChallenges  = []string{`Bearer realm="Sallyport"`, `Basic realm="Sallyport", charset="UTF-8"`}
)

// Challenge adds to an answer with status 401 what RFC 9110, section 15.5.2, demands:
// how a request may prove who sends it. A machine pass is a bearer token; clients that
// wait for a challenge before they send a password, such as git and wget, send it as the
// password of Basic.
func Challenge(answer, asked http.Header) {
	if FromBrowser(asked) {
		answer["Www-Authenticate"] = bearerChallenge
	} else {
		answer["Www-Authenticate"] = bothChallenges
	}
}
