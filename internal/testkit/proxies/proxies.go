package proxies

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// ProxyStarts limits how long a real proxy may take until it listens.
const ProxyStarts = 20 * time.Second

// RealProxy writes a proxy's configuration to dir and returns the command that starts it.
// The proxy must listen at the address "at"; gate is Sallyport's address, and radio and video
// are the origins at which the two panels listen.
type RealProxy func(t *testing.T, dir, at, gate, radio, video string) *exec.Cmd

// BeforeGateway is a set of proxies, by name: those that stand in front of the gateway and serve
// no panel themselves.
var BeforeGateway = map[string]bool{"apache": true}

// ProxySite is a host that a proxy serves. An empty Upstream stands for the portal.
type ProxySite struct{ Origin, Upstream string }

// Order has the origins of the portal and of both panels, in the order in which an operator wrote
// their sites.
type Order []string

// PortalFirst is the order that the documents show.
var PortalFirst = Order{panels.PortalAt, panels.Radio, panels.Video}

func (o Order) sites(one, two string) []ProxySite {
	upstreams := map[string]string{panels.Radio: one, panels.Video: two}
	var all []ProxySite
	for _, origin := range o {
		all = append(all, ProxySite{origin, upstreams[origin]})
	}
	return all
}

// RealProxies maps names to the proxies that operators run. Each one uses its unchanged file from
// deploy/proxy.
var RealProxies = InOrder(PortalFirst)

// InOrder returns [RealProxies] with their sites in the order written. The configuration around
// the files from deploy/proxy is what an operator would write.
func InOrder(written Order) map[string]RealProxy {
	return map[string]RealProxy{
		"nginx": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
			return NginxCommand(t, dir, at, gate, written.sites(one, two))
		},
		"caddy": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
			return caddyCommand(t, dir, at, gate, written.sites(one, two))
		},
		"haproxy": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
			return haproxyCommand(t, dir, at, gate, written.sites(one, two))
		},
		"apache": func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
			return apacheCommand(t, dir, at, gate, written.sites(one, two))
		},
	}
}

// NginxCommand returns the command that starts nginx with these sites.
func NginxCommand(t *testing.T, dir, at, gate string, sites []ProxySite) *exec.Cmd {
	for _, file := range []string{"sallyport.conf", "sallyport-headers.conf", "sallyport-maps.conf"} {
		testkit.CopyInto(t, testkit.Path("deploy/proxy/nginx/"+file), dir)
	}
	text := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; worker_processes 1;
events { worker_connections 256; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
include sallyport-maps.conf;
upstream sallyport { server %[2]s; }
`, dir, gate)
	for _, s := range sites {
		if s.Upstream == "" {
			text += fmt.Sprintf("server { listen %s; server_name %s; location / { proxy_pass http://sallyport; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }\n", at, HostOf(s.Origin))
			continue
		}
		text += fmt.Sprintf(`server { listen %s; server_name %s; include sallyport.conf;
	location / { proxy_pass %[3]s; }
	location /own/ { proxy_pass %[3]s; proxy_set_header X-Own yes; } }
`, at, HostOf(s.Origin), s.Upstream)
	}
	testkit.WriteFile(t, filepath.Join(dir, "nginx.conf"), text+"}\n")
	return exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
}

func caddyCommand(t *testing.T, dir, at, gate string, sites []ProxySite) *exec.Cmd {
	testkit.CopyInto(t, testkit.Path("deploy/proxy/sallyport.caddy"), dir)
	_, port, _ := net.SplitHostPort(at)
	text := fmt.Sprintf(`{
	admin off
	auto_https off
	http_port %s
	default_bind 127.0.0.1
}
import sallyport.caddy
`, port)
	for _, s := range sites {
		if s.Upstream == "" {
			text += fmt.Sprintf("%s {\n\treverse_proxy %s\n}\n", s.Origin, gate)
			continue
		}
		text += fmt.Sprintf("%s {\n\timport sallyport %s\n\treverse_proxy %s\n}\n", s.Origin, gate, HostOf(s.Upstream))
	}
	testkit.WriteFile(t, filepath.Join(dir, "Caddyfile"), text)
	cmd := exec.Command("caddy", "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return cmd
}

func haproxyCommand(t *testing.T, dir, at, gate string, sites []ProxySite) *exec.Cmd {
	testkit.CopyInto(t, testkit.Path("deploy/proxy/sallyport.lua"), dir)
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
    http-request deny deny_status 400 if { req.fhdr(host) -m sub , }
    acl portal req.fhdr(host),host_only -i auth.test
    http-request lua.sallyport %[3]s if !portal !{ path_beg /.sallyport/ }
`, dir, at, gate)
	backends := "backend sallyport\n    option forwardfor\n    server one " + gate + "\n"
	for _, s := range sites {
		name, _, _ := strings.Cut(HostOf(s.Origin), ".")
		if s.Upstream == "" {
			text += "    use_backend sallyport if portal or { path_beg /.sallyport/ }\n"
			continue
		}
		text += fmt.Sprintf("    use_backend %s if { req.fhdr(host),host_only -i %s } !{ path_beg /.sallyport/ }\n", name, HostOf(s.Origin))
		backends += fmt.Sprintf(`backend %s
    option http-server-close
    http-response replace-value Clear-Site-Data '^"(cookies|\*)"$' '"cache"'
    http-response replace-value Cache-Control '(?i)^(public|s-maxage *=.*)$' private
    server one %s
`, name, HostOf(s.Upstream))
	}
	testkit.WriteFile(t, filepath.Join(dir, "haproxy.cfg"), text+backends)
	return exec.Command("haproxy", "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
}

func apacheCommand(t *testing.T, dir, at, gate string, sites []ProxySite) *exec.Cmd {
	testkit.CopyInto(t, testkit.Path("deploy/proxy/apache.conf"), dir)
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
	for _, s := range sites {
		text += fmt.Sprintf("<VirtualHost *:*>\nServerName %s\nInclude %s/apache.conf\n</VirtualHost>\n", HostOf(s.Origin), dir)
	}
	testkit.WriteFile(t, filepath.Join(dir, "httpd.conf"), text)
	return exec.Command("apache2", "-DFOREGROUND", "-f", filepath.Join(dir, "httpd.conf"))
}

// HostOf returns the host of an origin.
func HostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// BehindProxies runs a test once for each real proxy, with the proxy in front of both panels.
func BehindProxies(t *testing.T, test func(t *testing.T, p *portal.Portal)) {
	t.Helper()
	t.Parallel()
	for name, command := range RealProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := panels.StartPanel(t, "radio"), panels.StartPanel(t, "video")
			upstream := func(s *httptest.Server) string {
				if BeforeGateway[name] {
					return "\n    upstream: " + s.URL
				}
				return ""
			}
			p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
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
`, panels.PortalAt, panels.Radio, upstream(one), panels.Video, upstream(two))))
			p.At = StartProxy(t, p.At, one, two, command)
			test(t, p)
		})
	}
}

// StartProxy starts a real proxy in front of the panels one and two, and returns the proxy's
// address. The proxy stops at the end of the test.
func StartProxy(t *testing.T, gate string, one, two *httptest.Server, command RealProxy) string {
	t.Helper()
	return StartListener(t, func(dir, at string) *exec.Cmd { return command(t, dir, at, gate, one.URL, two.URL) })
}

// StartListener starts a program that listens at a free address, and returns the address.
// The program stops at the end of the test.
func StartListener(t *testing.T, command func(dir, at string) *exec.Cmd) string {
	t.Helper()
	at := testkit.FreeAddress(t)
	StartListenerAt(t, at, command)
	return at
}

// StartListenerAt is like [StartListener] but the caller chooses the address.
func StartListenerAt(t *testing.T, at string, command func(dir, at string) *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sallyport-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// A proxy that gives up root's privileges must still be able to read its directory.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	StartServer(t, at, command(dir, at))
}

// StartServer starts a server, waits until it listens at an address, and returns its log.
// The server stops at the end of the test.
func StartServer(t *testing.T, at string, cmd *exec.Cmd) *portal.Log {
	t.Helper()
	log := &portal.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; the tests need it: make deps", err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // not SIGINT, which background jobs of a shell ignore
		select {
		case <-done:
		case <-time.After(ProxyStarts):
			cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(ProxyStarts); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
			return log
		}
		ended := false
		select {
		case <-done:
			ended = true
		default:
		}
		if ended || time.Now().After(end) {
			t.Fatalf("%s doesn't listen: %v\n%s", cmd.Path, err, log.String())
		}
	}
}
