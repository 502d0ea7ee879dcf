package tls

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// pebble is Let's Encrypt's CA for tests, with a name server that resolves every host to
// 127.0.0.2.
type pebble struct {
	directory string
	client    *http.Client // trusts the certificate of the CA's server
	manage    string
	trust     string // the file of the authority that signed the server's certificate
	log       *portal.Log
	cmd       *exec.Cmd
}

// buildPebble builds both programs and returns their directory.
func buildPebble(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-modfile=tools/go.mod", "-o", dir, "github.com/letsencrypt/pebble/v2/cmd/...")
	build.Dir = testkit.Path(".")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// startPebble starts a CA that validates challenges at these ports, as the real one does
// at 443 and 80.
func startPebble(t *testing.T, programs, tlsPort, httpPort string) *pebble {
	t.Helper()
	dir, ca := t.TempDir(), testkit.NewCA(t)
	names, at, manage, namesManage := freeSecondAddress(t), freeSecondAddress(t), freeSecondAddress(t), freeSecondAddress(t)
	server := exec.Command(filepath.Join(programs, "pebble-challtestsrv"), "-dnsserver", names, "-management", namesManage, "-defaultIPv4", "127.0.0.2", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	proxies.StartServer(t, namesManage, server)

	cert, key := ca.IssueFor(dir, "pebble", time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.2")
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at, "managementListenAddress": manage, "certificate": cert, "privateKey": key,
		"tlsPort": parseNumber(t, tlsPort), "httpPort": parseNumber(t, httpPort), "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "the only profile", "validityPeriod": 90 * 24 * 60 * 60}},
	}})
	testkit.Check(t, err)
	testkit.WriteFile(t, filepath.Join(dir, "pebble.json"), string(settings))
	trust := filepath.Join(dir, "ca.pem")
	testkit.WriteFile(t, trust, string(ca.PEM))
	p := &pebble{
		directory: "https://" + at + "/dir", manage: "https://" + manage, trust: trust,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Roots}}},
		cmd:    exec.Command(filepath.Join(programs, "pebble"), "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", names),
	}
	p.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	p.log = proxies.StartServer(t, at, p.cmd)
	testkit.Until(t, "the CA's second listener", func() bool { // it opens after the first
		conn, err := net.Dial("tcp", manage)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// roots returns the CA's root certificates.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	resp, err := p.client.Get(p.manage + "/roots/0")
	testkit.Check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	testkit.Check(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("the CA's answer contains no root certificate: %s", text)
	}
	return pool
}

// parseNumber parses a decimal number.
func parseNumber(t *testing.T, text string) (n int) {
	t.Helper()
	_, err := fmt.Sscan(text, &n)
	testkit.Check(t, err)
	return n
}

// waitForCertificate waits until the server at an address has a valid certificate for a
// host, and returns its serial number.
func waitForCertificate(t *testing.T, one *sallyport.Process, at, host string, roots *x509.CertPool) string {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := tls.Dial("tcp", at, &tls.Config{ServerName: host, RootCAs: roots})
		if err == nil {
			defer conn.Close()
			return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		select {
		case <-one.Ended:
			t.Fatalf("the server ended: %v\n%s", one.Err, one.Output())
		default:
		}
		if time.Since(begin) > sallyport.StartTime {
			one.Kill()
			t.Fatalf("%s has no valid certificate: %v\n%s", host, err, one.Output())
		}
	}
}

// The test runs the real program and a real CA with both types of challenge.
func TestACMEObtainsACertificateForEachHost(t *testing.T) {
	t.Parallel()
	path, programs := sallyport.BuildProgram(t), buildPebble(t)
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			listen, redirect, unused := freeSecondAddress(t), freeSecondAddress(t), freeSecondAddress(t)
			port := func(address string) string {
				_, port, err := net.SplitHostPort(address)
				testkit.Check(t, err)
				return port
			}
			p := &sallyport.Program{T: t, Path: path, Dir: t.TempDir(), File: filepath.Join(t.TempDir(), "sallyport.yaml")}
			tlsPort, more := port(listen), ""
			if challenge == "http-01" {
				tlsPort, more = port(unused), "redirect_listen: "+redirect+"\n"
			}
			ca := startPebble(t, programs, tlsPort, port(redirect))
			panel := panels.StartPanel(t, "radio")
			testkit.WriteFile(t, p.File, fmt.Sprintf(`public_url: %s
listen: %s
%stls:
  acme: {accept_terms: true, email: ops@example.com, directory: '%s'}
panels:
  - {url: %s, upstream: '%s'}
  - {url: 'https://elsewhere.test'}
`, secureAt, listen, more, ca.directory, secureRadio, panel.URL))
			p.Env = []string{"SSL_CERT_FILE=" + ca.trust}
			server := p.Background("serve")
			roots := ca.roots(t)
			first := map[string]string{}
			for _, host := range []string{"auth.test", "radio.example"} {
				first[host] = waitForCertificate(t, server, listen, host, roots)
			}
			// The server requests no certificate for other hosts, whatever clients ask for.
			for _, host := range []string{"elsewhere.test", "evil.test"} {
				if _, err := tls.Dial("tcp", listen, &tls.Config{ServerName: host, RootCAs: roots}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("a handshake for %s: %v, want the alert for an unrecognized name", host, err)
				}
				if _, err := tls.Dial("tcp", listen, &tls.Config{ServerName: host, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}); err == nil {
					t.Errorf("a handshake for a challenge of %s succeeded, want a refusal", host)
				}
				if strings.Contains(ca.log.String(), host) {
					t.Errorf("the server requested a certificate for %s, want none", host)
				}
			}
			if byHTTP := strings.Contains(ca.log.String(), "Attempting to validate w/ HTTP"); byHTTP != (challenge == "http-01") {
				t.Errorf("the CA validated over http: %v, want %v", byHTTP, !byHTTP)
			}
			stored := map[string]fs.FileMode{}
			entries, err := os.ReadDir(filepath.Join(p.Dir, "acme"))
			testkit.Check(t, err)
			for _, entry := range entries {
				info, err := entry.Info()
				testkit.Check(t, err)
				stored[entry.Name()] = info.Mode()
			}
			if diff := cmp.Diff(map[string]fs.FileMode{"acme_account+key": 0o600, "auth.test": 0o600, "radio.example": 0o600}, stored); diff != "" {
				t.Errorf("files and modes in acme (-want +got):\n%s", diff)
			}
			if info, err := os.Stat(filepath.Join(p.Dir, "acme")); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory acme has mode %v (error %v), want 700", info.Mode(), err)
			}
			server.Kill()
			if out := server.Output(); !strings.Contains(out, "terms of service are accepted") {
				t.Errorf("the log doesn't mention the terms of service:\n%s", out)
			}
			// After a restart the server uses the stored certificates without the CA.
			ca.cmd.Process.Kill()
			server = p.Background("serve")
			for host, want := range first {
				if got := waitForCertificate(t, server, listen, host, roots); got != want {
					t.Errorf("%s has another certificate after a restart", host)
				}
			}
		})
	}
}
