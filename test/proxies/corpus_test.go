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

// audience is who must get what a request asks for.
type audience int

const (
	unsaid    audience = iota // anybody or nobody, as long as the gate admitted the request
	noPanel                   // no panel sees the request
	members                   // who is signed in, and no stranger
	everybody                 // strangers too
)

// probe is one request, as a client writes it.
type probe struct {
	line string // method and target
	host string
	more []string // further header lines
	whom audience
}

// forged stands in every header that a client mustn't tell a panel.
const forged = "forged.invalid"

// upgrade asks to speak another protocol.
func upgrade(protocols ...string) []string {
	lines := []string{"Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, p := range protocols {
		lines = append(lines, "Upgrade: "+p)
	}
	return lines
}

// probes are sent through every proxy, by a stranger and by eve, who has a visit of panel
// radio. She may open radio, whose /status/ is open to everybody, and nothing of video.
func probes() []probe {
	const ours, theirs = "radio.example", "video.test"
	all := []probe{
		{"GET /list", ours, nil, members},
		{"GET /status/x", ours, nil, everybody},
		{"GET /secret", theirs, nil, noPanel},
		{"GET /status/x", theirs, nil, noPanel},
		{"GET /list", ours + ":80", nil, members},
		{"GET /list", "RADIO.example", nil, members},
		{"GET /list", ours + ".", nil, unsaid},

		// What names a second resource, or another method.
		{"COPY /status/x", ours, []string{"Destination: /secret"}, unsaid},
		{"MOVE /status/x", ours, []string{"Destination: http://radio.example/secret", "Connection: Destination"}, unsaid},
		{"PUT /status/x", ours, []string{"X-Amz-Copy-Source: /secret"}, unsaid},
		{"PUT /status/x", ours, []string{"X-Copy-From: /secret"}, unsaid},
		{"PUT /status/x", ours, []string{"X-Ms-Copy-Source: http://radio.example/secret"}, unsaid},
		{"PUT /status/x", ours, []string{"X-Goog-Copy-Source: /secret"}, unsaid},
		{"POST /status/x", ours, []string{"X-HTTP-Method-Override: COPY", "Destination: /secret"}, unsaid},
		{"OPTIONS /list", ours, nil, members},
		{"PROPFIND /list", ours, []string{"Depth: 1"}, members},
		{"TRACE /list", ours, nil, unsaid},
		{"get /list", ours, nil, unsaid},
		{"GET /list", ours, []string{"X-HTTP-Method-Override: OPTIONS", "Origin: http://evil.test", "Access-Control-Request-Method: GET"}, members},

		// Only WebSockets pass, and real ones do.
		{"GET /status/echo", ours, upgrade("websocket"), everybody},
		{"GET /status/echo", ours, upgrade("WebSocket"), everybody},
		{"GET /echo", ours, upgrade("websocket"), members},
		{"GET /echo", theirs, upgrade("websocket"), noPanel},

		// What a client says about the request changes nothing.
		{"GET /secret", theirs, []string{"X-Forwarded-Host: radio.example"}, noPanel},
		{"GET /status/x", theirs, []string{"X-Forwarded-Host: radio.example", "Connection: close, X-Forwarded-Host"}, noPanel},
		{"GET /status/x", theirs, []string{"X-Original-URL: http://radio.example/status/x", "X-Original-Method: GET"}, noPanel},
		{"GET /list", ours, []string{"X-Forwarded-Uri: /status/x", "X-Forwarded-Method: OPTIONS"}, members},
		{"GET /list", ours, []string{"X-Forwarded-For: " + forged, "X-Forwarded-For: " + forged}, unsaid},
		{"GET /list", ours, []string{"Remote-User: " + forged}, unsaid},
		{"GET /status/x", ours, []string{"Remote-User: " + forged, "Connection: Remote-User"}, unsaid},
	}
	for _, host := range []string{
		"video.test,radio.example", "radio.example,video.test", "auth.test,video.test", "video.test,auth.test", "auth.test,radio.example",
		"video.test, radio.example", ",video.test", "video.test,", "video.test:80,radio.example:80", "auth.test:80,video.test",
		"video.test.", "VIDEO.TEST", "video.test:1", "elsewhere.test", "radio.example video.test", "radio.example/video.test",
		"radio.example@video.test", "video.test#radio.example", "video.test:radio.example", "video.test;radio.example",
		"radio.example\r\nHost: video.test", "video.test\r\nHost: radio.example", "auth.test\r\nHost: video.test", "",
	} {
		for _, line := range []string{"GET /secret", "GET /status/x", "GET /open/x", "GET /.sallyport/../secret"} {
			all = append(all, probe{line, host, nil, unsaid})
		}
	}
	for _, host := range []string{ours, theirs, "auth.test"} {
		for _, target := range []string{"http://video.test/secret", "http://radio.example/list", "http://video.test,radio.example/status/x"} {
			all = append(all, probe{"GET " + target, host, nil, unsaid})
		}
	}
	for _, protocols := range [][]string{
		{"h2c"}, {"h2c, websocket"}, {"websocket, h2c"}, {"TLS/1.0"}, {"tcp"}, {"SPDY/3.1"}, {"HTTP/2.0"}, {"h2c", "websocket"}, {"websocket", "h2c"}, {"websockets"},
	} {
		all = append(all, probe{"GET /status/echo", ours, upgrade(protocols...), unsaid}, probe{"GET /echo", ours, upgrade(protocols...), unsaid})
	}
	for names := range slices.Chunk(access.ProxyHeaders(), 30) { // Apache takes 100 headers
		p := probe{"GET /list", ours, nil, members}
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
		if alias == "HTTP_X" { // is nobody's alias
			value = "theirs"
		}
		all = append(all, probe{"GET /list", ours, []string{alias + ": " + value}, unsaid}, probe{"GET /status/x", ours, []string{alias + ": " + value}, unsaid})
	}
	return all
}

// send sends the probe with a cookie, and fails the test where a panel got what it must
// not get, or a client didn't get what it must.
func (p probe) send(t *testing.T, at, cookie string, appends bool) {
	t.Helper()
	what := fmt.Sprintf("%s of %q with %q, signed in: %v", p.line, p.host, p.more, cookie != "")
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
		t.Errorf("%s: no answer: %v", what, err)
		return
	}
	defer answer.Body.Close()
	must := p.whom == everybody || p.whom == members && cookie != ""
	if answer.StatusCode == http.StatusSwitchingProtocols {
		io.WriteString(conn, "ping")
		heard := make([]byte, 4)
		if _, err := io.ReadFull(reader, heard); string(heard) != "ping" {
			t.Errorf("%s: the tunnel says %q: %v", what, heard, err)
		}
		if got := answer.Header.Values("Upgrade"); len(got) != 1 || !strings.EqualFold(got[0], "websocket") || p.whom == noPanel || p.whom == members && !must {
			t.Errorf("%s: an upgrade to %q passed", what, got)
		}
		return
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	var s panels.Seen
	if json.Unmarshal(body, &s); s.Panel == "" {
		if must {
			t.Errorf("%s: %d\n%s", what, answer.StatusCode, body)
		}
		return
	}
	path, _, _ := strings.Cut(s.URI, "?")
	who := s.Header.Values("Remote-User")
	switch {
	case len(who) > 1, len(who) == 1 && who[0] != "" && (who[0] != "eve" || cookie == ""):
		t.Errorf("%s: the panel saw %q", what, who)
	case s.Panel != "radio", p.whom == noPanel, !access.SameHost(s.Host, "radio.example"):
		t.Errorf("%s: panel %s served it for host %s", what, s.Panel, s.Host)
	case cookie == "" && (p.whom == members || !strings.HasPrefix(path, "/status/") || strings.Contains(path, "..") || namesAnother(s.Header)):
		t.Errorf("%s: the panel served a stranger %s", what, s.URI)
	case s.Header.Get("X-Forwarded-Proto") != "http" || !access.SameHost(s.Header.Get("X-Forwarded-Host"), "radio.example"):
		t.Errorf("%s: the panel was told %q", what, s.Header)
	case strings.Join(s.Header.Values("Upgrade"), "\n") != "":
		t.Errorf("%s: the panel saw Upgrade %q", what, s.Header.Values("Upgrade"))
	}
	for name, values := range s.Header {
		// Proxies that trust the one before them append to these.
		if strings.Contains(strings.Join(values, "\n"), forged) && !(appends && name == "X-Forwarded-For") {
			t.Errorf("%s: the panel saw %s: %q", what, name, values)
		}
	}
}

func namesAnother(h http.Header) bool {
	return slices.ContainsFunc([]string{"Destination", "X-Amz-Copy-Source", "X-Copy-From", "X-Ms-Copy-Source", "X-Goog-Copy-Source"}, func(name string) bool {
		return h.Get(name) != ""
	})
}

// orders are those in which an operator may write the sites.
var orders = map[string]proxies.Order{
	"portal, lax, strict": proxies.PortalFirst, "portal, strict, lax": {panels.PortalAt, panels.Video, panels.Radio},
	"lax, strict, portal": {panels.Radio, panels.Video, panels.PortalAt}, "strict, lax, portal": {panels.Video, panels.Radio, panels.PortalAt},
}

// Wherever a panel served what isn't open, the gate admitted exactly that request, and no
// panel saw a client's word about itself: through every proxy, in every order of its sites,
// and behind another proxy that passes on what a client wrote.
func TestProxiesServeOnlyWhatWasAdmitted(t *testing.T) {
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
			for how, written := range orders {
				at := proxies.StartProxy(t, gate, one, two, proxies.InOrder(written)[name])
				if cookie == "" {
					p.At = at
					cookie = "sallyport-visit=" + panels.Visit(t, p, "eve", panels.Radio+"/").CookieAt(panels.Radio, "sallyport-visit")
				}
				t.Run(how, func(t *testing.T) { sendAll(t, at, cookie, false) })
			}
			inner := proxies.StartProxy(t, gate, one, two, behindAnother(name))
			t.Run("behind another", func(t *testing.T) {
				sendAll(t, proxies.StartListener(t, passesAllOn(t, inner)), cookie, name == "caddy")
			})
		})
	}
}

func sendAll(t *testing.T, at, cookie string, appends bool) {
	for _, p := range probes() {
		p.send(t, at, "", appends)
		p.send(t, at, cookie, appends)
	}
}

// passesAllOn is a proxy that stands before another, and tells it what the client wrote.
func passesAllOn(t *testing.T, inner string) func(dir, at string) *exec.Cmd {
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

// behindAnother is a real proxy that trusts the proxy before it, where it has a word for
// that. Caddy from 2.6.3 on has it for all sites at once.
func behindAnother(name string) proxies.RealProxy {
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
