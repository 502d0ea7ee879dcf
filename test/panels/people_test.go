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

// asked is how a request is sent: a name for it, and what a browser says with it.
type sent struct {
	method string
	header http.Header
}

func fetched(mode, dest string) http.Header {
	return http.Header{"Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}, "Accept": {"text/html,*/*"}}
}

// A person sees a page that leads on, a script reads JSON, and both get a 401 as HTTP
// wants it, through the gateway and through every proxy that asks.
func TestPeopleGetPagesAndScriptsGetJSON(t *testing.T) {
	t.Parallel()
	gate := panels.Guarded(t, http.NotFoundHandler())
	verify := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels: [{url: %s}]\n", panels.PortalAt, panels.Radio)))
	doors := map[string]func(sent) portal.Answer{
		"gateway": func(s sent) portal.Answer {
			return gate.Browser(t).Do(s.method, panels.Radio+"/deep?er", nil, with(s.header, "Referer", panels.Radio+"/form"))
		},
	}
	for _, proxy := range []string{"caddy", "traefik", "haproxy"} {
		doors[proxy] = func(s sent) portal.Answer {
			h := with(s.header, "Referer", panels.Radio+"/form")
			h["X-Forwarded-Method"], h["X-Forwarded-Host"], h["X-Forwarded-Uri"] = []string{s.method}, []string{"radio.example"}, []string{"/deep?er"}
			return verify.Browser(t).Do("GET", "http://sallyport/verify/"+proxy, nil, h)
		}
	}
	doors["nginx"] = func(s sent) portal.Answer {
		h := with(s.header, "Referer", panels.Radio+"/form")
		h["X-Original-Method"], h["X-Original-Url"], h["X-Real-Ip"] = []string{s.method}, []string{panels.Radio + "/deep?er"}, []string{"192.0.2.1"}
		return verify.Browser(t).Do("GET", "http://sallyport/verify/nginx/refused", nil, h)
	}
	for door, ask := range doors {
		for name, s := range map[string]sent{
			"a link": {"GET", fetched("navigate", "document")}, "a link through a service worker": {"GET", fetched("navigate", "empty")},
			"an old browser": {"GET", http.Header{"Accept": {"text/html"}}},
		} {
			if a := ask(s); a.Status != http.StatusSeeOther || a.Location != panels.Radio+"/.sallyport/start?return=%2Fdeep%3Fer" {
				t.Errorf("%s, %s: %s", door, name, portal.Summary(a))
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
				t.Errorf("%s, %s: %s %v\n%s", door, name, portal.Summary(a), a.Header, a.Body)
			}
			if strings.Contains(a.Body, "your form wasn’t sent") != (s.method == "POST") {
				t.Errorf("%s, %s: the page says\n%s", door, name, portal.VisibleText(a.Body))
			}
			if a.Header.Get("X-Frame-Options") != "" || !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors *") {
				t.Errorf("%s, %s: a frame shows nothing: %v", door, name, a.Header)
			}
		}
		for name, s := range map[string]sent{
			"fetch": {"GET", fetched("cors", "empty")}, "a prefetch": {"GET", with(fetched("navigate", "document"), "Sec-Purpose", "prefetch")},
			"a picture": {"GET", fetched("no-cors", "image")},
		} {
			a := ask(s)
			var said struct{ Login string }
			if err := json.Unmarshal([]byte(a.Body), &said); err != nil || a.Status != http.StatusUnauthorized || said.Login == "" || len(a.Header.Values("WWW-Authenticate")) != 1 {
				t.Errorf("%s, %s: %s %v %s", door, name, portal.Summary(a), a.Header, a.Body)
			}
		}
		b := ask(sent{"GET", http.Header{"User-Agent": {"git/2.39"}, "Accept": {"*/*"}}})
		if b.Header.Get("WWW-Authenticate") == "" || b.Status != http.StatusUnauthorized {
			t.Errorf("%s, git: %s %v", door, portal.Summary(b), b.Header)
		}
	}
	// Only a client that is no browser is asked for a password.
	a := gate.Browser(t)
	a.Header = http.Header{"User-Agent": {"git/2.39"}}
	if got := a.Get(panels.Radio + "/").Header.Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[1], "Basic ") {
		t.Errorf("git is challenged with %q", got)
	}
}

// The gate's own rule for paths isn't the panels': their refusals say what happened.
func TestOddPathsGetTheirOwnReason(t *testing.T) {
	t.Parallel()
	p := panels.GuardedAt(t, "http://"+testkit.FreeAddress(t), "    rules: [{path: /status/, require: nothing}, {path: /ops/, require: session, groups: [ops]}]")
	p.AddAccount(t, "ada")
	ada := panels.Visit(t, p, "ada", panels.Radio+"/")
	for path, want := range map[string]int{"/a//b": http.StatusBadGateway, "/a/b": http.StatusBadGateway, "/api/queues/%2F/jobs": 403, "/a;v=1/b": 403, "/a%252Fb": 403, "/ops/x": 403, "//ops/x": 403} {
		a := ada.Do("GET", panels.Radio+path, nil, panels.AsPerson())
		if a.Status != want {
			t.Errorf("%s: %s, want %d", path, portal.Summary(a), want)
		}
		if want == 403 && !strings.Contains(path, "ops") && !strings.Contains(portal.VisibleText(a.Body), "the path "+path) {
			t.Errorf("%s: the page doesn't name the path:\n%s", path, portal.VisibleText(a.Body))
		}
	}
	if !strings.Contains(p.Logs.String(), "the path can be read in more than one way") {
		t.Error("the log doesn't say why a path was refused")
	}
}

// A panel may lead anywhere after the sign-in, such as to a sign-in of its own elsewhere:
// Chromium holds that against the form's page unless a page stands between.
func TestAfterAFormAPageLeadsOn(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.RedirectHandler("https://sso.elsewhere.test/", http.StatusFound))
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	panels.Navigate(b, panels.Radio+"/")
	back := portal.FieldOf(b.Last.Body, "return")
	page := b.Last
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self';") || strings.Contains(policy, "radio.example") {
		t.Errorf("the sign-in's policy: %s", policy)
	}
	a := b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
	if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/continue?return=") {
		t.Fatalf("after the form: %s", portal.Summary(a))
	}
	a = b.Get(a.Location)
	if a.Status != http.StatusOK || a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("Refresh"), "0; url="+panels.PortalAt+"/enter?") || !strings.Contains(a.Body, `href="`+panels.PortalAt+"/enter?") {
		t.Fatalf("the page that leads on: %s %v\n%s", portal.Summary(a), a.Header, a.Body)
	}
	// Nothing but a path of ours is led to.
	for _, bad := range []string{"https://evil.test/", "//evil.test", `/\evil.test`, "", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b"} {
		a := b.Get("/continue?" + url.Values{"return": {bad}}.Encode())
		if got := a.Header.Get("Refresh"); got != "0; url="+panels.PortalAt+"/" {
			t.Errorf("return %q leads to %q", bad, got)
		}
	}
	// The form that signs out on the panel's host leads to the portal in the same way.
	a = b.Post(panels.Radio + "/.sallyport/logout")
	if a.Location != panels.Radio+"/.sallyport/signed-out" {
		t.Errorf("after the sign-out: %s", portal.Summary(a))
	}
}

// What outlives a visit in the browser isn't the next person's.
func TestTheNextPersonMeetsNothingOfThePanel(t *testing.T) {
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
			t.Fatalf("%s doesn't get in: %s", name, portal.Summary(b.Last))
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
			t.Errorf("forgets %v: ada's first visit clears %s", forgets, got)
		}
		out := b.Post(panels.Radio + "/.sallyport/logout")
		if got := out.Header.Get("Clear-Site-Data"); got != want[0] {
			t.Errorf("forgets %v: a sign-out clears %q, want %q", forgets, got, want[0])
		}
		if kept := b.CookieAt(panels.Radio, "panel-session"); (kept == "") != forgets {
			t.Errorf("forgets %v: after the sign-out the panel's cookie is %q", forgets, kept)
		}
		if got := enter(b, "ada"); got != "" {
			t.Errorf("forgets %v: ada's second visit clears %s", forgets, got)
		}
		b.Post(panels.Radio + "/.sallyport/logout")
		if got := enter(b, "bob"); got != want[1] {
			t.Errorf("forgets %v: bob's visit clears %q, want %q", forgets, got, want[1])
		}
		if strings.Contains(out.Header.Get("Clear-Site-Data"), "cookies") || b.Cookie("sallyport-device") == "" {
			t.Errorf("forgets %v: the mark of the known browser is gone", forgets)
		}
	}
}

// A panel may have more cookies than one answer can end.
func TestManyCookiesOfAPanelAreForgotten(t *testing.T) {
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
			t.Errorf("an answer has %d bytes of headers", size)
		}
	}
	for i := range 40 {
		if b.CookieAt(panels.Radio, fmt.Sprintf("panel_cookie_%d", i)) != "" {
			t.Errorf("cookie %d stays", i)
		}
	}
}

// Panels that set many cookies: the gate says which ones to delete.
func TestTooManyCookiesAreNamed(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "max_header_kib: 32", "trusted_proxies: [127.0.0.1]", "    rules: [{path: /open/, require: nothing}]", "  - url: "+panels.Video)
	many := http.Header{"Cookie": {"small=1; grafana_sess=" + strings.Repeat("x", 40<<10)}}
	ask := with(many, "Accept", "text/html")
	for _, address := range []string{panels.Radio + "/open/", panels.PortalAt + "/login", panels.Radio + "/.sallyport/start?return=/"} {
		a := p.Browser(t).Do("GET", address, nil, ask)
		if a.Status != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(portal.VisibleText(a.Body), "grafana_sess (40960 bytes)") {
			t.Errorf("%s: %s\n%s", address, portal.Summary(a), portal.VisibleText(a.Body))
		}
	}
	if !strings.Contains(p.Logs.String(), "grafana_sess (40960 bytes)") {
		t.Error("the log doesn't name the cookie")
	}
	question := http.Header{"X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"video.test"}, "X-Forwarded-Uri": {"/"}, "X-Original-Method": {"GET"}, "X-Original-Url": {panels.Video + "/"}, "X-Real-Ip": {"192.0.2.1"}}
	for path, want := range map[string]int{"/verify/caddy": 431, "/verify/nginx": 403, "/verify/nginx/refused": 431} {
		if a := p.Browser(t).Do("GET", "http://sallyport"+path, nil, with(question, "Cookie", many.Get("Cookie"))); a.Status != want {
			t.Errorf("%s: %s, want %d", path, portal.Summary(a), want)
		}
	}
	if a := p.Browser(t).Do("GET", panels.Radio+"/open/", nil, http.Header{"Cookie": {"fits=" + strings.Repeat("x", 30<<10)}}); a.Status != http.StatusOK {
		t.Errorf("30 KiB: %s", portal.Summary(a))
	}
}

// On the portal's own host a worker of the panel would stand between people and the
// portal.
func TestNoWorkerOfThePanelStandsBeforeThePortal(t *testing.T) {
	t.Parallel()
	panel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Service-Worker-Allowed", "/")
		w.Header().Set("Content-Type", "text/javascript")
	}))
	t.Cleanup(panel.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\nshared_host: true\npanels: [{url: %s, upstream: '%s'}]\n", sharedHost, sharedHost, panel.URL)))
	p.AddAccount(t, "ada")
	b := person(t, p)
	first := b.Get("/login")
	if first.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("the first page clears %q", first.Header.Get("Clear-Site-Data"))
	}
	if again := b.Get("/login"); again.Header.Get("Clear-Site-Data") != "" {
		t.Error("each page clears what the panel keeps")
	}
	signIn := b.Post("/login", "username", "ada", "password", portal.Password, "return", "/")
	if signIn.Status != http.StatusSeeOther {
		t.Fatal(portal.Summary(signIn))
	}
	if a := b.Do("GET", sharedHost+"/sw.js", nil, http.Header{"Service-Worker": {"script"}, "Accept": {"*/*"}}); a.Status != http.StatusForbidden {
		t.Errorf("the worker's script: %s", portal.Summary(a))
	}
	script := b.Do("GET", sharedHost+"/sw.js", nil, http.Header{"Accept": {"*/*"}})
	if script.Status != http.StatusOK || script.Header.Get("Service-Worker-Allowed") != "" || !strings.Contains(script.Header.Get("Vary"), "Service-Worker") {
		t.Errorf("the same as a script: %s %v", portal.Summary(script), script.Header)
	}
	// A worker of before passes a page on, or asks for it anew, and is told to go.
	if anew := b.Do("GET", "/login", nil, with(fetched("cors", "empty"), "Sec-Fetch-Site", "same-origin")); anew.Status != http.StatusForbidden || anew.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("asked for anew by a worker: %s %v", portal.Summary(anew), anew.Header)
	}
	through := b.Do("GET", "/login", nil, fetched("navigate", "empty"))
	if through.Status != http.StatusForbidden || through.Header.Get("Clear-Site-Data") != `"storage"` {
		t.Errorf("through a worker: %s %v", portal.Summary(through), through.Header)
	}
}
