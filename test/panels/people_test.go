package panels

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// sent is a request: its method, and the headers by which the gate recognizes the client.
type sent struct {
	method string
	header http.Header
}

// fetched returns the headers that a browser adds to a request of this mode and destination.
func fetched(mode, dest string) http.Header {
	return http.Header{"Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}, "Accept": {"text/html,*/*"}}
}

// Without a session, a user gets a page with a link to the sign-in, and a script gets JSON. Both answers
// have status 401 and one challenge, as HTTP requires, from the gateway and from every proxy that sends
// verify requests.
func TestPeopleGetPagesAndScriptsGetJSON(t *testing.T) {
	t.Parallel()
	gate := panels.Guarded(t, http.NotFoundHandler())
	verify := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels: [{url: %s}]\n", panels.PortalAt, panels.Radio)))
	clients := map[string]func(sent) portal.Answer{
		"gateway": func(s sent) portal.Answer {
			return gate.Browser(t).Do(s.method, panels.Radio+"/deep?er", nil, withHeader(s.header, "Referer", panels.Radio+"/form"))
		},
	}
	for _, proxy := range []string{"caddy", "traefik", "haproxy"} {
		clients[proxy] = func(s sent) portal.Answer {
			h := withHeader(s.header, "Referer", panels.Radio+"/form")
			h["X-Forwarded-Method"], h["X-Forwarded-Host"], h["X-Forwarded-Uri"] = []string{s.method}, []string{"radio.example"}, []string{"/deep?er"}
			return verify.Browser(t).Do("GET", "http://sallyport/verify/"+proxy, nil, h)
		}
	}
	clients["nginx"] = func(s sent) portal.Answer {
		h := withHeader(s.header, "Referer", panels.Radio+"/form")
		h["X-Original-Method"], h["X-Original-Url"], h["X-Real-Ip"] = []string{s.method}, []string{panels.Radio + "/deep?er"}, []string{"192.0.2.1"}
		return verify.Browser(t).Do("GET", "http://sallyport/verify/nginx/refused", nil, h)
	}
	for client, ask := range clients {
		for name, s := range map[string]sent{
			"a link": {"GET", fetched("navigate", "document")}, "a link through a service worker": {"GET", fetched("navigate", "empty")},
			"an old browser": {"GET", http.Header{"Accept": {"text/html"}}},
		} {
			if a := ask(s); a.Status != http.StatusSeeOther || a.Location != panels.Radio+"/.sallyport/start?return=%2Fdeep%3Fer" {
				t.Errorf("%s, %s: %s, want a redirect to the sign-in", client, name, portal.Summary(a))
			}
		}
		for name, s := range map[string]sent{
			"a form": {"POST", fetched("navigate", "document")}, "a frame": {"GET", fetched("navigate", "iframe")},
			"a form in a frame": {"POST", fetched("navigate", "iframe")}, "an old browser's form": {"POST", http.Header{"Accept": {"text/html"}}},
		} {
			a := ask(s)
			back := "/deep?er"
			if s.method == "POST" {
				back = "/form"
			}
			if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") != `Bearer realm="Sallyport"` || len(a.Header.Values("WWW-Authenticate")) != 1 ||
				!strings.Contains(a.Body, `href="`+panels.Radio+"/.sallyport/start?return="+url.QueryEscape(back)+`" target="_top"`) {
				t.Errorf("%s, %s: %s %v, want 401 and a page with a link to the sign-in\n%s", client, name, portal.Summary(a), a.Header, a.Body)
			}
			if strings.Contains(a.Body, "your form wasn’t sent") != (s.method == "POST") {
				t.Errorf("%s, %s: the page must mention an unsent form only after POST; it says\n%s", client, name, portal.VisibleText(a.Body))
			}
			if a.Header.Get("X-Frame-Options") != "" || !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors *") {
				t.Errorf("%s, %s: the headers forbid frames: %v", client, name, a.Header)
			}
		}
		for name, s := range map[string]sent{
			"fetch": {"GET", fetched("cors", "empty")}, "a prefetch": {"GET", withHeader(fetched("navigate", "document"), "Sec-Purpose", "prefetch")},
			"a picture": {"GET", fetched("no-cors", "image")},
		} {
			a := ask(s)
			var body struct{ Login string }
			if err := json.Unmarshal([]byte(a.Body), &body); err != nil || a.Status != http.StatusUnauthorized || body.Login == "" || len(a.Header.Values("WWW-Authenticate")) != 1 {
				t.Errorf("%s, %s: %s %v %s, want 401 and JSON with the sign-in", client, name, portal.Summary(a), a.Header, a.Body)
			}
		}
		b := ask(sent{"GET", http.Header{"User-Agent": {"git/2.39"}, "Accept": {"*/*"}}})
		if b.Header.Get("WWW-Authenticate") == "" || b.Status != http.StatusUnauthorized {
			t.Errorf("%s, git: %s %v, want 401 with a challenge", client, portal.Summary(b), b.Header)
		}
	}
	// Only a client that isn't a browser gets a Basic challenge.
	a := gate.Browser(t)
	a.Header = http.Header{"User-Agent": {"git/2.39"}}
	if got := a.Get(panels.Radio + "/").Header.Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[1], "Basic ") {
		t.Errorf("git gets the challenges %q, want the second one to be Basic", got)
	}
}

// The gateway refuses paths that panels could read in two ways. The page and the log name
// the reason, since the panel itself may accept such a path.
func TestRefusalOfAnAmbiguousPathNamesThePath(t *testing.T) {
	t.Parallel()
	p := panels.GuardedAt(t, "http://"+testkit.FreeAddress(t), "    rules: [{path: /status/, require: nothing}, {path: /ops/, require: session, groups: [ops]}]")
	p.AddAccount(t, "ada")
	ada := panels.Visit(t, p, "ada", panels.Radio+"/")
	for path, want := range map[string]int{"/a//b": http.StatusBadGateway, "/a/b": http.StatusBadGateway, "/api/queues/%2F/jobs": 403, "/a;v=1/b": 403, "/a%252Fb": 403, "/ops/x": 403, "//ops/x": 403} {
		a := ada.Do("GET", panels.Radio+path, nil, panels.NavigationHeaders())
		if a.Status != want {
			t.Errorf("GET %s: %s, want %d", path, portal.Summary(a), want)
		}
		if want == 403 && !strings.Contains(path, "ops") && !strings.Contains(portal.VisibleText(a.Body), "the path "+path) {
			t.Errorf("GET %s: the page doesn't name the path:\n%s", path, portal.VisibleText(a.Body))
		}
	}
	if !strings.Contains(p.Logs.String(), "the path can be read in more than one way") {
		t.Error("the log doesn't say why a path was refused")
	}
}

// A panel may redirect to any site after the sign-in, for example to a second sign-in.
// Chromium applies form-action to every redirect after a form, so a page between the form
// and the panel continues with Refresh.
func TestFormsRedirectToPanelsThroughAPage(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.RedirectHandler("https://sso.elsewhere.test/", http.StatusFound))
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	panels.Navigate(b, panels.Radio+"/")
	back := portal.FieldOf(b.Last.Body, "return")
	page := b.Last
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self';") || strings.Contains(policy, "radio.example") {
		t.Errorf("the sign-in page's policy is %s, want form-action 'self' without the panel", policy)
	}
	a := b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
	if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/continue?return=") {
		t.Fatalf("the sign-in form: %s, want a redirect to /continue", portal.Summary(a))
	}
	a = b.Get(a.Location)
	if a.Status != http.StatusOK || a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("Refresh"), "0; url="+panels.PortalAt+"/enter?") || !strings.Contains(a.Body, `href="`+panels.PortalAt+"/enter?") {
		t.Fatalf("/continue: %s %v, want a page that continues to /enter\n%s", portal.Summary(a), a.Header, a.Body)
	}
	// The page continues only to paths of the portal.
	for _, bad := range []string{"https://evil.test/", "//evil.test", `/\evil.test`, "", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b"} {
		a := b.Get("/continue?" + url.Values{"return": {bad}}.Encode())
		if got := a.Header.Get("Refresh"); got != "0; url="+panels.PortalAt+"/" {
			t.Errorf("return %q continues to %q, want the portal's first page", bad, got)
		}
	}
	// The sign-out form on the panel's host continues through a page too.
	a = b.Post(panels.Radio + "/.sallyport/logout")
	if a.Location != panels.Radio+"/.sallyport/signed-out" {
		t.Errorf("the sign-out form: %s, want a redirect to the signed-out page", portal.Summary(a))
	}
}

// Data that a panel stored in the browser must not be visible to the next user of that browser.
func TestPanelStorageIsClearedForTheNextUser(t *testing.T) {
	t.Parallel()
	enter := func(b *portal.Browser, name string) (clear string) {
		panels.Navigate(b, panels.Radio+"/mail")
		back := portal.FieldOf(b.Last.Body, "return")
		b.Post("/login", "username", name, "password", portal.Password, "return", back)
		for range 10 {
			if clear == "" {
				clear = b.Last.Header.Get("Clear-Site-Data")
			}
			if b.Last.Location == "" {
				break
			}
			b.Get(b.Last.Location)
		}
		if b.Last.Status != http.StatusOK {
			t.Fatalf("%s doesn't reach the panel: %s", name, portal.Summary(b.Last))
		}
		return clear
	}
	for forgets, want := range map[bool][2]string{false: {"", `"cache"`}, true: {`"cache", "storage"`, `"cache", "storage"`}} {
		setting := ""
		if forgets {
			setting = "    forget_at_sign_out: true"
		}
		p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "panel-session", Value: r.Header.Get("Remote-User"), Path: "/"})
		}), setting)
		p.AddAccount(t, "ada")
		p.AddAccount(t, "bob")
		b := p.Browser(t)
		if got := enter(b, "ada"); got != "" {
			t.Errorf("forget_at_sign_out %v: ada's first visit clears %s, want nothing", forgets, got)
		}
		out := b.Post(panels.Radio + "/.sallyport/logout")
		if got := out.Header.Get("Clear-Site-Data"); got != want[0] {
			t.Errorf("forget_at_sign_out %v: a sign-out clears %q, want %q", forgets, got, want[0])
		}
		if kept := b.CookieAt(panels.Radio, "panel-session"); (kept == "") != forgets {
			t.Errorf("forget_at_sign_out %v: after the sign-out the panel's cookie is %q, want it deleted only if true", forgets, kept)
		}
		if got := enter(b, "ada"); got != "" {
			t.Errorf("forget_at_sign_out %v: ada's second visit clears %s, want nothing", forgets, got)
		}
		b.Post(panels.Radio + "/.sallyport/logout")
		if got := enter(b, "bob"); got != want[1] {
			t.Errorf("forget_at_sign_out %v: bob's visit clears %q, want %q", forgets, got, want[1])
		}
		if strings.Contains(out.Header.Get("Clear-Site-Data"), "cookies") || b.Cookie("sallyport-device") == "" {
			t.Errorf("forget_at_sign_out %v: the sign-out deleted the cookie of the known browser", forgets)
		}
	}
}

// A panel may have set more cookies than the headers of one answer can delete, so the
// sign-out spreads them over several redirects.
func TestSignOutDeletesManyPanelCookies(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 40 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("panel_cookie_%d=x; Path=/", i))
		}
		w.Header().Add("Set-Cookie", "php[a]=x; Path=/")
	}), "    forget_at_sign_out: true")
	p.AddAccount(t, "ada")
	b := panels.Visit(t, p, "ada", panels.Radio+"/")
	b.Post(panels.Radio + "/.sallyport/logout")
	for b.Last.Location != "" && strings.HasPrefix(b.Last.Location, panels.Radio) {
		size := 0
		for name, values := range b.Get(b.Last.Location).Header {
			for _, value := range values {
				size += len(name) + len(value) + 4
			}
		}
		if size > 4000 {
			t.Errorf("an answer has %d bytes of headers, want at most 4000", size)
		}
	}
	for i := range 40 {
		if b.CookieAt(panels.Radio, fmt.Sprintf("panel_cookie_%d", i)) != "" {
			t.Errorf("cookie %d is left after the sign-out", i)
		}
	}
}

// Where a browser's cookies exceed the limit, the answer names the cookies to delete.
func TestOversizedCookieIsNamed(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "max_header_kib: 32", "trusted_proxies: [127.0.0.1]", "    rules: [{path: /open/, require: nothing}]", "  - url: "+panels.Video)
	many := http.Header{"Cookie": {"small=1; grafana_sess=" + strings.Repeat("x", 40<<10)}}
	ask := withHeader(many, "Accept", "text/html")
	for _, address := range []string{panels.Radio + "/open/", panels.PortalAt + "/login", panels.Radio + "/.sallyport/start?return=/"} {
		a := p.Browser(t).Do("GET", address, nil, ask)
		if a.Status != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(portal.VisibleText(a.Body), "grafana_sess (40960 bytes)") {
			t.Errorf("%s: %s, want 431 with the cookie's name and size\n%s", address, portal.Summary(a), portal.VisibleText(a.Body))
		}
	}
	if !strings.Contains(p.Logs.String(), "grafana_sess (40960 bytes)") {
		t.Error("the log doesn't name the cookie")
	}
	question := http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"video.test"}, "X-Forwarded-Uri": {"/"}, "X-Original-Method": {"GET"}, "X-Original-Url": {panels.Video + "/"}, "X-Real-Ip": {"192.0.2.1"}}
	for path, want := range map[string]int{"/verify/caddy": 431, "/verify/nginx": 403, "/verify/nginx/refused": 431} {
		if a := p.Browser(t).Do("GET", "http://sallyport"+path, nil, withHeader(question, "Cookie", many.Get("Cookie"))); a.Status != want {
			t.Errorf("GET %s: %s, want %d", path, portal.Summary(a), want)
		}
	}
	if a := p.Browser(t).Do("GET", panels.Radio+"/open/", nil, http.Header{"Cookie": {"fits=" + strings.Repeat("x", 30<<10)}}); a.Status != http.StatusOK {
		t.Errorf("a cookie of 30 KiB, below the limit: %s, want 200", portal.Summary(a))
	}
}

// On a shared host a service worker of the panel could intercept the portal's pages.
func TestServiceWorkerOfThePanelCannotInterceptThePortal(t *testing.T) {
	t.Parallel()
	panel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Service-Worker-Allowed", "/")
		w.Header().Set("Content-Type", "text/javascript")
	}))
	t.Cleanup(panel.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\nshared_host: true\npanels: [{url: %s, upstream: '%s'}]\n", sharedHost, sharedHost, panel.URL)))
	p.AddAccount(t, "ada")
	b := htmlBrowser(t, p)
	first := b.Get("/login")
	if first.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("the browser's first page clears %q, want storage, which includes service workers", first.Header.Get("Clear-Site-Data"))
	}
	if again := b.Get("/login"); again.Header.Get("Clear-Site-Data") != "" {
		t.Error("the second page clears the panel's storage again")
	}
	signIn := b.Post("/login", "username", "ada", "password", portal.Password, "return", "/")
	if signIn.Status != http.StatusSeeOther {
		t.Fatalf("sign-in: %s, want it to succeed", portal.Summary(signIn))
	}
	if a := b.Do("GET", sharedHost+"/sw.js", nil, http.Header{"Service-Worker": {"script"}, "Accept": {"*/*"}}); a.Status != http.StatusForbidden {
		t.Errorf("the script of a service worker: %s, want 403", portal.Summary(a))
	}
	script := b.Do("GET", sharedHost+"/sw.js", nil, http.Header{"Accept": {"*/*"}})
	if script.Status != http.StatusOK || script.Header.Get("Service-Worker-Allowed") != "" || !strings.Contains(script.Header.Get("Vary"), "Service-Worker") {
		t.Errorf("the same file as a script: %s %v, want 200 without Service-Worker-Allowed", portal.Summary(script), script.Header)
	}
	// A service worker from before the portal shared the host forwards a request for a page,
	// or sends one of its own. Both answers clear the storage, which removes the worker.
	if own := b.Do("GET", "/login", nil, withHeader(fetched("cors", "empty"), "Sec-Fetch-Site", "same-origin")); own.Status != http.StatusForbidden || own.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("a service worker's own request: %s %v, want 403 that clears storage", portal.Summary(own), own.Header)
	}
	through := b.Do("GET", "/login", nil, fetched("navigate", "empty"))
	if through.Status != http.StatusForbidden || through.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("a navigation through a service worker: %s %v, want 403 that clears storage", portal.Summary(through), through.Header)
	}
}
