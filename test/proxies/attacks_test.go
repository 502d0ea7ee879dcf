package proxies

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

func TestRealProxiesLeadThroughTheSecondFactorToThePage(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		enrolled := p.Browser(t)
		enrolled.SignIn("ada")
		phone := enrolled.Enroll("Phone")

		const page = panels.Video + "/rack/7?sort=name&x=%2Fa"
		b := panels.Visit(t, p, "ada", page)
		b.Post("/login/code", "code", phone.Code(0))
		s := panels.Received(t, b.Follow())
		if s.Panel != "video" || s.URI != "/rack/7?sort=name&x=%2Fa" || s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("the sign-in leads to %q of %s as %q, want the page of video as ada", s.URI, s.Panel, s.Header.Get("Remote-User"))
		}
		// The other panel needs no second sign-in.
		if s := panels.Received(t, panels.Navigate(b, panels.Radio+"/list")); s.Panel != "radio" || s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("radio got %+v, want a request by ada", s)
		}
		if a := panels.Navigate(b, panels.Radio+"/ops/"); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "<h1") {
			t.Errorf("a path for a group that ada isn't in: status %d, want 403 with a page\n%s", a.Status, a.Body)
		}
		// The panel gets the request's body.
		a := b.Do(http.MethodPost, panels.Video+"/save", strings.NewReader("a=b"), http.Header{"Content-Type": {"text/plain"}})
		if s := panels.Received(t, a); s.Method != http.MethodPost || s.Body != "a=b" {
			t.Errorf("the panel got %s with body %q, want POST with a=b", s.Method, s.Body)
		}
		// A sign-out at one panel ends the visit at the other.
		b.Post(panels.Video + "/.sallyport/logout")
		if a := b.Do(http.MethodGet, panels.Radio+"/list", nil, nil); a.Status != http.StatusUnauthorized {
			t.Errorf("radio after the sign-out at video: status %d, want 401\n%s", a.Status, a.Body)
		}
	})
}

// A client's headers change neither the request that Sallyport decides about nor the
// identity that the panel gets (attacks 87, 90, 91, 94 and 96).
func TestAttack87And90HeadersCannotMisleadRealProxies(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		stranger := p.Browser(t)
		for _, forged := range []http.Header{
			{"X-Forwarded-Uri": {"/status/"}}, {"X-Original-Url": {panels.Radio + "/status/"}, "X-Original-Method": {"GET"}},
			{"X-Forwarded-Host": {"radio.example"}, "X-Forwarded-Method": {"OPTIONS"}}, {"X-Rewrite-Url": {"/status/"}},
			{"Forwarded": {"host=radio.example;proto=http"}}, {"X-Forwarded-Prefix": {"/status/"}}, {"X-Http-Method-Override": {"OPTIONS"}},
			{"User-Agent": {"kube-probe/1.30"}}, {"User-Agent": {"GoogleHC/1.0"}},
			{"X_Forwarded_Uri": {"/status/"}}, {"X-Forwarded-Uri": {"/status/", "/status/"}},
			{"Remote-User": {"root1"}}, {"Authorization": {"Bearer x"}},
		} {
			for _, target := range []string{panels.Radio + "/admin", panels.Video + "/status/"} {
				a := stranger.Do(http.MethodGet, target, nil, forged)
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("%s with %v by a stranger: status %d, want 401 or 403\n%s", target, forged, a.Status, a.Body)
				}
			}
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PROPFIND", "get", "DELETE", "TRACE"} {
			if a := stranger.Do(method, panels.Radio+"/admin", nil, nil); a.Status < 400 {
				t.Errorf("%s /admin by a stranger: status %d, want a refusal", method, a.Status)
			}
		}
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		for _, name := range []string{"Remote-User", "Remote-Groups", "Remote_User", "Remote.Groups", "remote-email"} {
			for _, target := range []string{panels.Radio + "/", panels.Radio + "/status/x", panels.Radio + "/own/"} {
				a := b.Do(http.MethodGet, target, nil, http.Header{name: {"root1"}})
				if strings.Contains(a.Body, "root1") {
					t.Errorf("a request with %s: the panel at %s got the client's header\n%s", name, target, a.Body)
				}
			}
		}
		if s := panels.Received(t, panels.Navigate(b, panels.Radio+"/status/x")); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("an open path by bob: the panel got Remote-User %q, want bob", s.Header.Get("Remote-User"))
		}
		if s := panels.Received(t, stranger.Get(panels.Radio+"/status/x")); s.Header.Get("Remote-User") != "" {
			t.Errorf("an open path by a stranger: the panel got Remote-User %q, want none", s.Header.Get("Remote-User"))
		}
	})
}

// A path that proxy, Sallyport and panel may read differently reaches the panel only if it
// is an open path in every reading (attack 91).
func TestAttack91AmbiguousPathsStayClosedBehindRealProxies(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		// An open path reaches the panel, so the proxy works.
		if status, body := raw(t, p.At, "radio.example", "/status/x"); status != http.StatusOK || !strings.Contains(body, `"URI":"/status/x"`) {
			t.Fatalf("an open path: status %d, want the panel's answer\n%s", status, body)
		}
		for _, path := range []string{
			"/admin/..;/status/", "//admin", "/./admin", "/%61dmin", "/admin%2f", "/status/%2e%2e/admin", "/status/..%2fadmin",
			"/status/%252e%252e/admin", `/status/..\admin`, "/ADMIN", "/admin;x=1", "/admin%00", "/status/%zz", "/status/%c0%af..%c0%afadmin",
			"/status/../admin", "/status//../../admin", "/.sallyport/../admin", "/.sallyport/%2e%2e/admin", "/.SALLYPORT/../admin",
			"/status/..", "/status/../", "/Status/../admin", "/status/.%2e/admin", "/.sallyport-verify", "/verify/nginx", "/verify/caddy",
			"http://radio.example/admin", "http://radio.example/status/../admin", "http://video.test/status/", "*",
		} {
			status, body := raw(t, p.At, "radio.example", path)
			if strings.Contains(body, `"URI"`) {
				t.Errorf("%s by a stranger reached the panel: status %d\n%s", path, status, body)
			}
			if status >= 500 && status != http.StatusHTTPVersionNotSupported {
				t.Logf("%s: status %d", path, status) // it is a refusal too
			}
		}
		for _, two := range []string{"http://radio.example/status/", "/status/"} {
			if status, body := raw(t, p.At, "video.test", two); strings.Contains(body, `"Panel":"video"`) {
				t.Errorf("%s at video's host by a stranger reached video: status %d\n%s", two, status, body)
			}
		}
	})
}

// The configuration declares a panel that the proxy has no site for. A request for its open
// path reaches the proxy's default site and must not open that site's panel.
func TestAttack87UnservedHostOpensNoOtherPanel(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		for _, host := range []string{"elsewhere.test", "elsewhere.test:80", "ELSEWHERE.test"} {
			if status, body := raw(t, p.At, host, "/open/x"); strings.Contains(body, `"URI"`) {
				t.Errorf("/open/x at %s reached another panel: status %d\n%s", host, status, body)
			}
		}
	})
}

// raw sends a GET request whose target isn't normalized, and returns the status and all
// bytes of the answer.
func raw(t *testing.T, at, host, target string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proxies.ProxyStarts))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	answer := make([]byte, 64<<10)
	n := 0
	for n < len(answer) {
		m, err := conn.Read(answer[n:])
		n += m
		if err != nil {
			break
		}
	}
	fmt.Sscanf(string(answer[:n]), "HTTP/1.1 %d", &status)
	if status == 0 {
		t.Errorf("GET %s: the answer has no status: %q", target, answer[:n])
	}
	return status, string(answer[:n])
}

// While the portal is down, answers 500 or cuts its answer off, panels stay closed
// (attack 98).
func TestAttack98PortalDownKeepsPanelsClosed(t *testing.T) {
	t.Parallel()
	for name, command := range proxies.RealProxies {
		if proxies.BeforeGateway[name] {
			continue // the gateway is the portal
		}
		for fault, answer := range map[string]string{
			"500": "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			// It is cut off, but begins like a success.
			"half": "HTTP/1.1 20", "nothing": "", "garbage": "yes, do let her in\r\n\r\n",
		} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				t.Parallel()
				gate, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { gate.Close() })
				go func() {
					for {
						conn, err := gate.Accept()
						if err != nil {
							return
						}
						conn.Read(make([]byte, 32<<10))
						fmt.Fprint(conn, answer)
						conn.Close()
					}
				}()
				at := proxies.StartProxy(t, gate.Addr().String(), panels.StartPanel(t, "radio"), panels.StartPanel(t, "video"), command)
				for range 3 {
					if status, body := raw(t, at, "radio.example", "/admin"); status < 400 || strings.Contains(body, `"Panel"`) {
						t.Errorf("the panel is open while the portal fails: status %d\n%s", status, body)
					}
				}
				gate.Close()
				status, body := raw(t, at, "radio.example", "/admin")
				if status < 500 {
					t.Errorf("the portal doesn't listen: status %d, want 5xx\n%s", status, body)
				}
				if name == "nginx" && (status != http.StatusServiceUnavailable || !strings.Contains(body, "Try again in a moment")) {
					t.Errorf("the portal doesn't listen: nginx answers %d, want 503 with the page that says to try again\n%s", status, body)
				}
			})
		}
	}
}

// While the portal's answer doesn't end, panels stay closed and the proxy still answers
// (attack 98).
func TestAttack98EndlessAnswerKeepsPanelsClosed(t *testing.T) {
	t.Parallel()
	for name, command := range proxies.RealProxies {
		if proxies.BeforeGateway[name] {
			continue // the gateway is the portal
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				for part := make([]byte, 64<<10); ; {
					if _, err := w.Write(part); err != nil {
						return
					}
				}
			}))
			t.Cleanup(portal.Close)
			t.Cleanup(portal.CloseClientConnections) // runs before Close, which waits for the connections
			at := proxies.StartProxy(t, strings.TrimPrefix(portal.URL, "http://"), panels.StartPanel(t, "radio"), panels.StartPanel(t, "video"), command)
			for range 5 {
				if status, body := raw(t, at, "radio.example", "/admin"); status < 400 || strings.Contains(body, `"Panel"`) {
					t.Fatalf("the panel is open while the portal's answer doesn't end: status %d\n%.200s", status, body)
				}
			}
		})
	}
}

// silence is how long the test waits in all for answers that must not come.
const silence = 2 * time.Second

// While the portal doesn't answer, panels stay closed, and the proxy still serves requests
// that need no verify request (attack 98).
func TestAttack98SilentPortalKeepsPanelsClosed(t *testing.T) {
	t.Parallel()
	for name, command := range proxies.RealProxies {
		if proxies.BeforeGateway[name] {
			continue // the gateway is the portal
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and never answers
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { gate.Close() })
			at := proxies.StartProxy(t, gate.Addr().String(), panels.StartPanel(t, "radio"), panels.StartPanel(t, "video"), command)
			for range 20 { // more than one worker process serves
				conn, err := net.Dial("tcp", at)
				if err != nil {
					t.Fatalf("the proxy accepts no more connections: %v", err)
				}
				defer conn.Close()
				fmt.Fprint(conn, "GET /admin HTTP/1.1\r\nHost: radio.example\r\n\r\n")
				conn.SetReadDeadline(time.Now().Add(silence / 20))
				answer := make([]byte, 4<<10)
				if n, _ := conn.Read(answer); strings.Contains(string(answer[:n]), "200 OK") {
					t.Fatalf("the panel is open while the portal doesn't answer: %s", answer[:n])
				}
			}
			// The proxy refuses this request without the portal.
			if status, _ := raw(t, at, "radio.example", "/a b c"); status != http.StatusBadRequest {
				t.Errorf("a malformed request line: status %d, want 400", status)
			}
		})
	}
}
