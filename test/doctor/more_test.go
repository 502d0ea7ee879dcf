package doctor

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// wantIDs fails the test unless doctor found exactly ids, in any order.
func wantIDs(t *testing.T, d diagnosis, ids ...string) {
	t.Helper()
	slices.Sort(ids)
	if diff := cmp.Diff(append([]string{}, ids...), d.ids()); diff != "" {
		t.Fatalf("findings (-want +got):\n%s\n%+v", diff, d.Findings)
	}
}

// unservedPanel declares a panel with an open path that no site of the proxy serves.
const unservedPanel = `  - url: https://lone.test
    rules:
      - path: /open/
        require: nothing
`

// The default site of the proxy is another panel. A request for the unserved panel's open
// path reaches that panel.
func TestDoctorFindsAPanelAtTheHostOfAnother(t *testing.T) {
	t.Parallel()
	aside := []string{"--connect-to", "lone.test::127.0.0.9:1"} // no server listens there
	s := startSite(t, "haproxy", siteConfig+unservedPanel)
	_, d := runDoctor(t, s.environ, append(aside, s.args...)...)
	wantIDs(t, d, "dns.wrong https://lone.test")
	s = startSite(t, "haproxy", siteConfig+unservedPanel, change{"haproxy.cfg", gateLine, gateLine + "\n    default_backend radio"})
	_, d = runDoctor(t, s.environ, append(aside, s.args...)...)
	wantIDs(t, d, "dns.wrong https://lone.test", "host.other"+atRadio)
}

// Doctor can't decide whether a default site is a panel unless --upstream names the panel's
// own server.
func TestDoctorReportsWhatItCannotDecide(t *testing.T) {
	t.Parallel()
	s := startSite(t, "nginx", siteConfig, change{"nginx.conf", rejectSite, defaultSite + "ONE; } }"})
	code, d := runDoctor(t, s.environ, s.args[:6]...) // without --upstream
	wantIDs(t, d, "host.unknown"+atRadio, "host.unknown"+atVideo)
	if len(d.Skipped) != 2 || !strings.Contains(d.Skipped[0].Why, "--upstream") || code != 1 {
		t.Errorf("exit code %d, skipped %+v; want 1 and two checks that need --upstream", code, d.Skipped)
	}
}

// The proxy's default site isn't a panel. Doctor sees that with --upstream, and can't decide without
// --upstream.
func TestDoctorDistinguishesADefaultSiteFromThePanel(t *testing.T) {
	t.Parallel()
	aside := []string{"--connect-to", "lone.test::127.0.0.9:1"} // no server listens there
	s := startSite(t, "caddy", siteConfig+unservedPanel, change{"Caddyfile", "https://video.test {", "https:// {\n\ttls DIR/cert.pem DIR/key.pem\n\trespond <title>Welcome</title>\n}\nhttps://video.test {"})
	_, d := runDoctor(t, s.environ, append(aside, s.args...)...)
	wantIDs(t, d, "host.unreachable https://lone.test")
	_, d = runDoctor(t, s.environ, append(aside, s.args[:6]...)...)
	wantIDs(t, d, "host.unreachable https://lone.test", "host.unknown"+atRadio, "host.unknown"+atVideo)
}

// DNS leads a name to an address where no server or another one listens. Doctor finds the right
// address, which is that of another name or of this machine. It sends at most four requests to the
// wrong one: two to recognise a proxy, and two for the finding.
func TestDoctorFindsANameWithAWrongAddress(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		fmt.Fprint(w, "<title>Welcome to another site</title>")
	}))
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	other.Listener.Close()
	listener, err := net.Listen("tcp", "127.0.0.8:0")
	if err != nil {
		t.Fatal(err)
	}
	other.Listener = listener
	other.StartTLS()
	t.Cleanup(other.Close)
	for _, name := range []string{"nginx", "apache"} {
		s := startSite(t, name, configOf(name))
		for _, address := range []string{"127.0.0.9:1", proxies.HostOf(other.URL)} {
			for _, at := range []string{atPortal, atVideo} {
				requests.Store(0)
				_, d := runDoctor(t, s.environ, append([]string{"--connect-to", proxies.HostOf(at) + ":443:" + address}, s.args...)...)
				wantIDs(t, d, "dns.wrong"+at)
				f := d.Findings[0]
				if len(f.Seen) != 2 || !strings.Contains(f.Seen[0].Asked, "at 127.0.0.") || !strings.Contains(f.Seen[1].Asked, "at "+s.at) {
					t.Errorf("%s: doctor saw %+v, want the wrong address and %s", at, f.Seen, s.at)
				}
				if got := requests.Load(); got > 4 {
					t.Errorf("%s, %s: the other server got %d requests, want 4 at most", name, at, got)
				}
			}
		}
	}
	s := startSite(t, "nginx", siteConfig)
	_, d := runDoctor(t, s.environ, append([]string{"--connect-to", ":443:127.0.0.9:" + port(s.at)}, s.args...)...)
	wantIDs(t, d, "dns.wrong"+atPortal, "dns.wrong"+atRadio, "dns.wrong"+atVideo)
}

// Doctor finds an upstream that names the proxy in front of Sallyport. Sallyport refuses strangers as
// usual, so only the address in upstream shows the fault.
func TestDoctorFindsAnUpstreamThatIsTheGate(t *testing.T) {
	t.Parallel()
	s := startSite(t, "apache", strings.Replace(gatewayConfig, "upstream: ONE", "upstream: https://127.0.0.1:PORT", 1))
	code, d := runDoctor(t, s.environ, s.args[:6]...) // without --upstream
	wantIDs(t, d, "upstream.loop"+atRadio)
	if code != 1 || d.Findings[0].Fixes[0].Lines[0] != "upstream: http://127.0.0.1:8082" {
		t.Errorf("exit code %d, fixes %+v; want 1 and the upstream http://127.0.0.1:8082", code, d.Findings[0].Fixes)
	}
}

// The panel's own server listens at an address to which the panel's name resolves.
func TestDoctorFindsAPanelThatIsReachableAroundTheProxy(t *testing.T) {
	t.Parallel()
	second := "127.0.0.3:" + port(testkit.FreeAddress(t))
	s := startSite(t, "haproxy", siteConfig, change{"haproxy.cfg", "bind PLAIN", "bind PLAIN\n    bind " + second + " ssl crt DIR/both.pem"})
	args := append([]string{"--connect-to", "radio.example:443:" + second}, s.args...)
	_, d := runDoctor(t, s.environ, args...)
	wantIDs(t, d)
	own := port(s.args[7])
	listener, err := net.Listen("tcp", "127.0.0.3:"+own)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<title>Radio</title>")
	})}
	t.Cleanup(func() { srv.Close() })
	go srv.Serve(listener)
	_, d = runDoctor(t, s.environ, args...)
	wantIDs(t, d, "upstream.reachable"+atRadio)
	if lines := strings.Join(d.Findings[0].Fixes[0].Lines, "\n"); !strings.Contains(lines, "--dport "+own) {
		t.Errorf("the lines of the fix don't name port %s:\n%s", own, lines)
	}
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// Without --ca no authority that doctor trusts has signed the test's certificates.
func TestDoctorFindsCertificatesOfAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	s := startSite(t, "nginx", siteConfig)
	_, d := runDoctor(t, s.environ, s.args[2:]...)
	wantIDs(t, d, "tls.unknown"+atPortal, "tls.unknown"+atRadio, "tls.unknown"+atVideo)
}

// Doctor finds files that other users of the machine may read or change, and its lines fix
// the modes.
func TestDoctorFindsFilesThatOthersMayReadOrChange(t *testing.T) {
	t.Parallel()
	s := startSite(t, "caddy", siteConfig)
	ring, database := filepath.Join(s.portal.Dir, "keyring"), filepath.Join(s.portal.Dir, "sallyport.db")
	config := strings.TrimPrefix(s.environ[0], "SALLYPORT_CONFIG=")
	for path, mode := range map[string]os.FileMode{ring: 0o640, database: 0o604, s.portal.Dir: 0o770, config: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	_, d := runDoctor(t, s.environ, s.args...)
	wantIDs(t, d, "file.mode "+ring, "file.mode "+database, "file.mode "+s.portal.Dir, "file.mode "+config)
	for _, f := range d.Findings {
		if out, err := exec.Command("sh", "-c", f.Fixes[0].Lines[0]).CombinedOutput(); err != nil {
			t.Fatalf("run the fix %s: %v %s", f.Fixes[0].Lines, err, out)
		}
	}
	_, d = runDoctor(t, s.environ, s.args...)
	wantIDs(t, d)
}

// The proxy isn't in trusted_proxies, so verify requests are refused. The fix is the
// setting with the proxy's address.
func TestDoctorFindsAnUntrustedProxy(t *testing.T) {
	t.Parallel()
	s := startSite(t, "nginx", strings.Replace(siteConfig, "[127.0.0.1]", "[192.0.2.7]", 1))
	_, d := runDoctor(t, s.environ, s.args...)
	wantIDs(t, d, "proxy.untrusted"+atPortal, "proxy.untrusted"+atRadio, "proxy.untrusted"+atVideo)
	if line := d.Findings[0].Fixes[0].Lines[0]; line != "trusted_proxies: [127.0.0.1/32]" {
		t.Errorf("the fix is %q, want trusted_proxies with 127.0.0.1/32", line)
	}
}

// If the server doesn't run, or another program listens at its address, doctor reports only
// that.
func TestDoctorChecksFirstWhetherTheServerRuns(t *testing.T) {
	t.Parallel()
	s := startSite(t, "nginx", siteConfig)
	s.portal.Stop()
	_, d := runDoctor(t, s.environ, s.args...)
	wantIDs(t, d, "server.down "+s.portal.At)
	if lines := d.Findings[0].Fixes[0].Lines; len(lines) != 1 || lines[0] != "sallyport serve --config "+strings.TrimPrefix(s.environ[0], "SALLYPORT_CONFIG=") {
		t.Errorf("the fix of server.down has the lines %q, want only the command that starts the server", lines)
	}
	listener, err := net.Listen("tcp", s.portal.At)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	t.Cleanup(func() { srv.Close() })
	go srv.Serve(listener)
	_, d = runDoctor(t, s.environ, s.args...)
	wantIDs(t, d, "server.other "+s.portal.At)
	if lines := d.Findings[0].Fixes[0].Lines; !strings.Contains(lines[0], "ss -ltnp 'sport = :"+port(s.portal.At)) {
		t.Errorf("the fix of server.other has the lines %q, want ss with the port %s first", lines, port(s.portal.At))
	}
}

// On a machine other than the server's, no server answers at the address in the setting listen.
// Doctor skips that check and makes all others.
func TestDoctorMayRunOnAnotherMachine(t *testing.T) {
	t.Parallel()
	s := startSite(t, "caddy", siteConfig)
	_, d := runDoctor(t, append(s.environ, "SALLYPORT_LISTEN=127.0.0.9:1"), s.args...)
	wantIDs(t, d)
	if len(d.Skipped) != 1 || !strings.Contains(d.Skipped[0].Why, "not to be the server's own machine") {
		t.Errorf("doctor skips %+v, want only the check of the server's own machine", d.Skipped)
	}
}

// The gateway serves the panels over plain http. Doctor accepts that for names of this
// machine, as in the demo, and reports it for others.
func TestDoctorFindsNothingAtTheGateway(t *testing.T) {
	t.Parallel()
	one, two := startTitledPanel(t, "Radio"), startTitledPanel(t, "Video")
	start := func(origin, declared string) (*portal.Portal, []string) {
		config := panels.WriteConfig(t, "public_url: "+origin+"\ntrusted_proxies: [127.0.0.1]\npanels:\n"+declared)
		p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+config)
		if err := os.Chmod(p.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return p, []string{"SALLYPORT_CONFIG=" + config, "SALLYPORT_LISTEN=" + p.At, "SALLYPORT_DATA_DIR=" + p.Dir}
	}
	p, environ := start("http://127.0.0.1", "  - url: http://localhost\n    upstream: "+one.URL+"\n")
	code, d := runDoctor(t, environ, "--connect-to", ":80:"+p.At)
	wantIDs(t, d)
	if code != 0 || len(d.Proxies) != 2 || d.Proxies[0].Name != "sallyport" {
		t.Errorf("exit code %d, proxies %+v; want 0 and every proxy recognized", code, d.Proxies)
	}

	p, environ = start(panels.PortalAt, fmt.Sprintf("  - url: %s\n    upstream: %s\n  - url: %s\n    upstream: %s\n", panels.Radio, one.URL, panels.Video, two.URL))
	at := proxies.StartProxy(t, p.At, one, two, proxies.RealProxies["apache"])
	code, d = runDoctor(t, environ, "--connect-to", ":80:"+at)
	wantIDs(t, d, "plain.http "+panels.PortalAt, "plain.http "+panels.Radio, "plain.http "+panels.Video)
	if code != 0 || len(d.Proxies) != 3 || d.Proxies[0].Name != "apache" {
		t.Errorf("exit code %d, proxies %+v; want 0 and every proxy recognized", code, d.Proxies)
	}
}

// Doctor sends panels only harmless requests. With a gate the panel gets the requests to its open
// path; without one it gets every request.
func TestDoctorChangesNothingOnAPanel(t *testing.T) {
	t.Parallel()
	var reached []string
	var mutex sync.Mutex
	panel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		reached = append(reached, r.Method+" "+r.URL.Path)
		http.NotFound(w, r)
	}))
	t.Cleanup(panel.Close)
	for _, gate := range []bool{true, false} {
		upstream, at := "", proxies.HostOf(panel.URL)
		if gate {
			upstream = "    upstream: " + panel.URL + "\n"
		}
		config := panels.WriteConfig(t, "public_url: http://127.0.0.1\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: http://localhost\n"+upstream+"    rules:\n      - path: /open/\n        require: nothing\n")
		p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+config)
		if gate {
			at = p.At
		}
		reached = nil
		environ := []string{"SALLYPORT_CONFIG=" + config, "SALLYPORT_LISTEN=" + p.At, "SALLYPORT_DATA_DIR=" + p.Dir}
		runDoctor(t, environ, "--connect-to", "localhost:80:"+at, "--connect-to", ":80:"+p.At)
		if len(reached) == 0 {
			t.Errorf("with a gate %v: no request reached the panel", gate)
		}
		for _, one := range reached {
			if method, _, _ := strings.Cut(one, " "); method != "GET" && method != "HEAD" && method != "OPTIONS" {
				t.Errorf("with a gate %v: %s reached the panel, want only GET, HEAD and OPTIONS", gate, one)
			}
		}
	}
}

// The metrics have their own listener. Doctor finds a site of the proxy that forwards to it.
func TestDoctorFindsReachableMetrics(t *testing.T) {
	t.Parallel()
	metrics := testkit.FreeAddress(t)
	config := "metrics_listen: " + metrics + "\n" + siteConfig
	const portalSite = "server_name auth.test; "
	s := startSite(t, "nginx", config)
	_, d := runDoctor(t, s.environ, s.args...)
	wantIDs(t, d)
	metrics = testkit.FreeAddress(t)
	config = "metrics_listen: " + metrics + "\n" + siteConfig
	s = startSite(t, "nginx", config, change{"nginx.conf", portalSite, portalSite + "location /metrics { proxy_pass http://" + metrics + "; } "})
	_, d = runDoctor(t, s.environ, s.args...)
	wantIDs(t, d, "metrics.reachable"+atPortal)
}
