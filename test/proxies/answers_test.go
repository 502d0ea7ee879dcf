package proxies

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// verifyingProxies are the proxies that serve a panel themselves and send a verify request
// for each request.
var verifyingProxies = []string{"nginx", "caddy", "haproxy"}

// asOperator returns a real proxy with the settings that docs/proxies.md recommends beside
// the shipped files: each connection to the panel serves one request. nginx also accepts
// large headers and replaces the panel's errors by pages.
func asOperator(name string) proxies.RealProxy {
	return func(t *testing.T, dir, at, gate, one, two string) *exec.Cmd {
		cmd := proxies.InOrder(proxies.Order{panels.Radio, panels.Video, panels.PortalAt})[name](t, dir, at, gate, one, two)
		switch name {
		case "caddy":
			testkit.EditFile(t, dir, "Caddyfile", "reverse_proxy "+proxies.HostOf(one), "reverse_proxy "+proxies.HostOf(one)+" {\n\t\ttransport http {\n\t\t\tkeepalive off\n\t\t}\n\t}")
		case "nginx":
			testkit.EditFile(t, dir, "nginx.conf", "access_log off;", "access_log off; large_client_header_buffers 8 256k; proxy_intercept_errors on;")
		}
		return cmd
	}
}

// behindVerifyingProxies runs a test with each of verifyingProxies in front of a panel
// whose /status/ is open to everyone.
func behindVerifyingProxies(t *testing.T, panel http.HandlerFunc, test func(t *testing.T, name, at string)) {
	t.Helper()
	t.Parallel()
	one, two := httptest.NewServer(panel), panels.StartPanel(t, "video")
	t.Cleanup(one.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
trusted_proxies: [127.0.0.1]
panels:
  - url: %s
    rules:
      - path: /status/
        require: nothing
  - url: %s
`, panels.PortalAt, panels.Radio, panels.Video)))
	for _, name := range verifyingProxies {
		t.Run(name, func(t *testing.T) {
			test(t, name, proxies.StartProxy(t, p.At, one, two, asOperator(name)))
		})
	}
}

// sendRaw sends the bytes of a request and returns the answer and its body.
func sendRaw(t *testing.T, at, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proxies.ProxyStarts))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: no answer: %v", request, err)
	}
	body, _ := io.ReadAll(answer.Body)
	return answer, string(body)
}

// radioRequest returns the bytes of a GET request to radio; more are further header lines.
func radioRequest(target, more string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\n" + more + "\r\n"
}

// A header that servers can't read gets a 4xx answer. nginx's auth_request knows only yes
// and no, so there a page names the cookie.
func TestUnreadableHeadersGetARefusalThatNamesThem(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the panel") }, func(t *testing.T, name, at string) {
		for more, says := range map[string]string{
			"Cookie: a=b; theme=dark\x01; c=d\r\n":                 "The cookie theme ",
			"Cookie: theme=\x1f\r\n":                               "The cookie theme ",
			"Cookie: a=b\r\nCookie: theme=\x7f\r\n":                "The cookie theme ",
			"Cookie: \x02\r\n":                                     "A header ",
			"X-Note: \x02\r\n":                                     "A header ",
			"Cookie: big=" + strings.Repeat("x", 100<<10) + "\r\n": "too large",
		} {
			for _, path := range []string{"/", "/status/x"} {
				answer, body := sendRaw(t, at, radioRequest(path, more))
				if answer.StatusCode < 400 || answer.StatusCode >= 500 || strings.Contains(body, "the panel") {
					t.Errorf("a request with %.40q: status %d, want 4xx without the panel\n%s", more, answer.StatusCode, body)
				}
				if name == "nginx" && !strings.Contains(body, says) {
					t.Errorf("a request with %.40q: the page with status %d doesn't say %q:\n%s", more, answer.StatusCode, says, body)
				}
			}
		}
	})
}

// Where nginx replaces the panel's errors by pages, it doesn't use the gate's pages for them.
func TestNginxKeepsErrorsOfThePanel(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, func(t *testing.T, name, at string) {
		if answer, body := sendRaw(t, at, radioRequest("/status/x", "")); answer.StatusCode != http.StatusInternalServerError || strings.Contains(body, "sign-in") {
			t.Errorf("the panel answers 500: the browser gets %d, want 500 without a sign-in\n%s", answer.StatusCode, body)
		}
	})
}

// When the panel refuses an admitted request, nginx asks Sallyport for a page. Sallyport's
// answer says that the panel refused, and must not be a 200.
func TestPanelsOwnRefusalDoesNotAdmit(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, func(t *testing.T, name, at string) {
		answer, body := sendRaw(t, at, radioRequest("/status/x", ""))
		if answer.StatusCode != http.StatusForbidden || answer.Header.Get("Remote-Groups") != "" || len(answer.Header.Values("Remote-User")) > 0 {
			t.Errorf("the panel answers 403: the browser gets %d %v, want 403 without an identity\n%s", answer.StatusCode, answer.Header, body)
		}
	})
}

// HTTP/3 has no Host header, and HTTP/1.0 needs none. Such a request reaches nginx's first
// site, which sends its own name to Sallyport and to the panel.
func TestNginxNamesThePanelWithoutAHostHeader(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }, func(t *testing.T, name, at string) {
		if name != "nginx" {
			return // the other proxies have no default site
		}
		if answer, body := sendRaw(t, at, "GET /status/x HTTP/1.0\r\n\r\n"); answer.StatusCode != http.StatusOK || body != "radio.example" {
			t.Errorf("a request without Host: the panel got %d %q, want 200 for radio.example", answer.StatusCode, body)
		}
		if answer, body := sendRaw(t, at, "GET /.sallyport/start HTTP/1.0\r\n\r\n"); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("the start of a sign-in without Host: status %d, want 303\n%s", answer.StatusCode, body)
		}
	})
}

// Clear-Site-Data from a panel must not delete the cookies of other hosts. A shared cache in
// front of the proxy must not store answers that require a sign-in.
func TestPanelAnswersAffectNeitherOtherHostsNorSharedCaches(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Clear-Site-Data", r.URL.Query().Get("clear"))
		w.Header().Set("Cache-Control", r.URL.Query().Get("cache"))
	}, func(t *testing.T, name, at string) {
		for _, clear := range []string{`"cookies"`, `"*"`, `"cache",%20"cookies"`, `"cookies","storage"`} {
			answer, _ := sendRaw(t, at, radioRequest("/status/x?clear="+clear, ""))
			if got := strings.Join(answer.Header.Values("Clear-Site-Data"), ","); answer.StatusCode != http.StatusOK || strings.Contains(got, "cookies") || strings.Contains(got, "*") {
				t.Errorf("the panel sends Clear-Site-Data %s: the browser gets %d with %q, want no cookies in it", clear, answer.StatusCode, got)
			}
		}
		if name == "nginx" {
			return // it can't change a part of a header, as docs/proxies.md says
		}
		for cache, want := range map[string]string{
			"public,%20max-age=600": "private, max-age=600", "s-maxage=60": "private", "max-age=1,s-maxage=60,Public": "max-age=1,private,private",
			"no-store": "no-store", "max-age=5": "max-age=5",
		} {
			answer, _ := sendRaw(t, at, radioRequest("/status/x?cache="+cache, ""))
			if got := strings.Join(answer.Header.Values("Cache-Control"), ","); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
				t.Errorf("the panel sends Cache-Control %s: the browser gets %q, want %q", cache, got, want)
			}
		}
	})
}

// A panel may leave a part of a request's body unread, which must not become the next
// request. So each request has its own connection to the panel, with Connection: close.
func TestEachRequestHasItsOwnConnectionToThePanel(t *testing.T) {
	behindVerifyingProxies(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %v", r.RemoteAddr, r.Close)
	}, func(t *testing.T, name, at string) {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(proxies.ProxyStarts))
		reader, seen := bufio.NewReader(conn), map[string]bool{}
		for _, more := range []string{"", "", "", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"} {
			fmt.Fprint(conn, "GET /status/x HTTP/1.1\r\nHost: radio.example\r\n"+more+"Content-Length: 2\r\n\r\nhi")
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			if more != "" && answer.StatusCode >= 400 {
				continue // no panel answered
			}
			if text := string(body); seen[text] || !strings.HasSuffix(text, " true") {
				t.Errorf("the panel got a request on connection %q after %v, want a new one with Connection: close", text, seen)
			} else {
				seen[text] = true
			}
		}
	})
}
