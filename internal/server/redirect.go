package server

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/config"
)

// challengePrefix is where a CA asks by http who is there (RFC 8555, section
// 8.3).
const challengePrefix = "/.well-known/acme-challenge/"

// redirect leads from http to the same path of a host that we serve by https.
// Its target is built from the configured origin (R20); it shows nothing and
// sets no cookie.
type redirect struct {
	origins map[string]string // by canonical host
	ca      http.Handler      // answers challenges; nil without a CA
}

// newRedirect returns the handler of redirect_listen.
func newRedirect(cfg config.Config, from *certificates) http.Handler {
	d := &redirect{origins: map[string]string{}}
	add := func(at config.Origin) {
		if host, err := access.CanonicalHost(at.Host); err == nil {
			d.origins[host] = at.String()
		}
	}
	add(cfg.PublicURL)
	for _, panel := range cfg.Panels {
		if panel.Upstream != (config.Upstream{}) {
			add(panel.URL)
		}
	}
	if cfg.RedirectListen != "" && from != nil && from.ca != nil {
		d.ca = from.ca.manager.HTTPHandler(http.NotFoundHandler())
	}
	return d
}

func (d *redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, err := access.CanonicalHost(r.Host)
	if err != nil && access.AskerOf(r.Method, r.Header) == access.Navigation {
		host = access.WithoutLastDot(r.Host)
	}
	origin, ok := d.origins[host]
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	token, challenge := strings.CutPrefix(r.URL.Path, challengePrefix)
	switch {
	case !ok:
		http.Error(w, "no such host here", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		// A form has told its secrets already: that is to be noticed, not hidden.
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "use https", http.StatusMethodNotAllowed)
	case path[0] != '/' || r.URL.Opaque != "":
		http.Error(w, "not a path", http.StatusBadRequest)
	case d.ca != nil && challenge && isChallenge(token):
		r.Host = host // the CA may name the port
		d.ca.ServeHTTP(w, r)
	default:
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", origin+path)
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}

// maxChallenge is longer than any token of a CA.
const maxChallenge = 200

// isChallenge reports whether text is a token, which names a file (RFC 8555,
// section 8).
func isChallenge(text string) bool {
	return text != "" && len(text) <= maxChallenge &&
		strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
