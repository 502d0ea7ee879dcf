package sessions

// The cookies of sessions and attempts.

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack73PlantedCookies(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "eve")
		// A client without a session gets only a cookie that shows that cookies work. It is
		// the same for all clients, so a sign-in can't adopt anything from it.
		for _, line := range p.Browser(t).Get("/login").Header["Set-Cookie"] {
			if !strings.HasPrefix(line, "sallyport-cookies=1;") {
				t.Errorf("cookie before the sign-in: %s, want only sallyport-cookies=1", line)
			}
		}
		eve := p.Browser(t)
		eve.SignIn("eve")
		evesToken := eve.Cookie(portal.SessionCookie)
		for what, planted := range map[string]string{"made up": strings.Repeat("A", 43), "eve's session": evesToken} {
			b := p.Browser(t)
			b.SetCookie(portal.SessionCookie, planted)
			b.SetCookie(portal.AttemptCookie, planted)
			b.SignIn("ada")
			if got := b.Cookie(portal.SessionCookie); got == "" || got == planted {
				t.Errorf("sign-in with a planted token (%s): the session has the token %.4s…, want a new one", what, got)
			}
			thief := p.Browser(t)
			thief.SetCookie(portal.SessionCookie, planted)
			if thief.SignedIn() {
				t.Errorf("the planted token (%s) opens a session", what)
			}
			if page := portal.VisibleText(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
				t.Errorf("sign-in with a planted token (%s): the profile page doesn't show ada's account alone", what)
			}
		}
		// With two cookies of one name the portal can't know which one is right, so it accepts
		// neither.
		ada := p.Browser(t)
		ada.SignIn("ada")
		eve = p.Browser(t)
		eve.SignIn("eve")
		host := strings.TrimPrefix(p.Base, "http://")
		one, two := portal.SessionCookie+"="+ada.Cookie(portal.SessionCookie), portal.SessionCookie+"="+eve.Cookie(portal.SessionCookie)
		for what, cookies := range map[string]string{
			"ada's and eve's": one + "; " + two, "eve's and ada's": two + "; " + one, "ada's twice": one + "; " + one, "ada's and junk": one + "; " + portal.SessionCookie + "=x",
		} {
			if a := portal.ToListener(t, p, portal.Request{Method: http.MethodGet, Path: "/", Host: host, Header: http.Header{"Cookie": {cookies}}}); a.Status != http.StatusSeeOther {
				t.Errorf("two session cookies, %s: %s, want the sign-in page", what, portal.Summary(a))
			}
		}
		if a := portal.ToListener(t, p, portal.Request{Method: http.MethodGet, Path: "/", Host: host, Header: http.Header{"Cookie": {one}}}); a.Status != http.StatusOK {
			t.Errorf("ada's session cookie alone: %s, want 200", portal.Summary(a))
		}
	})
}

// TestAttack73HostPrefix checks that on HTTPS the cookies have the prefix __Host-, so that no
// sibling host can plant one.
func TestAttack73HostPrefix(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host, "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32")
	p.AddAccount(t, "ada")
	form := "username=ada&password=" + strings.ReplaceAll(portal.Password, " ", "+")
	same := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	a := portal.ToListener(t, p, portal.Request{Method: http.MethodPost, Path: "/login", Host: host, Header: same, Form: form})
	if a.Status != http.StatusSeeOther || a.Location != "https://"+host+"/" {
		t.Fatalf("sign-in on HTTPS: %s, want 303 to the start page", portal.Summary(a))
	}
	token := ""
	for _, set := range a.Header.Values("Set-Cookie") {
		parts := strings.Split(set, "; ")
		if !strings.HasPrefix(set, "__Host-sallyport") || !slices.Contains(parts, "Secure") || !slices.Contains(parts, "HttpOnly") ||
			!slices.Contains(parts, "SameSite=Lax") || !slices.Contains(parts, "Path=/") || strings.Contains(set, "Domain") {
			t.Errorf("cookie %s, want the prefix __Host-sallyport, Secure, HttpOnly, SameSite=Lax, Path=/ and no Domain", set)
		}
		if value, ok := strings.CutPrefix(parts[0], "__Host-sallyport="); ok {
			token = value
		}
	}
	for cookie, want := range map[string]int{
		"__Host-sallyport=" + token: http.StatusOK, "sallyport=" + token: http.StatusSeeOther, "__host-sallyport=" + token: http.StatusSeeOther,
		"__Secure-sallyport=" + token: http.StatusSeeOther, "sallyport=x; __Host-sallyport=" + token: http.StatusOK,
	} {
		if a := portal.ToListener(t, p, portal.Request{Method: http.MethodGet, Path: "/", Host: host, Header: http.Header{"Cookie": {cookie}}}); a.Status != want {
			t.Errorf("cookie %.25s: %s, want %d", cookie, portal.Summary(a), want)
		}
	}
	if got := a.Header.Get("Strict-Transport-Security"); !strings.HasPrefix(got, "max-age=") {
		t.Errorf("Strict-Transport-Security %q, want a max-age", got)
	}
}

func TestAttack84CookieJunk(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, _ := portal.WithTwoFactor(t, p, "ada")
		pending := portal.PendingSignIn(t, p, "ada")
		host := strings.TrimPrefix(p.Base, "http://")
		session, attempt := b.Cookie(portal.SessionCookie), pending.Cookie(portal.AttemptCookie)
		junk := func(token string) []string {
			all := []string{
				"", `""`, " ", "\t", "\xff\xfe\x80", token[:42], token[:1], token + "A", token + token, token + "=", token + "==", strings.ToLower(token), strings.ToUpper(token),
				"%00", token + "%00", "'" + token, `"` + token + "x\"", strings.Repeat("A", 8000), "null", "0", "-1", "../../etc/passwd", "' OR '1'='1",
			}
			for i := range token {
				flipped := []byte(token)
				if flipped[i] ^= 1; flipped[i] == '"' || flipped[i] == ';' || flipped[i] == ',' || flipped[i] == '`' {
					flipped[i] = 'z'
				}
				all = append(all, string(flipped))
			}
			return all
		}
		get := func(path, cookies string) portal.Answer {
			t.Helper()
			return portal.ToListener(t, p, portal.Request{Method: http.MethodGet, Path: path, Host: host, Header: http.Header{"Cookie": {cookies}}})
		}
		for _, value := range junk(session) {
			if a := get("/", portal.SessionCookie+"="+value); a.Status != http.StatusSeeOther && a.Status != http.StatusBadRequest {
				t.Errorf("session cookie %.30q: %s, want 303 or 400", value, portal.Summary(a))
			}
		}
		for _, value := range junk(attempt) {
			if a := get("/login/code", portal.AttemptCookie+"="+value); a.Location != p.Base+"/login?notice=expired" && a.Status != http.StatusBadRequest {
				t.Errorf("attempt cookie %.30q: %s, want an expired attempt or 400", value, portal.Summary(a))
			}
		}
		if a := get("/", strings.Repeat(portal.SessionCookie+"="+session+"; ", 50)+"x=y"); a.Status != http.StatusSeeOther {
			t.Errorf("fifty session cookies: %s, want 303", portal.Summary(a))
		}
		for what, cookie := range map[string]string{"0 byte": session + "\x00", "line break": session + "\r\n x", "escape": "\x1b" + session} {
			answer := portal.RawAnswer(t, p, "GET / HTTP/1.1\r\nHost: "+host+"\r\nCookie: "+portal.SessionCookie+"="+cookie+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 400") && !strings.HasPrefix(answer, "HTTP/1.1 303") {
				t.Errorf("%s in the session cookie: %.40s, want 400 or 303", what, answer)
			}
		}
		if a := get("/", "x="+strings.Repeat("A", 64<<10)+"; "+portal.SessionCookie+"="+session); a.Status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("64 KiB of cookies: %s, want 431", portal.Summary(a))
		}
		if a := get("/", portal.SessionCookie+"="+session); a.Status != http.StatusOK {
			t.Errorf("the right session cookie: %s, want 200", portal.Summary(a))
		}
		if a := get("/login/code", portal.AttemptCookie+"="+attempt); a.Status != http.StatusOK {
			t.Errorf("the right attempt cookie: %s, want 200", portal.Summary(a))
		}
	})
}
