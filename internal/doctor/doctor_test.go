package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
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
		if id == "file.mode" || id == "proxy.untrusted" {
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
			for _, hole := range []string{"{host}", "{portal}", "{origin}", "{path}", "{location}", "{sallyport}", "{upstream}", "{upport}", "{portalurl}"} {
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
		{ends.Add(time.Hour), []string{"tls.invalid", "clock.off"}},
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
