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
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

func TestConnectChangesTheAddressOfConnections(t *testing.T) {
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
		if got := c.dialAddress(address); got != want {
			t.Errorf("connections to %s go to %s, want %s", address, got, want)
		}
	}
	for _, text := range []string{"", "panel.test", "a:b:c", "[::1:443:a:1"} {
		if err := new(Connect).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// DNS has two addresses for the portal and its panel, and the second has no listener.
func TestADeadAddressIsFound(t *testing.T) {
	origin := newPanelTest(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", access.PagePolicy)
	}, false).Origin
	_, port, _ := net.SplitHostPort(hostOf(origin))
	d := &doctor{client: newClient([]Connect{{Port: "80", ToPort: port}}), report: Report{Proxies: map[string]string{}}, marker: "mark"}
	d.client.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
	}
	d.testEveryAddress(context.Background(), request{origin: "http://auth.test", path: "/login"})
	if len(d.report.Findings) != 1 || d.report.Findings[0].ID != "address.dead" || len(d.report.Findings[0].Seen) != 1 ||
		!strings.Contains(d.report.Findings[0].Seen[0].Asked, "at 127.0.0.2:"+port) {
		t.Errorf("findings %+v, want address.dead at 127.0.0.2", d.report.Findings)
	}
	panel := &panelTest{doctor: d, Panel: &Panel{Panel: &access.Panel{Origin: "http://auth.test"}}}
	if panel.testAddresses(context.Background()); len(d.report.Findings) != 1 {
		t.Errorf("the dead address was tested again: %+v, want one finding", d.report.Findings)
	}
}

// A name that DNS doesn't have and an address without a listener are different findings.
func TestANameWithoutAnAddressIsFound(t *testing.T) {
	for want, err := range map[string]error{
		"dns.missing":      &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "auth.test", IsNotFound: true}},
		"dns.failed":       &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "auth.test"}},
		"host.unreachable": &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
	} {
		d := &doctor{report: Report{Proxies: map[string]string{}}}
		if d.addUnreachable(request{origin: "https://auth.test", path: "/login"}, answer{err: err}); !d.hasFinding(want, "https://auth.test") {
			t.Errorf("%v: findings %+v, want %s", err, d.report.Findings, want)
		}
	}
}

// Sallyport answers for the panel at the portal's address. Whether that is a fault of DNS depends
// on the answer at the panel's own address.
func TestSallyportIsFoundAtAnotherAddress(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	t.Cleanup(srv.Close)
	lookupError := func(notFound bool) error {
		return &net.OpError{Op: "dial", Err: &net.DNSError{Name: "panel.test", IsNotFound: notFound}}
	}
	for _, test := range []struct {
		a    answer
		want string
	}{
		{answer{err: lookupError(true)}, "dns.missing"},
		{answer{err: lookupError(false)}, ""},
		{answer{err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "dns.wrong"},
		{answer{status: http.StatusNotFound}, "dns.wrong"},
		{answer{status: http.StatusBadGateway}, ""},
		{answer{status: http.StatusForbidden}, ""}, // a CDN refuses doctor
		{answer{status: http.StatusTooManyRequests}, ""},
		{answer{status: http.StatusInternalServerError}, ""},
		{answer{status: 521}, ""}, // a CDN doesn't reach its server
		{answer{status: 526}, ""},
	} {
		d := &doctor{Options: Options{PublicURL: srv.URL}, client: newClient(nil), records: map[string]string{}, report: Report{Proxies: map[string]string{}}}
		d.client.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host == "panel.test" {
				return []netip.Addr{netip.MustParseAddr("127.0.0.9")}, nil
			}
			return []netip.Addr{netip.MustParseAddr(host)}, nil
		}
		_, port, _ := net.SplitHostPort(hostOf(srv.URL))
		r := request{origin: "http://panel.test:" + port, path: "/"}
		found := d.findElsewhere(context.Background(), r, test.a, func(there answer) bool { return there.status == http.StatusOK })
		if found != (test.want != "") || found && !d.hasFinding(test.want, r.origin) {
			t.Errorf("%+v: findings %+v, want %q", test.a, d.report.Findings, test.want)
		}
	}
}

// DNS leads the panel's name past the proxy. Unless the panel's own server is known, the server at
// that address may be the panel itself, which is worse than a wrong address.
func TestAPanelAtAWrongAddressIsOpen(t *testing.T) {
	for _, known := range []bool{false, true} {
		page := "<title>Radio</title>"
		p := newPanelTest(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, page) }, false)
		origin := p.Origin
		_, port, _ := net.SplitHostPort(hostOf(origin))
		p.PublicURL = "http://127.0.0.2:" + port
		gate, err := net.Listen("tcp", "127.0.0.2:"+port)
		if err != nil {
			t.Fatalf("the test needs a second address of loopback: %v", err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", origin+access.StartPath+"?return="+url.QueryEscape(r.URL.RequestURI()))
			w.WriteHeader(http.StatusSeeOther)
		})}
		t.Cleanup(func() { srv.Close() })
		go srv.Serve(gate)
		want := []string{"dns.wrong", "gate.absent"}
		if known {
			own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<title>Another</title>") }))
			t.Cleanup(own.Close)
			p.Upstream, want = own.URL, want[:1]
		}
		p.records = map[string]string{}
		if found := p.isElsewhere(t.Context(), answer{status: http.StatusNotFound}); !found || !slices.Equal(p.ids(), want) {
			t.Errorf("the panel's own server is known: %v: found %v, findings %+v, want %q", known, found, p.report.Findings, want)
		}
	}
}

// doctor advises a local address only if the portal's own name has one, since clients elsewhere
// can't use a local address.
func TestTheAdvisedRecordLeadsEveryClientToTheProxy(t *testing.T) {
	for _, test := range []struct{ address, portal, want string }{
		{"203.0.113.7:443", "198.51.100.4", "A 203.0.113.7"},
		{"203.0.113.7:443", "", "A 203.0.113.7"},
		{"[2001:db8::7]:443", "198.51.100.4", "AAAA 2001:db8::7"},
		{"192.168.1.5:443", "192.168.1.9", "A 192.168.1.5"},
		{"192.168.1.5:443", "198.51.100.4", exampleRecord},
		{"10.0.0.5:443", "", exampleRecord},
		{"172.17.0.1:443", "127.0.0.1", exampleRecord},
		{"[fd00::1]:443", "2001:db8::7", exampleRecord},
		{"[fd00::1]:443", "fd00::1", "AAAA fd00::1"},
		{"100.64.0.5:443", "198.51.100.4", exampleRecord},
		{"100.64.0.5:443", "100.64.0.9", "A 100.64.0.5"},
		{"127.0.0.1:443", "192.168.1.9", exampleRecord},
	} {
		var portal []netip.Addr
		if test.portal != "" {
			portal = append(portal, netip.MustParseAddr(test.portal))
		}
		if got := record(test.address, portal); got != test.want {
			t.Errorf("%s, where the portal is at %q: %s, want %s", test.address, test.portal, got, test.want)
		}
	}
}

// doctor advises the first address that is right, so it tries those that DNS has for the portal
// first.
func TestAddressesOfThePortalAreTriedFirst(t *testing.T) {
	d := &doctor{
		Options: Options{PublicURL: "https://auth.test", Panels: []Panel{{Panel: &access.Panel{Origin: "https://panel.test"}}, {Panel: &access.Panel{Origin: "https://other.test"}}}},
		client:  newClient(nil), serverUp: true,
	}
	addresses := map[string]string{"auth.test": "203.0.113.7", "panel.test": "198.51.100.4", "other.test": "192.0.2.9"}
	d.client.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr(addresses[host])}, nil
	}
	got := d.otherListeners(t.Context(), "https://panel.test")
	if len(got) < 3 || got[0] != "203.0.113.7:443" || got[1] != "192.0.2.9:443" || got[len(got)-1] != "127.0.0.1:443" {
		t.Errorf("%q, want the portal's address first, then the other panel's, and loopback last", got)
	}
}

// The server's own address may use TLS, may be a wildcard, and may be in use by another
// program.
func TestTheServerIsTestedAtItsOwnAddress(t *testing.T) {
	sallyport := func(w http.ResponseWriter, r *http.Request) {
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
		{"plain", sallyport, false, false, func(port string) string { return "127.0.0.1:" + port }, ""},
		{"every address", sallyport, false, false, func(port string) string { return ":" + port }, ""},
		{"every address of IPv4", sallyport, true, true, func(port string) string { return "0.0.0.0:" + port }, ""},
		{"TLS", sallyport, true, true, func(port string) string { return "127.0.0.1:" + port }, ""},
		{"another program", http.NotFound, false, false, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
		{"not restarted since TLS was set", sallyport, false, true, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
		{"not restarted since TLS was removed", sallyport, true, false, func(port string) string { return "127.0.0.1:" + port }, "server.other"},
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
			client:  newClient([]Connect{{ToHost: "127.0.0.1", ToPort: "1"}}), listenClient: newClient(nil), report: Report{Proxies: map[string]string{}},
		}
		goesOn := d.testServer(context.Background())
		srv.Close()
		var got string
		if len(d.report.Findings) > 0 {
			got = d.report.Findings[0].ID
		}
		if got != test.want || goesOn != (test.want == "") || d.serverUp != goesOn {
			t.Errorf("%s: finding %q, goes on %v, server up %v; want %q", test.name, got, goesOn, d.serverUp, test.want)
		}
	}
}

// A panel's name has two addresses, and at one of them no proxy asks Sallyport.
func TestEveryAddressOfAPanelIsTested(t *testing.T) {
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
	guarded := serve("127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"login":"http://panel.test/.sallyport/start?return=%s"}`, url.QueryEscape(r.RequestURI))
	})
	_, port, _ := net.SplitHostPort(guarded)
	serve("127.0.0.2:"+port, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "come in") })

	panel := &Panel{Panel: &access.Panel{Origin: "http://panel.test", Demand: access.Demand{Requirement: access.Session}}}
	d := &doctor{client: newClient([]Connect{{Port: "80", ToPort: port}}), report: Report{Proxies: map[string]string{}}, marker: "mark"}
	d.client.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
	}
	(&panelTest{doctor: d, Panel: panel}).testAddresses(context.Background())
	if len(d.report.Findings) != 1 || d.report.Findings[0].ID != "gate.absent" || len(d.report.Findings[0].Seen) != 1 ||
		!strings.Contains(d.report.Findings[0].Seen[0].Asked, "at 127.0.0.2:"+port) {
		t.Errorf("findings %+v, want gate.absent at 127.0.0.2", d.report.Findings)
	}
}
