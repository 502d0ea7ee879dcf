package panels

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestPanelsGetNoProxyHeadersFromClients(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "    rules: [{path: /open/, require: nothing}]")
	wantOwn := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "radio.example", "X-Forwarded-Proto": "http"}
	names := append(access.ProxyHeaders(), "X-Forwarded-Anything", "X-Original-Anything", "X-Webauth-Anything", "Remote-Anything")
	for _, name := range names {
		for _, spelled := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ToLower(strings.ReplaceAll(name, "-", "."))} {
			a := p.Browser(t).Do("GET", panels.Radio+"/open/", nil, http.Header{spelled: {"forged"}})
			if strings.Contains(a.Body, "forged") {
				t.Errorf("the panel gets the client's %s, want it removed", spelled)
			}
			if a.Status != http.StatusOK {
				t.Errorf("a request with %s: %s, want 200", spelled, portal.Summary(a))
			}
		}
	}
	s := panels.Received(t, p.Browser(t).Get(panels.Radio+"/open/"))
	for name, want := range wantOwn {
		if values := s.Header.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("the panel gets %s = %q, want %q", name, values, want)
		}
	}
	// Headers that no proxy sets reach the panel.
	for _, name := range []string{"X-Auth-Token", "X-Csrf-Token", "X-Client-Version", "X_Own_Header", "X-Request-Id", "If-Match", "X-Http-Method-Override"} {
		if a := p.Browser(t).Do("GET", panels.Radio+"/open/", nil, http.Header{name: {"kept"}}); !strings.Contains(a.Body, "kept") {
			t.Errorf("the panel doesn't get the client's %s", name)
		}
	}
}

func TestOnlyWebSocketUpgradesPassInTheSpellingOfTheRFC(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "    rules: [{path: /open/, require: nothing}]")
	for _, given := range []string{"WebSocket", "websocket", "h2c", "h2c, websocket", "TLS/1.0", "websocket\r\nUpgrade: h2c", "SPDY/3.1", "tcp"} {
		answer := portal.RawAnswer(t, p, "GET /open/ HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"+
			"Upgrade: "+given+"\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n")
		upgraded := strings.Contains(answer, `"Upgrade"`)
		if upgraded != strings.EqualFold(given, "websocket") {
			t.Errorf("a request with Upgrade: %q reaches the panel as an upgrade: %v, want %v", given, upgraded, !upgraded)
		}
		if strings.Contains(answer, "Http2-Settings") {
			t.Errorf("a request with Upgrade: %q: the panel gets HTTP2-Settings, want it removed", given)
		}
	}
	// Go's HTTP server rewrites the names of headers, so this panel records the bytes.
	heads, at := rawPanel(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	p = panels.GuardedAt(t, at, "    rules: [{path: /open/, require: nothing}]")
	portal.RawAnswer(t, p, "GET /open/ HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x\r\n\r\n")
	request := <-heads
	for _, line := range []string{"\r\nSec-WebSocket-Key: a\r\n", "\r\nSec-WebSocket-Version: 13\r\n", "\r\nSec-WebSocket-Protocol: x\r\n"} {
		if !strings.Contains(request, line) {
			t.Errorf("the panel doesn't get the line %q:\n%s", line, request)
		}
	}
}

func TestPanelAnswersAffectNoOtherHostAndNoSharedCache(t *testing.T) {
	t.Parallel()
	answer := http.Header{}
	p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range answer {
			w.Header()[name] = values
		}
	}), "    rules: [{path: /open/, require: nothing}]")
	p.AddAccount(t, "ada")
	ada := panels.Visit(t, p, "ada", panels.Radio+"/")
	for _, test := range []struct {
		name     string
		given    []string
		want     string // on a path that requires a sign-in
		wantOpen string // on an open path
	}{
		{"Clear-Site-Data", []string{`"cache", "cookies"`}, `"cache"`, `"cache"`},
		{"Clear-Site-Data", []string{`"*"`}, `"cache", "storage"`, `"cache", "storage"`},
		{"Clear-Site-Data", []string{`"cookies"`}, "", ""},
		{"Clear-Site-Data", []string{`"storage"`, `"cookies","executionContexts"`}, `"storage", "executionContexts"`, `"storage", "executionContexts"`},
		{"Clear-Site-Data", []string{`cookies`, `"Cookies"`, `*`}, "", ""},
		{"Cache-Control", []string{"public, max-age=600"}, "private, max-age=600", "public, max-age=600"},
		{"Cache-Control", []string{"max-age=60, s-maxage=600", "PUBLIC"}, "private, max-age=60", "max-age=60, s-maxage=600|PUBLIC"},
		{"Cache-Control", []string{`no-store, public`}, "no-store, public", "no-store, public"},
		{"Cache-Control", []string{`private="X, Y", max-age=1`}, "private, max-age=1", `private="X, Y", max-age=1`},
		{"Cache-Control", []string{`no-cache="Set-Cookie, X", public`}, `private, no-cache="Set-Cookie, X"`, `no-cache="Set-Cookie, X", public`},
		{"Cache-Control", nil, "private", ""},
		{"Surrogate-Control", []string{"max-age=600"}, "", "max-age=600"},
		{"CDN-Cache-Control", []string{"max-age=600"}, "", "max-age=600"},
		{"X-Accel-Expires", []string{"600"}, "", ""},
		{"X-Accel-Redirect", []string{"/internal/secret"}, "", ""},
		{"X-Accel-Buffering", []string{"no"}, "no", "no"},
		{"Alt-Svc", []string{`h3=":8443"`}, "", ""},
		{"Set-Cookie", []string{"own=1", "Sallyport-visit=2", "__Host-sallyport=3"}, "own=1", "own=1"},
		{"Service-Worker-Allowed", []string{"/"}, "/", "/"},
	} {
		answer = http.Header{http.CanonicalHeaderKey(test.name): test.given}
		if got := strings.Join(ada.Get(panels.Radio+"/x").Header.Values(test.name), "|"); got != test.want {
			t.Errorf("the panel sets %s %q: the browser gets %q, want %q", test.name, test.given, got, test.want)
		}
		if got := strings.Join(p.Browser(t).Get(panels.Radio+"/open/").Header.Values(test.name), "|"); got != test.wantOpen {
			t.Errorf("the panel sets %s %q on an open path: the browser gets %q, want %q", test.name, test.given, got, test.wantOpen)
		}
	}
}

// A 103 answer bypasses the filters of the final answer's headers, so it may carry only Link.
func TestEarlyHintsCarryOnlyLinks(t *testing.T) {
	t.Parallel()
	_, at := rawPanel(t, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: sallyport-visit=planted\r\nClear-Site-Data: \"cookies\"\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	p := panels.GuardedAt(t, at, "    rules: [{path: /open/, require: nothing}]")
	answer := portal.RawAnswer(t, p, "GET /open/ HTTP/1.1\r\nHost: radio.example\r\nConnection: close\r\n\r\n")
	if !strings.Contains(answer, "HTTP/1.1 103") || !strings.Contains(answer, "a.css") || strings.Contains(answer, "planted") || strings.Contains(answer, "Clear-Site-Data") {
		t.Errorf("want a 103 with only its Link; the browser gets\n%s", answer)
	}
}

func TestNonASCIINamesReachPanelsInTheConfiguredEncoding(t *testing.T) {
	t.Parallel()
	for encoding, want := range map[string][]string{
		"":                               {"zoë", "Zoë Müller-Łuć", "größe,ops"},
		"    identity_encoding: utf-8":   {"zoë", "Zoë Müller-Łuć", "größe,ops"},
		"    identity_encoding: percent": {"zo%C3%AB", "Zo%C3%AB%20M%C3%BCller-%C5%81u%C4%87", "gr%C3%B6%C3%9Fe,ops"},
	} {
		p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), encoding)
		owner, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "zoë", DisplayName: "Zoë Müller-Łuć"}, portal.Password)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range []string{"größe", "ops"} {
			testkit.Check(t, p.Manage.Groups.Add(t.Context(), manage.CommandLine(), group))
			testkit.Check(t, p.Manage.Groups.Join(t.Context(), manage.CommandLine(), owner, group))
		}
		s := panels.Received(t, panels.Visit(t, p, "zoë", panels.Radio+"/").Last)
		if values := []string{s.Header.Get("Remote-User"), s.Header.Get("Remote-Name"), s.Header.Get("Remote-Groups")}; !slices.Equal(values, want) {
			t.Errorf("with setting %q the panel gets the names %q, want %q", encoding, values, want)
		}
	}
}
