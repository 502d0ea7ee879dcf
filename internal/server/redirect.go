package server

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/certs"
	"github.com/sallyport/sallyport/internal/config"
)

// challengePrefix is the path below which a CA validates a host by http (RFC 8555,
// section 8.3).
const challengePrefix = "/.well-known/acme-challenge/"

// redirect answers http requests with a redirect to the same path at the configured https
// origin. It never builds the target from the request's Host header (R20 in
// docs/threat-model.md), shows no content and sets no cookie.
type redirect struct {
	origins map[string]string // by canonical host
	ca      http.Handler      // answers a CA's challenges; nil without a CA
}

// newRedirect returns the handler of redirect_listen.
func newRedirect(cfg config.Config, from *certs.Certificates) http.Handler {
	d := &redirect{origins: map[string]string{}}
	add := func(origin config.Origin) {
		if host, err := access.CanonicalHost(origin.Host); err == nil {
			d.origins[host] = origin.String()
		}
	}
	add(cfg.PublicURL)
	for _, panel := range cfg.Panels {
		if panel.Upstream != (config.Upstream{}) {
			add(panel.URL)
		}
	}
	if cfg.RedirectListen != "" && from != nil {
		d.ca = from.Challenges()
	}
	return d
}

func (d *redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, err := access.CanonicalHost(r.Host)
	if err != nil && access.ClientKindOf(r.Method, r.Header) == access.Navigation {
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
		// A form that was posted here has sent its secrets unencrypted, and a redirect would hide
		// that.
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "use https", http.StatusMethodNotAllowed)
	case path[0] != '/' || r.URL.Opaque != "":
		http.Error(w, "not a path", http.StatusBadRequest)
	case d.ca != nil && challenge && isChallenge(token):
		r.Host = host // without the port that the CA may have sent
		d.ca.ServeHTTP(w, r)
	default:
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", origin+path)
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}

// maxChallenge is more bytes than any CA's token has.
const maxChallenge = 200

// isChallenge reports whether text is a token of base64url characters (RFC 8555, section 8.3). The
// token becomes the name of a file in the certificate cache, so text with a path must not be accepted.
func isChallenge(text string) bool {
	return text != "" && len(text) <= maxChallenge &&
		strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
