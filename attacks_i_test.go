package sallyport_test

// I. Passwords, enumeration, the front end; and where redirects lead (F 99).

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack99OpenRedirect: whatever the return URL says, the browser stays.
func TestAttack99OpenRedirect(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
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
			t.Fatalf("the corpus has %d values only", len(hostile))
		}
		// These are paths of ours, whatever they look like.
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
			// Judged by the header itself: the answer must be absolute.
			a := p.Browser(t).Post("/login", "username", "ada", "password", portal.Password, "return", raw)
			if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != p.Base+want {
				t.Errorf("sign-in with return %.40q: %d %q, want %q", raw, a.Status, got, p.Base+want)
			}
			if len(a.Header.Values("Set-Cookie")) != 3 || a.Header.Get("X-Injected") != "" {
				t.Errorf("sign-in with return %.40q: cookies %q", raw, a.Header.Values("Set-Cookie"))
			}
			// The form carries the checked one only.
			found := hidden.FindStringSubmatch(p.Browser(t).Get("/login?return=" + url.QueryEscape(raw)).Body)
			if found == nil || unescape(found[1]) != want {
				t.Errorf("form with return %.40q carries %q, want %q", raw, found, want)
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
		// Over the attempt's row, too.
		_, phone := withTwoFactor(t, p, "bob")
		for i, raw := range []string{"//evil.test", "/\\evil.test", "https://evil.test", "/settings/profile"} {
			b := p.Browser(t)
			b.Post("/login", "username", "bob", "password", portal.Password, "return", raw)
			a := b.Post("/login/backup-code", "backup_code", phone.Codes[i], "return", "//evil.test")
			want := p.Base + "/?notice=backup_code_used"
			if i == 3 {
				want = p.Base + "/settings/profile?notice=backup_code_used"
			}
			if got := a.Header.Get("Location"); got != want {
				t.Errorf("code with return %q: %q, want %q", raw, got, want)
			}
		}
	})
}

// TestAttackR20Redirects: every redirect is absolute and begins with the
// configured URL, whatever the request says about its host.
func TestAttackR20Redirects(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host, "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32")
	p.AddAccount(t, "ada")
	signIn := toListener(t, p, http.MethodPost, "/login", host, nil, "username=ada&password=correct+horse+battery")
	cookie := strings.SplitN(signIn.Header.Values("Set-Cookie")[1], ";", 2)[0]
	forged := []http.Header{
		{}, {"X-Forwarded-Host": {"evil.test"}}, {"X-Forwarded-Host": {"evil.test", "evil.test:81"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Port": {"81"}},
		{"Forwarded": {"for=1.2.3.4;host=evil.test;proto=http"}}, {"X-Original-Host": {"evil.test"}, "X-Host": {"evil.test"}, "X-Forwarded-Server": {"evil.test"}},
		{"X-Original-Url": {"//evil.test/"}, "X-Rewrite-Url": {"//evil.test/"}, "X-Forwarded-Uri": {"//evil.test/"}, "X-Forwarded-Prefix": {"//evil.test"}},
		{"Referer": {"https://evil.test/"}}, {"X-Http-Host-Override": {"evil.test"}, "X_Forwarded_Host": {"evil.test"}},
	}
	paths := []string{"//evil.test", "//evil.test/", "//evil.test/..", "/login/", "//login", "/./login", "/login/../login", "/%2e%2e//evil.test", "/\\evil.test", "/static/../login"}
	for _, r := range policy(t) {
		paths = append(paths, r.at("x"))
	}
	asked, told := 0, map[string]bool{}
	wrong := func(path, format string, args ...any) {
		t.Helper()
		if !told[path] { // once for each path is enough to read
			told[path] = true
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
					a := toListener(t, p, method, path, host, h, "username=ada&return=//evil.test")
					if a.Status >= 300 && a.Status < 400 {
						asked++
						if !strings.HasPrefix(a.Location, "https://"+host+"/") {
							wrong(path, "%s %s with %v: %d to %q", method, path, header, a.Status, a.Location)
						}
						if method == http.MethodPost && a.Status != http.StatusSeeOther {
							wrong(path+" again", "POST %s: %d, want 303 and never the form again", path, a.Status)
						}
					}
					if i > 0 && strings.Contains(a.Body, "evil.test") && !strings.Contains(path, "evil") {
						t.Errorf("%s %s with %v: the page repeats it", method, path, header)
					}
				}
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d redirects were looked at", asked)
	}
	// Another Host isn't served at all.
	for _, other := range []string{"evil.test", "evil.test:443", host + ".evil.test", host + ":8443", "x." + host, "127.0.0.1", ""} {
		for _, path := range []string{"/", "/login", "/settings/security"} {
			answer := rawAnswer(t, p, "GET "+path+" HTTP/1.1\r\nHost: "+other+"\r\nCookie: "+cookie+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 421") || strings.Contains(answer, "\nLocation:") {
				t.Errorf("Host %q, %s: %.60q, want 421", other, path, answer)
			}
		}
	}
	// Odd request lines, as only a raw client sends them.
	for _, line := range []string{
		"GET http://evil.test/login HTTP/1.1", "GET https://evil.test/ HTTP/1.1", "GET x:@evil.test HTTP/1.1", "GET x:.evil.test HTTP/1.1", "GET //evil.test HTTP/1.1",
		"GET /\\evil.test HTTP/1.1", "GET https:evil.test HTTP/1.1", "CONNECT evil.test:443 HTTP/1.1", "OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "GET evil.test HTTP/1.1",
	} {
		answer := rawAnswer(t, p, line+"\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if location := regexp.MustCompile(`\r\nLocation: (.*)\r\n`).FindStringSubmatch(answer); location != nil && !strings.HasPrefix(location[1], "https://"+host+"/") {
			t.Errorf("%s: Location %q", line, location[1])
		}
		if strings.HasPrefix(answer, "HTTP/1.1 5") || strings.HasPrefix(answer, "HTTP/1.1 200") && strings.Contains(line, "evil.test/") {
			t.Errorf("%s: %.60q", line, answer)
		}
	}
}

// TestAttackR20TwoNamesOfThisMachine: the one redirect that looks at Host
// leads to the configured URL as well.
func TestAttackR20TwoNamesOfThisMachine(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	port := p.Base[strings.LastIndex(p.Base, ":"):]
	for _, line := range []string{"GET /login?x=y", "GET //evil.test", "GET x:@evil.test", "GET x:.evil.test", "GET x:0.evil.test", "GET http:@evil.test", "GET http://localhost" + port + "//evil.test"} {
		answer := rawAnswer(t, p, line+" HTTP/1.1\r\nHost: localhost"+port+"\r\nConnection: close\r\n\r\n")
		location := regexp.MustCompile(`\r\nLocation: (.*)\r\n`).FindStringSubmatch(answer)
		if location == nil {
			if strings.HasPrefix(line, "GET /login") {
				t.Errorf("%s: %.60q, want a redirect", line, answer)
			}
			continue
		}
		if !strings.HasPrefix(location[1], p.Base+"/") {
			t.Errorf("%s: Location %q", line, location[1])
		}
	}
}

// TestAttackR21ForwardedFor: only the trusted proxy's own header is believed,
// and of that only what the proxy wrote.
func TestAttackR21ForwardedFor(t *testing.T) {
	t.Parallel()
	others := []string{
		"X-Real-Ip", "Forwarded", "X_Forwarded_For", "X-Forwarded_For", "X-Forwarded.For", "X-Forwarded", "Forwarded-For", "X-Client-Ip", "Client-Ip", "True-Client-Ip",
		"Cf-Connecting-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For", "X-Remote-Addr", "Remote-Addr", "X-Originating-Ip", "Fastly-Client-Ip", "X-Azure-Clientip",
	}
	for _, trusted := range []bool{false, true} {
		for _, engine := range []string{"sqlite", "postgres"} {
			t.Run(engine+map[bool]string{true: " behind a trusted proxy", false: " trusting nobody"}[trusted], func(t *testing.T) {
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
					check(t, p.DB.Reader().QueryRowContext(context.Background(), `SELECT address FROM sessions`).Scan(&got))
					if got != want {
						t.Errorf("%s: address %q, want %q", what, got, want)
					}
					if page := visible(b.Get("/settings/sessions").Body); !strings.Contains(page, want) {
						t.Errorf("%s: the sessions tab doesn't show %q", what, want)
					}
					b.Post("/logout")
				}
				for what, one := range map[string]struct {
					values []string
					want   string
				}{
					"one":                      {[]string{"203.0.113.9"}, "203.0.113.9"},
					"spoofed first":            {[]string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
					"two headers":              {[]string{"1.1.1.1", "203.0.113.9"}, "203.0.113.9"},
					"through a second proxy":   {[]string{"1.1.1.1, 203.0.113.9, 198.51.100.7"}, "203.0.113.9"},
					"spoofed trusted":          {[]string{"198.51.100.9, 203.0.113.9"}, "203.0.113.9"},
					"only proxies":             {[]string{"198.51.100.9, 127.0.0.1"}, "198.51.100.9"},
					"text":                     {[]string{"203.0.113.9, a"}, "127.0.0.1"},
					"text behind a proxy":      {[]string{"203.0.113.9, a, 198.51.100.7"}, "198.51.100.7"},
					"port":                     {[]string{"203.0.113.9:80"}, "127.0.0.1"},
					"empty":                    {[]string{""}, "127.0.0.1"},
					"empty last":               {[]string{"203.0.113.9,"}, "127.0.0.1"},
					"mapped":                   {[]string{"::ffff:203.0.113.9"}, "203.0.113.9"},
					"mapped proxy":             {[]string{"203.0.113.9, ::ffff:198.51.100.7"}, "203.0.113.9"},
					"IPv6":                     {[]string{"2001:db8::9"}, "2001:db8::9"},
					"IPv6 proxy":               {[]string{"2001:db8::9, 2001:db8:1::1"}, "2001:db8::9"},
					"zone":                     {[]string{"fe80::9%eth0"}, "fe80::9"},
					"leading zeros":            {[]string{"203.0.113.09"}, "127.0.0.1"},
					"number":                   {[]string{"3405803785"}, "127.0.0.1"},
					"quotes":                   {[]string{`"203.0.113.9"`}, "127.0.0.1"},
					"long":                     {[]string{strings.Repeat("1.1.1.1, ", 1000) + "203.0.113.9"}, "203.0.113.9"},
					"the peer named by itself": {[]string{"127.0.0.1"}, "127.0.0.1"},
				} {
					address(what, http.Header{"X-Forwarded-For": one.values}, one.want)
				}
				for _, name := range others {
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

// TestAttack89AroundTheProxy: with https that isn't ours nobody comes in but
// through a named proxy.
func TestAttack89AroundTheProxy(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host)
	p.AddAccount(t, "ada")
	for _, header := range []http.Header{{}, {"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}}, {"X-Forwarded-For": {"127.0.0.1"}}, {"X-Real-Ip": {"127.0.0.1"}}} {
		for _, r := range policy(t) {
			a := toListener(t, p, r.method, r.at("x"), host, header, "username=ada&password=correct+horse+battery")
			if a.Status != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s: %s, want 403", r.method, r.path, short(a))
			}
			if !strings.Contains(visible(a.Body), "trusted_proxies: [127.0.0.1/32]") {
				t.Errorf("%s %s doesn't say which line to add", r.method, r.path)
			}
		}
	}
	if !strings.Contains(p.Logs.String(), "peer is not in trusted_proxies") {
		t.Error("the log doesn't say why")
	}
	if a := toListener(t, p, http.MethodGet, "/healthz", "127.0.0.1", nil, ""); a.Status != http.StatusOK {
		t.Errorf("/healthz: %s", short(a))
	}
}

// TestAttack127Enumeration: nothing in an answer tells whether there is such
// an account, whether it is open, and what it has.
func TestAttack127Enumeration(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		withTwoFactor(t, p, "ada1") // two-factor authentication
		p.AddAccount(t, "ada2")     // none
		p.AddAccount(t, "ada3")     // disabled
		check(t, p.Login.Disable(ctx, mustAccount(t, p, "ada3")))
		_, err := p.Login.Invite(ctx, account.Account{Name: "ada4"}) // no password
		check(t, err)
		check(t, p.Login.SetEmail(ctx, mustAccount(t, p, "ada2"), "ada2@example.test"))

		type answer struct {
			status int
			header string
			body   string
		}
		ask := func(typed, password string) answer {
			a := p.Browser(t).Post("/login", "username", typed, "password", password, "return", "/settings/profile")
			var header []string
			for name, values := range a.Header {
				if name != "Date" {
					header = append(header, name+": "+strings.Join(values, ", "))
				}
			}
			slices.Sort(header)
			return answer{a.Status, strings.Join(header, "\n"), strings.ReplaceAll(a.Body, typed, "NAME")}
		}
		same := func(round string, want int, names map[string]string, password string) {
			t.Helper()
			first := answer{}
			for what, name := range names {
				got := ask(name, password)
				if first == (answer{}) {
					first = got
				}
				if got != first || got.status != want {
					t.Errorf("%s, %s: differs from another (status %d, want %d):\n%s", round, what, got.status, want, got.header)
				}
			}
		}
		names := map[string]string{"two-factor": "ada1", "password only": "ada2", "disabled": "ada3", "invited": "ada4", "unknown": "ada9", "upper case": "ADA8", "not usable": "a\u202e"}
		emails := map[string]string{"known e-mail": "ada2@example.test", "unknown e-mail": "ada9@example.test"}
		for round := range 5 {
			if round == 0 || round == 2 {
				same("wrong password", http.StatusUnprocessableEntity, names, "not the password at all")
			} else {
				same("wrong password", http.StatusUnprocessableEntity, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, "not the password at all")
			}
		}
		same("budget spent", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, "not the password at all")
		same("budget spent, right password", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9"}, portal.Password)
		p.Clock.Move(time.Second)
		same("budget spent, a second later", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9"}, "not the password at all")
		p.Clock.Move(time.Hour)
		same("e-mail", http.StatusUnprocessableEntity, emails, "not the password at all")
		same("right password where it opens nothing", http.StatusUnprocessableEntity, map[string]string{"disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, portal.Password)
		same("no password", http.StatusUnprocessableEntity, names, "")
		// The comparison can tell a difference.
		if ask("ada2", portal.Password) == ask("ada9", portal.Password) {
			t.Error("a right password answers as a wrong one does")
		}
		p.Clock.Move(10 * time.Second)
		opened := p.Browser(t)
		if a := opened.Post("/login", "username", " ADA2@EXAMPLE.TEST ", "password", portal.Password); a.Status != http.StatusSeeOther {
			t.Errorf("the right password of an account whose budget was spent by a stranger: %s", short(a))
		}
	})
}

func TestAttack129Passwords(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		n := 0
		name := func() string { n++; return "user" + string(rune('a'+n%26)) + string(rune('a'+n/26)) }
		opensWith := func(account, typed string) bool {
			b := p.Browser(t)
			a := b.Post("/login", "username", account, "password", typed)
			if a.Status >= 500 {
				t.Errorf("password of %d bytes: %s", len(typed), short(a))
			}
			return a.Status == http.StatusSeeOther && b.SignedIn()
		}
		long := strings.Repeat("horse battery ", 6)[:72]
		for what, one := range map[string]struct {
			password     string
			same, others []string
		}{
			"more than 72 bytes":  {long + "tail", nil, []string{long, long + "liat", long + "tai", long + "tails"}},
			"256 letters":         {strings.Repeat("horsebat", 32), nil, []string{strings.Repeat("horsebat", 32)[:255], strings.Repeat("horsebat", 32) + "h"}},
			"256 wide letters":    {strings.Repeat("語言文字密碼鑰匙", 32), nil, []string{strings.Repeat("語言文字密碼鑰匙", 31), strings.Repeat("語言文字密碼鑰匙", 32) + "語"}},
			"64 emoji":            {strings.Repeat("🙂🙃😀😁😂🤣😃😄", 8), nil, []string{strings.Repeat("🙂🙃😀😁😂🤣😃😄", 7), strings.Repeat("🙃🙂😀😁😂🤣😃😄", 8)}},
			"spaces around":       {"  spaces around it  ", nil, []string{"spaces around it", "  spaces around it", "spaces around it  "}},
			"case":                {"Correct Horse Battery", nil, []string{"correct horse battery", "CORRECT HORSE BATTERY"}},
			"NFC":                 {norm.NFC.String("éàü correct horse"), []string{norm.NFD.String("éàü correct horse")}, []string{"eau correct horse"}},
			"NFD":                 {norm.NFD.String("éàü correct horse"), []string{norm.NFC.String("éàü correct horse")}, nil},
			"space of a keyboard": {"correct\u00a0horse\u3000battery", []string{"correct horse battery"}, []string{"correcthorsebattery"}},
			"signs":               {`"'<>&%\;--{{7*7}}$(x)`, nil, []string{`&#34;'<>&%\;--{{7*7}}$(x)`}},
			"wide digits":         {"１３５７９２４６８０２５８１４", nil, []string{"135792468025814"}},
		} {
			owner := name()
			if _, err := p.Login.AddAccount(ctx, account.Account{Name: owner}, one.password); err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			for _, typed := range append([]string{one.password}, one.same...) {
				if !opensWith(owner, typed) {
					t.Errorf("%s: %.20q doesn't open", what, typed)
				}
			}
			for _, typed := range append(one.others, one.password+"\x00", one.password+"\x00x", "\x00"+one.password, one.password+"\n") {
				if opensWith(owner, typed) {
					t.Errorf("%s: %.20q opens", what, typed)
				}
				p.Clock.Move(5 * time.Minute)
			}
		}
		for typed, want := range map[string]error{
			"": password.ErrShort, "fourteen chars": password.ErrShort, strings.Repeat("🙂", 14): password.ErrShort, strings.Repeat("a", 257): password.ErrLong, strings.Repeat("a", 1000000): password.ErrLong,
			"a password with \x00 in it": password.ErrInvalid, "a password with \n in it": password.ErrInvalid, "a password with \xff in it": password.ErrInvalid,
		} {
			if _, err := p.Login.AddAccount(ctx, account.Account{Name: name()}, typed); !errors.Is(err, want) {
				t.Errorf("new password %.20q: got %v, want %v", typed, err, want)
			}
		}
		// The same through the form.
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		for typed, want := range map[string]int{
			"": 422, "fourteen chars": 422, strings.Repeat("a", 257): 422, strings.Repeat("a", 60000): 422, strings.Repeat("a", 1000000): 413,
			"a password with \x00 in it": 422, "a password with \n in it": 422, "a password with \xff in it": 422, portal.Password: 422,
		} {
			if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", typed); a.Status != want {
				t.Errorf("new password %.20q: %s, want %d", typed, short(a), want)
			}
			if a := p.Browser(t).Post("/login", "username", "ada", "password", typed); typed != portal.Password && a.Status != want {
				t.Errorf("sign-in with %.20q: %s, want %d", typed, short(a), want)
			}
			p.Clock.Move(time.Minute)
		}
		if !opensWith("ada", portal.Password) {
			t.Error("a refused new password was stored")
		}
	})
}

// TestAttack131And132Injection sends hostile text through every field of
// every form, and looks for it on every page.
func TestAttack131And132Injection(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		payloads := []string{
			`<script>alert(1337)</script>`, `"><img src=x onerror=alert(1337)>`, `' onmouseover='alert(1337)`, `{{1337*1337}}`, `${1337*1337}`, `<%= 1337*1337 %>`, `#{1337*1337}`,
			"x\r\nX-Injected: yes\r\n\r\n<b>", "x\nSet-Cookie: injected=1", `' OR '1'='1`, `'; DROP TABLE accounts; --`, `1 UNION SELECT phc FROM passwords`, `%s%n%x`, `../../../../etc/passwd`, "a\x00b", "\xff\xfe", `$1`, `\`, `%`, `_`,
		}
		fields := []string{"username", "password", "return", "code", "next_code", "backup_code", "new_password", "name", "display_name", "ticket", "email"}
		looked := 0
		look := func(where, payload string, a portal.Answer) {
			t.Helper()
			looked++
			if a.Status >= 500 {
				t.Errorf("%s with %q: %s", where, payload, short(a))
			}
			if a.Header.Get("X-Injected") != "" || strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), "injected") {
				t.Errorf("%s with %q: a header was injected: %v", where, payload, a.Header)
			}
			if strings.Contains(a.Body, "1787569") {
				t.Errorf("%s with %q: it was evaluated", where, payload)
			}
			if strings.ContainsAny(payload, `<>"`) && strings.Contains(a.Body, payload) {
				t.Errorf("%s with %q: the page holds it as it was typed", where, payload)
			}
			checkHeaders(t, where, a)
		}
		for i, payload := range payloads {
			name := "user" + string(rune('a'+i))
			p.Clock.Move(time.Hour) // failures on ten accounts in an hour would stop this network
			p.AddAccount(t, name)
			b := p.Browser(t)
			if !strings.ContainsAny(payload, "\r\n\x00") {
				b.Header.Set("User-Agent", payload)
			}
			b.SignIn(name)
			for _, r := range policy(t) {
				if b.Cookie(sessionCookie) == "" {
					b.SignIn(name)
				}
				form := []string{}
				for _, field := range fields {
					form = append(form, field, payload)
				}
				query := url.Values{"return": {payload}, "notice": {payload}, "before": {payload}, "ticket": {payload}, "two": {payload}, "error": {payload}}.Encode()
				// What is no id is tried by TestAttack63ForeignIDs.
				path := r.at("x" + url.PathEscape(strings.Map(printable, payload)))
				if r.method == http.MethodGet {
					look("GET "+r.path, payload, b.Get(path+"?"+query))
				} else {
					look("POST "+r.path, payload, b.Post(path+"?"+query, form...))
				}
			}
			b.SignIn(name)
			for _, path := range []string{"/", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
				look("GET "+path+" afterwards", payload, b.Get(path))
			}
		}
		if looked < 500 {
			t.Errorf("looked at %d answers only", looked)
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM accounts`); n != len(payloads) {
			t.Errorf("%d accounts, want %d", n, len(payloads))
		}
	})
}

// printable drops what no path may hold.
func printable(r rune) rune {
	if r < ' ' || r == '\uFFFD' {
		return -1
	}
	return r
}

// TestAttack131CursorOfActivity: what can't be read is the first page.
func TestAttack131CursorOfActivity(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		for _, before := range []string{
			"", ".", "x", "1", "1.", ".x", "-1.x", "9223372036854775807.x", "-9223372036854775808.x", "99999999999999999999.x", "1.%00", "1.%ff", "1." + strings.Repeat("A", 10000),
			"1.'%20OR%20'1'='1", "1e9.x", "0x1.x", "%00", "%ff", "-62135596800000.x",
		} {
			if a := b.Get("/settings/activity?before=" + before); a.Status != http.StatusOK {
				t.Errorf("before=%.30s: %s, want 200", before, short(a))
			}
		}
	})
}

// checkHeaders holds the headers that every answer has.
func checkHeaders(t *testing.T, where string, a portal.Answer) {
	t.Helper()
	csp := map[string]string{}
	for _, directive := range strings.Split(a.Header.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
		csp[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'self'", "object-src": "'none'",
	} {
		if csp[name] != want {
			t.Errorf("%s: Content-Security-Policy has %s %q, want %q", where, name, csp[name], want)
		}
	}
	if strings.Contains(a.Header.Get("Content-Security-Policy"), "unsafe") {
		t.Errorf("%s: Content-Security-Policy allows what is unsafe", where)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "same-origin",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %s %q, want %q", where, name, got, want)
		}
	}
	for _, name := range []string{"Server", "X-Powered-By", "Access-Control-Allow-Origin", "ETag", "Last-Modified"} {
		if a.Header.Get(name) != "" {
			t.Errorf("%s: header %s", where, name)
		}
	}
}

// TestAttack133And134HeadersOfEveryPage: no page with state is kept, framed or
// held on to by another window.
func TestAttack133And134HeadersOfEveryPage(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	b, phone := withTwoFactor(t, p, "ada")
	pending := pendingSignIn(t, p, "ada")
	for who, one := range map[string]*portal.Browser{"signed in": b, "pending": pending, "nobody": p.Browser(t)} {
		for _, r := range policy(t) {
			path := r.at(phone.ID)
			for _, path := range []string{path, path + ".css", path + "/x.css", path + "/x.js", path + "%2fx.css", path + ";x.css", path + "?x.css"} {
				a := one.Do(http.MethodGet, path, nil, http.Header{
					"If-None-Match": {"*"}, "If-Modified-Since": {"Mon, 01 Jan 2035 00:00:00 GMT"}, "Range": {"bytes=0-10"}})
				where := who + ": GET " + path
				checkHeaders(t, where, a)
				if oneOf(a.Status, http.StatusNotModified, http.StatusPartialContent) {
					t.Errorf("%s: %s", where, short(a))
				}
				if strings.Contains(path, "x.css") && !strings.Contains(path, "?") && a.Status == http.StatusOK {
					t.Errorf("%s: a page under the name of a static file", where)
				}
			}
		}
	}
	page := b.Get("/").Body
	b.Post("/logout")
	if a := b.Get("/"); a.Status == http.StatusOK {
		t.Error("the start page opens after the sign-out")
	}
	// What is the same for all may be kept.
	static := regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`).FindString(page)
	if a := b.Get(static); a.Status != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("%q: %s, %q", static, short(a), a.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"/static/", "/static/../login", "/static/app.css", "/static/..%2f..%2fgo.mod", "/static/%2e%2e/routes.go", "/.git/config", "/debug/pprof/", "/metrics", "/robots.txt"} {
		if a := b.Get(path); a.Status == http.StatusOK {
			t.Errorf("GET %s: 200", path)
		}
	}
}

// TestAttack135WithoutScripts: every form is one that a browser without
// scripts sends, and that a password manager fills in.
func TestAttack135WithoutScripts(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	b, phone := withTwoFactor(t, p, "ada")
	wizard := b.BeginEnroll()
	token, err := p.Login.Invite(context.Background(), account.Account{Name: "bob"})
	check(t, err)
	pending := pendingSignIn(t, p, "ada")
	other := pendingSignIn(t, p, "ada")
	other.Post("/login/backup-code", "backup_code", phone.Codes[0])
	opens(t, other, "another session, to sign out", true)
	suspect := pendingSignIn(t, p, "ada")
	sqlChange(t, p, `UPDATE passwords SET suspect_at = 1`)
	suspect.Post("/login/code", "code", phone.Code(0))
	pages := map[string]portal.Answer{
		"/login": p.Browser(t).Get("/login"), "/login/code": pending.Get("/login/code"), "/login/code?two=1": pending.Get("/login/code?two=1"),
		"/login/backup-code": pending.Get("/login/backup-code"), "/login/new-password": suspect.Get("/login/new-password"),
		"/setup": p.Browser(t).Get("/setup?ticket=" + token.Reveal()), "wizard": b.Get("/settings/security/authenticators/" + wizard.ID),
		"new codes": b.Post("/settings/security/backup-codes"),
	}
	for _, path := range []string{"/", "/reauthenticate", "/reauthenticate?backup=1", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
		pages[path] = b.Get(path)
	}
	var (
		forms     = regexp.MustCompile(`(?s)<form.*?</form>`)
		opening   = regexp.MustCompile(`^<form[^>]*>`)
		script    = regexp.MustCompile(`(?i)<script[^>]*>`)
		handler   = regexp.MustCompile(`(?i)\son[a-z]+\s*=|javascript:|\sstyle\s*=|<style`)
		submit    = regexp.MustCompile(`<button(?:\s[^>]*)?>`)
		formPaths = map[string]bool{}
	)
	for where, a := range pages {
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %s", where, short(a))
		}
		for _, form := range forms.FindAllString(a.Body, -1) {
			open := opening.FindString(form)
			action := regexp.MustCompile(`action="(/[^"]*)"`).FindStringSubmatch(open)
			if action == nil || strings.HasPrefix(action[1], "//") || !strings.Contains(open, `method="`) {
				t.Errorf("%s: form %s", where, open)
				continue
			}
			if strings.Contains(open, `method="post"`) {
				formPaths[action[1]] = true
			}
			button := false
			for _, one := range submit.FindAllString(form, -1) {
				button = button || !strings.Contains(one, `type="button"`) && !strings.Contains(one, " hidden") && !strings.Contains(one, " disabled")
			}
			id := regexp.MustCompile(`id="([^"]*)"`).FindStringSubmatch(open)
			if id != nil {
				button = button || strings.Contains(a.Body, `form="`+id[1]+`"`)
			}
			if !button {
				t.Errorf("%s: form %s has no button to send it", where, open)
			}
		}
		for _, tag := range script.FindAllString(a.Body, -1) {
			if !strings.Contains(tag, `src="/static/`) {
				t.Errorf("%s: inline script %s", where, tag)
			}
		}
		if found := handler.FindString(a.Body); found != "" {
			t.Errorf("%s: inline handler or style %q", where, found)
		}
	}
	// Every POST of the policy has a form, but for those whose page comes
	// with more data.
	for _, r := range policy(t) {
		if r.method != http.MethodPost {
			continue
		}
		path := r.at(phone.ID)
		if strings.Contains(path, "/confirm") || strings.Contains(path, "/cancel") {
			path = strings.Replace(r.path, "{id}", wizard.ID, 1)
		}
		if strings.HasPrefix(r.path, "/settings/sessions/{id}") {
			if regexp.MustCompile(`action="/settings/sessions/[^"/]+/revoke"`).MatchString(pages["/settings/sessions"].Body) {
				continue
			}
		}
		if strings.HasPrefix(r.path, "/settings/devices/{id}") {
			if regexp.MustCompile(`action="/settings/devices/[^"/]+/forget"`).MatchString(pages["/settings/sessions"].Body) {
				continue
			}
		}
		if !formPaths[path] {
			t.Errorf("POST %s has no form", r.path)
		}
	}
	for where, want := range map[string][]string{
		"/login":              {`name="username"`, `autocomplete="username"`, `name="password"`, `autocomplete="current-password"`},
		"/login/code":         {`name="code"`, `autocomplete="one-time-code"`, `inputmode="numeric"`},
		"/login/new-password": {`name="new_password"`, `autocomplete="new-password"`, `autocomplete="username"`},
		"/setup":              {`name="new_password"`, `autocomplete="new-password"`},
		"/reauthenticate":     {`autocomplete="current-password"`, `autocomplete="one-time-code"`, `autocomplete="username"`},
		"wizard":              {`href="otpauth://totp/`, `autocomplete="one-time-code"`, `<svg`},
		"new codes":           {`download="`, `href="data:text/plain`},
	} {
		for _, text := range want {
			if !strings.Contains(pages[where].Body, text) {
				t.Errorf("%s lacks %s", where, text)
			}
		}
	}
}
