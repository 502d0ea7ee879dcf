package panels

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// behindGate runs a test with each database engine on a portal whose gateway serves both
// panels. Video requires two factors. more are further settings.
func behindGate(t *testing.T, test func(t *testing.T, p *portal.Portal), more ...string) {
	t.Helper()
	one, two := panels.StartPanel(t, "radio"), panels.StartPanel(t, "video")
	file := panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
panels:
  - url: %s
    upstream: %s
    rules:
      - path: /status/
        require: nothing
      - path: /ops/
        require: session
        groups: [ops]
      - path: /api/
        require: session
        preflight: true
      - path: /vault/
        require: session
        max_age: 1h
  - url: %s
    upstream: %s
    require: two_factor
`, panels.PortalAt, panels.Radio, one.URL, panels.Video, two.URL))
	portal.OnBothEngines(t, test, append(more, "SALLYPORT_CONFIG="+file)...)
}

func TestOneSignInOpensEveryPanel(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		b := panels.Visit(t, p, "ada", panels.Radio+"/page?x=1&y=a%20b")
		b.Post("/login/code", "code", phone.Code(0))
		s := panels.Received(t, b.Follow())
		if s.Panel != "radio" || s.URI != "/page?x=1&y=a%20b" || s.Host != "radio.example" {
			t.Errorf("after the sign-in radio got %+v, want /page?x=1&y=a%%20b", s)
		}
		if s := panels.Received(t, panels.Navigate(b, panels.Video+"/")); s.Panel != "video" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("video, without a second sign-in, got %+v, want Remote-User ada", s)
		}
		// Each cookie opens only its own host (attack 100).
		one, two, own := b.CookieAt(panels.Radio, "sallyport-visit"), b.CookieAt(panels.Video, "sallyport-visit"), b.Cookie("sallyport")
		if one == "" || two == "" || own == "" || one == two || one == own {
			t.Fatalf("the cookies at radio, video and the portal are %q, %q, %q, want three different ones", one, two, own)
		}
		for _, test := range []struct{ at, name, value string }{
			{panels.Video, "sallyport-visit", one}, {panels.Radio, "sallyport-visit", two}, {panels.Radio, "sallyport-visit", own},
			{panels.Radio, "sallyport", own}, {panels.PortalAt, "sallyport", one}, {panels.PortalAt, "sallyport-visit", one},
		} {
			thief := p.Browser(t)
			thief.SetCookieAt(test.at, test.name, test.value)
			if a := thief.Get(test.at + "/"); a.Status == http.StatusOK {
				t.Errorf("cookie %s with the value %.4s… of another host opens %s", test.name, test.value, test.at)
			}
		}
		// A sign-out at one panel ends the session and all of its visits.
		b.Get(panels.Radio + "/.sallyport/logout")
		if a := b.Post(panels.Radio + "/.sallyport/logout"); a.Status != http.StatusSeeOther || a.Location != panels.Radio+"/.sallyport/signed-out" {
			t.Errorf("the sign-out: %d %s, want a redirect to the panel's signed-out page", a.Status, a.Location)
		}
		if a := b.Get(b.Last.Location); a.Location != portalAtPath(p, "/login?notice=signed_out") {
			t.Errorf("the signed-out page redirects to %s, want the portal's sign-in", a.Location)
		}
		for _, at := range []string{panels.Radio, panels.Video} {
			thief := p.Browser(t)
			thief.SetCookieAt(at, "sallyport-visit", map[string]string{panels.Radio: one, panels.Video: two}[at])
			if a := thief.Get(at + "/"); a.Status == http.StatusOK {
				t.Errorf("a visit from before the sign-out still opens %s", at)
			}
		}
		if b.SignedIn() {
			t.Error("the browser is still signed in at the portal")
		}
	})
}

func portalAtPath(p *portal.Portal, path string) string {
	return strings.TrimPrefix(panels.PortalAt+path, p.Base)
}

func TestPanelsEnforceTheirRules(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		// Everyone may request an open path; the identity headers are there and empty.
		b := p.Browser(t)
		if s := panels.Received(t, b.Get(panels.Radio+"/status/now")); s.Header.Get("Remote-User") != "" || len(s.Header.Values("Remote-Groups")) != 1 {
			t.Errorf("on an open path the panel got %v, want empty identity headers", s.Header)
		}
		b = panels.Visit(t, p, "bob", panels.Radio+"/")
		if s := panels.Received(t, b.Last); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("for bob the panel got %v, want Remote-User bob", s.Header)
		}
		if a := b.Get(panels.Radio + "/ops/"); a.Status != http.StatusForbidden {
			t.Errorf("/ops/ by bob, who isn't in the group: status %d, want 403", a.Status)
		}
		b.Get(panels.Radio + "/vault/x")
		if a := b.Last; a.Status != http.StatusOK {
			t.Errorf("/vault/ right after the sign-in: status %d, want 200", a.Status)
		}
		p.Clock.Move(2 * time.Hour)
		if a := panels.Navigate(b, panels.Radio+"/vault/x"); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/reauthenticate"`) {
			t.Errorf("/vault/ two hours later: status %d, want the reauthentication page\n%s", a.Status, a.Body)
		}
		b.Post("/reauthenticate", "password", portal.Password, "return", portal.FieldOf(b.Last.Body, "return"))
		if s := panels.Received(t, b.Follow()); s.URI != "/vault/x" {
			t.Errorf("the reauthentication leads to %s, want /vault/x", s.URI)
		}
		// Video requires two factors: the wizard opens, and then the page that was asked for.
		if a := panels.Navigate(b, panels.Video+"/deep?er"); !strings.Contains(a.Body, "video.test requires two-factor authentication") {
			t.Fatalf("video by bob, who has no second factor: status %d, want the wizard\n%s", a.Status, a.Body)
		}
		b.Enroll("Phone")
		b.Get("/settings/security")
		if s := panels.Received(t, b.Follow()); s.Panel != "video" || s.URI != "/deep?er" {
			t.Errorf("the wizard leads to %s %s, want video /deep?er", s.Panel, s.URI)
		}
		if a := b.Get("/settings/security"); a.Status != http.StatusOK {
			t.Errorf("the settings redirect to %s a second time, want the page", a.Location)
		}
		a := b.Get("/")
		if !strings.Contains(a.Body, panels.Radio+"/") || !strings.Contains(a.Body, panels.Video+"/") {
			t.Error("the start page doesn't list the panels")
		}
	})
}

func TestGatewayRemovesOwnCookiesAndForgedHeaders(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		b.SetCookieAt(panels.Radio, "theirs", "stays")
		s := panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/x", nil, http.Header{
			"Remote-User": {"root"}, "Remote-Groups": {"admin"}, "X-Forwarded-For": {"9.9.9.9"}, "X-Forwarded-Host": {"evil.test"},
			"X-Forwarded-Proto": {"https"}, "Forwarded": {"for=9.9.9.9"}, "Connection": {"Remote-Name, X-Real"}, "X-Real": {"1"},
		}))
		for name, want := range map[string]string{
			"Remote-User": "bob", "Remote-Name": "bob", "Remote-Email": "", "Remote-Groups": "",
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "radio.example", "X-Forwarded-Proto": "http",
			"Cookie": "theirs=stays",
		} {
			if values := s.Header.Values(name); len(values) != 1 || values[0] != want {
				t.Errorf("the panel got %s = %q, want %q once", name, values, want)
			}
		}
		for _, name := range []string{"Forwarded", "X-Real", "Connection"} {
			if s.Header.Get(name) != "" {
				t.Errorf("the panel got the header %s", name)
			}
		}
		for _, alias := range []string{"Remote_User", "REMOTE.GROUPS", "remote_email", "Remote.Name"} {
			if a := b.Do(http.MethodGet, panels.Radio+"/x", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("a request with %s: status %d, want 403", alias, a.Status)
			}
			if a := p.Browser(t).Do(http.MethodGet, panels.Radio+"/status/", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("a request with %s on an open path: status %d, want 403", alias, a.Status)
			}
		}
		before := b.CookieAt(panels.Radio, "sallyport-visit")
		if set := b.Get(panels.Radio + "/plants").Header.Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "own=") {
			t.Errorf("the panel's cookies that reach the browser are %q, want only own", set)
		}
		if b.CookieAt(panels.Radio, "own") != "planted" || b.CookieAt(panels.Radio, "sallyport-visit") != before || b.CookieAt(panels.Radio, "sallyport") != "" {
			t.Error("the panel replaced a cookie of Sallyport's, or couldn't set its own")
		}
	})
}

func TestOnlyNavigationsAreRedirectedToSignIn(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for name, test := range map[string]struct {
			method string
			header http.Header
			page   bool
			back   string
		}{
			"a navigation":     {"GET", http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}, true, "/a?b"},
			"an old browser":   {"GET", http.Header{"Accept": {"text/html,*/*"}}, true, "/a?b"},
			"a script":         {"GET", http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Accept": {"text/html"}}, false, "/a?b"},
			"curl":             {"GET", http.Header{"Accept": {"*/*"}}, false, "/a?b"},
			"a form":           {"POST", http.Header{"Referer": {panels.Radio + "/form?n=1"}}, false, "/form?n=1"},
			"a foreign form":   {"POST", http.Header{"Referer": {"http://evil.test/form"}}, false, "/"},
			"a similar origin": {"POST", http.Header{"Referer": {panels.Radio + ".evil.test/form"}}, false, "/"},
		} {
			a := p.Browser(t).Do(test.method, panels.Radio+"/a?b", nil, test.header)
			want := panels.Radio + "/.sallyport/start?" + url.Values{"return": {test.back}}.Encode()
			if test.page {
				if a.Status != http.StatusSeeOther || a.Location != want {
					t.Errorf("%s: %d %s, want a redirect to %s", name, a.Status, a.Location, want)
				}
				continue
			}
			var body map[string]string
			if err := json.Unmarshal([]byte(a.Body), &body); a.Status != http.StatusUnauthorized || err != nil || body["login"] != want || a.Location != "" {
				t.Errorf("%s: %d %s %s (error %v), want 401 with login %s", name, a.Status, a.Location, a.Body, err, want)
			}
		}
	})
}

func TestHandoffsServeOnceAndOnlyTheirBrowser(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "eve")
		p.AddAccount(t, "bob")
		eve := panels.Visit(t, p, "eve", panels.Radio+"/")
		// Eve prepares a link that would sign bob in as eve.
		eve.Get(panels.Radio + "/.sallyport/start?return=/trap")
		eve.Get(eve.Last.Location)
		trap := eve.Last.Location
		if !strings.HasPrefix(trap, panels.Radio+"/.sallyport/enter?handoff=") {
			t.Fatalf("eve's sign-in leads to %s, want a handoff", trap)
		}
		bob := panels.Visit(t, p, "bob", panels.Radio+"/")
		bob.Get(trap)
		if s := panels.Received(t, bob.Follow()); s.Header.Get("Remote-User") != "bob" || s.URI != "/trap" {
			t.Errorf("with eve's handoff bob became %s at %s, want bob at /trap", s.Header.Get("Remote-User"), s.URI)
		}
		// Bob's request redeemed the handoff, so eve can't use it either.
		eve.Get(trap)
		if a := eve.Last; a.Location != panels.Radio+"/" {
			t.Errorf("a redeemed handoff: %d %s, want a redirect to the panel's first page", a.Status, a.Location)
		}
		// Without its state cookie a browser starts over once; the second time it gets a page.
		eve.Get(panels.Radio + "/.sallyport/start?return=/x")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusSeeOther || a.Location != panels.Radio+"/.sallyport/start?return=%2Fx&again=1" {
			t.Errorf("a handoff without the state cookie: %s, want a second start", portal.Summary(a))
		}
		eve.Get(panels.Radio + "/.sallyport/start?return=/x&again=1")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "cookies") {
			t.Errorf("a second handoff without the state cookie: %s, want 400 with a page about cookies", portal.Summary(a))
		}
		// A handoff leads only to a path of its panel.
		for _, bad := range []string{"//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "", "/" + strings.Repeat("x", 2040)} {
			eve.Get(panels.Radio + "/.sallyport/start?" + url.Values{"return": {bad}}.Encode())
			if s := panels.Received(t, eve.Follow()); s.Panel != "radio" || s.URI != "/" {
				t.Errorf("return %q leads to %s%s, want radio/", bad, s.Panel, s.URI)
			}
		}
		for _, query := range []string{"", "?panel=http://evil.test&state=x", "?panel=" + panels.Radio, "?panel=" + panels.Radio + "&state=short"} {
			if a := eve.Get("/enter" + query); a.Status != http.StatusNotFound {
				t.Errorf("/enter%s: status %d, want 404", query, a.Status)
			}
		}
		// Two tabs of one browser share one state.
		many := p.Browser(t)
		many.Get(panels.Radio + "/.sallyport/start?return=/1")
		first := many.CookieAt(panels.Radio, "sallyport-state")
		many.Get(panels.Radio + "/.sallyport/start?return=/2")
		if first == "" || many.CookieAt(panels.Radio, "sallyport-state") != first {
			t.Error("a second tab changes the state of the first")
		}
	})
}

func TestUnreachablePanelGetsAPageThatNamesIt(t *testing.T) {
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\npanels:\n  - {url: %s, upstream: 'http://%s'}\n", panels.PortalAt, panels.Radio, testkit.FreeAddress(t)))
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		if a := b.Last; a.Status != http.StatusBadGateway || !strings.Contains(a.Body, "radio.example isn’t responding") {
			t.Errorf("a panel that doesn't listen: status %d, want 502 with the panel's name\n%s", a.Status, a.Body)
		}
	}, "SALLYPORT_CONFIG="+file)
}

func TestStreamsPassAndEndWithTheirVisit(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		b, ended := openStreams(t, p)
		b.Post(panels.Radio + "/.sallyport/logout")
		ended()
	})
}

// Streams have no end of their own, so a server that stops closes them.
func TestStreamsEndWithTheServer(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		_, ended := openStreams(t, p)
		p.Stop() // fails the test if a request is still open
		ended()
	})
}

// openStreams opens a WebSocket and a stream of server-sent events through the gateway.
// The function ended fails the test unless both end.
func openStreams(t *testing.T, p *portal.Portal) (b *portal.Browser, ended func()) {
	t.Helper()
	p.AddAccount(t, "bob")
	b = panels.Visit(t, p, "bob", panels.Radio+"/")
	cookie := "sallyport-visit=" + b.CookieAt(panels.Radio, "sallyport-visit")
	conn := portal.Dial(t, p)
	fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: %s\r\n\r\n", cookie)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v; want status 101", resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := reader.ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("echo: %q, %v; want hello", line, err)
	}
	stream := portal.Dial(t, p)
	fmt.Fprintf(stream, "GET /events HTTP/1.1\r\nHost: radio.example\r\nAccept: text/event-stream\r\nCookie: %s\r\n\r\n", cookie)
	events, err := http.ReadResponse(bufio.NewReader(stream), nil)
	if err != nil || events.StatusCode != http.StatusOK {
		t.Fatalf("events: %v, %v; want status 200", events, err)
	}
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, "data: ") || err != nil {
		t.Fatalf("event: %q, %v; want a line of data", line, err)
	}
	return b, func() {
		t.Helper()
		// A timeout means that the connection's deadline came first.
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Error("the WebSocket is still open")
		}
		if _, err := io.Copy(io.Discard, lines); err != nil && testkit.IsTimeout(err) {
			t.Error("the server-sent events don't end")
		}
	}
}
