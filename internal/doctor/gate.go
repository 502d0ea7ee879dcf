package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// refusal reports whether an answer is the gate's to whoever isn't signed in:
// 401 or 303 with the address of a sign-in. It names the panel and the page that
// the gate was asked about.
func refusal(a answer) (origin, page string, ok bool) {
	var said struct{ Login string }
	switch a.status {
	case http.StatusUnauthorized:
		if json.Unmarshal([]byte(a.body), &said) != nil {
			return "", "", false
		}
	case http.StatusSeeOther:
		said.Login = a.header.Get("Location")
	}
	to, err := url.Parse(said.Login)
	if err != nil || to.Path != access.StartPath || to.Host == "" {
		return "", "", false
	}
	return to.Scheme + "://" + to.Host, to.Query().Get("return"), true
}

// ours reports whether an answer is a page of Sallyport's, which all have one policy, to
// the letter.
func (d *doctor) ours(a answer) bool {
	policy := a.header.Get("Content-Security-Policy")
	return a.err == nil && (policy == access.PagePolicy || policy == access.FramedPolicy)
}

// isBare reports whether nginx shows a page of its own in place of the gate's refusal:
// its auth_request got 401, whose error_page leads nowhere. A panel's own 401 has a
// challenge.
func isBare(a answer) bool {
	challenge := a.header.Get("WWW-Authenticate")
	return a.status == http.StatusUnauthorized && a.title() == "401 Authorization Required" && strings.Contains(a.body, "<hr><center>") &&
		(challenge == "" || strings.Contains(challenge, `realm="Sallyport"`))
}

var proxiesLine = regexp.MustCompile(`trusted_proxies: \[[0-9a-fA-F.:/]+\]`)

// untrusted returns the line that the configuration lacks, where Sallyport says
// that it doesn't know the proxy.
func (d *doctor) untrusted(a answer) string {
	if a.status != http.StatusForbidden || !d.ours(a) {
		return ""
	}
	return proxiesLine.FindString(a.body)
}

// verdict is what an answer says about a door.
type verdict int

const (
	unclear verdict = iota
	closed
	open
)

// judge asks for something that only the signed-in may have. Whatever isn't the
// gate's word is taken for the panel's, unless the proxy refuses the like of it
// everywhere: the same request is then answered the same way where Sallyport
// answers.
func (p *patient) judge(ctx context.Context, r request) (verdict, answer) {
	a := p.client.ask(ctx, r)
	_, _, refused := refusal(a)
	switch {
	case a.timedOut():
		return unclear, a
	case a.err != nil: // the proxy hung up
		return closed, a
	case refused, p.ours(a):
		return closed, a
	case isBare(a):
		if _, same := p.fromUpstream(ctx, r, a); same {
			return open, a
		}
		return closed, a
	case failed(a): // the proxy's answer, or that of a panel that is down
		return unclear, a
	case (a.status >= 400 || a.status == http.StatusSwitchingProtocols) && p.refusedEverywhere(ctx, r, a):
		return closed, a
	}
	return open, a
}

func failed(a answer) bool {
	return slices.Contains([]int{
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, a.status)
}

func (p *patient) refusedEverywhere(ctx context.Context, r request, a answer) bool {
	if !p.routed && p.found("portal.unrouted", p.PublicURL) { // Sallyport answers nowhere
		if _, same := p.fromUpstream(ctx, r, a); same {
			return false
		}
	}
	r.path = access.OwnPrefix + p.mark
	if !p.routed {
		r.origin, r.path = p.PublicURL, p.Base+"/"+p.mark
	}
	there := p.client.ask(ctx, r)
	return there.err == nil && there.status == a.status && !p.ours(there)
}

// alike reports whether two answers are of one server, as far as a stranger can
// tell: pages change, and errors without a page of their own are everybody's.
func alike(a, b answer) bool {
	if a.err != nil || b.err != nil || a.status != b.status || a.title() != b.title() {
		return false
	}
	for _, name := range []string{"Content-Type", "Location"} {
		if a.header.Get(name) != b.header.Get(name) {
			return false
		}
	}
	return a.status < 300 || a.body == b.body
}
