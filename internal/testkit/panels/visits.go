package panels

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// AsPerson returns the headers of a browser that opens a page.
func AsPerson() http.Header {
	return http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Accept": {"text/html"}}
}

// Navigate opens a page as a browser does and follows every redirect.
func Navigate(b *portal.Browser, page string) portal.Answer {
	b.Do(http.MethodGet, page, nil, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}})
	return b.Follow()
}

// Received returns the request that a panel received. It fails the test unless a panel answered.
func Received(t *testing.T, a portal.Answer) Seen {
	t.Helper()
	var s Seen
	if err := json.Unmarshal([]byte(a.Body), &s); a.Status != http.StatusOK || err != nil {
		t.Fatalf("no panel answered: %d %s\n%s", a.Status, a.Location, a.Body)
	}
	return s
}

// Visit signs a new browser in on the way to a page of a panel.
func Visit(t *testing.T, p *portal.Portal, name, page string) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	a := Navigate(b, page)
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
		t.Fatalf("%s leads to %d\n%s", page, a.Status, a.Body)
	}
	SignInHere(t, b, name)
	return b
}

// SignInHere submits the sign-in page that the browser shows.
func SignInHere(t *testing.T, b *portal.Browser, name string) {
	t.Helper()
	back := portal.FieldOf(b.Last.Body, "return")
	b.Post("/login", "username", name, "password", portal.Password, "return", back)
	b.Follow()
}

// Asked returns the request that a proxy sends to ask about a page of Video: for Traefik
// by pkg/middlewares/auth/forward.go, for Envoy by
// source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc. Package proxies runs
// the other three.
func Asked(proxy, target string) (address string, header http.Header) {
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

// Ask sends the request of [Asked] with the browser's visit and further headers.
func Ask(b *portal.Browser, proxy, target string, more http.Header) portal.Answer {
	address, header := Asked(proxy, target)
	for name, values := range more {
		header[name] = values
	}
	if visit := b.CookieAt(Video, "sallyport-visit"); visit != "" && proxy != "envoy" {
		header["Cookie"] = []string{"sallyport-visit=" + visit}
	}
	return b.Do(http.MethodGet, address, nil, header)
}
