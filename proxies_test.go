package sallyport_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// proxyStarts is how long a real proxy may take until it listens.
const proxyStarts = 20 * time.Second

// realProxy returns the command that starts one.
type realProxy func(t *testing.T, dir, at, gate, radio, video string) *exec.Cmd

// beforeGateway are those that serve no panel themselves.
var beforeGateway = map[string]bool{"apache": true}

// realProxies are the proxies that operators run, each with our files of
// deploy/proxy as they stand. The configuration around those is what the
// operator writes: at is where the proxy listens, gate where Sallyport does.
var realProxies = map[string]realProxy{
	"nginx": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		copyInto(t, "deploy/proxy/nginx/sallyport.conf", dir)
		copyInto(t, "deploy/proxy/nginx/sallyport-headers.conf", dir)
		server := func(origin, upstream string) string {
			return fmt.Sprintf(`server { listen %s; server_name %s; include sallyport.conf;
				location / { proxy_pass %s; }
				location /own/ { proxy_pass %s; proxy_set_header X-Own yes; } }
`, at, hostOf(origin), upstream, upstream)
		}
		text := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 256; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
upstream sallyport { server %[2]s; }
%[4]s%[5]sserver { listen %[3]s; server_name auth.test; location / { proxy_pass http://sallyport; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }`, dir, gate, at, server(radio, one), server(video, two))
		writeFile(t, filepath.Join(dir, "nginx.conf"), text)
		return exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	},
	"caddy": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		copyInto(t, "deploy/proxy/sallyport.caddy", dir)
		_, port, _ := net.SplitHostPort(at)
		text := fmt.Sprintf(`{
	admin off
	auto_https off
	http_port %[1]s
	default_bind 127.0.0.1
}
import sallyport.caddy
http://auth.test {
	reverse_proxy %[2]s
}
http://radio.example {
	import sallyport %[2]s
	reverse_proxy %[3]s
}
http://video.test {
	import sallyport %[2]s
	reverse_proxy %[4]s
}
`, port, gate, strings.TrimPrefix(one, "http://"), strings.TrimPrefix(two, "http://"))
		writeFile(t, filepath.Join(dir, "Caddyfile"), text)
		cmd := exec.Command("caddy", "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return cmd
	},
	"haproxy": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		copyInto(t, "deploy/proxy/sallyport.lua", dir)
		text := fmt.Sprintf(`global
    tune.lua.maxmem 64
    lua-load %[1]s/sallyport.lua
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend all
    bind %[2]s
    acl portal hdr(host) -i auth.test
    http-request lua.sallyport %[3]s if !portal !{ path_beg /.sallyport/ }
    use_backend sallyport if portal or { path_beg /.sallyport/ }
    use_backend radio if { req.hdr(host),host_only -i radio.example }
    use_backend video if { req.hdr(host),host_only -i video.test }
backend sallyport
    option forwardfor
    server one %[3]s
backend radio
    server one %[4]s
backend video
    server one %[5]s
`, dir, at, gate, strings.TrimPrefix(one, "http://"), strings.TrimPrefix(two, "http://"))
		writeFile(t, filepath.Join(dir, "haproxy.cfg"), text)
		return exec.Command("haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	},
	"apache": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		copyInto(t, "deploy/proxy/apache.conf", dir)
		text := fmt.Sprintf(`ServerRoot %[1]s
PidFile %[1]s/pid
ErrorLog /dev/stderr
Listen %[2]s
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
Define sallyport %[3]s
`, dir, at, gate)
		for _, origin := range []string{portalAt, radio, video} {
			text += fmt.Sprintf("<VirtualHost *:*>\nServerName %s\nInclude %s/apache.conf\n</VirtualHost>\n", hostOf(origin), dir)
		}
		writeFile(t, filepath.Join(dir, "httpd.conf"), text)
		return exec.Command("apache2", "-DFOREGROUND", "-f", filepath.Join(dir, "httpd.conf"))
	},
}

func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

func copyInto(t *testing.T, file, dir string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, filepath.Base(file)), string(text))
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// behindProxies runs a test behind each real proxy, with both panels behind it.
func behindProxies(t *testing.T, test func(t *testing.T, p *portal.Portal)) {
	t.Helper()
	t.Parallel()
	for name, command := range realProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := startPanel(t, "radio"), startPanel(t, "video")
			upstream := func(s *httptest.Server) string {
				if beforeGateway[name] {
					return "\n    upstream: " + s.URL
				}
				return ""
			}
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+writeConfig(t, fmt.Sprintf(`public_url: %s
trusted_proxies: [127.0.0.1]
panels:
  - url: %s%s
    rules:
      - path: /status/
        require: nothing
      - path: /ops/
        require: session
        groups: [ops]
      - path: /api/
        require: session
        preflight: true
  - url: %s%s
    require: two_factor
  - url: http://elsewhere.test
    rules:
      - path: /open/
        require: nothing
`, portalAt, radio, upstream(one), video, upstream(two))))
			p.At = startProxy(t, p.At, one, two, command)
			test(t, p)
		})
	}
}

// startProxy starts a real proxy in front of two panels, which ends with the test,
// and returns where it listens.
func startProxy(t *testing.T, gate string, one, two *httptest.Server, command realProxy) string {
	t.Helper()
	return startListener(t, func(dir, at string) *exec.Cmd { return command(t, dir, at, gate, one.URL, two.URL) })
}

// startListener starts a program that listens at the address that it is told, and
// ends with the test; it returns the address.
func startListener(t *testing.T, command func(dir, at string) *exec.Cmd) string {
	t.Helper()
	at := testkit.FreeAddress(t)
	dir, err := os.MkdirTemp("", "sallyport-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// A proxy that gives its rights up must still find its folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	startBeside(t, at, command(dir, at))
	return at
}

// startBeside starts another server, which ends with the test, and waits until
// it listens at an address. It returns what it says.
func startBeside(t *testing.T, at string, cmd *exec.Cmd) *portal.Log {
	t.Helper()
	log := &portal.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; the tests need it: make deps", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-done:
		case <-time.After(proxyStarts):
			cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(proxyStarts); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
			return log
		}
		if time.Now().After(end) {
			t.Fatalf("%s doesn't listen: %v\n%s", cmd.Path, err, log.String())
		}
	}
}

func TestRealProxiesAskForTheFactorAndComeBack(t *testing.T) {
	behindProxies(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		enrolled := p.Browser(t)
		enrolled.SignIn("ada")
		phone := enrolled.Enroll("Phone")

		const page = video + "/rack/7?sort=name&x=%2Fa"
		b := visit(t, p, "ada", page)
		b.Post("/login/code", "code", phone.Code(0))
		s := got(t, b.Follow())
		if s.Panel != "video" || s.URI != "/rack/7?sort=name&x=%2Fa" || s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("came back to %q of %s as %q", s.URI, s.Panel, s.Header.Get("Remote-User"))
		}
		// The other panel, one sign-in.
		if s := got(t, navigate(b, radio+"/list")); s.Panel != "radio" || s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("radio saw %+v", s)
		}
		if a := navigate(b, radio+"/ops/"); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "<h1") {
			t.Errorf("a group that ada isn't in: %d\n%s", a.Status, a.Body)
		}
		// A body passes.
		a := b.Do(http.MethodPost, video+"/save", strings.NewReader("a=b"), http.Header{"Content-Type": {"text/plain"}})
		if s := got(t, a); s.Method != http.MethodPost || s.Body != "a=b" {
			t.Errorf("the panel got %s %q", s.Method, s.Body)
		}
		// Signed out at one panel, the other is closed too.
		b.Post(video + "/.sallyport/logout")
		if a := b.Do(http.MethodGet, radio+"/list", nil, nil); a.Status != http.StatusUnauthorized {
			t.Errorf("after the sign-out: %d\n%s", a.Status, a.Body)
		}
	})
}

// ATTACKS 87, 90, 91, 94, 96: what a client writes changes neither what is
// decided about nor who the panel sees.
func TestAttack87And90RealProxies(t *testing.T) {
	behindProxies(t, func(t *testing.T, p *portal.Portal) {
		stranger := p.Browser(t)
		for _, forged := range []http.Header{
			{"X-Forwarded-Uri": {"/status/"}}, {"X-Original-Url": {radio + "/status/"}, "X-Original-Method": {"GET"}},
			{"X-Forwarded-Host": {"radio.example"}, "X-Forwarded-Method": {"OPTIONS"}}, {"X-Rewrite-Url": {"/status/"}},
			{"Forwarded": {"host=radio.example;proto=http"}}, {"X-Forwarded-Prefix": {"/status/"}}, {"X-Http-Method-Override": {"OPTIONS"}},
			{"User-Agent": {"kube-probe/1.30"}}, {"User-Agent": {"GoogleHC/1.0"}},
			{"X_Forwarded_Uri": {"/status/"}}, {"X-Forwarded-Uri": {"/status/", "/status/"}},
			{"Remote-User": {"root1"}}, {"Authorization": {"Bearer x"}},
		} {
			for _, target := range []string{radio + "/admin", video + "/status/"} {
				a := stranger.Do(http.MethodGet, target, nil, forged)
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("%s with %v: %d\n%s", target, forged, a.Status, a.Body)
				}
			}
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PROPFIND", "get", "DELETE", "TRACE"} {
			if a := stranger.Do(method, radio+"/admin", nil, nil); a.Status < 400 {
				t.Errorf("%s: %d", method, a.Status)
			}
		}
		p.AddAccount(t, "bob")
		b := visit(t, p, "bob", radio+"/")
		for _, name := range []string{"Remote-User", "Remote-Groups", "Remote_User", "Remote.Groups", "remote-email"} {
			for _, target := range []string{radio + "/", radio + "/status/x", radio + "/own/"} {
				a := b.Do(http.MethodGet, target, nil, http.Header{name: {"root1"}})
				if strings.Contains(a.Body, "root1") {
					t.Errorf("%s: the panel at %s saw the client's\n%s", name, target, a.Body)
				}
			}
		}
		if s := got(t, navigate(b, radio+"/status/x")); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("on an open path the panel saw %q", s.Header.Get("Remote-User"))
		}
		if s := got(t, stranger.Get(radio+"/status/x")); s.Header.Get("Remote-User") != "" {
			t.Errorf("the panel saw the stranger as %q", s.Header.Get("Remote-User"))
		}
	})
}

// ATTACKS 91: wherever the panel serves something, it was an open path however
// it is read.
func TestAttack91RealProxies(t *testing.T) {
	behindProxies(t, func(t *testing.T, p *portal.Portal) {
		// What is open passes, so what doesn't was kept.
		if status, body := raw(t, p.At, "radio.example", "/status/x"); status != http.StatusOK || !strings.Contains(body, `"URI":"/status/x"`) {
			t.Fatalf("an open path: %d\n%s", status, body)
		}
		for _, path := range []string{
			"/admin/..;/status/", "//admin", "/./admin", "/%61dmin", "/admin%2f", "/status/%2e%2e/admin", "/status/..%2fadmin",
			"/status/%252e%252e/admin", `/status/..\admin`, "/ADMIN", "/admin;x=1", "/admin%00", "/status/%zz", "/status/%c0%af..%c0%afadmin",
			"/status/../admin", "/status//../../admin", "/.sallyport/../admin", "/.sallyport/%2e%2e/admin", "/.SALLYPORT/../admin",
			"/status/..", "/status/../", "/Status/../admin", "/status/.%2e/admin", "/.sallyport-verify", "/verify/nginx", "/verify/caddy",
			"http://radio.example/admin", "http://radio.example/status/../admin", "http://video.test/status/", "*",
		} {
			status, body := raw(t, p.At, "radio.example", path)
			if strings.Contains(body, `"URI"`) {
				t.Errorf("%s reached the panel: %d\n%s", path, status, body)
			}
			if status >= 500 && status != http.StatusHTTPVersionNotSupported {
				t.Logf("%s: %d", path, status) // closed, if rudely
			}
		}
		for _, two := range []string{"http://radio.example/status/", "/status/"} {
			if status, body := raw(t, p.At, "video.test", two); strings.Contains(body, `"Panel":"video"`) {
				t.Errorf("%s of another host: %d\n%s", two, status, body)
			}
		}
	})
}

// A panel that is declared, but that this proxy doesn't serve: its open path must
// not open that of the panel that gets what no other site of the proxy takes.
func TestAttack87HostOfAnotherPanel(t *testing.T) {
	behindProxies(t, func(t *testing.T, p *portal.Portal) {
		for _, host := range []string{"elsewhere.test", "elsewhere.test:80", "ELSEWHERE.test"} {
			if status, body := raw(t, p.At, host, "/open/x"); strings.Contains(body, `"URI"`) {
				t.Errorf("%s opens another panel: %d\n%s", host, status, body)
			}
		}
	})
}

// raw sends a request line as it is written.
func raw(t *testing.T, at, host, target string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proxyStarts))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	answer := make([]byte, 64<<10)
	n := 0
	for n < len(answer) {
		m, err := conn.Read(answer[n:])
		n += m
		if err != nil {
			break
		}
	}
	fmt.Sscanf(string(answer[:n]), "HTTP/1.1 %d", &status)
	if status == 0 {
		t.Errorf("%s: no answer: %q", target, answer[:n])
	}
	return status, string(answer[:n])
}

// ATTACKS 98: a portal that is down, that answers 500 or half an answer leaves
// the panel closed.
func TestAttack98PortalDown(t *testing.T) {
	t.Parallel()
	for name, command := range realProxies {
		if beforeGateway[name] {
			continue // the gateway is the portal
		}
		for fault, answer := range map[string]string{
			"500": "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			// A status that proxies might take for yes, cut off.
			"half": "HTTP/1.1 20", "nothing": "", "garbage": "yes, do let her in\r\n\r\n",
		} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				t.Parallel()
				gate, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { gate.Close() })
				go func() {
					for {
						conn, err := gate.Accept()
						if err != nil {
							return
						}
						conn.Read(make([]byte, 32<<10))
						fmt.Fprint(conn, answer)
						conn.Close()
					}
				}()
				at := startProxy(t, gate.Addr().String(), startPanel(t, "radio"), startPanel(t, "video"), command)
				for range 3 {
					if status, body := raw(t, at, "radio.example", "/admin"); status < 400 || strings.Contains(body, `"Panel"`) {
						t.Errorf("the panel is open: %d\n%s", status, body)
					}
				}
				gate.Close()
				status, body := raw(t, at, "radio.example", "/admin")
				if status < 500 {
					t.Errorf("without a portal: %d\n%s", status, body)
				}
				if name == "nginx" && (status != http.StatusServiceUnavailable || !strings.Contains(body, "Try again in a moment")) {
					t.Errorf("nginx doesn't say what to do: %d\n%s", status, body)
				}
			})
		}
	}
}

// ATTACKS 98: an answer without an end keeps the panel closed and nobody else out.
func TestAttack98PortalWithoutAnEnd(t *testing.T) {
	t.Parallel()
	for name, command := range realProxies {
		if beforeGateway[name] {
			continue // the gateway is the portal
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				for part := make([]byte, 64<<10); ; {
					if _, err := w.Write(part); err != nil {
						return
					}
				}
			}))
			t.Cleanup(portal.Close)
			t.Cleanup(portal.CloseClientConnections) // before, or Close waits for ever
			at := startProxy(t, strings.TrimPrefix(portal.URL, "http://"), startPanel(t, "radio"), startPanel(t, "video"), command)
			for range 5 {
				if status, body := raw(t, at, "radio.example", "/admin"); status < 400 || strings.Contains(body, `"Panel"`) {
					t.Fatalf("the panel is open: %d\n%.200s", status, body)
				}
			}
		})
	}
}

// silence is how long a client listens to a panel whose portal says nothing.
const silence = 2 * time.Second

// ATTACKS 98: a portal that doesn't answer keeps the panel closed, and the proxy
// serves others meanwhile.
func TestAttack98PortalSlow(t *testing.T) {
	t.Parallel()
	for name, command := range realProxies {
		if beforeGateway[name] {
			continue // the gateway is the portal
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate, err := net.Listen("tcp", "127.0.0.1:0") // connects, and that is all
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { gate.Close() })
			at := startProxy(t, gate.Addr().String(), startPanel(t, "radio"), startPanel(t, "video"), command)
			for range 20 { // more than one worker's worth
				conn, err := net.Dial("tcp", at)
				if err != nil {
					t.Fatalf("the proxy takes no more connections: %v", err)
				}
				defer conn.Close()
				fmt.Fprint(conn, "GET /admin HTTP/1.1\r\nHost: radio.example\r\n\r\n")
				conn.SetReadDeadline(time.Now().Add(silence / 20))
				answer := make([]byte, 4<<10)
				if n, _ := conn.Read(answer); strings.Contains(string(answer[:n]), "200 OK") {
					t.Fatalf("the panel is open: %s", answer[:n])
				}
			}
			// What nobody asks the portal about still works.
			if status, _ := raw(t, at, "radio.example", "/a b c"); status != http.StatusBadRequest {
				t.Errorf("a request line that isn't one: %d", status)
			}
		})
	}
}
