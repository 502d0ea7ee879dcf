package pages

// Redirects use only configured origins, and client addresses come only from trusted
// proxies.

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack99ReturnURLStaysAtThePortal(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		host := strings.TrimPrefix(p.Base, "http://")
		hostile := []string{
			"//evil.test", "///evil.test", "////evil.test", "/\\evil.test", "\\/evil.test", "\\\\evil.test", "/\\/evil.test", "//\\evil.test", "\\evil.test",
			"https://evil.test", "http://evil.test/", "HTTPS://evil.test", "https:evil.test", "https:/evil.test", "https:///evil.test", "http:\\\\evil.test",
			"https://" + host + ".evil.test", "https://" + host + "@evil.test", "http://evil.test#" + host, "http://evil.test?" + host, p.Base + "@evil.test/", p.Base + ".evil.test",
			"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:x", "mailto:a@b",
			"/\t/evil.test", "/\n/evil.test", "/\r\n/evil.test", "\t//evil.test", " //evil.test", "\n//evil.test", "/\x00/evil.test", "\x00//evil.test", "/ /evil.test", "/\u00a0/evil.test", "/\u2028/evil.test",
			"/\r\nSet-Cookie: x=y", "/\r\n\r\n<script>alert(1)</script>", "／／evil.test", "/／evil.test", "/\u202eevil.test", "。evil.test", "evil.test", "evil.test/path", "@evil.test", ":80", ".evil.test", "?x", "#x", "*",
			"/%zz", "/%", "/%2", "/%5cevil.test", "/%5c%5cevil.test", "/%2f%2fevil.test", "/%2fevil.test", "//%65vil.test", "/\xff", strings.Repeat("/a", 4096), "/" + strings.Repeat("a", 8192),
			"http://[::1", "//[::1]/", "//" + host + "/", p.Base, p.Base + "/settings/profile",
			"/login", "/login?return=//evil.test", "/login/code", "/logout",
		}
		if len(hostile) < 40 {
			t.Fatalf("the corpus has only %d values, want at least 40", len(hostile))
		}
		// These look like other sites, but are paths of the portal.
		kept := map[string]string{
			"/settings/profile": "/settings/profile", "/settings/activity?before=1.x&y=z": "/settings/activity?before=1.x&y=z", "/a%2f%2fevil.test": "/a%2f%2fevil.test",
			"/%0d%0aSet-Cookie:x=y": "/%0d%0aSet-Cookie:x=y", "/a//b": "/a//b", "/a:b@evil.test": "/a:b@evil.test", "/.evil.test": "/.evil.test",
		}
		p.AddAccount(t, "ada")
		signedIn := p.Browser(t)
		signedIn.SignIn("ada")
		hidden := regexp.MustCompile(`name="return" value="([^"]*)"`)
		try := func(raw, want string) {
			t.Helper()
			// The test reads the header itself, since the redirect must be absolute.
			a := p.Browser(t).Post("/login", "username", "ada", "password", portal.Password, "return", raw)
			if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != p.Base+want {
				t.Errorf("sign-in with return %.40q: %d %q, want %q", raw, a.Status, got, p.Base+want)
			}
			if len(a.Header.Values("Set-Cookie")) != 3 || a.Header.Get("X-Injected") != "" {
				t.Errorf("sign-in with return %.40q: cookies %q, want three and no injected header", raw, a.Header.Values("Set-Cookie"))
			}
			// The form contains only a return URL that was checked.
			found := hidden.FindStringSubmatch(p.Browser(t).Get("/login?return=" + url.QueryEscape(raw)).Body)
			if found == nil || portal.Unescape(found[1]) != want {
				t.Errorf("the form with return %.40q contains %q, want %q", raw, found, want)
			}
			a = signedIn.Post("/reauthenticate", "password", portal.Password, "return", raw)
			u, err := url.Parse(a.Header.Get("Location"))
			wanted, wantErr := url.Parse(p.Base + want)
			if err != nil || wantErr != nil || a.Status != http.StatusSeeOther || u.Host != host || u.User != nil || u.EscapedPath() != wanted.EscapedPath() {
				t.Errorf("reauthentication with return %.40q: %d %q, want %q", raw, a.Status, a.Header.Get("Location"), p.Base+want)
			}
		}
		for _, raw := range hostile {
			try(raw, "/")
		}
		for raw, want := range kept {
			try(raw, want)
		}
		// The return URL that is stored with an attempt was checked too.
		_, phone := portal.WithTwoFactor(t, p, "bob")
		for i, raw := range []string{"//evil.test", "/\\evil.test", "https://evil.test", "/settings/profile"} {
			b := p.Browser(t)
			b.Post("/login", "username", "bob", "password", portal.Password, "return", raw)
			a := b.Post("/login/backup-code", "backup_code", phone.Codes[i], "return", "//evil.test")
			want := p.Base + "/?notice=backup_code_used"
			if i == 3 {
				want = p.Base + "/settings/profile?notice=backup_code_used"
			}
			if got := a.Header.Get("Location"); got != want {
				t.Errorf("a backup code after a password with return %q: redirect to %q, want %q", raw, got, want)
			}
		}
	})
}

// Every redirect is absolute and begins with the configured URL, whichever host the request
// names (R20).
func TestAttackR20RedirectsUseTheConfiguredURL(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host, "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32")
	p.AddAccount(t, "ada")
	signIn := portal.ToListener(t, p, portal.Request{Method: http.MethodPost, Path: "/login", Host: host, Form: "username=ada&password=correct+horse+battery"})
	cookie := strings.SplitN(signIn.Header.Values("Set-Cookie")[1], ";", 2)[0]
	forged := []http.Header{
		{}, {"X-Forwarded-Host": {"evil.test"}}, {"X-Forwarded-Host": {"evil.test", "evil.test:81"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Port": {"81"}},
		{"Forwarded": {"for=1.2.3.4;host=evil.test;proto=http"}}, {"X-Original-Host": {"evil.test"}, "X-Host": {"evil.test"}, "X-Forwarded-Server": {"evil.test"}},
		{"X-Original-Url": {"//evil.test/"}, "X-Rewrite-Url": {"//evil.test/"}, "X-Forwarded-Uri": {"//evil.test/"}, "X-Forwarded-Prefix": {"//evil.test"}},
		{"Referer": {"https://evil.test/"}}, {"X-Http-Host-Override": {"evil.test"}, "X_Forwarded_Host": {"evil.test"}},
	}
	paths := []string{"//evil.test", "//evil.test/", "//evil.test/..", "/login/", "//login", "/./login", "/login/../login", "/%2e%2e//evil.test", "/\\evil.test", "/static/../login"}
	for _, r := range portal.Routes(t) {
		paths = append(paths, r.At("x"))
	}
	redirects, reported := 0, map[string]bool{}
	wrong := func(path, format string, args ...any) {
		t.Helper()
		if !reported[path] { // one report for each path is enough
			reported[path] = true
			t.Errorf(format, args...)
		}
	}
	for i, header := range forged {
		for _, path := range paths {
			if i > 1 && strings.HasPrefix(path, "//") {
				continue
			}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for _, with := range []string{"", cookie} {
					h := header.Clone()
					if with != "" {
						h.Set("Cookie", with)
					}
					h.Set("Sec-Fetch-Site", "same-origin")
					if path == "/logout" && with != "" && method == http.MethodPost {
						continue
					}
					a := portal.ToListener(t, p, portal.Request{Method: method, Path: path, Host: host, Header: h, Form: "username=ada&return=//evil.test"})
					if a.Status >= 300 && a.Status < 400 {
						redirects++
						if !strings.HasPrefix(a.Location, "https://"+host+"/") {
							wrong(path, "%s %s with %v: %d to %q, want the configured URL", method, path, header, a.Status, a.Location)
						}
						if method == http.MethodPost && a.Status != http.StatusSeeOther {
							wrong(path+" again", "POST %s: redirect with status %d, want 303, which doesn't repeat the form", path, a.Status)
						}
					}
					if i > 0 && strings.Contains(a.Body, "evil.test") && !strings.Contains(path, "evil") {
						t.Errorf("%s %s with %v: the page contains the forged host", method, path, header)
					}
				}
			}
		}
	}
	if redirects < 100 {
		t.Errorf("checked only %d redirects, want at least 100", redirects)
	}
	// A request with an unknown Host gets no page.
	for _, other := range []string{"evil.test", "evil.test:443", host + ".evil.test", host + ".", host + ",evil.test", "evil.test," + host, "x." + host, "127.0.0.1", ""} {
		for _, path := range []string{"/", "/login", "/settings/security"} {
			answer := portal.RawAnswer(t, p, "GET "+path+" HTTP/1.1\r\nHost: "+other+"\r\nCookie: "+cookie+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 421") || strings.Contains(answer, "\nLocation:") {
				t.Errorf("Host %q, %s: %.60q, want 421", other, path, answer)
			}
		}
	}
	// Malformed request lines, which no browser sends.
	for _, line := range []string{
		"GET http://evil.test/login HTTP/1.1", "GET https://evil.test/ HTTP/1.1", "GET x:@evil.test HTTP/1.1", "GET x:.evil.test HTTP/1.1", "GET //evil.test HTTP/1.1",
		"GET /\\evil.test HTTP/1.1", "GET https:evil.test HTTP/1.1", "CONNECT evil.test:443 HTTP/1.1", "OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "GET evil.test HTTP/1.1",
	} {
		answer := portal.RawAnswer(t, p, line+"\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if location := regexp.MustCompile(`\r\nLocation: (.*)\r\n`).FindStringSubmatch(answer); location != nil && !strings.HasPrefix(location[1], "https://"+host+"/") {
			t.Errorf("%s: redirect to %q, want the configured URL", line, location[1])
		}
		if strings.HasPrefix(answer, "HTTP/1.1 5") || strings.HasPrefix(answer, "HTTP/1.1 200") && strings.Contains(line, "evil.test/") {
			t.Errorf("%s: %.60q, want a refusal without a server error", line, answer)
		}
	}
}

// Only the redirect from localhost reads Host. It leads to the configured URL too (R20).
func TestAttackR20RedirectFromLocalhostUsesTheConfiguredURL(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	port := p.Base[strings.LastIndex(p.Base, ":"):]
	for _, line := range []string{"GET /login?x=y", "GET //evil.test", "GET x:@evil.test", "GET x:.evil.test", "GET x:0.evil.test", "GET http:@evil.test", "GET http://localhost" + port + "//evil.test"} {
		answer := portal.RawAnswer(t, p, line+" HTTP/1.1\r\nHost: localhost"+port+"\r\nConnection: close\r\n\r\n")
		location := regexp.MustCompile(`\r\nLocation: (.*)\r\n`).FindStringSubmatch(answer)
		if location == nil {
			if strings.HasPrefix(line, "GET /login") {
				t.Errorf("%s: %.60q, want a redirect", line, answer)
			}
			continue
		}
		if !strings.HasPrefix(location[1], p.Base+"/") {
			t.Errorf("%s: redirect to %q, want the configured URL", line, location[1])
		}
	}
}

// Only X-Forwarded-For of a trusted proxy counts, and in it only the address that the proxy
// appended (R21).
func TestAttackR21ForwardedForCountsOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	otherHeaders := []string{
		"X-Real-Ip", "Forwarded", "X_Forwarded_For", "X-Forwarded_For", "X-Forwarded.For", "X-Forwarded", "Forwarded-For", "X-Client-Ip", "Client-Ip", "True-Client-Ip",
		"Cf-Connecting-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For", "X-Remote-Addr", "Remote-Addr", "X-Originating-Ip", "Fastly-Client-Ip", "X-Azure-Clientip",
	}
	for _, trusted := range []bool{false, true} {
		for _, engine := range []string{"sqlite", "postgres"} {
			t.Run(engine+map[bool]string{true: " behind a trusted proxy", false: " without trusted proxies"}[trusted], func(t *testing.T) {
				t.Parallel()
				var settings []string
				if trusted {
					settings = []string{"SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32,198.51.100.0/24,2001:db8:1::/48"}
				}
				p := portal.Start(t, engine, settings...)
				p.AddAccount(t, "ada")
				address := func(what string, header http.Header, want string) {
					t.Helper()
					if !trusted {
						want = "127.0.0.1"
					}
					b := p.Browser(t)
					maps.Copy(b.Header, header)
					b.SignIn("ada")
					var got string
					testkit.Check(t, p.DB.Reader().QueryRowContext(context.Background(), `SELECT address FROM sessions`).Scan(&got))
					if got != want {
						t.Errorf("%s: the session has address %q, want %q", what, got, want)
					}
					if page := portal.VisibleText(b.Get("/settings/sessions").Body); !strings.Contains(page, want) {
						t.Errorf("%s: the sessions tab doesn't show %q", what, want)
					}
					b.Post("/logout")
				}
				for what, one := range map[string]struct {
					values []string
					want   string
				}{
					"one address":                 {[]string{"203.0.113.9"}, "203.0.113.9"},
					"a forged first address":      {[]string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
					"two headers":                 {[]string{"1.1.1.1", "203.0.113.9"}, "203.0.113.9"},
					"a second proxy":              {[]string{"1.1.1.1, 203.0.113.9, 198.51.100.7"}, "203.0.113.9"},
					"a forged trusted address":    {[]string{"198.51.100.9, 203.0.113.9"}, "203.0.113.9"},
					"only proxies":                {[]string{"198.51.100.9, 127.0.0.1"}, "198.51.100.9"},
					"text in place of an address": {[]string{"203.0.113.9, a"}, "127.0.0.1"},
					"text behind a proxy":         {[]string{"203.0.113.9, a, 198.51.100.7"}, "198.51.100.7"},
					"port":                        {[]string{"203.0.113.9:80"}, "203.0.113.9"},
					"empty":                       {[]string{""}, "127.0.0.1"},
					"empty last":                  {[]string{"203.0.113.9,"}, "127.0.0.1"},
					"mapped":                      {[]string{"::ffff:203.0.113.9"}, "203.0.113.9"},
					"mapped proxy":                {[]string{"203.0.113.9, ::ffff:198.51.100.7"}, "203.0.113.9"},
					"IPv6":                        {[]string{"2001:db8::9"}, "2001:db8::9"},
					"IPv6 proxy":                  {[]string{"2001:db8::9, 2001:db8:1::1"}, "2001:db8::9"},
					"zone":                        {[]string{"fe80::9%eth0"}, "fe80::9"},
					"leading zeros":               {[]string{"203.0.113.09"}, "127.0.0.1"},
					"number":                      {[]string{"3405803785"}, "127.0.0.1"},
					"quotes":                      {[]string{`"203.0.113.9"`}, "127.0.0.1"},
					"long":                        {[]string{strings.Repeat("1.1.1.1, ", 1000) + "203.0.113.9"}, "203.0.113.9"},
					"the peer's own address":      {[]string{"127.0.0.1"}, "127.0.0.1"},
				} {
					address(what, http.Header{"X-Forwarded-For": one.values}, one.want)
				}
				for _, name := range otherHeaders {
					value := "203.0.113.9"
					if name == "Forwarded" {
						value = "for=203.0.113.9"
					}
					address(name, http.Header{name: {value}}, "127.0.0.1")
				}
			})
		}
	}
}

// With an https public_url and no TLS of its own, the server accepts only requests from
// trusted proxies (attack 89).
func TestAttack89RequestsAroundTheProxyAreRefused(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host)
	p.AddAccount(t, "ada")
	for _, header := range []http.Header{{}, {"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}}, {"X-Forwarded-For": {"127.0.0.1"}}, {"X-Real-Ip": {"127.0.0.1"}}} {
		for _, r := range portal.Routes(t) {
			a := portal.ToListener(t, p, portal.Request{Method: r.Method, Path: r.At("x"), Host: host, Header: header, Form: "username=ada&password=correct+horse+battery"})
			if a.Status != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s around the proxy: %s, want 403 without a cookie", r.Method, r.Path, portal.Summary(a))
			}
			if !strings.Contains(portal.VisibleText(a.Body), "trusted_proxies: [127.0.0.1/32]") {
				t.Errorf("the refusal of %s %s doesn't show the line trusted_proxies", r.Method, r.Path)
			}
		}
	}
	if !strings.Contains(p.Logs.String(), "peer is not in trusted_proxies") {
		t.Error("the log doesn't give the reason of the refusals")
	}
	if a := portal.ToListener(t, p, portal.Request{Method: http.MethodGet, Path: "/healthz", Host: "127.0.0.1"}); a.Status != http.StatusOK {
		t.Errorf("/healthz around the proxy: %s, want 200", portal.Summary(a))
	}
}
