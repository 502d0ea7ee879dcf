package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/doctor"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestDoctorFindsOnlyTheSharedHostInTheDemo(t *testing.T) {
	address := testkit.FreeAddress(t)
	demo := start(t, nil, "demo", "--shared-host", "--listen", address)
	demo.waitFor(t, `Password  `)
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := fmt.Sprintf("listen: %s\ndata_dir: %s/none\nupstream: http://127.0.0.1:1\n", address, t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(nil, "", "doctor", "--config", file)
	if code != 0 || !strings.Contains(out, "host.shared") || !strings.HasSuffix(out, ": 1 advice.\n") || strings.Contains(out, "OPEN") {
		t.Errorf("exit code %d, want 0 and \"host.shared\", got\n%s%s", code, out, errs)
	}
}

func TestDoctorRefusesFlagsThatItCanNotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte("trusted_proxies: [127.0.0.1]\npanels:\n  - url: http://a.test\n  - url: http://b.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--proxy", "squid"}, {"--path", "socket"}, {"--connect-to", "a.test"}, {"--ca", file}, {"--ca", file + ".none"},
		{"--upstream", "http://127.0.0.1:1"}, {"--upstream", "c.test=http://127.0.0.1:1"}, {"--upstream", "a.test=127.0.0.1"},
		{"--config", file + ".none"},
	} {
		code, out, errs := call([]string{"SALLYPORT_CONFIG=" + file}, "", append([]string{"doctor"}, args...)...)
		if code != exitUsage || out != "" || errs == "" {
			t.Errorf("%v: exit code %d, want 2, got\n%s%s", args, code, out, errs)
		}
	}
}

// --upstream accepts a panel's URL, host or host with port, in any case.
func TestDoctorPicksAPanelByAnySpellingOfItsHost(t *testing.T) {
	for _, name := range []string{
		"panel.test", "PANEL.test", "panel.test:443", "panel.test:8443", "https://panel.test", "https://panel.test/", "HTTPS://Panel.test:8443",
	} {
		panels := []doctor.Panel{
			{Panel: &access.Panel{Origin: "http://[2001:db8::1]:8080"}},
			{Panel: &access.Panel{Origin: "https://panel.test:8443"}},
		}
		if err := setUpstream(panels, name+"=http://127.0.0.1:1"); err != nil || panels[1].Upstream != "http://127.0.0.1:1" || panels[0].Upstream != "" {
			t.Errorf("%s: %v, %+v; want that panel's upstream set, and no other", name, err, panels)
		}
	}
	panels := []doctor.Panel{{Panel: &access.Panel{Origin: "http://[2001:db8::1]:8080"}}}
	if err := setUpstream(panels, "[2001:DB8:0::1]=http://127.0.0.1:1"); err != nil || panels[0].Upstream == "" {
		t.Errorf("IPv6: %v, want the upstream set", err)
	}
	for _, name := range []string{"", "panel.test.", "other.test", "panel", "panel.test,other.test", "https://"} {
		if err := setUpstream(panels, name+"=http://127.0.0.1:1"); err == nil {
			t.Errorf("%q is accepted as the name of a panel", name)
		}
	}
}

// The text form fits a terminal of 80 columns, except for lines that are to be copied.
func TestDoctorPrintsForEightyColumns(t *testing.T) {
	long := strings.Repeat("server { listen 443 ssl; } ", 6)
	report := doctor.Report{Asked: 7, Skipped: []doctor.Skipped{{What: "the files in /var/lib/sallyport", Why: "run doctor on the server, as whom it runs as: permission denied"}}}
	f := doctor.Finding{ID: "path.open", Severity: doctor.Open, At: "https://panel.example.com", Proxy: "nginx", Says: strings.Repeat("Some paths are answered. ", 8),
		Fixes: []doctor.Fix{{For: "nginx", Where: "the server block of panel.example.com, and wherever else there are such lines", Lines: []string{long}}}}
	for i := range 9 {
		f.Seen = append(f.Seen, doctor.Seen{Asked: fmt.Sprint("GET /", i, ", with a header that is called X-Original-URL"), Got: "200 text/html; charset=utf-8"})
	}
	report.Findings = []doctor.Finding{f}
	var out strings.Builder
	if err := printReport(&out, report, time.Second); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > reportWidth && strings.TrimSpace(line) != strings.TrimSpace(long) || strings.HasSuffix(line, " ") && !strings.Contains(line, "server {") {
			t.Errorf("line of %d bytes: %q, want at most 80 columns and no space at the end", len(line), line)
		}
	}
	for _, want := range []string{"OPEN  path.open  https://panel.example.com\n", "and 5 more\n", "      " + long + "\n", "  nginx, the server block", "7 requests in 1s: 1 open.\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't in\n%s", want, out.String())
		}
	}
	// If the proxy is unknown, the lines for every proxy would hide the other findings.
	report.Findings[0].Fixes = append(f.Fixes, doctor.Fix{For: "caddy"})
	out.Reset()
	if err := printReport(&out, report, time.Second); err != nil || !strings.Contains(out.String(), "--proxy NAME") {
		t.Errorf("%v; want a hint at --proxy NAME\n%s", err, out.String())
	}
	if err := printJSON(io.Discard, report, time.Now()); err != nil {
		t.Error(err)
	}
}
