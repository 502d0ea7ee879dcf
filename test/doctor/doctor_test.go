package doctor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// overTLS returns a real proxy as operators run it: it serves https, and redirects to it at
// the address plain. It edits the files that RealProxies writes for plain http.
func overTLS(name, plain string) proxies.RealProxy {
	return func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		cmd := proxies.RealProxies[name](t, dir, at, gate, one, two)
		certificates(t, dir)
		switch name {
		case "nginx":
			testkit.EditFile(t, dir, "nginx.conf", "listen "+at+";", fmt.Sprintf("listen %s ssl; ssl_certificate %[2]s/cert.pem; ssl_certificate_key %[2]s/key.pem;", at, dir))
			testkit.EditFile(t, dir, "nginx.conf", "upstream sallyport", fmt.Sprintf("server { listen %s default_server; return 301 https://$host$request_uri; }\nserver { listen %s ssl default_server; ssl_reject_handshake on; }\nupstream sallyport", plain, at))
		case "caddy":
			_, port, _ := net.SplitHostPort(at)
			_, plainPort, _ := net.SplitHostPort(plain)
			testkit.EditFile(t, dir, "Caddyfile", "auto_https off", "auto_https disable_redirects\n\thttps_port "+port)
			testkit.EditFile(t, dir, "Caddyfile", "http_port "+port, "http_port "+plainPort)
			for _, host := range []string{"auth.test", "radio.example", "video.test"} {
				testkit.EditFile(t, dir, "Caddyfile", "http://"+host+" {", fmt.Sprintf("https://%s {\n\ttls %[2]s/cert.pem %[2]s/key.pem", host, dir))
			}
			testkit.EditFile(t, dir, "Caddyfile", "import sallyport.caddy\n", "import sallyport.caddy\nhttp:// {\n\tredir https://{host}{uri}\n}\n")
		case "haproxy":
			testkit.EditFile(t, dir, "haproxy.cfg", "bind "+at, fmt.Sprintf("bind %s ssl crt %s/both.pem\n    bind %s\n    http-request redirect scheme https unless { ssl_fc }", at, dir, plain))
		case "apache":
			testkit.EditFile(t, dir, "httpd.conf", "Listen "+at+"\n", "Listen "+at+"\nListen "+plain+"\n"+apacheModules)
			testkit.EditFile(t, dir, "httpd.conf", "<VirtualHost *:*>", "<VirtualHost "+at+">\nSSLEngine on")
			for _, host := range []string{"auth.test", "radio.example", "video.test"} {
				testkit.EditFile(t, dir, "httpd.conf", "ServerName "+host+"\n", fmt.Sprintf("ServerName %s\nSSLCertificateFile %[2]s/cert.pem\nSSLCertificateKeyFile %[2]s/key.pem\n", host, dir))
			}
			testkit.EditFile(t, dir, "httpd.conf", "Define sallyport "+gate+"\n", "Define sallyport "+gate+"\n<VirtualHost "+plain+">\nRedirect permanent / https://auth.test/\n</VirtualHost>\n")
		}
		return cmd
	}
}

// apacheModules loads the modules that Apache needs for the configuration around
// deploy/proxy/apache.conf.
const apacheModules = `LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
`

// certificates writes cert.pem and key.pem for all hosts, both.pem with the two, and a
// certificate and key for each fault: expired, early (not valid yet) and others (for another
// name). The certificates are self-signed; ca.pem contains them all.
func certificates(t *testing.T, dir string) {
	t.Helper()
	hosts := []string{"auth.test", "radio.example", "video.test"}
	now := time.Now()
	const day = 24 * time.Hour
	cert, key := certificate(t, hosts, now.Add(-time.Hour), now.Add(90*day))
	files := map[string]string{"cert.pem": cert, "key.pem": key, "both.pem": cert + key, "ca.pem": cert}
	for name, make := range map[string]func() (cert, key string){
		"expired": func() (string, string) { return certificate(t, hosts, now.Add(-90*day), now.Add(-day)) },
		"early":   func() (string, string) { return certificate(t, hosts, now.Add(day), now.Add(90*day)) },
		"others": func() (string, string) {
			return certificate(t, []string{"other.test"}, now.Add(-time.Hour), now.Add(90*day))
		},
	} {
		files[name+".pem"], files[name+".key"] = make()
		files["ca.pem"] += files[name+".pem"]
	}
	for name, text := range files {
		testkit.WriteFile(t, filepath.Join(dir, name), text)
	}
}

// certificate returns a self-signed certificate and its key, in PEM.
func certificate(t *testing.T, hosts []string, from, until time.Time) (cert, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "doctor's test of " + hosts[0] + from.String()}, NotBefore: from, NotAfter: until,
		DNSNames: hosts, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// diagnosis is what doctor --json prints.
type diagnosis struct {
	Bad      bool
	Asked    int
	Proxies  []struct{ At, Name string }
	Findings []struct {
		ID, Severity, At, Says string
		Seen                   []struct{ Asked, Got string }
		Fixes                  []struct {
			For, Where string
			Lines      []string
		}
	}
	Skipped []struct{ What, Why string }
}

// ids returns each finding's ID and place, sorted.
func (d diagnosis) ids() []string {
	ids := []string{}
	for _, f := range d.Findings {
		ids = append(ids, f.ID+" "+f.At)
	}
	slices.Sort(ids)
	return ids
}

// runDoctor runs the doctor command and returns its exit code and findings.
func runDoctor(t *testing.T, environ []string, args ...string) (int, diagnosis) {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(append([]string{"doctor", "--json"}, args...), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, environ)
	var d diagnosis
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("doctor ends with exit code %d and doesn't print JSON: %v\n%s%s", code, err, out.String(), errs.String())
	}
	if d.Bad != (code == 1) || code > 1 {
		t.Errorf("doctor ends with exit code %d, and its JSON has bad = %v; want 1 with true or 0 with false\n%s", code, d.Bad, errs.String())
	}
	return code, d
}

// site is a set-up to run doctor on: a portal, two panels and a proxy with TLS.
type site struct {
	portal    *portal.Portal
	dir       string // the proxy's directory
	at, plain string // the proxy's addresses for https and http
	args      []string
	environ   []string
}

// startTitledPanel starts a panel with few pages, whose titles name the panel. Below
// /status/ it accepts an upgrade to every protocol but WebSocket.
func startTitledPanel(t *testing.T, title string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if up := r.Header.Get("Upgrade"); up != "" && up != "websocket" && strings.HasPrefix(r.URL.Path, "/status/") {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", up)
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/events" {
			panels.ServeEvents(w, r)
			return
		}
		if r.URL.Path != "/" && r.URL.Path != "/socket" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprintf(w, "<title>%s</title>\n%s %s", title, r.Method, r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s
}

// siteConfig is Sallyport's configuration where the proxy serves both panels.
const siteConfig = `public_url: https://auth.test
trusted_proxies: [127.0.0.1]
panels:
  - url: https://radio.example
    rules:
      - path: /status/
        require: nothing
      - path: /api/
        require: session
        preflight: true
  - url: https://video.test
    require: two_factor
`

// gatewayConfig is Sallyport's configuration where its gateway serves both panels.
const gatewayConfig = `public_url: https://auth.test
trusted_proxies: [127.0.0.1]
panels:
  - url: https://radio.example
    upstream: ONE
  - url: https://video.test
    upstream: TWO
    require: two_factor
`

// withPorts adds PORT, which startSite replaces by the proxy's port, to each host of a
// configuration.
func withPorts(text string) string {
	for _, host := range []string{"auth.test", "radio.example", "video.test"} {
		text = strings.ReplaceAll(text, "//"+host, "//"+host+":PORT")
	}
	return text
}

// startSite starts a site behind a proxy after applying changes to the proxy's files. In the
// configuration text, ONE and TWO stand for the panels' servers and PORT for the proxy's
// port.
func startSite(t *testing.T, name, text string, changes ...change) *site {
	t.Helper()
	one, two := startTitledPanel(t, "Radio"), startTitledPanel(t, "Video")
	s := &site{at: testkit.FreeAddress(t), plain: testkit.FreeAddress(t)}
	config := panels.WriteConfig(t, strings.NewReplacer("ONE", one.URL, "TWO", two.URL, "PORT", port(s.at)).Replace(text))
	s.portal = portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+config)
	if err := os.Chmod(s.portal.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	proxies.StartListenerAt(t, s.at, func(dir, at string) *exec.Cmd {
		cmd := overTLS(name, s.plain)(t, dir, at, s.portal.At, one.URL, two.URL)
		s.dir = dir
		fill := strings.NewReplacer("ONE", proxies.HostOf(one.URL), "TWO", proxies.HostOf(two.URL), "GATE", s.portal.At, "AT", at, "PLAIN", s.plain, "DIR", dir)
		for _, c := range changes {
			testkit.EditFile(t, dir, c.file, fill.Replace(c.old), fill.Replace(c.new))
		}
		return cmd
	})
	s.args = []string{"--ca", filepath.Join(s.dir, "ca.pem"), "--connect-to", ":443:" + s.at, "--connect-to", ":80:" + s.plain}
	if strings.Contains(text, "PORT") {
		for _, host := range []string{"auth.test", "radio.example", "video.test"} {
			s.args = append(s.args, "--connect-to", host+"::127.0.0.1:")
		}
	}
	s.args = append(s.args, "--upstream", "radio.example="+one.URL, "--upstream", "video.test="+two.URL)
	s.environ = []string{"SALLYPORT_CONFIG=" + config, "SALLYPORT_LISTEN=" + s.portal.At, "SALLYPORT_DATA_DIR=" + s.portal.Dir}
	return s
}

// maxRequests limits the requests that doctor may send for two panels, since each adds lines to the
// operator's logs.
const maxRequests = 450

var tlsProxies = []string{"nginx", "caddy", "haproxy", "apache"}

// With the shipped files and the configuration that docs/proxies.md shows around them, doctor has
// no findings.
func TestDoctorFindsNothingBehindTheShippedFiles(t *testing.T) {
	t.Parallel()
	for _, name := range tlsProxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, name, configOf(name))
			_, d := runDoctor(t, s.environ, s.args...)
			t.Logf("doctor sent %d requests", d.Asked)
			if len(d.Findings) > 0 || len(d.Skipped) > 0 {
				t.Errorf("doctor finds %+v and skips %+v, want neither", d.Findings, d.Skipped)
			}
			if d.Asked > maxRequests {
				t.Errorf("doctor sent %d requests, want at most %d", d.Asked, maxRequests)
			}
			for _, p := range d.Proxies {
				if p.Name != name {
					t.Errorf("doctor recognizes the proxy at %s as %s, want %s", p.At, p.Name, name)
				}
			}
			if len(d.Proxies) != 3 {
				t.Errorf("doctor recognizes the proxies %+v, want three", d.Proxies)
			}
		})
	}
	t.Run("nginx with a panel's site as default", func(t *testing.T) { // its site includes the gate
		t.Parallel()
		s := startSite(t, "nginx", siteConfig,
			change{"nginx.conf", rejectSite, ""}, change{"nginx.conf", "listen AT ssl; " + ownCertificate + " server_name radio.example", "listen AT ssl default_server; " + ownCertificate + " server_name radio.example"})
		_, d := runDoctor(t, s.environ, s.args...)
		wantIDs(t, d)
	})
}

// lines returns the lines that doctor prints to fix a set-up, with the ports, files and
// names of this test.
func (d diagnosis) lines(b brokenSetup) string {
	for _, f := range d.Findings {
		if f.ID == b.lines && len(f.Fixes) == 1 && f.Fixes[0].For == b.proxy && slices.Contains(b.ids, f.ID+" "+f.At) {
			panel, _, _ := strings.Cut(proxies.HostOf(f.At), ".")
			return strings.NewReplacer(
				"listen 80", "listen PLAIN", "listen 443", "listen AT", "*:443>", "AT>", "use_backend panel ", "use_backend "+panel+" ",
				"/etc/letsencrypt/live/"+proxies.HostOf(f.At)+"/fullchain.pem", "DIR/cert.pem", "/etc/letsencrypt/live/"+proxies.HostOf(f.At)+"/privkey.pem", "DIR/key.pem",
				"/etc/apache2/sallyport.conf", "DIR/apache.conf", "bind :443", "bind AT", "/etc/haproxy/certs/", "DIR/both.pem",
			).Replace(strings.Join(f.Fixes[0].Lines, "\n"))
		}
	}
	return "no lines for " + b.lines
}
