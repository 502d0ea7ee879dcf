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

// tlsPortal is a portal that terminates TLS itself, with two panels behind its gateway.
type tlsPortal struct {
	*portal.Portal
	ca   *testkit.CA
	dir  string // has certificates and keys: own.* for the portal and video, radio.* for radio
	file string // the configuration file
}

// withTLSPortal runs a test on a tlsPortal with each database engine.
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
			if a := s.Browser(t).Get("/healthz"); a.Status != http.StatusOK { // then the other listeners are open too
				t.Fatalf("/healthz: status %d, want 200", a.Status)
			}
			test(t, s)
		})
	}
}

// declare returns the configuration with the panels' upstreams.
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

// dial opens a TLS connection with host as the server name. protocols are those that the
// client offers by ALPN.
func (s *tlsPortal) dial(t *testing.T, host string, protocols ...string) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(portal.Dial(t, s.Portal), &tls.Config{
		ServerName: host, RootCAs: s.ca.Roots, Time: s.Clock.Now, NextProtos: protocols,
	})
	return conn, conn.Handshake()
}

// sendLines sends the lines of a request unchanged and returns the answer.
func sendLines(t *testing.T, conn net.Conn, reader *bufio.Reader, lines ...string) *http.Response {
	t.Helper()
	_, err := fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	testkit.Check(t, err)
	resp, err := http.ReadResponse(reader, nil)
	testkit.Check(t, err)
	return resp
}

// The test signs in with password and code at a server that terminates TLS itself. It has
// no trusted proxies, so forwarded headers have no effect.
func TestOwnTLSServesASignInFromPasswordToPanel(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		_, phone := portal.WithTwoFactor(t, s.Portal, "ada")
		b := s.Browser(t)
		b.Header.Set("X-Forwarded-For", "203.0.113.9")
		b.Header.Set("X-Forwarded-Proto", "http")
		a := panels.Navigate(b, secureVideo+"/page?x=1")
		if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
			t.Fatalf("the panel leads to %s, want the sign-in\n%s", portal.Summary(a), a.Body)
		}
		if got := a.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
			t.Errorf("the sign-in page has Strict-Transport-Security %q, want max-age=31536000", got)
		}
		b.Post("/login", "username", "ada", "password", portal.Password, "return", portal.FieldOf(a.Body, "return"))
		b.Follow()
		a = b.Post("/login/code", "code", phone.Code(0))
		own := a.Header.Values("Set-Cookie")
		for a.Location != "" && !strings.HasPrefix(a.Location, secureVideo+"/page") {
			a = b.Get(a.Location)
			own = append(own, a.Header.Values("Set-Cookie")...)
			if a.Header.Get("Strict-Transport-Security") == "" {
				t.Errorf("the redirect to %s has no Strict-Transport-Security", a.Location)
			}
		}
		found := map[string]bool{}
		for _, set := range own {
			name, _, _ := strings.Cut(set, "=")
			found[name] = true
			if !strings.HasPrefix(name, "__Host-sallyport") || !strings.Contains(set, "; Secure") || !strings.Contains(set, "; HttpOnly") {
				t.Errorf("the cookie %s lacks the prefix __Host-, Secure or HttpOnly", set)
			}
		}
		if !found["__Host-sallyport"] || !found["__Host-sallyport-visit"] {
			t.Errorf("the sign-in set the cookies %v, want those of session and visit", found)
		}
		seen := panels.Received(t, b.Follow())
		for name, want := range map[string]string{"Remote-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "video.test"} {
			if got := seen.Header.Get(name); got != want {
				t.Errorf("the panel got %s = %q, want %q", name, got, want)
			}
		}
		if seen.URI != "/page?x=1" {
			t.Errorf("the sign-in leads to %s, want /page?x=1", seen.URI)
		}
		if body := b.Get("/settings/sessions").Body; !strings.Contains(body, "127.0.0.1") || strings.Contains(body, "203.0.113.9") {
			t.Error("the session's address isn't that of the connection")
		}
	})
}

// Browsers use HTTP/2 for requests and HTTP/1.1 for WebSockets.
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
				t.Errorf("%s: %s %s, want HTTP/2 and 200", url, resp.Proto, resp.Status)
			}
		}
		events := ask(http.MethodGet, secureRadio+"/events")
		if line, err := bufio.NewReader(events.Body).ReadString('\n'); !strings.HasPrefix(line, "data: ") || err != nil {
			t.Errorf("events over HTTP/2: %q, %v; want a line of data", line, err)
		}

		conn, err := s.dial(t, "radio.example", "http/1.1")
		testkit.Check(t, err)
		reader := bufio.NewReader(conn)
		if resp := sendLines(t, conn, reader, "GET /echo HTTP/1.1", "Host: radio.example", "Connection: Upgrade", "Upgrade: websocket", "Cookie: "+cookie); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade to WebSocket: %s, want 101", resp.Status)
		}
		fmt.Fprint(conn, "hello\n")
		if line, err := reader.ReadString('\n'); line != "hello\n" || err != nil {
			t.Fatalf("the WebSocket echoes %q (error %v), want hello", line, err)
		}
		b.Post(secureRadio + "/.sallyport/logout")
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the WebSocket is still open after the sign-out: %v", err)
		}
		if _, err := io.Copy(io.Discard, events.Body); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the server-sent events don't end at the sign-out: %v", err)
		}
	})
}

// A handshake for a configured host gets that host's certificate, and one for any other
// host gets an alert.
func TestOwnTLSServesOnlyConfiguredHosts(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		for host, want := range map[string]string{"auth.test": "auth.test", "AUTH.test": "auth.test", "video.test": "auth.test", "radio.example": "radio.example"} {
			conn, err := s.dial(t, host)
			if err != nil {
				t.Errorf("a handshake for %s: %v", host, err)
				continue
			}
			state := conn.ConnectionState()
			if got := state.PeerCertificates[0].Subject.CommonName; got != want || state.Version != tls.VersionTLS13 {
				t.Errorf("a handshake for %s: certificate of %s and version %x, want %s and TLS 1.3", host, got, state.Version, want)
			}
		}
		for _, host := range []string{"other.test", "example", "radio.example.evil.test", "x.radio.example"} {
			if _, err := s.dial(t, host); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("a handshake for %s: %v, want the alert for an unrecognized name", host, err)
			}
		}
		// A client that sends no server name, as a health check does, gets the portal's certificate.
		nameless := tls.Client(portal.Dial(t, s.Portal), &tls.Config{InsecureSkipVerify: true})
		testkit.Check(t, nameless.Handshake())
		if got := nameless.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "auth.test" {
			t.Errorf("a handshake without a name: certificate of %s, want auth.test", got)
		}
		if resp := sendLines(t, nameless, bufio.NewReader(nameless), "GET /healthz HTTP/1.1", "Host: "+s.At); resp.StatusCode != http.StatusOK {
			t.Errorf("/healthz by address: %s, want 200", resp.Status)
		}
		old := tls.Client(portal.Dial(t, s.Portal), &tls.Config{ServerName: "auth.test", RootCAs: s.ca.Roots, Time: s.Clock.Now, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
		if err := old.Handshake(); err == nil {
			t.Error("the server accepts TLS 1.1")
		}
		twelve := tls.Client(portal.Dial(t, s.Portal), &tls.Config{ServerName: "auth.test", RootCAs: s.ca.Roots, Time: s.Clock.Now, MaxVersion: tls.VersionTLS12})
		testkit.Check(t, twelve.Handshake())

		// The Host header selects the host, whatever the TLS server name is.
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
				t.Errorf("%q over TLS for auth.test: %s, want %d", test.lines, resp.Status, test.want)
			}
		}
		plain := portal.Dial(t, s.Portal)
		if resp := sendLines(t, plain, bufio.NewReader(plain), "GET /login HTTP/1.1", "Host: auth.test"); resp.StatusCode != http.StatusBadRequest || len(resp.Cookies()) > 0 {
			t.Errorf("a plain http request: %s, want 400 without cookies", resp.Status)
		}
	})
}

// Without its own TLS and trusted proxies the server refuses plain requests, whatever their
// forwarded headers are.
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
			t.Errorf("a plain request to %s: %s, want 403 that shows the line trusted_proxies\n%s", host, resp.Status, body)
		}
	}
}

// freeSecondAddress returns a free address at 127.0.0.2. The tests' portals listen at
// 127.0.0.1.
func freeSecondAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	testkit.Check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// environ returns the environment variables with which the portal was started, without the
// configuration file.
func (s *tlsPortal) environ() []string {
	environ := []string{"SALLYPORT_LISTEN=" + s.Config.Listen, "SALLYPORT_DATA_DIR=" + s.Dir, "SALLYPORT_METRICS_LISTEN=" + s.Config.MetricsListen, "SALLYPORT_REDIRECT_LISTEN=" + s.Config.RedirectListen}
	if url := s.Config.Database.Reveal(); url != "" {
		environ = append(environ, "SALLYPORT_DATABASE="+url)
	}
	return environ
}
