package doctor

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

// Every kind of finding has a sentence, a fix for each proxy, and a row in docs/doctor.md.
func TestEveryFindingIsFixedForEveryProxy(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	known := []string{}
	for _, m := range parseFixes(fixesText) {
		known = append(known, m.ids...)
		for _, proxy := range m.proxies {
			if proxy != anyProxy && !slices.Contains(Proxies(), proxy) {
				t.Errorf("fixes.txt: unknown proxy %q", proxy)
			}
		}
	}
	for _, id := range known {
		if kinds[id].says == "" {
			t.Errorf("fixes.txt: unknown finding %s", id)
		}
	}
	for id, k := range kinds {
		if k.says == "" || !slices.Contains([]Severity{Open, Broken, Unclear, Advice}, k.severity) {
			t.Errorf("%s: %+v, want a sentence and a severity", id, k)
		}
		if !strings.Contains(string(page), "`"+id+"` | "+string(k.severity)+" |") {
			t.Errorf("docs/doctor.md has no row for %s with severity %s", id, k.severity)
		}
		if slices.Contains([]string{"file.mode", "proxy.untrusted", "server.down", "server.other", "url.scheme"}, id) {
			continue // the tests that add these findings write their fixes
		}
		for _, proxy := range Proxies() {
			d := &doctor{Options: Options{PublicURL: "https://auth.test", Listen: "127.0.0.1:9091"}, report: Report{Proxies: map[string]string{"https://panel.test": proxy}}, marker: "mark"}
			all := d.fixesFor(id, "https://panel.test", "/ws")
			if len(all) != 1 || all[0].Where == "" {
				t.Errorf("%s behind %s: %+v, want one fix with a place", id, proxy, all)
				continue
			}
			text := all[0].Where + strings.Join(all[0].Lines, "\n")
			for _, placeholder := range []string{"{host}", "{portal}", "{origin}", "{path}", "{location}", "{sallyport}", "{upstream}", "{upport}", "{port}", "{portalurl}", "{record}"} {
				if strings.Contains(text, placeholder) {
					t.Errorf("%s behind %s: the fix contains %s", id, proxy, placeholder)
				}
			}
		}
	}
}

func TestSendersBelongToThePortalsDomain(t *testing.T) {
	for from, want := range map[string]bool{
		"": false, "noreply@example.com": false, "noreply@Auth.Example.com": false, "noreply@com": false,
		"noreply@example.org": true, "noreply@ple.com": true, "noreply@mail.example.com": true, "noreply@auth.example.com.evil.test": true,
	} {
		d := &doctor{Options: Options{PublicURL: "https://auth.example.com:8443", MailFrom: from}}
		d.report.Proxies = map[string]string{}
		d.compareMailDomain()
		if got := d.hasFinding("mail.domain", d.PublicURL); got != want {
			t.Errorf("%q: %v, want %v", from, got, want)
		}
	}
}

// parseRefusal accepts Sallyport's refusals only.
func TestOnlySallyportsRefusalCountsAsOne(t *testing.T) {
	redirect := func(to string) http.Header { return http.Header{"Location": {to}} }
	for _, test := range []struct {
		a    answer
		page string
		ok   bool
	}{
		{answer{status: 401, body: `{"login":"https://panel.test/.sallyport/start?return=%2Fa%3Fb"}`}, "/a?b", true},
		{answer{status: 303, header: redirect("https://panel.test/.sallyport/start?return=%2Fa")}, "/a", true},
		{answer{status: 302, header: redirect("https://panel.test/.sallyport/start?return=%2Fa")}, "", false},
		{answer{status: 200, body: `{"login":"https://panel.test/.sallyport/start?return=%2Fa"}`}, "", false},
		{answer{status: 401, body: `{"login":"/login"}`}, "", false},
		{answer{status: 401, body: `{"login":"/.sallyport/start?return=/"}`}, "", false},
		{answer{status: 401, body: "Unauthorized"}, "", false},
		{answer{status: 303, header: redirect("/login")}, "", false},
		{answer{status: 303}, "", false},
	} {
		origin, page, ok := parseRefusal(test.a)
		if ok != test.ok || page != test.page || ok && origin != "https://panel.test" {
			t.Errorf("%+v: %q %q %v", test.a, origin, page, ok)
		}
	}
}

func TestHSTSIsReadAsBrowsersDo(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"max-age=31536000": 365 * 24 * time.Hour, `includeSubDomains; Max-Age="60"`: time.Minute,
		"": 0, "max-age=": 0, "max-age=0; preload": 0, "max-age=-1": 0, "preload": 0,
	} {
		if got := hsts(http.Header{"Strict-Transport-Security": {text}}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// doctor compares the dates of certificates, and the server's clock, with this machine's
// clock.
func TestClocksAreCompared(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", access.PagePolicy)
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
	}))
	t.Cleanup(srv.Close)
	ends := srv.Certificate().NotAfter
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for _, test := range []struct {
		now  time.Time
		want []string
	}{
		{time.Now(), nil},
		{time.Now().Add(20 * time.Second), nil},
		{time.Now().Add(-time.Minute), []string{"clock.off"}},
		{ends.Add(-24 * time.Hour), []string{"clock.off", "tls.expiring"}},
		{ends.Add(time.Hour), []string{"tls.expired", "clock.off"}},
		{srv.Certificate().NotBefore.Add(-time.Hour), []string{"tls.early", "clock.off"}},
	} {
		report := Run(context.Background(), Options{
			PublicURL: srv.URL, Roots: roots, Connect: []Connect{{Port: "80", ToHost: "127.0.0.1", ToPort: "1"}},
			Now: func() time.Time { return test.now },
		})
		var got []string
		for _, f := range report.Findings {
			got = append(got, f.ID)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("findings at %v (-want +got):\n%s\n%+v", test.now, diff, report.Findings)
		}
	}
}

// The other tests don't run these proxies; the handlers send what the proxies' sources say.
func TestProxiesAreRecognised(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"envoy":   func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Server", "envoy") },
		"traefik": http.NotFound,
		"":        func(w http.ResponseWriter, r *http.Request) {},
	} {
		srv := httptest.NewServer(handler)
		d := &doctor{client: newClient(nil), report: Report{Proxies: map[string]string{}}}
		d.recognise(context.Background(), srv.URL)
		srv.Close()
		if got := d.proxyAt(srv.URL); got != name {
			t.Errorf("recognised %q, want %q", got, name)
		}
	}
}

// If the server is down, that is the only finding. Its fix is to look at systemd's unit or,
// without a unit, the command that starts the server.
func TestAServerThatIsDownIsTheOnlyFinding(t *testing.T) {
	defer func(folders []string) { unitFolders = folders }(unitFolders)
	for _, unit := range []bool{true, false} {
		folder := t.TempDir()
		unitFolders = []string{folder}
		want := "sallyport serve --config '/etc/my sallyport.yaml'"
		if unit {
			want = "systemctl status sallyport\njournalctl -u sallyport -n 20"
			if err := os.WriteFile(filepath.Join(folder, "sallyport.service"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		report := Run(context.Background(), Options{
			PublicURL: "http://127.0.0.1:1", Listen: "127.0.0.1:1", Files: Files{Config: "/etc/my sallyport.yaml"}, Now: time.Now,
			Panels: []Panel{{Panel: &access.Panel{Origin: "http://localhost:1"}}},
		})
		if len(report.Findings) != 1 || report.Findings[0].ID != "server.down" || strings.Join(report.Findings[0].Fixes[0].Lines, "\n") != want {
			t.Errorf("unit %v: %+v, want only server.down with its fix", unit, report)
		}
	}
}

// Findings that may cause others come first, and then the most severe ones.
func TestFindingsAreInTheOrderToFixThem(t *testing.T) {
	var got []string
	all := []Finding{{ID: "tls.expiring", Severity: Advice}, {ID: "host.lost", Severity: Broken}, {ID: "verify.reachable", Severity: Open}, {ID: "portal.unrouted", Severity: Broken}}
	slices.SortStableFunc(all, func(a, b Finding) int { return a.rank() - b.rank() })
	for _, f := range all {
		got = append(got, f.ID)
	}
	if diff := cmp.Diff([]string{"portal.unrouted", "verify.reachable", "host.lost", "tls.expiring"}, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, id := range causes {
		if _, ok := kinds[id]; !ok {
			t.Errorf("causes: unknown finding %s", id)
		}
	}
}

// The lines of a fix have the port of the origin, and are for its scheme only.
func TestFixesHaveThePortAndSchemeOfTheOrigin(t *testing.T) {
	for origin, want := range map[string]string{
		"https://panel.test":      "server { listen 80 default_server; return 444; }\nserver { listen 443 ssl default_server; ssl_reject_handshake on; }",
		"https://panel.test:8443": "server { listen 80 default_server; return 444; }\nserver { listen 8443 ssl default_server; ssl_reject_handshake on; }",
		"http://panel.test:8080":  "server { listen 8080 default_server; return 444; }",
	} {
		d := &doctor{report: Report{Proxies: map[string]string{origin: "nginx"}}}
		if got := strings.Join(d.fixesFor("host.unnamed", origin, "/")[0].Lines, "\n"); got != want {
			t.Errorf("%s (want lines with its port and scheme):\n%s", origin, got)
		}
	}
}

// If the answer to /readyz is an HTML page, for example of a refusal, it isn't read as a list of
// faults.
func TestOnlyTextFromReadyzIsRead(t *testing.T) {
	for kind, want := range map[string]int{"text/html; charset=utf-8": 0, "text/plain; charset=utf-8": 1} {
		p := newPanelTest(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", access.PagePolicy)
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "database: away\n")
		}, false)
		p.PublicURL = p.Origin
		if p.readReadiness(context.Background()); len(p.report.Findings) != want || len(p.report.Skipped) != 1-want {
			t.Errorf("%s: %+v", kind, p.report)
		}
	}
}
