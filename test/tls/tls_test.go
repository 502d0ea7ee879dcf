package tls

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	secureAt    = "https://auth.test"
	secureRadio = "https://radio.example"
	secureVideo = "https://video.test"
)

// tlsPortal is a portal that ends TLS itself, with two panels behind its gateway.
type tlsPortal struct {
	*portal.Portal
	ca   *testkit.CA
	dir  string // of the pairs: own, for the portal and video, and radio
	file string // configuration
}

// withTLSPortal runs a test on a tlsPortal portal of each engine.
func withTLSPortal(t *testing.T, test func(t *testing.T, s *tlsPortal)) {
	t.Helper()
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := &tlsPortal{ca: testkit.NewCA(t), dir: t.TempDir()}
			s.ca.Issue(s.dir, "own", "auth.test", "*.test")
			s.ca.Issue(s.dir, "radio", "radio.example")
			s.file = panels.WriteConfig(t, s.declare(panels.StartPanel(t, "radio").URL, panels.StartPanel(t, "video").URL))
			s.Portal = portal.Start(t, engine, "SALLYPORT_CONFIG="+s.file,
				"SALLYPORT_METRICS_LISTEN="+freeSecondAddress(t), "SALLYPORT_REDIRECT_LISTEN="+freeSecondAddress(t))
			s.Roots = s.ca.Roots
			if a := s.Browser(t).Get("/healthz"); a.Status != http.StatusOK { // the others listen by then
				t.Fatalf("healthz: %d", a.Status)
			}
			test(t, s)
		})
	}
}

func (s *tlsPortal) declare(one, two string) string {
	return fmt.Sprintf(`public_url: %[1]s
tls:
  certificates:
    - {cert: %[2]s/own.pem, key: %[2]s/own.key}
    - {cert: %[2]s/radio.pem, key: %[2]s/radio.key}
panels:
  - {url: %[3]s, upstream: '%[4]s'}
  - {url: %[5]s, upstream: '%[6]s', require: two_factor}
`, secureAt, s.dir, secureRadio, one, secureVideo, two)
}

// dial begins a connection on which the client names a host; protocols may be
// none.
func (s *tlsPortal) dial(t *testing.T, host string, protocols ...string) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(portal.Dial(t, s.Portal), &tls.Config{
		ServerName: host, RootCAs: s.ca.Roots, Time: s.Clock.Now, NextProtos: protocols,
	})
	return conn, conn.Handshake()
}

// sendLines writes a request as it stands and returns the answer.
func sendLines(t *testing.T, conn net.Conn, reader *bufio.Reader, lines ...string) *http.Response {
	t.Helper()
	_, err := fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	testkit.Check(t, err)
	resp, err := http.ReadResponse(reader, nil)
	testkit.Check(t, err)
	return resp
}

// TestOwnTLSServesASignInFromPasswordToPanel walks a whole sign-in with a code
// through our own TLS: no proxy is named, and no forwarded header is believed.
func TestOwnTLSServesASignInFromPasswordToPanel(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		_, phone := portal.WithTwoFactor(t, s.Portal, "ada")
		b := s.Browser(t)
		b.Header.Set("X-Forwarded-For", "203.0.113.9")
		b.Header.Set("X-Forwarded-Proto", "http")
		a := panels.Navigate(b, secureVideo+"/page?x=1")
		if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
			t.Fatalf("the panel leads to %s\n%s", portal.Summary(a), a.Body)
		}
		if got := a.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("HSTS of the portal: %q", got)
		}
		b.Post("/login", "username", "ada", "password", portal.Password, "return", portal.FieldOf(a.Body, "return"))
		b.Follow()
		a = b.Post("/login/code", "code", phone.Code(0))
		own := a.Header.Values("Set-Cookie")
		for a.Location != "" && !strings.HasPrefix(a.Location, secureVideo+"/page") {
			a = b.Get(a.Location)
			own = append(own, a.Header.Values("Set-Cookie")...)
			if a.Header.Get("Strict-Transport-Security") == "" {
				t.Errorf("no HSTS on the way to %s", a.Location)
			}
		}
		found := map[string]bool{}
		for _, set := range own {
			name, _, _ := strings.Cut(set, "=")
			found[name] = true
			if !strings.HasPrefix(name, "__Host-sallyport") || !strings.Contains(set, "; Secure") || !strings.Contains(set, "; HttpOnly") {
				t.Errorf("cookie %s", set)
			}
		}
		if !found["__Host-sallyport"] || !found["__Host-sallyport-visit"] {
			t.Errorf("cookies %v", found)
		}
		seen := panels.Received(t, b.Follow())
		for name, want := range map[string]string{"Remote-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "video.test"} {
			if got := seen.Header.Get(name); got != want {
				t.Errorf("the panel got %s = %q, want %q", name, got, want)
			}
		}
		if seen.URI != "/page?x=1" {
			t.Errorf("it leads to %s", seen.URI)
		}
		if body := b.Get("/settings/sessions").Body; !strings.Contains(body, "127.0.0.1") || strings.Contains(body, "203.0.113.9") {
			t.Error("the session's address isn't the connection's")
		}
	})
}

// TestOwnTLSServesHTTP2AndWebSockets and lets WebSockets through beside it, over HTTP/1.1,
// as browsers do.
func TestOwnTLSServesHTTP2AndWebSockets(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		s.AddAccount(t, "bob")
		b := panels.Visit(t, s.Portal, "bob", secureRadio+"/")
		cookie := "__Host-sallyport-visit=" + b.CookieAt(secureRadio, "__Host-sallyport-visit")
		transport := &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, s.At)
			},
			TLSClientConfig: &tls.Config{RootCAs: s.ca.Roots, Time: s.Clock.Now}, ForceAttemptHTTP2: true,
		}
		defer transport.CloseIdleConnections()
		ask := func(method, url string) *http.Response {
			t.Helper()
			req, err := http.NewRequest(method, url, nil)
			testkit.Check(t, err)
			req.Header.Set("Cookie", cookie)
			resp, err := transport.RoundTrip(req)
			testkit.Check(t, err)
			t.Cleanup(func() { resp.Body.Close() })
			return resp
		}
		for _, url := range []string{secureRadio + "/x", secureAt + "/login", secureAt + "/healthz", secureAt + "/readyz"} {
			if resp := ask(http.MethodGet, url); resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s", url, resp.Proto, resp.Status)
			}
		}
		events := ask(http.MethodGet, secureRadio+"/events")
		if line, err := bufio.NewReader(events.Body).ReadString('\n'); !strings.HasPrefix(line, "data: ") || err != nil {
			t.Errorf("events over HTTP/2: %q, %v", line, err)
		}

		conn, err := s.dial(t, "radio.example", "http/1.1")
		testkit.Check(t, err)
		reader := bufio.NewReader(conn)
		if resp := sendLines(t, conn, reader, "GET /echo HTTP/1.1", "Host: radio.example", "Connection: Upgrade", "Upgrade: websocket", "Cookie: "+cookie); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %s", resp.Status)
		}
		fmt.Fprint(conn, "hello\n")
		if line, err := reader.ReadString('\n'); line != "hello\n" || err != nil {
			t.Fatalf("echo: %q, %v", line, err)
		}
		b.Post(secureRadio + "/.sallyport/logout")
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the WebSocket outlives its session: %v", err)
		}
		if _, err := io.Copy(io.Discard, events.Body); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the events outlive their session: %v", err)
		}
	})
}

// TestOwnTLSServesOnlyConfiguredHosts: a host that isn't ours gets an
// alert, and each of ours its own certificate.
func TestOwnTLSServesOnlyConfiguredHosts(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		for host, want := range map[string]string{"auth.test": "auth.test", "AUTH.test": "auth.test", "video.test": "auth.test", "radio.example": "radio.example"} {
			conn, err := s.dial(t, host)
			if err != nil {
				t.Errorf("%s: %v", host, err)
				continue
			}
			state := conn.ConnectionState()
			if got := state.PeerCertificates[0].Subject.CommonName; got != want || state.Version != tls.VersionTLS13 {
				t.Errorf("%s: certificate of %s, version %x", host, got, state.Version)
			}
		}
		for _, host := range []string{"other.test", "example", "radio.example.evil.test", "x.radio.example"} {
			if _, err := s.dial(t, host); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("%s: %v, want the alert for a name that isn't known", host, err)
			}
		}
		// Whoever names no host, as a health check, gets the portal's.
		nameless := tls.Client(portal.Dial(t, s.Portal), &tls.Config{InsecureSkipVerify: true})
		testkit.Check(t, nameless.Handshake())
		if got := nameless.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "auth.test" {
			t.Errorf("without a name: certificate of %s", got)
		}
		if resp := sendLines(t, nameless, bufio.NewReader(nameless), "GET /healthz HTTP/1.1", "Host: "+s.At); resp.StatusCode != http.StatusOK {
			t.Errorf("healthz of a host without a name: %s", resp.Status)
		}
		old := tls.Client(portal.Dial(t, s.Portal), &tls.Config{ServerName: "auth.test", RootCAs: s.ca.Roots, Time: s.Clock.Now, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
		if err := old.Handshake(); err == nil {
			t.Error("TLS 1.1 is spoken")
		}
		twelve := tls.Client(portal.Dial(t, s.Portal), &tls.Config{ServerName: "auth.test", RootCAs: s.ca.Roots, Time: s.Clock.Now, MaxVersion: tls.VersionTLS12})
		testkit.Check(t, twelve.Handshake())

		// The name in TLS opens no other host.
		for _, test := range []struct {
			lines []string
			want  int
		}{
			{[]string{"GET /login HTTP/1.1", "Host: other.test"}, http.StatusMisdirectedRequest},
			{[]string{"GET /login HTTP/1.1", "Host: auth.test:9091"}, http.StatusOK},
			{[]string{"GET https://other.test/login HTTP/1.1", "Host: auth.test"}, http.StatusMisdirectedRequest},
			{[]string{"GET /x HTTP/1.1", "Host: radio.example"}, http.StatusUnauthorized},
			{[]string{"CONNECT 127.0.0.1:22 HTTP/1.1", "Host: 127.0.0.1:22"}, http.StatusNotFound},
			{[]string{"CONNECT radio.example:443 HTTP/1.1", "Host: radio.example"}, http.StatusNotFound},
		} {
			conn, err := s.dial(t, "auth.test")
			testkit.Check(t, err)
			if resp := sendLines(t, conn, bufio.NewReader(conn), test.lines...); resp.StatusCode != test.want {
				t.Errorf("%q: %s, want %d", test.lines, resp.Status, test.want)
			}
		}
		plain := portal.Dial(t, s.Portal)
		if resp := sendLines(t, plain, bufio.NewReader(plain), "GET /login HTTP/1.1", "Host: auth.test"); resp.StatusCode != http.StatusBadRequest || len(resp.Cookies()) > 0 {
			t.Errorf("plain http: %s", resp.Status)
		}
	})
}

// TestPlainRequestsAreRefusedWhereAProxyTerminatesTLS: the refusal is lifted
// by nothing but TLS that ends here.
func TestPlainRequestsAreRefusedWhereAProxyTerminatesTLS(t *testing.T) {
	t.Parallel()
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\npanels:\n  - {url: %s, upstream: '%s'}\n", secureAt, secureRadio, panels.StartPanel(t, "radio").URL))
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
	for _, host := range []string{"auth.test", "radio.example"} {
		conn := portal.Dial(t, p)
		resp := sendLines(t, conn, bufio.NewReader(conn), "GET /login HTTP/1.1", "Host: "+host, "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1")
		body, err := io.ReadAll(resp.Body)
		testkit.Check(t, err)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "trusted_proxies: [127.0.0.1/32]") {
			t.Errorf("%s: %s\n%s", host, resp.Status, body)
		}
	}
}

// freeSecondAddress returns an address that no portal of a test listens at: they are
// at 127.0.0.1.
func freeSecondAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	testkit.Check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// environ is what the portal was started with besides the file.
func (s *tlsPortal) environ() []string {
	environ := []string{"SALLYPORT_LISTEN=" + s.Config.Listen, "SALLYPORT_DATA_DIR=" + s.Dir, "SALLYPORT_METRICS_LISTEN=" + s.Config.MetricsListen, "SALLYPORT_REDIRECT_LISTEN=" + s.Config.RedirectListen}
	if url := s.Config.Database.Reveal(); url != "" {
		environ = append(environ, "SALLYPORT_DATABASE="+url)
	}
	return environ
}
