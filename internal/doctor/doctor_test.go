package doctor

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

// Whatever is found has a sentence, lines for whichever proxy is there, and a
// place in the docs.
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
				t.Errorf("fixes.txt: %q is no proxy", proxy)
			}
		}
	}
	for _, id := range known {
		if kinds[id].says == "" {
			t.Errorf("fixes.txt: nothing is called %s", id)
		}
	}
	for id, k := range kinds {
		if k.says == "" || !slices.Contains([]Severity{Open, Broken, Unclear, Advice}, k.severity) {
			t.Errorf("%s: %+v", id, k)
		}
		if !strings.Contains(string(page), "`"+id+"` | "+string(k.severity)+" |") {
			t.Errorf("docs/doctor.md doesn't explain %s, which is %s", id, k.severity)
		}
		if slices.Contains([]string{"file.mode", "proxy.untrusted", "server.down", "server.other", "url.scheme"}, id) {
			continue // their lines are made where they are found
		}
		for _, proxy := range Proxies() {
			d := &doctor{Options: Options{PublicURL: "https://auth.test", Listen: "127.0.0.1:9091"}, report: Report{Proxies: map[string]string{"https://panel.test": proxy}}, mark: "mark"}
			all := d.fixes(id, "https://panel.test", "/ws")
			if len(all) != 1 || all[0].Where == "" {
				t.Errorf("%s behind %s: %+v", id, proxy, all)
				continue
			}
			text := all[0].Where + strings.Join(all[0].Lines, "\n")
			for _, hole := range []string{"{host}", "{portal}", "{origin}", "{path}", "{location}", "{sallyport}", "{upstream}", "{upport}", "{port}", "{portalurl}"} {
				if strings.Contains(text, hole) {
					t.Errorf("%s behind %s leaves %s", id, proxy, hole)
				}
			}
		}
	}
}

func TestConnectLeadsElsewhere(t *testing.T) {
	c := newClient(nil)
	for _, text := range []string{"panel.test:443:127.0.0.1:8443", ":80:[::1]:8080", "[2001:db8::1]:443::444"} {
		var one Connect
		if err := one.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		c.connect = append(c.connect, one)
	}
	for address, want := range map[string]string{
		"panel.test:443": "127.0.0.1:8443", "PANEL.test:443": "127.0.0.1:8443", "panel.test:80": "[::1]:8080",
		"other.test:443": "other.test:443", "[2001:db8::1]:443": "[2001:db8::1]:444",
	} {
		if got := c.led(address); got != want {
			t.Errorf("%s leads to %s, want %s", address, got, want)
		}
	}
	for _, text := range []string{"", "panel.test", "a:b:c", "[::1:443:a:1"} {
		if err := new(Connect).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Only the gate's own refusal counts as one.
func TestRefusalIsTheGatesOnly(t *testing.T) {
	led := func(to string) http.Header { return http.Header{"Location": {to}} }
	for _, test := range []struct {
		a    answer
		page string
		ok   bool
	}{
		{answer{status: 401, body: `{"login":"https://panel.test/.sallyport/start?return=%2Fa%3Fb"}`}, "/a?b", true},
		{answer{status: 303, header: led("https://panel.test/.sallyport/start?return=%2Fa")}, "/a", true},
		{answer{status: 302, header: led("https://panel.test/.sallyport/start?return=%2Fa")}, "", false},
		{answer{status: 200, body: `{"login":"https://panel.test/.sallyport/start?return=%2Fa"}`}, "", false},
		{answer{status: 401, body: `{"login":"/login"}`}, "", false},
		{answer{status: 401, body: `{"login":"/.sallyport/start?return=/"}`}, "", false},
		{answer{status: 401, body: "Unauthorized"}, "", false},
		{answer{status: 303, header: led("/login")}, "", false},
		{answer{status: 303}, "", false},
	} {
		origin, page, ok := refusal(test.a)
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

// The times of certificates and of the server's clock are held against ours.
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
			t.Errorf("at %v (-want +got):\n%s\n%+v", test.now, diff, report.Findings)
		}
	}
}

// Those that aren't run in our tests, by what their sources send.
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
		if got := d.proxy(srv.URL); got != name {
			t.Errorf("%q was taken for %q", name, got)
		}
	}
}

// DNS has two addresses for the portal and its panel, and nothing listens at the second.
func TestADeadAddressIsFound(t *testing.T) {
	at := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", access.PagePolicy)
	}, false).Origin
	_, port, _ := net.SplitHostPort(hostOf(at))
	d := &doctor{client: newClient([]Connect{{Port: "80", ToPort: port}}), report: Report{Proxies: map[string]string{}}, mark: "mark"}
	d.client.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
	}
	d.everyAddress(context.Background(), request{origin: "http://auth.test", path: "/login"})
	if len(d.report.Findings) != 1 || d.report.Findings[0].ID != "address.dead" || len(d.report.Findings[0].Seen) != 1 ||
		!strings.Contains(d.report.Findings[0].Seen[0].Asked, "at 127.0.0.2:"+port) {
		t.Errorf("found %+v", d.report.Findings)
	}
	panel := &patient{doctor: d, Panel: &Panel{Panel: &access.Panel{Origin: "http://auth.test"}}}
	if panel.addresses(context.Background()); len(d.report.Findings) != 1 {
		t.Errorf("the dead address is asked again: %+v", d.report.Findings)
	}
}

// A name that DNS doesn't have is told from one where nothing listens.
func TestANameWithoutAnAddressIsFound(t *testing.T) {
	for want, err := range map[string]error{
		"dns.missing":      &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "auth.test", IsNotFound: true}},
		"host.unreachable": &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
	} {
		d := &doctor{report: Report{Proxies: map[string]string{}}}
		if d.unreachable(request{origin: "https://auth.test", path: "/login"}, answer{err: err}); !d.found(want, "https://auth.test") {
			t.Errorf("%v: found %+v", err, d.report.Findings)
		}
	}
}

// Without systemd's unit there is the command that starts the server.
func TestAServerThatIsDownIsAllThatIsSaid(t *testing.T) {
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
			t.Errorf("unit %v: %+v", unit, report)
		}
	}
}

// The server's own address may end TLS, may be a wildcard, and may be taken by a stranger.
func TestTheServerIsAskedAtItsOwnAddress(t *testing.T) {
	ours := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && r.Host == "auth.invalid" {
			w.Header().Set("Content-Security-Policy", access.PagePolicy)
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		tls     bool // of the server
		ownTLS  bool // of the configuration
		listen  func(port string) string
		want    string
	}{
		{"plain", ours, false, false, func(port string) string { return "127.0.0.1:" + port }, ""},
		{"every address", ours, false, false, func(port string) string { return ":" + port }, ""},
		{"every address of IPv4", ours, true, true, func(port string) string { return "0.0.0.0:" + port }, ""},
		{"TLS", ours, true, true, func(port string) string { return "127.0.0.1:" + port }, ""},
		{"a stranger", http.NotFound, false, false, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
		{"not restarted since TLS was set", ours, false, true, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
		{"not restarted since TLS was removed", ours, true, false, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
	} {
		srv := httptest.NewUnstartedServer(test.handler)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		if test.tls {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		d := &doctor{
			Options: Options{PublicURL: "https://auth.invalid", Listen: test.listen(port), OwnTLS: test.ownTLS},
			client:  newClient([]Connect{{ToHost: "127.0.0.1", ToPort: "1"}}), itself: newClient(nil), report: Report{Proxies: map[string]string{}},
		}
		goOn := d.running(context.Background())
		srv.Close()
		var got string
		if len(d.report.Findings) > 0 {
			got = d.report.Findings[0].ID
		}
		if got != test.want || goOn != (test.want == "") || d.up != goOn {
			t.Errorf("%s: %q, goes on %v, up %v", test.name, got, goOn, d.up)
		}
	}
}

// What others follow from comes first, then the worst.
func TestFindingsAreInTheOrderToFixThem(t *testing.T) {
	var got []string
	all := []Finding{{ID: "tls.expiring", Severity: Advice}, {ID: "host.lost", Severity: Broken}, {ID: "verify.reachable", Severity: Open}, {ID: "portal.unrouted", Severity: Broken}}
	slices.SortStableFunc(all, func(a, b Finding) int { return a.rank() - b.rank() })
	for _, f := range all {
		got = append(got, f.ID)
	}
	if diff := cmp.Diff([]string{"portal.unrouted", "verify.reachable", "host.lost", "tls.expiring"}, got); diff != "" {
		t.Error(diff)
	}
	for _, id := range first {
		if _, there := kinds[id]; !there {
			t.Errorf("nothing is called %s", id)
		}
	}
}

// Lines name the port of the origin, and only its scheme.
func TestLinesHaveThePortOfTheOrigin(t *testing.T) {
	for origin, want := range map[string]string{
		"https://panel.test":      "server { listen 80 default_server; return 444; }\nserver { listen 443 ssl default_server; ssl_reject_handshake on; }",
		"https://panel.test:8443": "server { listen 80 default_server; return 444; }\nserver { listen 8443 ssl default_server; ssl_reject_handshake on; }",
		"http://panel.test:8080":  "server { listen 8080 default_server; return 444; }",
	} {
		d := &doctor{report: Report{Proxies: map[string]string{origin: "nginx"}}}
		if got := strings.Join(d.fixes("host.unnamed", origin, "/")[0].Lines, "\n"); got != want {
			t.Errorf("%s:\n%s", origin, got)
		}
	}
}

// A page of Sallyport's at /readyz is no list of what is wrong.
func TestOnlyReadyzsOwnAnswerIsRead(t *testing.T) {
	for kind, want := range map[string]int{"text/html; charset=utf-8": 0, "text/plain; charset=utf-8": 1} {
		p := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", access.PagePolicy)
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "database: away\n")
		}, false)
		p.PublicURL = p.Origin
		if p.ready(context.Background()); len(p.report.Findings) != want || len(p.report.Skipped) != 1-want {
			t.Errorf("%s: %+v", kind, p.report)
		}
	}
}

// A name leads to two addresses, and at one of them nothing asks the gate.
func TestEveryAddressOfAPanelIsAsked(t *testing.T) {
	serve := func(address string, handler http.HandlerFunc) string {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: handler}
		t.Cleanup(func() { srv.Close() })
		go srv.Serve(listener)
		return listener.Addr().String()
	}
	at := serve("127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"login":"http://panel.test/.sallyport/start?return=%s"}`, url.QueryEscape(r.RequestURI))
	})
	_, port, _ := net.SplitHostPort(at)
	serve("127.0.0.2:"+port, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "come in") })

	panel := &Panel{Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Session}}}
	d := &doctor{client: newClient([]Connect{{Port: "80", ToPort: port}}), report: Report{Proxies: map[string]string{}}, mark: "mark"}
	d.client.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
	}
	(&patient{doctor: d, Panel: panel}).addresses(context.Background())
	if len(d.report.Findings) != 1 || d.report.Findings[0].ID != "gate.absent" || len(d.report.Findings[0].Seen) != 1 ||
		!strings.Contains(d.report.Findings[0].Seen[0].Asked, "at 127.0.0.2:"+port) {
		t.Errorf("found %+v", d.report.Findings)
	}
}
