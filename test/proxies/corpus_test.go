package proxies

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// audience says which clients must get the answer of a panel to a request.
type audience int

const (
	unspecified audience = iota // a panel may answer, but only a request that the gate admitted
	noPanel                     // no panel may get the request
	members                     // signed-in users, but no strangers
	everyone                    // strangers too
)

// probe is the text of one request and the clients that must get an answer to it.
type probe struct {
	line     string // method and target
	host     string
	more     []string // further header lines
	audience audience
}

// forged is the value of every header that no panel may get from a client.
const forged = "forged.invalid"

// upgrade returns the header lines of a request to upgrade to these protocols.
func upgrade(protocols ...string) []string {
	lines := []string{"Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, p := range protocols {
		lines = append(lines, "Upgrade: "+p)
	}
	return lines
}

// probes returns the requests that the test sends through every proxy, as a stranger and
// as eve. Eve has a visit at radio, whose /status/ is open to everyone, and may open no
// path of video.
func probes() []probe {
	const allowed, forbidden = "radio.example", "video.test"
	all := []probe{
		{"GET /list", allowed, nil, members},
		{"GET /status/x", allowed, nil, everyone},
		{"GET /secret", forbidden, nil, noPanel},
		{"GET /status/x", forbidden, nil, noPanel},
		{"GET /list", allowed + ":80", nil, members},
		{"GET /list", "RADIO.example", nil, members},
		{"GET /list", allowed + ".", nil, unspecified},

		// Requests that name a second resource or override the method.
		{"COPY /status/x", allowed, []string{"Destination: /secret"}, unspecified},
		{"MOVE /status/x", allowed, []string{"Destination: http://radio.example/secret", "Connection: Destination"}, unspecified},
		{"PUT /status/x", allowed, []string{"X-Amz-Copy-Source: /secret"}, unspecified},
		{"PUT /status/x", allowed, []string{"X-Copy-From: /secret"}, unspecified},
		{"PUT /status/x", allowed, []string{"X-Ms-Copy-Source: http://radio.example/secret"}, unspecified},
		{"PUT /status/x", allowed, []string{"X-Goog-Copy-Source: /secret"}, unspecified},
		{"POST /status/x", allowed, []string{"X-HTTP-Method-Override: COPY", "Destination: /secret"}, unspecified},
		{"OPTIONS /list", allowed, nil, members},
		{"PROPFIND /list", allowed, []string{"Depth: 1"}, members},
		{"TRACE /list", allowed, nil, unspecified},
		{"get /list", allowed, nil, unspecified},
		{"GET /list", allowed, []string{"X-HTTP-Method-Override: OPTIONS", "Origin: http://evil.test", "Access-Control-Request-Method: GET"}, members},

		// Upgrades to WebSocket pass.
		{"GET /status/echo", allowed, upgrade("websocket"), everyone},
		{"GET /status/echo", allowed, upgrade("WebSocket"), everyone},
		{"GET /echo", allowed, upgrade("websocket"), members},
		{"GET /echo", forbidden, upgrade("websocket"), noPanel},

		// A client's headers about the request have no effect.
		{"GET /secret", forbidden, []string{"X-Forwarded-Host: radio.example"}, noPanel},
		{"GET /status/x", forbidden, []string{"X-Forwarded-Host: radio.example", "Connection: close, X-Forwarded-Host"}, noPanel},
		{"GET /status/x", forbidden, []string{"X-Original-URL: http://radio.example/status/x", "X-Original-Method: GET"}, noPanel},
		{"GET /list", allowed, []string{"X-Forwarded-Uri: /status/x", "X-Forwarded-Method: OPTIONS"}, members},
		{"GET /list", allowed, []string{"X-Forwarded-For: " + forged, "X-Forwarded-For: " + forged}, unspecified},
		{"GET /list", allowed, []string{"Remote-User: " + forged}, unspecified},
		{"GET /status/x", allowed, []string{"Remote-User: " + forged, "Connection: Remote-User"}, unspecified},
	}
	for _, host := range []string{
		"video.test,radio.example", "radio.example,video.test", "auth.test,video.test", "video.test,auth.test", "auth.test,radio.example",
		"video.test, radio.example", ",video.test", "video.test,", "video.test:80,radio.example:80", "auth.test:80,video.test",
		"video.test.", "VIDEO.TEST", "video.test:1", "elsewhere.test", "radio.example video.test", "radio.example/video.test",
		"radio.example@video.test", "video.test#radio.example", "video.test:radio.example", "video.test;radio.example",
		"radio.example\r\nHost: video.test", "video.test\r\nHost: radio.example", "auth.test\r\nHost: video.test", "",
	} {
		for _, line := range []string{"GET /secret", "GET /status/x", "GET /open/x", "GET /.sallyport/../secret"} {
			all = append(all, probe{line, host, nil, unspecified})
		}
	}
	for _, host := range []string{allowed, forbidden, "auth.test"} {
		for _, target := range []string{"http://video.test/secret", "http://radio.example/list", "http://video.test,radio.example/status/x"} {
			all = append(all, probe{"GET " + target, host, nil, unspecified})
		}
	}
	for _, protocols := range [][]string{
		{"h2c"}, {"h2c, websocket"}, {"websocket, h2c"}, {"TLS/1.0"}, {"tcp"}, {"SPDY/3.1"}, {"HTTP/2.0"}, {"h2c", "websocket"}, {"websocket", "h2c"}, {"websockets"},
	} {
		all = append(all, probe{"GET /status/echo", allowed, upgrade(protocols...), unspecified}, probe{"GET /echo", allowed, upgrade(protocols...), unspecified})
	}
	for names := range slices.Chunk(access.ProxyHeaders(), 30) { // Apache accepts at most 100 headers
		p := probe{"GET /list", allowed, nil, members}
		for _, name := range names {
			p.more = append(p.more, name+": "+forged)
		}
		all = append(all, p)
	}
	for _, alias := range []string{
		"X_Forwarded_For", "x.real.ip", "X_Original_URL", "X-Rewrite_Url", "X_Forwarded_Host", "X.Forwarded.Proto", "Remote_User", "remote.groups",
		"X!Forwarded!For", "True_Client_Ip", "X_Remote_User", "X_Forwarded_User", "x~scheme", "HTTP_X", "Proxy_",
	} {
		value := forged
		if alias == "HTTP_X" { // no header has this alias, so it may reach the panel
			value = "theirs"
		}
		all = append(all, probe{"GET /list", allowed, []string{alias + ": " + value}, unspecified}, probe{"GET /status/x", allowed, []string{alias + ": " + value}, unspecified})
	}
	return all
}

// send sends the probe with a cookie. It fails the test if a panel got a request or header
// that it must not get, or if the client didn't get an answer that it must get. appends
// says that the proxy appends to the client's X-Forwarded-For.
func (p probe) send(t *testing.T, at, cookie string, appends bool) {
	t.Helper()
	what := fmt.Sprintf("%s at host %q with %q, signed in: %v", p.line, p.host, p.more, cookie != "")
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proxies.ProxyStarts))
	text := p.line + " HTTP/1.1\r\nHost: " + p.host + "\r\n"
	if cookie != "" {
		text += "Cookie: " + cookie + "\r\n"
	}
	for _, line := range p.more {
		text += line + "\r\n"
	}
	if !strings.Contains(text, "\r\nConnection:") {
		text += "Connection: close\r\n"
	}
	if _, err := io.WriteString(conn, text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	method, _, _ := strings.Cut(p.line, " ")
	answer, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Errorf("%s: the proxy sends no answer: %v", what, err)
		return
	}
	defer answer.Body.Close()
	must := p.audience == everyone || p.audience == members && cookie != ""
	if answer.StatusCode == http.StatusSwitchingProtocols {
		io.WriteString(conn, "ping")
		echo := make([]byte, 4)
		if _, err := io.ReadFull(reader, echo); string(echo) != "ping" {
			t.Errorf("%s: the WebSocket echoes %q (error %v), want ping", what, echo, err)
		}
		if got := answer.Header.Values("Upgrade"); len(got) != 1 || !strings.EqualFold(got[0], "websocket") || p.audience == noPanel || p.audience == members && !must {
			t.Errorf("%s: the panel accepted an upgrade to %q, want a refusal", what, got)
		}
		return
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("%s: read the answer: %v", what, err)
	}
	var s panels.Seen
	if json.Unmarshal(body, &s); s.Panel == "" {
		if must {
			t.Errorf("%s: status %d, want the panel's answer\n%s", what, answer.StatusCode, body)
		}
		return
	}
	path, _, _ := strings.Cut(s.URI, "?")
	names := s.Header.Values("Remote-User")
	switch {
	case len(names) > 1, len(names) == 1 && names[0] != "" && (names[0] != "eve" || cookie == ""):
		t.Errorf("%s: the panel got Remote-User %q, want at most one: eve with her cookie, else empty", what, names)
	case s.Panel != "radio", p.audience == noPanel, !access.SameHost(s.Host, "radio.example"):
		t.Errorf("%s: panel %s answered for host %s, want radio for radio.example, or no panel", what, s.Panel, s.Host)
	case cookie == "" && (p.audience == members || !strings.HasPrefix(path, "/status/") || strings.Contains(path, "..") || namesSecondResource(s.Header)):
		t.Errorf("%s: the panel answered a stranger's request for %s, want a refusal by the gate", what, s.URI)
	case s.Header.Get("X-Forwarded-Proto") != "http" || !access.SameHost(s.Header.Get("X-Forwarded-Host"), "radio.example"):
		t.Errorf("%s: the panel got the headers %q, want X-Forwarded-Proto http and X-Forwarded-Host radio.example", what, s.Header)
	case strings.Join(s.Header.Values("Upgrade"), "\n") != "":
		t.Errorf("%s: the panel got Upgrade %q, want none", what, s.Header.Values("Upgrade"))
	}
	for name, values := range s.Header {
		// A proxy that trusts the proxy in front of it appends to X-Forwarded-For.
		if strings.Contains(strings.Join(values, "\n"), forged) && !(appends && name == "X-Forwarded-For") {
			t.Errorf("%s: the panel got the client's %s: %q, want it removed", what, name, values)
		}
	}
}

// namesSecondResource reports whether a request names a second path in a header.
func namesSecondResource(h http.Header) bool {
	return slices.ContainsFunc([]string{"Destination", "X-Amz-Copy-Source", "X-Copy-From", "X-Ms-Copy-Source", "X-Goog-Copy-Source"}, func(name string) bool {
		return h.Get(name) != ""
	})
}

// orders holds orders in which an operator may write the sites.
var orders = map[string]proxies.Order{
	"portal, lax, strict": proxies.PortalFirst, "portal, strict, lax": {panels.PortalAt, panels.Video, panels.Radio},
	"lax, strict, portal": {panels.Radio, panels.Video, panels.PortalAt}, "strict, lax, portal": {panels.Video, panels.Radio, panels.PortalAt},
}

// A panel answers a request for a path that isn't open only if the gate admitted exactly
// that request, and no panel gets a client's proxy headers. This holds with every proxy, in
// every order of its sites, and behind another proxy that forwards the client's headers.
func TestProxiesServeOnlyAdmittedRequests(t *testing.T) {
	t.Parallel()
	for name := range proxies.RealProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := panels.StartPanel(t, "radio"), panels.StartPanel(t, "video")
			upstreams := []any{panels.PortalAt, panels.Radio, "", panels.Video, ""}
			if proxies.BeforeGateway[name] {
				upstreams[2], upstreams[4] = "\n    upstream: "+one.URL, "\n    upstream: "+two.URL
			}
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
trusted_proxies: [127.0.0.1]
panels:
  - url: %s%s
    rules:
      - path: /status/
        require: nothing
  - url: %s%s
    require: two_factor
    groups: [ops]
  - url: http://elsewhere.test
    rules:
      - path: /open/
        require: nothing
`, upstreams...)))
			p.AddAccount(t, "eve")
			gate, cookie := p.At, ""
			for order, written := range orders {
				at := proxies.StartProxy(t, gate, one, two, proxies.InOrder(written)[name])
				if cookie == "" {
					p.At = at
					cookie = "sallyport-visit=" + panels.Visit(t, p, "eve", panels.Radio+"/").CookieAt(panels.Radio, "sallyport-visit")
				}
				t.Run(order, func(t *testing.T) { sendAll(t, at, cookie, false) })
			}
			inner := proxies.StartProxy(t, gate, one, two, behindForwardingProxy(name))
			t.Run("behind a forwarding proxy", func(t *testing.T) {
				sendAll(t, proxies.StartListener(t, forwardingProxy(t, inner)), cookie, name == "caddy")
			})
		})
	}
}

// sendAll sends each probe as a stranger and with eve's cookie.
func sendAll(t *testing.T, at, cookie string, appends bool) {
	for _, p := range probes() {
		p.send(t, at, "", appends)
		p.send(t, at, cookie, appends)
	}
}

// forwardingProxy returns the command of a proxy in front of another proxy. It forwards the
// client's headers.
func forwardingProxy(t *testing.T, inner string) func(dir, at string) *exec.Cmd {
	return func(dir, at string) *exec.Cmd {
		testkit.WriteFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 256; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	underscores_in_headers on; ignore_invalid_headers off;
	server { listen %[2]s; location / { proxy_pass http://%[3]s; proxy_http_version 1.1; proxy_set_header Host $http_host;
		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
		proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; } } }
`, dir, at, inner))
		return exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	}
}

// behindForwardingProxy returns a real proxy that trusts the proxy in front of it, if it has
// a setting for that. Caddy 2.6.3 and later have one setting for all sites.
func behindForwardingProxy(name string) proxies.RealProxy {
	return func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		cmd := proxies.InOrder(proxies.Order{panels.PortalAt, panels.Video, panels.Radio})[name](t, dir, at, gate, one, two)
		if name == "caddy" {
			const trust = "trusted_proxies 127.0.0.1/32"
			testkit.EditFile(t, dir, "sallyport.caddy", "uri /verify/caddy\n", "uri /verify/caddy\n\t\t"+trust+"\n")
			for _, upstream := range []string{one, two} {
				testkit.EditFile(t, dir, "Caddyfile", "reverse_proxy "+proxies.HostOf(upstream), "reverse_proxy "+proxies.HostOf(upstream)+" {\n\t\t"+trust+"\n\t}")
			}
		}
		return cmd
	}
}
