package tls

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// The listener that redirects http to https redirects only to configured hosts, serves no
// page and sets no cookie (attack 99).
func TestAttack99RedirectListenerLeadsOnlyToConfiguredHosts(t *testing.T) {
	withTLSPortal(t, func(t *testing.T, s *tlsPortal) {
		for _, test := range []struct {
			lines  string
			status int
			want   string // Location
		}{
			{"GET / HTTP/1.1\nHost: auth.test", 308, secureAt + "/"},
			{"HEAD /login?return=%2F HTTP/1.1\nHost: auth.test:80", 308, secureAt + "/login?return=%2F"},
			{"GET /a%20b/%2e%2e//c?x=1&y=%0d%0aSet-Cookie:a HTTP/1.1\nHost: RADIO.example", 308, secureRadio + "/a%20b/%2e%2e//c?x=1&y=%0d%0aSet-Cookie:a"},
			{"GET //evil.test/ HTTP/1.1\nHost: auth.test", 308, secureAt + "//evil.test/"},
			{"GET /\\evil.test HTTP/1.1\nHost: auth.test", 308, secureAt + "/%5Cevil.test"},
			{"GET /@evil.test HTTP/1.1\nHost: auth.test", 308, secureAt + "/@evil.test"},
			{"GET http://auth.test/x HTTP/1.1\nHost: evil.test", 308, secureAt + "/x"},
			{"GET http://auth.test?x HTTP/1.1\nHost: auth.test", 308, secureAt + "/?x"},
			{"GET / HTTP/1.0\nHost: auth.test", 308, secureAt + "/"},

			{"GET / HTTP/1.1\nHost: evil.test", 421, ""},
			{"GET / HTTP/1.1\nHost: auth.test.evil.test", 421, ""},
			{"GET / HTTP/1.1\nHost: evil.test\nX-Forwarded-Host: auth.test", 421, ""},
			{"GET / HTTP/1.1\nHost: auth.test@evil.test", 400, ""},
			{"GET / HTTP/1.1\nHost: auth.test:80@evil.test", 400, ""},
			{"GET / HTTP/1.1\nHost: auth.test.", 421, ""},
			{"GET / HTTP/1.1\nHost:", 421, ""},
			{"GET / HTTP/1.0", 421, ""},
			{"GET http://evil.test/ HTTP/1.1\nHost: auth.test", 421, ""},
			{"GET http:evil.test HTTP/1.1\nHost: auth.test", 400, ""},
			{"GET / HTTP/1.1\nHost: auth.test\nHost: evil.test", 400, ""},
			{"GET / HTTP/1.1", 400, ""},
			{"CONNECT evil.test:443 HTTP/1.1\nHost: auth.test", 421, ""},
			{"CONNECT auth.test:443 HTTP/1.1\nHost: auth.test", 405, ""},
			{"GET * HTTP/1.1\nHost: auth.test", 400, ""},
			{"OPTIONS * HTTP/1.1\nHost: auth.test", 200, ""},
			{"POST /login HTTP/1.1\nHost: auth.test\nContent-Length: 0", 405, ""},
			{"TRACE / HTTP/1.1\nHost: auth.test", 405, ""},
			// No ACME challenge is pending.
			{"GET /.well-known/acme-challenge/acme_account%2Bkey HTTP/1.1\nHost: auth.test", 308, secureAt + "/.well-known/acme-challenge/acme_account%2Bkey"},
			// The listener doesn't serve the portal's paths.
			{"GET /healthz HTTP/1.1\nHost: auth.test", 308, secureAt + "/healthz"},
			{"GET /verify/nginx HTTP/1.1\nHost: other.test", 421, ""},
		} {
			conn, err := net.Dial("tcp", s.Config.RedirectListen)
			testkit.Check(t, err)
			resp := sendLines(t, conn, bufio.NewReader(conn), strings.Split(test.lines, "\n")...)
			conn.Close()
			if location := resp.Header.Get("Location"); resp.StatusCode != test.status || location != test.want {
				t.Errorf("%q: %d %s, want %d %s", test.lines, resp.StatusCode, location, test.status, test.want)
			}
			if set := resp.Header["Set-Cookie"]; set != nil {
				t.Errorf("%q: the answer sets the cookies %q", test.lines, set)
			}
		}
		conn, err := net.Dial("tcp", s.Config.RedirectListen)
		testkit.Check(t, err)
		defer conn.Close()
		long := "GET / HTTP/1.1\r\nHost: auth.test\r\nX-Long: " + strings.Repeat("x", 64<<10)
		if resp := sendLines(t, conn, bufio.NewReader(conn), long); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a request with 64 KiB of headers: %s, want 431", resp.Status)
		}
	})
}
