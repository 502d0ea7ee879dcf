package panels

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// NavigationHeaders returns the headers that a browser sends when it navigates to a page.
func NavigationHeaders() http.Header {
	return http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Accept": {"text/html"}}
}

// Navigate requests a page as a navigation and follows every redirect.
func Navigate(b *portal.Browser, page string) portal.Answer {
	b.Do(http.MethodGet, page, nil, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}})
	return b.Follow()
}

// Received returns the request that a panel got, which is the content of its answer. It fails
// the test if the answer isn't a panel's.
func Received(t *testing.T, a portal.Answer) Seen {
	t.Helper()
	var s Seen
	if err := json.Unmarshal([]byte(a.Body), &s); a.Status != http.StatusOK || err != nil {
		t.Fatalf("the answer isn't a panel's: %d %s\n%s", a.Status, a.Location, a.Body)
	}
	return s
}

// Visit opens a page of a panel in a new browser and signs in there.
func Visit(t *testing.T, p *portal.Portal, name, page string) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	a := Navigate(b, page)
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
		t.Fatalf("%s leads to a page with status %d, want the sign-in\n%s", page, a.Status, a.Body)
	}
	SignInAtPage(t, b, name)
	return b
}

// SignInAtPage submits the sign-in page that the browser shows, and follows the redirects.
func SignInAtPage(t *testing.T, b *portal.Browser, name string) {
	t.Helper()
	back := portal.FieldOf(b.Last.Body, "return")
	b.Post("/login", "username", name, "password", portal.Password, "return", back)
	b.Follow()
}

// VerifyRequest returns the URL and headers with which a proxy asks whether to admit a request for
// a page of the panel [Video]. Those of Traefik and Envoy are taken from their sources,
// pkg/middlewares/auth/forward.go and
// source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc. Package proxies runs the
// other three proxies.
func VerifyRequest(proxy, target string) (address string, header http.Header) {
	switch proxy {
	case "nginx", "nginx/refused":
		return "http://sallyport/verify/" + proxy, http.Header{"X-Original-Method": {"GET"}, "X-Original-Url": {Video + target}, "X-Real-Ip": {"192.0.2.7"}}
	case "envoy":
		return Video + "/verify/envoy" + target, http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-For": {"192.0.2.7"}, "X-Envoy-Internal": {"true"}}
	}
	return "http://sallyport/verify/" + proxy, http.Header{
		"X-Forwarded-Method": {"GET"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"video.test"},
		"X-Forwarded-Uri": {target}, "X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Port": {"80"}, "X-Real-Ip": {"192.0.2.7"},
	}
}

// SendVerify sends the request that [VerifyRequest] returns, with the browser's visit. more
// replaces headers or adds some.
func SendVerify(b *portal.Browser, proxy, target string, more http.Header) portal.Answer {
	address, header := VerifyRequest(proxy, target)
	for name, values := range more {
		header[name] = values
	}
	if visit := b.CookieAt(Video, "sallyport-visit"); visit != "" && proxy != "envoy" {
		header["Cookie"] = []string{"sallyport-visit=" + visit}
	}
	return b.Do(http.MethodGet, address, nil, header)
}
