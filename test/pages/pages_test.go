package pages

// Attacks on the pages themselves.

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// The test sends hostile text in every field of every form, and checks every page for it.
func TestAttack131And132FormsCannotInject(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		payloads := []string{
			`<script>alert(1337)</script>`, `"><img src=x onerror=alert(1337)>`, `' onmouseover='alert(1337)`, `{{1337*1337}}`, `${1337*1337}`, `<%= 1337*1337 %>`, `#{1337*1337}`,
			"x\r\nX-Injected: yes\r\n\r\n<b>", "x\nSet-Cookie: injected=1", `' OR '1'='1`, `'; DROP TABLE accounts; --`, `1 UNION SELECT phc FROM passwords`, `%s%n%x`, `../../../../etc/passwd`, "a\x00b", "\xff\xfe", `$1`, `\`, `%`, `_`,
		}
		fields := []string{"username", "password", "return", "code", "next_code", "backup_code", "new_password", "name", "display_name", "ticket", "email"}
		checked := 0
		check := func(where, payload string, a portal.Answer) {
			t.Helper()
			checked++
			if a.Status >= 500 {
				t.Errorf("%s with %q: %s, want no server error", where, payload, portal.Summary(a))
			}
			if a.Header.Get("X-Injected") != "" || strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), "injected") {
				t.Errorf("%s with %q: a header was injected: %v", where, payload, a.Header)
			}
			if strings.Contains(a.Body, "1787569") {
				t.Errorf("%s with %q: the page contains the value of the expression", where, payload)
			}
			if strings.ContainsAny(payload, `<>"`) && strings.Contains(a.Body, payload) {
				t.Errorf("%s with %q: the page contains the text unescaped", where, payload)
			}
			checkHeaders(t, where, a)
		}
		for i, payload := range payloads {
			name := "user" + string(rune('a'+i))
			p.Clock.Move(time.Hour) // failures for ten accounts within an hour would block this network
			p.AddAccount(t, name)
			b := p.Browser(t)
			if !strings.ContainsAny(payload, "\r\n\x00") {
				b.Header.Set("User-Agent", payload)
			}
			b.SignIn(name)
			for _, r := range portal.Routes(t) {
				if b.Cookie(portal.SessionCookie) == "" {
					b.SignIn(name)
				}
				form := []string{}
				for _, field := range fields {
					form = append(form, field, payload)
				}
				query := url.Values{"return": {payload}, "notice": {payload}, "before": {payload}, "ticket": {payload}, "two": {payload}, "error": {payload}}.Encode()
				// TestAttack63ForeignIDs tests invalid ids.
				path := r.At("x" + url.PathEscape(strings.Map(printable, payload)))
				if r.Method == http.MethodGet {
					check("GET "+r.Path, payload, b.Get(path+"?"+query))
				} else {
					check("POST "+r.Path, payload, b.Post(path+"?"+query, form...))
				}
			}
			b.SignIn(name)
			for _, path := range []string{"/", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
				check("GET "+path+" afterwards", payload, b.Get(path))
			}
		}
		if checked < 500 {
			t.Errorf("checked only %d answers, want at least 500", checked)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM accounts`); n != len(payloads) {
			t.Errorf("after all forms there are %d accounts, want %d", n, len(payloads))
		}
	})
}

// printable returns -1 for a character that a path can't contain, so that strings.Map drops
// it.
func printable(r rune) rune {
	if r < ' ' || r == '\uFFFD' {
		return -1
	}
	return r
}

func TestAttack131InvalidCursorShowsTheFirstPage(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		for _, before := range []string{
			"", ".", "x", "1", "1.", ".x", "-1.x", "9223372036854775807.x", "-9223372036854775808.x", "99999999999999999999.x", "1.%00", "1.%ff", "1." + strings.Repeat("A", 10000),
			"1.'%20OR%20'1'='1", "1e9.x", "0x1.x", "%00", "%ff", "-62135596800000.x",
		} {
			if a := b.Get("/settings/activity?before=" + before); a.Status != http.StatusOK {
				t.Errorf("before=%.30s: %s, want 200", before, portal.Summary(a))
			}
		}
	})
}

// checkHeaders checks the headers that every answer must have.
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
		t.Errorf("%s: Content-Security-Policy contains an unsafe source", where)
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
			t.Errorf("%s: the answer has the header %s", where, name)
		}
	}
}

// A browser must not cache a page with an account's data, show it in a frame, or give
// another window a reference to it.
func TestAttack133And134EveryPageForbidsCachesAndFrames(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	b, phone := portal.WithTwoFactor(t, p, "ada")
	pending := portal.PendingSignIn(t, p, "ada")
	for who, one := range map[string]*portal.Browser{"signed in": b, "pending": pending, "stranger": p.Browser(t)} {
		for _, r := range portal.Routes(t) {
			path := r.At(phone.ID)
			for _, path := range []string{path, path + ".css", path + "/x.css", path + "/x.js", path + "%2fx.css", path + ";x.css", path + "?x.css"} {
				a := one.Do(http.MethodGet, path, nil, http.Header{
					"If-None-Match": {"*"}, "If-Modified-Since": {"Mon, 01 Jan 2035 00:00:00 GMT"}, "Range": {"bytes=0-10"}})
				where := who + ": GET " + path
				checkHeaders(t, where, a)
				if portal.OneOf(a.Status, http.StatusNotModified, http.StatusPartialContent) {
					t.Errorf("%s with conditional headers: %s, want a whole answer", where, portal.Summary(a))
				}
				if strings.Contains(path, "x.css") && !strings.Contains(path, "?") && a.Status == http.StatusOK {
					t.Errorf("%s: the answer is a page at the address of a static file", where)
				}
			}
		}
	}
	page := b.Get("/").Body
	b.Post("/logout")
	if a := b.Get("/"); a.Status == http.StatusOK {
		t.Error("the start page answers 200 after the sign-out")
	}
	// Static files are the same for every user, so caches may store them.
	static := regexp.MustCompile(`/static/app\.[0-9a-f]+\.css`).FindString(page)
	if a := b.Get(static); a.Status != http.StatusOK || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("%q: %s with Cache-Control %q, want 200 and immutable", static, portal.Summary(a), a.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"/static/", "/static/../login", "/static/app.css", "/static/..%2f..%2fgo.mod", "/static/%2e%2e/routes.go", "/.git/config", "/debug/pprof/", "/metrics", "/robots.txt"} {
		if a := b.Get(path); a.Status == http.StatusOK {
			t.Errorf("GET %s: status 200, want a refusal", path)
		}
	}
}

// A browser without scripts can send every form, and a password manager can fill it in.
func TestAttack135FormsWorkWithoutScripts(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite", append([]string{panels.PanelRadio(t)}, portal.WithMail...)...)
	b, phone := portal.WithTwoFactor(t, p, "ada")
	wizard := b.BeginEnroll()
	shown := b.Post("/settings/security/passes", panels.PassFields("backup")...)
	token, _, err := p.Manage.Accounts.Invite(context.Background(), manage.CommandLine(), account.Account{Name: "bob"})
	testkit.Check(t, err)
	p.AddAccount(t, "carol")
	p.AddAccount(t, "dora")
	p.AddAccount(t, "emil")
	former, dora := portal.VerifyEmail(t, p, "dora"), p.Browser(t)
	dora.SignIn("dora")
	confirm := dora.Get("/settings/profile/email/confirm?ticket=" + portal.MailedVerification(t, p, dora, "dora@example.net"))
	portal.ChangeEmail(t, p, dora, "dora@example.org")
	_, _, link := portal.LastMail(t, p, former).Link()
	undo := p.Browser(t).Get("/undo-email?ticket=" + link)
	asker := p.Browser(t)
	unlock := "/unlock?ticket=" + portal.MailedUnlock(t, p, asker, "carol")
	shielded := asker.Post("/login", "username", "carol", "password", portal.Password)
	shielded.Status -= http.StatusTooManyRequests - http.StatusOK // a refusal, with a form
	pending := portal.PendingSignIn(t, p, "ada")
	other := portal.PendingSignIn(t, p, "ada")
	other.Post("/login/backup-code", "backup_code", phone.Codes[0])
	portal.CheckSignedIn(t, other, "another session, to sign out", true)
	suspect := portal.PendingSignIn(t, p, "ada")
	portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
	suspect.Post("/login/code", "code", phone.Code(0))
	pages := map[string]portal.Answer{
		"/login": p.Browser(t).Get("/login"), "/login/code": pending.Get("/login/code"), "/login/code?two=1": pending.Get("/login/code?two=1"),
		"/login/backup-code": pending.Get("/login/backup-code"), "/login/new-password": suspect.Get("/login/new-password"),
		"/settings/profile/email": b.Get("/settings/profile/email"), "/undo-email": undo, "/settings/profile/email/confirm": confirm,
		"shielded": shielded, "/unlock": asker.Get("/unlock"), "link that lets in": asker.Get(unlock), "link elsewhere": p.Browser(t).Get(unlock),
		"/forgot": p.Browser(t).Get("/forgot"), "/reset": p.Browser(t).Get("/reset?ticket=" + portal.MailedReset(t, p, p.Browser(t), "emil")),
		"/setup": p.Browser(t).Get("/setup?ticket=" + token.Reveal()), "wizard": b.Get("/settings/security/authenticators/" + wizard.ID),
		"new codes": b.Post("/settings/security/backup-codes"), "pass": shown, "/settings/security/passes/new": b.Get("/settings/security/passes/new"),
	}
	p.Entry.Policy.Set([]policy.Item{{Groups: []string{policy.Everybody}, Policy: policy.Policy{TwoFactor: policy.Nudge}}})
	pages["/two-factor"] = dora.Get("/two-factor")
	p.Entry.Policy.Set(nil)
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
			t.Fatalf("%s: %s, want 200", where, portal.Summary(a))
		}
		for _, form := range forms.FindAllString(a.Body, -1) {
			open := opening.FindString(form)
			action := regexp.MustCompile(`action="(/[^"]*)"`).FindStringSubmatch(open)
			if action == nil || strings.HasPrefix(action[1], "//") || !strings.Contains(open, `method="`) {
				t.Errorf("%s: form %s lacks a method, or an action on this site", where, open)
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
				t.Errorf("%s: the page has the inline script %s, want only scripts below /static/", where, tag)
			}
		}
		if found := handler.FindString(a.Body); found != "" {
			t.Errorf("%s: the page has the inline handler or style %q, want none", where, found)
		}
	}
	// Every POST route has a form on one of these pages. Ids of sessions and known browsers
	// aren't known here, so for them any form of the route counts.
	for _, r := range portal.Routes(t) {
		if r.Method != http.MethodPost {
			continue
		}
		path := r.At(phone.ID)
		if strings.Contains(path, "/confirm") || strings.Contains(path, "/cancel") {
			path = strings.Replace(r.Path, "{id}", wizard.ID, 1)
		}
		if strings.HasPrefix(r.Path, "/settings/sessions/{id}") {
			if regexp.MustCompile(`action="/settings/sessions/[^"/]+/revoke"`).MatchString(pages["/settings/sessions"].Body) {
				continue
			}
		}
		if strings.HasPrefix(r.Path, "/settings/security/passes/{id}") {
			path = r.At(panels.OnlyPass(t, p, "ada", "backup").ID)
		}
		if strings.HasSuffix(r.Path, "/saved") {
			if regexp.MustCompile(`action="/settings/security/backup-codes/[^"/]+/saved"`).MatchString(pages["/settings/security"].Body) {
				continue
			}
		}
		if strings.HasPrefix(r.Path, "/settings/devices/{id}") {
			if regexp.MustCompile(`action="/settings/devices/[^"/]+/forget"`).MatchString(pages["/settings/sessions"].Body) {
				continue
			}
		}
		if !formPaths[path] {
			t.Errorf("no page has a form for POST %s", r.Path)
		}
	}
	for where, want := range map[string][]string{
		"/login":              {`name="username"`, `autocomplete="username"`, `name="password"`, `autocomplete="current-password"`},
		"/login/code":         {`name="code"`, `autocomplete="one-time-code"`, `inputmode="numeric"`},
		"/login/new-password": {`name="new_password"`, `autocomplete="new-password"`, `autocomplete="username"`},
		"/unlock":             {`name="unlock_code"`, `autocomplete="off"`},
		"/forgot":             {`name="username"`, `autocomplete="username"`},
		"/reset":              {`name="new_password"`, `autocomplete="new-password"`, `autocomplete="username"`},
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
