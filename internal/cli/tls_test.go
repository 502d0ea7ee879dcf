package cli

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
)

// environWithCertificates returns the variables of a configuration with two certificates in
// dir, own.pem for the portal and panel.pem for a panel, and the CA that issued them.
func environWithCertificates(t *testing.T, dir string) (ca *testkit.CA, environ []string) {
	t.Helper()
	ca = testkit.NewCA(t)
	until := time.Now().Add(90 * 24 * time.Hour)
	ca.IssueFor(dir, "own", time.Now().Add(-time.Hour), until, "auth.test")
	ca.IssueFor(dir, "panel", time.Now().Add(-time.Hour), until, "*.example.com")
	file := filepath.Join(dir, "sallyport.yaml")
	text := fmt.Sprintf(`public_url: https://auth.test
tls:
  certificates:
    - {cert: '%[1]s/own.pem', key: '%[1]s/own.key'}
    - {cert: '%[1]s/panel.pem', key: '%[1]s/panel.key'}
panels: [{url: 'https://panel.example.com', upstream: 'http://127.0.0.1:8082'}]
`, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, append(environFor(t, "sqlite"), "SALLYPORT_CONFIG="+file)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFaultyCertificatesAreFoundBeforeTheyAreUsed: config check and reload report all faults
// at once. serve reports them too and doesn't start, unless the only fault is an expired
// certificate: hosts with other certificates must stay reachable.
func TestFaultyCertificatesAreFoundBeforeTheyAreUsed(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		damage func(t *testing.T, ca *testkit.CA, dir string)
		want   []string
		starts bool
	}{
		"no fault": {func(*testing.T, *testkit.CA, string) {}, nil, true},
		"missing": {func(t *testing.T, _ *testkit.CA, dir string) {
			must(t, os.Remove(dir+"/own.pem"))
			must(t, os.Remove(dir+"/panel.key"))
		},
			[]string{"sallyport.yaml:4: tls.certificates[0].cert: open ", "own.pem: no such file", "sallyport.yaml:5: tls.certificates[1].key: open ", "panel.key: no such file"}, false},
		"mismatched": {func(t *testing.T, _ *testkit.CA, dir string) {
			must(t, os.Rename(dir+"/own.key", dir+"/panel.key"))
			must(t, os.WriteFile(dir+"/own.key", nil, 0o600))
		},
			[]string{"own.key don't belong together", "panel.key don't belong together: tls: private key does not match public key"}, false},
		"readable by others": {func(t *testing.T, _ *testkit.CA, dir string) { must(t, os.Chmod(dir+"/own.key", 0o604)) },
			[]string{"own.key is a private key that others on this machine may read; run: chmod 600 "}, false},
		"for other hosts": {func(t *testing.T, ca *testkit.CA, dir string) {
			ca.Issue(dir, "panel", "example.com", "x.panel.example.com")
		},
			[]string{"no certificate is for panel.example.com"}, false},
		"expired": {func(t *testing.T, ca *testkit.CA, dir string) {
			ca.IssueFor(dir, "panel", time.Now().Add(-9*day), time.Now().Add(-day), "panel.example.com")
		}, []string{"the certificate of panel.example.com expired on " + time.Now().Add(-day).UTC().Format(time.DateOnly)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ca, environ := environWithCertificates(t, dir)
			test.damage(t, ca, dir)
			wantFaults := func(errs string) {
				t.Helper()
				for _, want := range test.want {
					if !strings.Contains(errs, want) {
						t.Errorf("no %q in:\n%s", want, errs)
					}
				}
				if strings.Contains(errs, "PRIVATE KEY") {
					t.Errorf("a private key was printed:\n%s", errs)
				}
			}
			for _, args := range [][]string{{"config", "check"}, {"reload"}} {
				code, _, errs := call(environ, "", args...)
				if fine := code == 0 || strings.Contains(errs, "no server is running"); fine != (test.want == nil) {
					t.Errorf("%v: %d\n%s", args, code, errs)
				}
				wantFaults(errs)
			}
			// Commands other than serve need no certificates.
			if code, _, errs := call(environ, "", "init"); code != 0 {
				t.Errorf("init: exit code %d, want 0, got\n%s", code, errs)
			}
			if !test.starts {
				code, _, errs := call(environ, "", "serve")
				if code != exitUsage || strings.Contains(errs, "Sallyport is at") {
					t.Errorf("serve: exit code %d, want 2, got\n%s", code, errs)
				}
				wantFaults(errs)
				return
			}
			c := start(t, environ, "serve")
			c.waitFor(t, "Sallyport is at https://auth.test/")
			address := strings.TrimPrefix(environ[0], "SALLYPORT_LISTEN=")
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "auth.test", RootCAs: ca.Roots}}}
			if status, body := fetch(t, client, "https://"+address+"/readyz", nil); status != http.StatusOK || strings.Contains(body, "one has expired") != (test.want != nil) {
				t.Errorf("readyz: %d %s, want 200, and a word on the certificate only if it has expired", status, body)
			}
			if code := c.end(); code != 0 {
				t.Errorf("serve: exit code %d, want 0, got\n%s", code, c.err)
			}
		})
	}
}
