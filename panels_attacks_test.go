package sallyport_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack87PanelsReadTheTrueRequest: frameworks go by these headers rather
// than by the request line, and so would serve what nobody asked the gate for.
func TestAttack87PanelsReadTheTrueRequest(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, name := range []string{
			"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix",
			"X-Forwarded-Port", "X-Forwarded-User", "X-Real-IP", "X_Original_URL", "x.rewrite.url", "X_Real_IP",
		} {
			s := got(t, p.Browser(t).Do(http.MethodGet, radio+"/status/", nil, http.Header{name: {"/ops/"}}))
			if values := s.Header.Values(name); s.URI != "/status/" || len(values) != 0 {
				t.Errorf("%s: the panel got %s and %q", name, s.URI, values)
			}
		}
		s := got(t, p.Browser(t).Do(http.MethodGet, radio+"/status/", nil, http.Header{"X_Forwarded_For": {"9.9.9.9"}, "X_Forwarded_Proto": {"https"}}))
		for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X_forwarded_for": "", "X_forwarded_proto": ""} {
			if got := strings.Join(s.Header[name], ","); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if s := got(t, p.Browser(t).Get(radio+"/status/?p=a.git;a=log&x=%zz")); s.URI != "/status/?p=a.git;a=log&x=%zz" {
			t.Errorf("the query was changed: %s", s.URI)
		}
	})
}

// TestAttack90NamesThatPanelsReadAlike: CGI of some servers turns whatever is
// no letter or digit into "_".
func TestAttack90NamesThatPanelsReadAlike(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, sign := range "_.!#$%&'*+^`|~" {
			name := "Remote" + string(sign) + "User"
			conn := dial(t, p)
			fmt.Fprintf(conn, "GET /status/ HTTP/1.1\r\nHost: radio.example\r\n%s: root\r\n\r\n", name)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d, want 403", name, resp.StatusCode)
			}
		}
	})
}

// TestAttack94OnlyWebSocketsLeaveHTTP: behind an upgrade to HTTP/2 a stranger
// could ask for every path, with every name in the identity headers.
func TestAttack94OnlyWebSocketsLeaveHTTP(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, lines := range []string{
			"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
			"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n",
			"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
			"Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
			"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
		} {
			conn := dial(t, p)
			fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\n%s\r\n", lines)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%q: %d, want 200 as without it", lines, resp.StatusCode)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || strings.Contains(string(body), `"Upgrade"`) {
				t.Errorf("%q: the panel got %s, %v", lines, body, err)
			}
		}
	})
}

// TestNamedStreamsOnOpenPathsEndWithTheirVisit: the path goes on to admit, but
// nobody of that name is there any more.
func TestNamedStreamsOnOpenPathsEndWithTheirVisit(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := visit(t, p, "bob", radio+"/")
		conn := dial(t, p)
		fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: sallyport-visit=%s\r\n\r\n",
			b.CookieAt(radio, "sallyport-visit"))
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v", resp, err)
		}
		b.Post(radio + "/.sallyport/logout")
		if _, err := reader.ReadString('\n'); err == nil || isTimeout(err) {
			t.Errorf("the upgraded connection goes on: %v", err)
		}
	})
}
