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
	PortalAt = "http://auth.test"
	Radio    = "http://radio.example"
	Video    = "http://video.test"
)

// Seen is what a panel got.
type Seen struct {
	Panel, Method, URI, Host, Body string
	Header                         http.Header
}

// StartPanel starts a panel that answers with what it got.
func StartPanel(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/echo") && r.Header.Get("Upgrade") != "":
			ServeEcho(w, r)
			return
		case r.URL.Path == "/events":
			ServeEvents(w, r)
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
		json.NewEncoder(w).Encode(Seen{name, r.Method, r.RequestURI, r.Host, string(body), r.Header})
	}))
	t.Cleanup(s.Close)
	return s
}

// ServeEcho speaks to a connection that was upgraded.
func ServeEcho(w http.ResponseWriter, r *http.Request) {
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

func ServeEvents(w http.ResponseWriter, r *http.Request) {
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
	one, two := StartPanel(t, "radio"), StartPanel(t, "video")
	file := WriteConfig(t, fmt.Sprintf(`public_url: %s
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
`, PortalAt, Radio, one.URL, Video, two.URL))
	OnBothEngines(t, test, append(more, "SALLYPORT_CONFIG="+file)...)
}

// Navigate asks for a page as a person does, and follows every redirect.
func Navigate(b *portal.Browser, page string) portal.Answer {
	b.Do(http.MethodGet, page, nil, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}})
	return b.Follow()
}

// Received reads what a panel saw, and fails the test where the answer isn't one's.
func Received(t *testing.T, a portal.Answer) Seen {
	t.Helper()
	var s Seen
	if err := json.Unmarshal([]byte(a.Body), &s); a.Status != http.StatusOK || err != nil {
		t.Fatalf("no panel answered: %d %s\n%s", a.Status, a.Location, a.Body)
	}
	return s
}

// Visit signs a new browser in on the way to a page of a panel.
func Visit(t *testing.T, p *portal.Portal, name, page string) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	a := Navigate(b, page)
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="return"`) {
		t.Fatalf("%s leads to %d\n%s", page, a.Status, a.Body)
	}
	SignInHere(t, b, name)
	return b
}

// SignInHere fills in the sign-in page that the browser is at.
func SignInHere(t *testing.T, b *portal.Browser, name string) {
	t.Helper()
	back := FieldOf(b.Last.Body, "return")
	b.Post("/login", "username", name, "password", portal.Password, "return", back)
	b.Follow()
}

func TestOneSignInOpensEveryPanel(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		_, phone := WithTwoFactor(t, p, "ada")
		b := Visit(t, p, "ada", Radio+"/page?x=1&y=a%20b")
		b.Post("/login/code", "code", phone.Code(0))
		s := Received(t, b.Follow())
		if s.Panel != "radio" || s.URI != "/page?x=1&y=a%20b" || s.Host != "radio.example" {
			t.Errorf("the panel got %+v", s)
		}
		if s := Received(t, Navigate(b, Video+"/")); s.Panel != "video" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("the other panel got %+v", s)
		}
		// Each cookie opens its own host only.
		one, two, own := b.CookieAt(Radio, "sallyport-visit"), b.CookieAt(Video, "sallyport-visit"), b.Cookie("sallyport")
		if one == "" || two == "" || own == "" || one == two || one == own {
			t.Fatalf("cookies %q, %q, %q", one, two, own)
		}
		for _, test := range []struct{ at, name, value string }{
			{Video, "sallyport-visit", one}, {Radio, "sallyport-visit", two}, {Radio, "sallyport-visit", own},
			{Radio, "sallyport", own}, {PortalAt, "sallyport", one}, {PortalAt, "sallyport-visit", one},
		} {
			thief := p.Browser(t)
			thief.SetCookieAt(test.at, test.name, test.value)
			if a := thief.Get(test.at + "/"); a.Status == http.StatusOK {
				t.Errorf("%s of %.4s opens %s (ATTACKS 100)", test.name, test.value, test.at)
			}
		}
		// Signing out closes all.
		b.Get(Radio + "/.sallyport/logout")
		if a := b.Post(Radio + "/.sallyport/logout"); a.Status != http.StatusSeeOther || a.Location != Radio+"/.sallyport/signed-out" {
			t.Errorf("sign-out: %d %s", a.Status, a.Location)
		}
		if a := b.Get(b.Last.Location); a.Location != portalAtPath(p, "/login?notice=signed_out") {
			t.Errorf("the sign-out leads on to %s", a.Location)
		}
		for _, at := range []string{Radio, Video} {
			thief := p.Browser(t)
			thief.SetCookieAt(at, "sallyport-visit", map[string]string{Radio: one, Video: two}[at])
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
	return strings.TrimPrefix(PortalAt+path, p.Base)
}

func TestPanelsDemandWhatTheyDeclare(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		// Open to all, with nobody's name.
		b := p.Browser(t)
		if s := Received(t, b.Get(Radio+"/status/now")); s.Header.Get("Remote-User") != "" || len(s.Header.Values("Remote-Groups")) != 1 {
			t.Errorf("an open path: %v", s.Header)
		}
		b = Visit(t, p, "bob", Radio+"/")
		if s := Received(t, b.Last); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("bob's page: %v", s.Header)
		}
		if a := b.Get(Radio + "/ops/"); a.Status != http.StatusForbidden {
			t.Errorf("without the group: %d", a.Status)
		}
		b.Get(Radio + "/vault/x")
		if a := b.Last; a.Status != http.StatusOK {
			t.Errorf("a fresh proof: %d", a.Status)
		}
		p.Clock.Move(2 * time.Hour)
		if a := Navigate(b, Radio+"/vault/x"); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/reauthenticate"`) {
			t.Errorf("an old proof leads to %d\n%s", a.Status, a.Body)
		}
		b.Post("/reauthenticate", "password", portal.Password, "return", FieldOf(b.Last.Body, "return"))
		if s := Received(t, b.Follow()); s.URI != "/vault/x" {
			t.Errorf("after the proof: %s", s.URI)
		}
		// Two factors: through the wizard, and on to the exact page.
		if a := Navigate(b, Video+"/deep?er"); !strings.Contains(a.Body, "video.test requires two-factor authentication") {
			t.Fatalf("video without two factors: %d\n%s", a.Status, a.Body)
		}
		b.Enroll("Phone")
		b.Get("/settings/security")
		if s := Received(t, b.Follow()); s.Panel != "video" || s.URI != "/deep?er" {
			t.Errorf("after the wizard: %s %s", s.Panel, s.URI)
		}
		if a := b.Get("/settings/security"); a.Status != http.StatusOK {
			t.Errorf("the settings lead on once more: %s", a.Location)
		}
		a := b.Get("/")
		if !strings.Contains(a.Body, Radio+"/") || !strings.Contains(a.Body, Video+"/") {
			t.Error("the start page doesn't list the panels")
		}
	})
}

func TestGatewayRemovesWhatIsOursAndWhatIsForged(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := Visit(t, p, "bob", Radio+"/")
		b.SetCookieAt(Radio, "theirs", "stays")
		s := Received(t, b.Do(http.MethodGet, Radio+"/x", nil, http.Header{
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
			if a := b.Do(http.MethodGet, Radio+"/x", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s: %d, want 403", alias, a.Status)
			}
			if a := p.Browser(t).Do(http.MethodGet, Radio+"/status/", nil, http.Header{alias: {"root"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s on an open path: %d, want 403", alias, a.Status)
			}
		}
		before := b.CookieAt(Radio, "sallyport-visit")
		if set := b.Get(Radio + "/plants").Header.Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "own=") {
			t.Errorf("a panel sets %q", set)
		}
		if b.CookieAt(Radio, "own") != "planted" || b.CookieAt(Radio, "sallyport-visit") != before || b.CookieAt(Radio, "sallyport") != "" {
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
			"a form":           {"POST", http.Header{"Referer": {Radio + "/form?n=1"}}, false, "/form?n=1"},
			"a foreign form":   {"POST", http.Header{"Referer": {"http://evil.test/form"}}, false, "/"},
			"a likely referer": {"POST", http.Header{"Referer": {Radio + ".evil.test/form"}}, false, "/"},
		} {
			a := p.Browser(t).Do(test.method, Radio+"/a?b", nil, test.header)
			want := Radio + "/.sallyport/start?" + url.Values{"return": {test.back}}.Encode()
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
		eve := Visit(t, p, "eve", Radio+"/")
		// Eve prepares a link that would let bob in as her.
		eve.Get(Radio + "/.sallyport/start?return=/trap")
		eve.Get(eve.Last.Location)
		trap := eve.Last.Location
		if !strings.HasPrefix(trap, Radio+"/.sallyport/enter?handoff=") {
			t.Fatalf("no handoff: %s", trap)
		}
		bob := Visit(t, p, "bob", Radio+"/")
		bob.Get(trap)
		if s := Received(t, bob.Follow()); s.Header.Get("Remote-User") != "bob" || s.URI != "/trap" {
			t.Errorf("bob became %s at %s", s.Header.Get("Remote-User"), s.URI)
		}
		// It is spent now, for eve too.
		eve.Get(trap)
		if a := eve.Last; a.Location != Radio+"/" {
			t.Errorf("a spent handoff: %d %s", a.Status, a.Location)
		}
		// Without the cookie it begins anew, once; then a page says so.
		eve.Get(Radio + "/.sallyport/start?return=/x")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusSeeOther || a.Location != Radio+"/.sallyport/start?return=%2Fx&again=1" {
			t.Errorf("without cookies: %s", Summary(a))
		}
		eve.Get(Radio + "/.sallyport/start?return=/x&again=1")
		eve.Get(eve.Last.Location)
		if a := p.Browser(t).Get(eve.Last.Location); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "cookies") {
			t.Errorf("without cookies again: %s", Summary(a))
		}
		// Where it leads is a path of the panel, whatever is asked for.
		for _, bad := range []string{"//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "", "/" + strings.Repeat("x", 2040)} {
			eve.Get(Radio + "/.sallyport/start?" + url.Values{"return": {bad}}.Encode())
			if s := Received(t, eve.Follow()); s.Panel != "radio" || s.URI != "/" {
				t.Errorf("return %q leads to %s%s", bad, s.Panel, s.URI)
			}
		}
		for _, query := range []string{"", "?panel=http://evil.test&state=x", "?panel=" + Radio, "?panel=" + Radio + "&state=short"} {
			if a := eve.Get("/enter" + query); a.Status != http.StatusNotFound {
				t.Errorf("/enter%s: %d", query, a.Status)
			}
		}
		// Several tabs at once share one state.
		many := p.Browser(t)
		many.Get(Radio + "/.sallyport/start?return=/1")
		first := many.CookieAt(Radio, "sallyport-state")
		many.Get(Radio + "/.sallyport/start?return=/2")
		if first == "" || many.CookieAt(Radio, "sallyport-state") != first {
			t.Error("a second tab changes the state of the first")
		}
	})
}

func TestDeadPanelIsSaid(t *testing.T) {
	file := WriteConfig(t, fmt.Sprintf("public_url: %s\npanels:\n  - {url: %s, upstream: 'http://%s'}\n", PortalAt, Radio, testkit.FreeAddress(t)))
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := Visit(t, p, "bob", Radio+"/")
		if a := b.Last; a.Status != http.StatusBadGateway || !strings.Contains(a.Body, "radio.example isn’t responding") {
			t.Errorf("a dead panel: %d\n%s", a.Status, a.Body)
		}
	}, "SALLYPORT_CONFIG="+file)
}

func WriteConfig(t *testing.T, text string) string {
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
		b.Post(Radio + "/.sallyport/logout")
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
	b = Visit(t, p, "bob", Radio+"/")
	cookie := "sallyport-visit=" + b.CookieAt(Radio, "sallyport-visit")
	conn := Dial(t, p)
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
	stream := Dial(t, p)
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
		if _, err := reader.ReadString('\n'); err == nil || IsTimeout(err) {
			t.Error("the upgraded connection goes on")
		}
		if _, err := io.Copy(io.Discard, lines); err != nil && IsTimeout(err) {
			t.Error("the events go on")
		}
	}
}

func IsTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// StreamTime is far more than the gateway takes to notice that a visit ended.
const StreamTime = 30 * time.Second

func Dial(t *testing.T, p *portal.Portal) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.At)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(StreamTime))
	t.Cleanup(func() { conn.Close() })
	return conn
}

var hiddenPattern = regexp.MustCompile(`<input[^>]*\sname="([^"]+)"[^>]*\svalue="([^"]*)"`)

// FieldOf returns the value of a hidden field on a page.
func FieldOf(page, name string) string {
	for _, found := range hiddenPattern.FindAllStringSubmatch(page, -1) {
		if found[1] == name {
			return html.UnescapeString(found[2])
		}
	}
	return ""
}
