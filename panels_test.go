package sallyport_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Two panels on hosts that share nothing, and the portal on a third.
const (
	portalAt = "http://auth.test"
	radio    = "http://radio.example"
	video    = "http://video.test"
)

// seen is what a panel got.
type seen struct {
	Panel, Method, URI, Host, Body string
	Header                         http.Header
}

// startPanel starts a panel that answers with what it got.
func startPanel(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/echo") && r.Header.Get("Upgrade") != "":
			echo(w, r)
			return
		case r.URL.Path == "/events":
			events(w, r)
			return
		case r.URL.Path == "/slow":
			<-r.Context().Done()
			return
		case r.URL.Path == "/plants":
			for _, name := range []string{"sallyport", "sallyport-visit", "__Host-sallyport-visit", "Sallyport-State", "own"} {
				http.SetCookie(w, &http.Cookie{Name: name, Value: "planted", Path: "/"})
			}
			// Browsers send back what has no name as it stands.
			w.Header().Add("Set-Cookie", "=sallyport-visit=planted; Path=/")
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(seen{name, r.Method, r.RequestURI, r.Host, string(body), r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

// echo speaks to a connection that was upgraded.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	// Proof that a WebSocket was meant, which HAProxy asks for (RFC 6455, section 4.2.2).
	proof := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		r.Header.Get("Upgrade"), base64.StdEncoding.EncodeToString(proof[:]))
	io.Copy(conn, buffered)
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; r.Context().Err() == nil; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// behindGate runs a test on a portal of each engine with both panels behind
// its gateway; video asks for two factors.
func behindGate(t *testing.T, test func(t *testing.T, p *portal.Portal), more ...string) {
	t.Helper()
	one, two := startPanel(t, "radio"), startPanel(t, "video")
	file := writeConfig(t, fmt.Sprintf(`public_url: %s
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
`, portalAt, radio, one.URL, video, two.URL))
	onBothEngines(t, test, append(more, "SALLYPORT_CONFIG="+file)...)
}

// navigate asks for a page as a person does, and follows every redirect.
func navigate(b *portal.Browser, page string) portal.Answer {
	b.Do(http.MethodGet, page, nil, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}})
	return b.Follow()
}

// got reads what a panel saw, and fails the test where the answer isn't one's.
func got(t *testing.T, a portal.Answer) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.Body), &s); a.Status != http.StatusOK || err != nil {
		t.Fatalf("no panel answered: %d %s\n%s", a.Status, a.Location, a.Body)
	}
	return s
}

// visit signs a new browser in on the way to a page of a panel.
func visit(t *testing.T, p *portal.Portal, name, page string) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	a := navigate(b, page)
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
		t.Fatalf("%s leads to %d\n%s", page, a.Status, a.Body)
	}
	signInHere(t, b, name)
	return b
}

// signInHere fills in the sign-in page that the browser is at.
func signInHere(t *testing.T, b *portal.Browser, name string) {
	t.Helper()
	back := fieldOf(b.Last.Body, "return")
	b.Post("/login", "username", name, "password", portal.Password, "return", back)
	b.Follow()
}

func TestOneSignInOpensEveryPanel(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		b := visit(t, p, "ada", radio+"/page?x=1&y=a%20b")
		b.Post("/login/code", "code", phone.Code(0))
		s := got(t, b.Follow())
		if s.Panel != "radio" || s.URI != "/page?x=1&y=a%20b" || s.Host != "radio.example" {
			t.Errorf("the panel got %+v", s)
		}
		if s := got(t, navigate(b, video+"/")); s.Panel != "video" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("the other panel got %+v", s)
		}
		// Each cookie opens its own host only.
		one, two, own := b.CookieAt(radio, "sallyport-visit"), b.CookieAt(video, "sallyport-visit"), b.Cookie("sallyport")
		if one == "" || two == "" || own == "" || one == two || one == own {
			t.Fatalf("cookies %q, %q, %q", one, two, own)
		}
		for _, test := range []struct{ at, name, value string }{
			{video, "sallyport-visit", one}, {radio, "sallyport-visit", two}, {radio, "sallyport-visit", own},
			{radio, "sallyport", own}, {portalAt, "sallyport", one}, {portalAt, "sallyport-visit", one},
		} {
			thief := p.Browser(t)
			thief.SetCookieAt(test.at, test.name, test.value)
			if a := thief.Get(test.at + "/"); a.Status == http.StatusOK {
				t.Errorf("%s of %.4s opens %s (ATTACKS 100)", test.name, test.value, test.at)
			}
		}
		// Signing out closes all.
		b.Get(radio + "/.sallyport/logout")
		if a := b.Post(radio + "/.sallyport/logout"); a.Status != http.StatusSeeOther || a.Location != radio+"/.sallyport/signed-out" {
			t.Errorf("sign-out: %d %s", a.Status, a.Location)
		}
		if a := b.Get(b.Last.Location); a.Location != portalAtPath(p, "/login?notice=signed_out") {
			t.Errorf("the sign-out leads on to %s", a.Location)
		}
		for _, at := range []string{radio, video} {
			thief := p.Browser(t)
			thief.SetCookieAt(at, "sallyport-visit", map[string]string{radio: one, video: two}[at])
			if a := thief.Get(at + "/"); a.Status == http.StatusOK {
				t.Errorf("%s is open after the sign-out", at)
			}
		}
		if b.SignedIn() {
			t.Error("still signed in at the portal")
		}
	})
}

func portalAtPath(p *portal.Portal, path string) string {
	return strings.TrimPrefix(portalAt+path, p.Base)
}

func TestPanelsDemandWhatTheyDeclare(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		// Open to all, with nobody's name.
		b := p.Browser(t)
		if s := got(t, b.Get(radio+"/status/now")); s.Header.Get("Remote-User") != "" || len(s.Header.Values("Remote-Groups")) != 1 {
			t.Errorf("an open path: %v", s.Header)
		}
		b = visit(t, p, "bob", radio+"/")
		if s := got(t, b.Last); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("bob's page: %v", s.Header)
		}
		if a := b.Get(radio + "/ops/"); a.Status != http.StatusForbidden {
			t.Errorf("without the group: %d", a.Status)
		}
		b.Get(radio + "/vault/x")
		if a := b.Last; a.Status != http.StatusOK {
			t.Errorf("a fresh proof: %d", a.Status)
		}
		p.Clock.Move(2 * time.Hour)
		if a := navigate(b, radio+"/vault/x"); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/reauthenticate"`) {
			t.Errorf("an old proof leads to %d\n%s", a.Status, a.Body)
		}
		b.Post("/reauthenticate", "password", portal.Password, "return", fieldOf(b.Last.Body, "return"))
		if s := got(t, b.Follow()); s.URI != "/vault/x" {
			t.Errorf("after the proof: %s", s.URI)
		}
		// Two factors: through the wizard, and on to the exact page.
		if a := navigate(b, video+"/deep?er"); !strings.Contains(a.Body, "video.test requires two-factor authentication") {
			t.Fatalf("video without two factors: %d\n%s", a.Status, a.Body)
		}
		b.Enroll("Phone")
		b.Get("/settings/security")
		if s := got(t, b.Follow()); s.Panel != "video" || s.URI != "/deep?er" {
			t.Errorf("after the wizard: %s %s", s.Panel, s.URI)
		}
		if a := b.Get("/settings/security"); a.Status != http.StatusOK {
			t.Errorf("the settings lead on once more: %s", a.Location)
		}
		a := b.Get("/")
		if !strings.Contains(a.Body, radio+"/") || !strings.Contains(a.Body, video+"/") {
			t.Error("the start page doesn't list the panels")
		}
	})
}

func TestGatewayRemovesWhatIsOursAndWhatIsForged(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := visit(t, p, "bob", radio+"/")
		b.SetCookieAt(radio, "theirs", "stays")
		s := got(t, b.Do(http.MethodGet, radio+"/x", nil, http.Header{
			"Remote-User": {"root"}, "Remote-Groups": {"admin"}, "X-Forwarded-For": {"9.9.9.9"}, "X-Forwarded-Host": {"evil.test"},
			"X-Forwarded-Proto": {"https"}, "Forwarded": {"for=9.9.9.9"}, "Connection": {"Remote-Name, X-Real"}, "X-Real": {"1"},
		}))
		for name, want := range map[string]string{
			"Remote-User": "bob", "Remote-Name": "bob", "Remote-Email": "", "Remote-Groups": "",
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "radio.example", "X-Forwarded-Proto": "http",
			"Cookie": "theirs=stays",
		} {
			if values := s.Header.Values(name); len(values) != 1 || values[0] != want {
				t.Errorf("%s = %q, want %q once", name, values, want)
			}
		}
		for _, name := range []string{"Forwarded", "X-Real", "Connection"} {
			if s.Header.Get(name) != "" {
				t.Errorf("the panel got %s", name)
			}
		}
		for _, alias := range []string{"Remote_User", "REMOTE.GROUPS", "remote_email", "Remote.Name"} {
			if a := b.Do(http.MethodGet, radio+"/x", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s: %d, want 403", alias, a.Status)
			}
			if a := p.Browser(t).Do(http.MethodGet, radio+"/status/", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s on an open path: %d, want 403", alias, a.Status)
			}
		}
		before := b.CookieAt(radio, "sallyport-visit")
		if set := b.Get(radio + "/plants").Header.Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "own=") {
			t.Errorf("a panel sets %q", set)
		}
		if b.CookieAt(radio, "own") != "planted" || b.CookieAt(radio, "sallyport-visit") != before || b.CookieAt(radio, "sallyport") != "" {
			t.Error("a panel sets cookies of ours, or none of its own")
		}
	})
}

func TestWhatIsNoNavigationIsTold401(t *testing.T) {
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
			"a form":           {"POST", http.Header{"Referer": {radio + "/form?n=1"}}, false, "/form?n=1"},
			"a foreign form":   {"POST", http.Header{"Referer": {"http://evil.test/form"}}, false, "/"},
			"a likely referer": {"POST", http.Header{"Referer": {radio + ".evil.test/form"}}, false, "/"},
		} {
			a := p.Browser(t).Do(test.method, radio+"/a?b", nil, test.header)
			want := radio + "/.sallyport/start?" + url.Values{"return": {test.back}}.Encode()
			if test.page {
				if a.Status != http.StatusSeeOther || a.Location != want {
					t.Errorf("%s: %d %s, want %s", name, a.Status, a.Location, want)
				}
				continue
			}
			var body map[string]string
			if err := json.Unmarshal([]byte(a.Body), &body); a.Status != http.StatusUnauthorized || err != nil || body["login"] != want || a.Location != "" {
				t.Errorf("%s: %d %s %s %v", name, a.Status, a.Location, a.Body, err)
			}
		}
	})
}

func TestHandoffsThatGoAstray(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "eve")
		p.AddAccount(t, "bob")
		eve := visit(t, p, "eve", radio+"/")
		// Eve prepares a link that would let bob in as her.
		eve.Get(radio + "/.sallyport/start?return=/trap")
		eve.Get(eve.Last.Location)
		trap := eve.Last.Location
		if !strings.HasPrefix(trap, radio+"/.sallyport/enter?handoff=") {
			t.Fatalf("no handoff: %s", trap)
		}
		bob := visit(t, p, "bob", radio+"/")
		bob.Get(trap)
		if s := got(t, bob.Follow()); s.Header.Get("Remote-User") != "bob" || s.URI != "/trap" {
			t.Errorf("bob became %s at %s", s.Header.Get("Remote-User"), s.URI)
		}
		// It is spent now, for eve too.
		eve.Get(trap)
		if a := eve.Last; a.Location != radio+"/" {
			t.Errorf("a spent handoff: %d %s", a.Status, a.Location)
		}
		// Without the cookie it begins anew, once; then a page says so.
		eve.Get(radio + "/.sallyport/start?return=/x")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusSeeOther || a.Location != radio+"/.sallyport/start?return=%2Fx&again=1" {
			t.Errorf("without cookies: %s", short(a))
		}
		eve.Get(radio + "/.sallyport/start?return=/x&again=1")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "cookies") {
			t.Errorf("without cookies again: %s", short(a))
		}
		// Where it leads is a path of the panel, whatever is asked for.
		for _, bad := range []string{"//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "", "/" + strings.Repeat("x", 2040)} {
			eve.Get(radio + "/.sallyport/start?" + url.Values{"return": {bad}}.Encode())
			if s := got(t, eve.Follow()); s.Panel != "radio" || s.URI != "/" {
				t.Errorf("return %q leads to %s%s", bad, s.Panel, s.URI)
			}
		}
		for _, query := range []string{"", "?panel=http://evil.test&state=x", "?panel=" + radio, "?panel=" + radio + "&state=short"} {
			if a := eve.Get("/enter" + query); a.Status != http.StatusNotFound {
				t.Errorf("/enter%s: %d", query, a.Status)
			}
		}
		// Several tabs at once share one state.
		many := p.Browser(t)
		many.Get(radio + "/.sallyport/start?return=/1")
		first := many.CookieAt(radio, "sallyport-state")
		many.Get(radio + "/.sallyport/start?return=/2")
		if first == "" || many.CookieAt(radio, "sallyport-state") != first {
			t.Error("a second tab changes the state of the first")
		}
	})
}

func TestDeadPanelIsSaid(t *testing.T) {
	file := writeConfig(t, fmt.Sprintf("public_url: %s\npanels:\n  - {url: %s, upstream: 'http://%s'}\n", portalAt, radio, testkit.FreeAddress(t)))
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := visit(t, p, "bob", radio+"/")
		if a := b.Last; a.Status != http.StatusBadGateway || !strings.Contains(a.Body, "radio.example isn’t responding") {
			t.Errorf("a dead panel: %d\n%s", a.Status, a.Body)
		}
	}, "SALLYPORT_CONFIG="+file)
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestStreamsPassAndEndWithTheirVisit(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		b, ended := openStreams(t, p)
		b.Post(radio + "/.sallyport/logout")
		ended()
	})
}

// Who stops a server doesn't wait for what has no end.
func TestStreamsEndWithTheServer(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		_, ended := openStreams(t, p)
		p.Stop() // fails the test where something is still under way
		ended()
	})
}

// openStreams opens a WebSocket and events for a page through the gateway; ended
// fails the test unless both end.
func openStreams(t *testing.T, p *portal.Portal) (b *portal.Browser, ended func()) {
	t.Helper()
	p.AddAccount(t, "bob")
	b = visit(t, p, "bob", radio+"/")
	cookie := "sallyport-visit=" + b.CookieAt(radio, "sallyport-visit")
	conn := dial(t, p)
	fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: %s\r\n\r\n", cookie)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := reader.ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("echo: %q, %v", line, err)
	}
	stream := dial(t, p)
	fmt.Fprintf(stream, "GET /events HTTP/1.1\r\nHost: radio.example\r\nAccept: text/event-stream\r\nCookie: %s\r\n\r\n", cookie)
	events, err := http.ReadResponse(bufio.NewReader(stream), nil)
	if err != nil || events.StatusCode != http.StatusOK {
		t.Fatalf("events: %v, %v", events, err)
	}
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, "data: ") || err != nil {
		t.Fatalf("event: %q, %v", line, err)
	}
	return b, func() {
		t.Helper()
		// The connections' deadlines are far behind that.
		if _, err := reader.ReadString('\n'); err == nil || isTimeout(err) {
			t.Error("the upgraded connection goes on")
		}
		if _, err := io.Copy(io.Discard, lines); err != nil && isTimeout(err) {
			t.Error("the events go on")
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// streamTime is far more than the gateway takes to notice that a visit ended.
const streamTime = 30 * time.Second

func dial(t *testing.T, p *portal.Portal) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.At)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(streamTime))
	t.Cleanup(func() { conn.Close() })
	return conn
}

var hiddenPattern = regexp.MustCompile(`<input[^>]*\sname="([^"]+)"[^>]*\svalue="([^"]*)"`)

// fieldOf returns the value of a hidden field on a page.
func fieldOf(page, name string) string {
	for _, found := range hiddenPattern.FindAllStringSubmatch(page, -1) {
		if found[1] == name {
			return html.UnescapeString(found[2])
		}
	}
	return ""
}
