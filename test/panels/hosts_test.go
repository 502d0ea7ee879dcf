package panels

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestHostHeaderSelectsThePortalOrAPanel(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.NotFoundHandler())
	for host, want := range map[string]string{
		"auth.test": "portal", "AUTH.test": "portal", "auth.test:80": "portal", "auth.test:8443": "portal",
		"radio.example": "panel", "Radio.Example": "panel", "radio.example:443": "panel", "radio.example:1": "panel",
		"auth.test,radio.example": "", "radio.example,auth.test": "", "radio.example.": "dot", "auth.test.:80": "dot",
		"radio.example..": "", "radio.example:0": "", "[::1]": "", "other.test": "", "": "",
	} {
		answer := portal.RawAnswer(t, p, "GET /login HTTP/1.1\r\nHost: "+host+"\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
		status, _, _ := strings.Cut(strings.TrimPrefix(answer, "HTTP/1.1 "), " ")
		got := map[string]string{"200": "portal", "303": "panel", "308": "dot", "421": ""}[status]
		if got != want || status == "" {
			t.Errorf("Host %q: status %s, want an answer by %q", host, status, want)
		}
		if want == "dot" && !strings.Contains(answer, "\r\nLocation: http://"+strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ".")+"/login\r\n") {
			t.Errorf("Host %q: want a redirect to the host without its dot, got\n%s", host, answer)
		}
	}
	// Only navigations are redirected; a script gets a refusal.
	if answer := portal.RawAnswer(t, p, "GET / HTTP/1.1\r\nHost: radio.example.\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 421") {
		t.Errorf("a script at a host with a trailing dot: %.60s, want 421", answer)
	}
	if !strings.Contains(p.Logs.String(), `\"other.test\"`) {
		t.Error("the log doesn't name the unknown host other.test")
	}
}

func TestVerifyIsNotServedAtThePortalsHost(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
trusted_proxies: [127.0.0.1]
panels:
  - url: %s
    rules: [{path: /open/, require: nothing}]
`, panels.PortalAt, panels.Radio)))
	question := "GET /verify/nginx HTTP/1.1\r\nHost: %s\r\nX-Original-Method: GET\r\nX-Original-URL: " + panels.Radio + "/open/\r\nX-Real-IP: 192.0.2.1\r\nConnection: close\r\n\r\n"
	for host, want := range map[string]string{
		"sallyport": "200", "SALLYPORT:9091": "200", "radio.example": "200", "radio.example:80": "200",
		"auth.test": "404", "auth.test:80": "404", "auth.test:1": "404", "auth.test.": "421", "AUTH.test": "404", "127.0.0.1": "421", "sallyport.": "421", "other.test": "421",
	} {
		if answer := portal.RawAnswer(t, p, fmt.Sprintf(question, host)); !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
			t.Errorf("a verify request at host %q: %.40q, want %s", host, answer, want)
		}
	}
	// A proxy may resolve dot segments to choose its location and still forward the path
	// unresolved.
	for _, path := range []string{"/verify/envoy/../../.sallyport/x", "/verify/envoy/%2e%2e/..%2f.sallyport/x", "/verify/envoy/./x", "/verify/envoy/.."} {
		if answer := portal.RawAnswer(t, p, "GET "+path+" HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 403") {
			t.Errorf("GET %s: %.40q, want 403", path, answer)
		}
	}
	if !strings.Contains(p.Logs.String(), "it must ask at host sallyport") {
		t.Error("the log doesn't say which host a proxy must send verify requests to")
	}
}

// X-Forwarded-Proto says when a proxy serves an https site over plain http too. Where an
// outer proxy terminates TLS, the inner proxy may report http although the browser uses
// https; a cookie that only https carries prevents the redirect loop.
func TestPlainHTTPRedirectsToHTTPSWithoutALoop(t *testing.T) {
	t.Parallel()
	panel := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(panel.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: https://auth.test\ntrusted_proxies: [127.0.0.1]\npanels: [{url: https://radio.example, upstream: '%s'}]\n", panel.URL)))
	ask := func(method, host, path, more string) string {
		return portal.RawAnswer(t, p, method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\nAccept: text/html\r\nConnection: close\r\n"+more+"\r\n")
	}
	for _, host := range []string{"auth.test", "radio.example"} {
		answer := ask("GET", host, "/login?a=b", "X-Forwarded-Proto: http\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 307") || !strings.Contains(answer, "\r\nLocation: https://"+host+"/login?a=b\r\n") || strings.Contains(answer, "<form") {
			t.Errorf("%s over http: want a redirect to https, got %.200s", host, answer)
		}
		if !strings.Contains(answer, "\r\nSet-Cookie: __Host-sallyport-https=1;") {
			t.Errorf("%s over http doesn't set the cookie that only https carries:\n%s", host, answer)
		}
	}
	if answer := ask("POST", "auth.test", "/login", "X-Forwarded-Proto: https, http\r\nContent-Length: 0\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 403") || !strings.Contains(answer, "https://auth.test") {
		t.Errorf("a form over http: want 403 that names https://auth.test, got %.200s", answer)
	}
	if answer := portal.RawAnswer(t, p, "GET /login HTTP/1.1\r\nHost: auth.test\r\nConnection: close\r\nX-Forwarded-Proto: http\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("a script over http: %.60s, want 200", answer)
	}
	for name, more := range map[string]string{
		"https": "X-Forwarded-Proto: https\r\n", "no X-Forwarded-Proto": "", "the last proxy reports https": "X-Forwarded-Proto: http, https\r\n",
		"a cookie that only https carries": "X-Forwarded-Proto: http\r\nCookie: __Host-sallyport-https=1\r\n",
	} {
		if answer := ask("GET", "auth.test", "/login", more); !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("%s: %.60s, want 200", name, answer)
		}
	}
}

// Azure, IIS and others append the client's port to the address in X-Forwarded-For.
func TestForwardedAddressMayHaveAPort(t *testing.T) {
	t.Parallel()
	var from string
	p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { from = r.Header.Get("X-Forwarded-For") }),
		"trusted_proxies: [127.0.0.1]", "    rules: [{path: /open/, require: nothing}]")
	for given, want := range map[string]string{
		"203.0.113.9": "203.0.113.9", "203.0.113.9:40000": "203.0.113.9", "2001:db8::1": "2001:db8::1", "[2001:db8::1]": "2001:db8::1",
		"[2001:db8::1]:40000": "2001:db8::1", "198.51.100.1, 203.0.113.9:1": "203.0.113.9", "203.0.113.9:1, 127.0.0.1:2": "203.0.113.9",
		"::ffff:203.0.113.9": "203.0.113.9", "[203.0.113.9]": "127.0.0.1", "[203.0.113.9]:1": "127.0.0.1", "203.0.113.9:x": "127.0.0.1",
		"unknown": "127.0.0.1", "": "127.0.0.1", "203.0.113.9, ": "127.0.0.1",
	} {
		if p.Browser(t).Do("GET", panels.Radio+"/open/", nil, http.Header{"X-Forwarded-For": {given}}); from != want {
			t.Errorf("X-Forwarded-For %q: the panel sees %q, want %q", given, from, want)
		}
	}
	for range 2 {
		p.Browser(t).Do("GET", "/login", nil, http.Header{"X-Forwarded-For": {"unknown"}})
	}
	if n := strings.Count(p.Logs.String(), "in X-Forwarded-For that isn't an address"); n != 1 {
		t.Errorf("the log reports an unreadable address %d times, want once", n)
	}
}

// A reload ends the open streams that the new configuration doesn't permit.
func TestReloadEndsStreamsThatItForbids(t *testing.T) {
	t.Parallel()
	panel := httptest.NewServer(http.HandlerFunc(panels.ServeEcho))
	t.Cleanup(panel.Close)
	text := fmt.Sprintf("public_url: %s\npanels:\n  - url: %s\n    upstream: %s\n", panels.PortalAt, panels.Radio, panel.URL)
	for name, after := range map[string]string{
		"another group":     text + "    groups: [ops]\n",
		"no such panel":     "public_url: " + panels.PortalAt + "\npanels: []\n",
		"served by a proxy": strings.ReplaceAll(text, "upstream: "+panel.URL, "require: session") + "trusted_proxies: [127.0.0.1]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := panels.WriteConfig(t, text)
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
			p.AddAccount(t, "bob")
			b := p.Browser(t)
			panels.Navigate(b, panels.Radio+"/")
			panels.SignInAtPage(t, b, "bob")
			stream := openWebSocket(t, p, b, "/echo")
			testkit.WriteFile(t, file, after)
			if err := p.Reload(config.Load(file, []string{"SALLYPORT_LISTEN=" + p.At, "SALLYPORT_DATA_DIR=" + p.Dir})); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, stream); err != nil && testkit.IsTimeout(err) {
				t.Error("the stream is still open after the reload")
			}
		})
	}
}

// openWebSocket opens a WebSocket at radio with the visit of a browser and returns a
// reader of the bytes after the upgrade.
func openWebSocket(t *testing.T, p *portal.Portal, b *portal.Browser, path string) *bufio.Reader {
	t.Helper()
	_, reader := dialWebSocket(t, p, b, path)
	return reader
}

// dialWebSocket is like openWebSocket, but also returns the connection.
func dialWebSocket(t *testing.T, p *portal.Portal, b *portal.Browser, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := portal.Dial(t, p)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nCookie: sallyport-visit=%s\r\n\r\n", path, b.CookieAt(panels.Radio, "sallyport-visit"))
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v; want status 101", resp, err)
	}
	return conn, reader
}
