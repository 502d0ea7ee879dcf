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

// askingProxies are those that serve a panel themselves and ask about each request.
var askingProxies = []string{"nginx", "caddy", "haproxy"}

// asOperator is a real proxy whose operator wrote what docs/proxies.md says beside our
// files: the panel's connections are used once, and nginx takes large headers and makes
// pages of the panel's errors.
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

// answersOf runs a test on each of these proxies in front of a panel, whose /status/ is
// open to everybody.
func answersOf(t *testing.T, panel http.HandlerFunc, test func(t *testing.T, name, at string)) {
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
	for _, name := range askingProxies {
		t.Run(name, func(t *testing.T) {
			test(t, name, proxies.StartProxy(t, p.At, one, two, asOperator(name)))
		})
	}
}

// written sends a request as it is written and returns its answer and body.
func written(t *testing.T, at, request string) (*http.Response, string) {
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

func toRadio(target, more string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\n" + more + "\r\n"
}

// A header that no server takes is refused as the client's fault. Behind nginx, which
// knows yes and no only, the page says which cookie it is.
func TestWhatNoServerReadsIsRefusedInWords(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the panel") }, func(t *testing.T, name, at string) {
		for more, says := range map[string]string{
			"Cookie: a=b; theme=dark\x01; c=d\r\n":                 "The cookie theme ",
			"Cookie: theme=\x1f\r\n":                               "The cookie theme ",
			"Cookie: a=b\r\nCookie: theme=\x7f\r\n":                "The cookie theme ",
			"Cookie: \x02\r\n":                                     "A header ",
			"X-Note: \x02\r\n":                                     "A header ",
			"Cookie: big=" + strings.Repeat("x", 100<<10) + "\r\n": "too large",
		} {
			for _, path := range []string{"/", "/status/x"} {
				answer, body := written(t, at, toRadio(path, more))
				if answer.StatusCode < 400 || answer.StatusCode >= 500 || strings.Contains(body, "the panel") {
					t.Errorf("%.40q: %d\n%s", more, answer.StatusCode, body)
				}
				if name == "nginx" && !strings.Contains(body, says) {
					t.Errorf("%.40q: %d doesn't say %q:\n%s", more, answer.StatusCode, says, body)
				}
			}
		}
	})
}

// The panel's own errors stay its own where nginx makes pages of them.
func TestNginxTakesNoErrorOfThePanelForTheGates(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, func(t *testing.T, name, at string) {
		if answer, body := written(t, at, toRadio("/status/x", "")); answer.StatusCode != http.StatusInternalServerError || strings.Contains(body, "sign-in") {
			t.Errorf("%d\n%s", answer.StatusCode, body)
		}
	})
}

// The panel refuses an admitted request, and nginx brings the refusal to Sallyport: the
// answer says that, and is never a yes.
func TestAPanelsOwnRefusalIsNoYes(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, func(t *testing.T, name, at string) {
		answer, body := written(t, at, toRadio("/status/x", ""))
		if answer.StatusCode != http.StatusForbidden || answer.Header.Get("Remote-Groups") != "" || len(answer.Header.Values("Remote-User")) > 0 {
			t.Errorf("%d %v\n%s", answer.StatusCode, answer.Header, body)
		}
	})
}

// HTTP/3 has no Host header, and HTTP/1.0 needs none: nginx's first site is asked for, and
// what it tells Sallyport and the panel is that site's own name.
func TestNginxNamesThePanelWithoutAHostHeader(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }, func(t *testing.T, name, at string) {
		if name != "nginx" {
			return // the others' sites have no first
		}
		if answer, body := written(t, at, "GET /status/x HTTP/1.0\r\n\r\n"); answer.StatusCode != http.StatusOK || body != "radio.example" {
			t.Errorf("the panel: %d %q", answer.StatusCode, body)
		}
		if answer, body := written(t, at, "GET /.sallyport/start HTTP/1.0\r\n\r\n"); answer.StatusCode != http.StatusSeeOther {
			t.Errorf("the way to the sign-in: %d\n%s", answer.StatusCode, body)
		}
	})
}

// A panel deletes no cookies of other hosts, and no cache before the gate keeps what is
// guarded.
func TestAnswersOfPanelsReachNeitherOtherHostsNorSharedCaches(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Clear-Site-Data", r.URL.Query().Get("clear"))
		w.Header().Set("Cache-Control", r.URL.Query().Get("cache"))
	}, func(t *testing.T, name, at string) {
		for _, clear := range []string{`"cookies"`, `"*"`, `"cache",%20"cookies"`, `"cookies","storage"`} {
			answer, _ := written(t, at, toRadio("/status/x?clear="+clear, ""))
			if got := strings.Join(answer.Header.Values("Clear-Site-Data"), ","); answer.StatusCode != http.StatusOK || strings.Contains(got, "cookies") || strings.Contains(got, "*") {
				t.Errorf("%s: %d with %q", clear, answer.StatusCode, got)
			}
		}
		if name == "nginx" {
			return // can't change a part of a header; docs/proxies.md says so
		}
		for cache, want := range map[string]string{
			"public,%20max-age=600": "private, max-age=600", "s-maxage=60": "private", "max-age=1,s-maxage=60,Public": "max-age=1,private,private",
			"no-store": "no-store", "max-age=5": "max-age=5",
		} {
			answer, _ := written(t, at, toRadio("/status/x?cache="+cache, ""))
			if got := strings.Join(answer.Header.Values("Cache-Control"), ","); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
				t.Errorf("%s: %q, want %q", cache, got, want)
			}
		}
	})
}

// What a panel leaves unread of one request becomes no other request: each has a
// connection of its own, which the panel is told to close.
func TestPanelsConnectionsAreUsedOnce(t *testing.T) {
	answersOf(t, func(w http.ResponseWriter, r *http.Request) {
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
				t.Errorf("the panel saw the connection %q, after %v", text, seen)
			} else {
				seen[text] = true
			}
		}
	})
}
