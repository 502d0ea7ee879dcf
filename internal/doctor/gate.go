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

// parseRefusal reports whether an answer is Sallyport's refusal of a client without a
// session: 401 or 303 with the URL of the sign-in. It returns the panel's origin and the
// page about which the proxy asked Sallyport.
func parseRefusal(a answer) (origin, page string, ok bool) {
	var refusal struct{ Login string }
	switch a.status {
	case http.StatusUnauthorized:
		if json.Unmarshal([]byte(a.body), &refusal) != nil {
			return "", "", false
		}
	case http.StatusSeeOther:
		refusal.Login = a.header.Get("Location")
	}
	to, err := url.Parse(refusal.Login)
	if err != nil || to.Path != access.StartPath || to.Host == "" {
		return "", "", false
	}
	return to.Scheme + "://" + to.Host, to.Query().Get("return"), true
}

// isSallyport reports whether an answer is a page of Sallyport. All of its pages have one of
// two Content-Security-Policy headers.
func (d *doctor) isSallyport(a answer) bool {
	policy := a.header.Get("Content-Security-Policy")
	return a.err == nil && (policy == access.PagePolicy || policy == access.FramedPolicy)
}

// isNginx401 reports whether an answer is nginx's own 401 page. nginx sends it if
// auth_request got Sallyport's refusal and no error_page leads to Sallyport. A panel's own
// 401 has a challenge, so it differs.
func isNginx401(a answer) bool {
	challenge := a.header.Get("WWW-Authenticate")
	return a.status == http.StatusUnauthorized && a.title() == "401 Authorization Required" && strings.Contains(a.body, "<hr><center>") &&
		(challenge == "" || strings.Contains(challenge, `realm="Sallyport"`))
}

var proxiesLine = regexp.MustCompile(`trusted_proxies: \[[0-9a-fA-F.:/]+\]`)

// trustedProxiesLine returns the line of the configuration that an answer of Sallyport names
// because trusted_proxies lacks the proxy, or "".
func (d *doctor) trustedProxiesLine(a answer) string {
	if a.status != http.StatusForbidden || !d.isSallyport(a) {
		return ""
	}
	return proxiesLine.FindString(a.body)
}

// result is what an answer shows about a request that Sallyport must refuse.
type result int

const (
	resultUnclear result = iota
	resultRefused        // by Sallyport or the proxy
	resultExposed        // the panel answered
)

// classify sends a request that Sallyport must refuse. See [panelTest.classifyAnswer].
func (p *panelTest) classify(ctx context.Context, r request) (result, answer) {
	a := p.client.send(ctx, r)
	return p.classifyAnswer(ctx, r, a), a
}

// classifyAnswer returns what the answer a shows about the request r. An answer that isn't
// Sallyport's is taken for the panel's, unless the proxy refuses such requests everywhere: it
// then gives the same answer on a path that leads to Sallyport.
func (p *panelTest) classifyAnswer(ctx context.Context, r request, a answer) result {
	_, _, refused := parseRefusal(a)
	switch {
	case a.isTimeout():
		return resultUnclear
	case a.err != nil: // the proxy closed the connection
		return resultRefused
	case refused, p.isSallyport(a):
		return resultRefused
	case isNginx401(a):
		if _, same := p.fromUpstream(ctx, r, a); same {
			return resultExposed
		}
		return resultRefused
	case isFailure(a): // from the proxy, or from a panel that is down
		return resultUnclear
	case (a.status >= 400 || a.status == http.StatusSwitchingProtocols) && p.isRefusedEverywhere(ctx, r, a):
		return resultRefused
	}
	return resultExposed
}

// isFailure reports whether an answer is a limit on requests or a failure of a server.
func isFailure(a answer) bool {
	return slices.Contains([]int{
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, a.status)
}

// isRefusedEverywhere reports whether the request r, sent to a path that leads to Sallyport, gets
// an answer with the status of the answer a. The proxy must then have refused both requests.
func (p *panelTest) isRefusedEverywhere(ctx context.Context, r request, a answer) bool {
	if !p.routed && p.hasFinding("portal.unrouted", p.PublicURL) { // Sallyport answers nowhere
		if _, same := p.fromUpstream(ctx, r, a); same {
			return false
		}
	}
	r.path = access.OwnPrefix + p.marker
	if !p.routed {
		r.origin, r.path = p.PublicURL, p.Base+"/"+p.marker
	}
	there := p.client.send(ctx, r)
	return there.err == nil && there.status == a.status && !p.isSallyport(there)
}

// areAlike reports whether two answers seem to come from one server. Bodies of pages may
// differ, since pages change. Bodies of errors must be equal, since status and headers of
// errors are the same on many servers.
func areAlike(a, b answer) bool {
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
