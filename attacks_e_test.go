package sallyport_test

// E. Sessions and the order of steps.

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack72EveryStepHasANewToken(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
		sessions := []string{b.Cookie(sessionCookie)}
		replaced := func(step string, a portal.Answer) {
			t.Helper()
			now := b.Cookie(sessionCookie)
			if a.Status >= 400 || now == "" || slices.Contains(sessions, now) {
				t.Fatalf("%s: %s, a new token %v", step, short(a), now != "" && !slices.Contains(sessions, now))
			}
			for _, old := range sessions {
				thief := p.Browser(t)
				thief.SetCookie(sessionCookie, old)
				if thief.SignedIn() {
					t.Errorf("after %s a token of before still opens", step)
				}
			}
			sessions = append(sessions, now)
		}
		replaced("reauthentication", b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0), "return", "/"))
		second := b.BeginEnroll()
		replaced("enrolment", b.Post("/settings/security/authenticators/"+second.ID+"/confirm", "code", second.Code(0), "name", "Tablet"))
		p.Clock.Move(totp.Period)
		replaced("removal", b.Post("/settings/security/authenticators/"+second.ID+"/remove"))
		if a := b.Post("/reauthenticate", "password", portal.Password, "backup_code", phone.Codes[0], "return", "/"); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthentication: %s", short(a))
		}
		replaced("password", b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"))
		if a := b.Post("/settings/security/password", "password", "another long password", "new_password", portal.Password); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("password: %s", short(a))
		}

		// A whole sign-in of the browser that is signed in already, over all
		// stages: each has another token for the attempt.
		sqlChange(t, p, `UPDATE passwords SET suspect_at = 1`)
		p.Clock.Move(time.Minute)
		var attempts []string
		stage := func(want string, a portal.Answer) {
			t.Helper()
			now := b.Cookie(attemptCookie)
			if a.Location != want || now == "" || slices.Contains(attempts, now) {
				t.Fatalf("%s, want %s with a new token", short(a), want)
			}
			for _, old := range attempts {
				thief := p.Browser(t)
				thief.SetCookie(attemptCookie, old)
				if a := thief.Get(want); a.Location != "/login?notice=expired" {
					t.Errorf("GET %s with the token of an earlier stage: %s", want, short(a))
				}
				if a := thief.Post(want, "new_password", "chosen by a thief", "code", phone.Code(0)); a.Location != "/login?notice=expired" {
					t.Errorf("POST %s with the token of an earlier stage: %s", want, short(a))
				}
			}
			attempts = append(attempts, now)
		}
		stage("/login/code", b.SignIn("ada"))
		stage("/login/new-password", b.Post("/login/code", "code", phone.Code(0)))
		replaced("sign-in", b.Post("/login/new-password", "new_password", "a third long password"))
		if b.Cookie(attemptCookie) != "" {
			t.Error("the attempt's cookie outlives the attempt")
		}
		for _, token := range attempts {
			thief := p.Browser(t)
			thief.SetCookie(attemptCookie, token)
			thief.SetCookie(sessionCookie, token)
			if thief.SignedIn() || thief.Get("/login/code").Location != "/login?notice=expired" {
				t.Error("an attempt's token works after the sign-in")
			}
		}
		if n := countRows(t, p, sessionsOf, "ada"); n != 1 {
			t.Errorf("%d sessions of one browser, want one", n)
		}
		for _, token := range append(sessions, attempts...) {
			if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != 32 {
				t.Errorf("a token has %d bytes, want 32 (%v)", len(raw), err)
			}
		}
	})
}

// TestAttack72NewPasswordOnce: an attempt ends once, at this stage too.
func TestAttack72NewPasswordOnce(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		sqlChange(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := pendingSignIn(t, p, "ada")
		if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
			t.Fatalf("code: %s", short(a))
		}
		browsers := make([]*portal.Browser, 8)
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(attemptCookie, b.Cookie(attemptCookie))
		}
		got := testkit.Race(len(browsers), func(i int) string {
			browsers[i].Post("/login/new-password", "new_password", "a long password, number "+string(rune('a'+i)))
			if browsers[i].Cookie(sessionCookie) != "" {
				return "session"
			}
			return "none"
		})
		if got["session"] != 1 {
			t.Errorf("got %v, want one session of one attempt", got)
		}
		if n := kinds(t, p)["password_changed:done"]; n != 1 {
			t.Errorf("one attempt changed the password %d times", n)
		}
	})
}

// TestAttack72AttemptEndedWhileItsPasswordIsHashed: an attempt with an old
// stamp is refused (R17), whenever the stamp changed.
func TestAttack72AttemptEndedWhileItsPasswordIsHashed(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	_, phone := withTwoFactor(t, p, "ada")
	sqlChange(t, p, `UPDATE passwords SET suspect_at = 1`)
	b := pendingSignIn(t, p, "ada")
	if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
		t.Fatalf("code: %s", short(a))
	}
	answer := make(chan portal.Answer, 1)
	err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
		// The operator ends everything of the account; the form, which was
		// read before, waits for the account's row.
		for _, statement := range []string{`UPDATE accounts SET security_stamp = 'new'`, `DELETE FROM attempts`} {
			if _, err := db.Exec(context.Background(), tx, statement); err != nil {
				return err
			}
		}
		go func() { answer <- b.Post("/login/new-password", "new_password", "chosen by a thief") }()
		for waiting := 0; waiting == 0; {
			select {
			case a := <-answer:
				answer <- a
				return nil
			default:
			}
			if err := p.DB.Reader().QueryRowContext(context.Background(),
				`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := <-answer; a.Location != "/login?notice=expired" || b.Cookie(sessionCookie) != "" {
		t.Errorf("new password in an attempt that was ended: %s, session %v", short(a), b.Cookie(sessionCookie) != "")
	}
	if n := kinds(t, p)["password_changed:done"]; n != 0 {
		t.Error("an attempt that was ended changed the password")
	}
}

// TestAttack20SuspectPasswordWithoutTwoFactor: whoever must change the
// password can, with two-factor authentication or without.
func TestAttack20SuspectPasswordWithoutTwoFactor(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		sqlChange(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := p.Browser(t)
		if a := b.SignIn("ada"); a.Location != "/login/new-password" {
			t.Fatalf("sign-in: %s, want /login/new-password", short(a))
		}
		if b.SignedIn() {
			t.Error("signed in before the password was changed")
		}
		if a := b.Get("/login/new-password"); a.Status != http.StatusOK {
			t.Errorf("the form for a new password: %s", short(a))
		}
		if a := b.Post("/login/new-password", "new_password", portal.Password); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("the old password as the new one: %s", short(a))
		}
		b.Post("/login/new-password", "new_password", "another long password")
		opens(t, b, "a new password", true)
	})
}

func TestAttack73PlantedCookies(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "eve")
		if a := p.Browser(t).Get("/login"); a.Header.Get("Set-Cookie") != "" {
			t.Errorf("a cookie before any password: %s", a.Header.Get("Set-Cookie"))
		}
		eve := p.Browser(t)
		eve.SignIn("eve")
		evesToken := eve.Cookie(sessionCookie)
		for what, planted := range map[string]string{"made up": strings.Repeat("A", 43), "eve's session": evesToken} {
			b := p.Browser(t)
			b.SetCookie(sessionCookie, planted)
			b.SetCookie(attemptCookie, planted)
			b.SignIn("ada")
			if got := b.Cookie(sessionCookie); got == "" || got == planted {
				t.Errorf("%s: the planted token was adopted", what)
			}
			thief := p.Browser(t)
			thief.SetCookie(sessionCookie, planted)
			if thief.SignedIn() {
				t.Errorf("%s: the planted token opens something", what)
			}
			if page := visible(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
				t.Errorf("%s: the session isn't ada's", what)
			}
		}
		// Two cookies of one name: nobody knows whose, so nobody is signed in.
		ada := p.Browser(t)
		ada.SignIn("ada")
		eve = p.Browser(t)
		eve.SignIn("eve")
		host := strings.TrimPrefix(p.Base, "http://")
		one, two := sessionCookie+"="+ada.Cookie(sessionCookie), sessionCookie+"="+eve.Cookie(sessionCookie)
		for what, cookies := range map[string]string{
			"ada's and eve's": one + "; " + two, "eve's and ada's": two + "; " + one, "ada's twice": one + "; " + one, "ada's and junk": one + "; " + sessionCookie + "=x",
		} {
			if a := toListener(t, p, http.MethodGet, "/", host, http.Header{"Cookie": {cookies}}, ""); a.Status != http.StatusSeeOther {
				t.Errorf("%s: %s, want the sign-in page", what, short(a))
			}
		}
		if a := toListener(t, p, http.MethodGet, "/", host, http.Header{"Cookie": {one}}, ""); a.Status != http.StatusOK {
			t.Errorf("ada's alone: %s", short(a))
		}
	})
}

// TestAttack73HostPrefix: on https no sibling host can plant a cookie.
func TestAttack73HostPrefix(t *testing.T) {
	t.Parallel()
	const host = "auth.example.test"
	p := portal.Start(t, "sqlite", "SALLYPORT_PUBLIC_URL=https://"+host, "SALLYPORT_TRUSTED_PROXIES=127.0.0.1/32")
	p.AddAccount(t, "ada")
	form := "username=ada&password=" + strings.ReplaceAll(portal.Password, " ", "+")
	same := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	a := toListener(t, p, http.MethodPost, "/login", host, same, form)
	if a.Status != http.StatusSeeOther || a.Location != "https://"+host+"/" {
		t.Fatalf("sign-in: %s", short(a))
	}
	token := ""
	for _, set := range a.Header.Values("Set-Cookie") {
		parts := strings.Split(set, "; ")
		if !strings.HasPrefix(set, "__Host-sallyport") || !slices.Contains(parts, "Secure") || !slices.Contains(parts, "HttpOnly") ||
			!slices.Contains(parts, "SameSite=Lax") || !slices.Contains(parts, "Path=/") || strings.Contains(set, "Domain") {
			t.Errorf("cookie %s", set)
		}
		if value, ok := strings.CutPrefix(parts[0], "__Host-sallyport="); ok {
			token = value
		}
	}
	for cookie, want := range map[string]int{
		"__Host-sallyport=" + token: http.StatusOK, "sallyport=" + token: http.StatusSeeOther, "__host-sallyport=" + token: http.StatusSeeOther,
		"__Secure-sallyport=" + token: http.StatusSeeOther, "sallyport=x; __Host-sallyport=" + token: http.StatusOK,
	} {
		if a := toListener(t, p, http.MethodGet, "/", host, http.Header{"Cookie": {cookie}}, ""); a.Status != want {
			t.Errorf("cookie %.25s: %s, want %d", cookie, short(a), want)
		}
	}
	if got := a.Header.Get("Strict-Transport-Security"); !strings.HasPrefix(got, "max-age=") {
		t.Errorf("Strict-Transport-Security %q", got)
	}
}

// publicRoutes is all that somebody may reach without a session. A new line
// here is a decision.
var publicRoutes = []string{
	"GET /setup", "POST /setup", "GET /login", "POST /login", "GET /login/code", "POST /login/code", "GET /login/backup-code", "POST /login/backup-code",
	"GET /login/new-password", "POST /login/new-password", "POST /login/cancel", "POST /logout", "GET /.well-known/change-password",
}

func TestAttack74AttemptOpensNoPage(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		pending := pendingSignIn(t, p, "ada")
		token := pending.Cookie(attemptCookie)
		state := `SELECT (SELECT COUNT(*) FROM sessions) * 10000 + (SELECT COUNT(*) FROM authenticators) * 100 + (SELECT COUNT(*) FROM backup_codes WHERE used_at IS NULL)`
		before := countRows(t, p, state)
		methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "Post"}
		for _, r := range policy(t) {
			if public := slices.Contains(publicRoutes, r.method+" "+r.path); public != (r.needs == "Public") {
				t.Errorf("%s %s asks for %s", r.method, r.path, r.needs)
			}
			if r.needs != "Public" && r.needs != "Session" && r.needs != "Fresh" {
				t.Errorf("%s %s asks for %s, which the crawl doesn't know", r.method, r.path, r.needs)
			}
			for _, method := range methods {
				for _, path := range []string{r.at(phone.ID), r.at(phone.ID) + "/", r.at(phone.ID) + "?_method=" + r.method} {
					b := p.Browser(t)
					b.SetCookie(attemptCookie, token)
					b.SetCookie(sessionCookie, token)
					if slices.Contains(publicRoutes, method+" "+r.path) || method == "HEAD" && slices.Contains(publicRoutes, "GET "+r.path) {
						continue
					}
					a := b.Do(method, path, nil, http.Header{"Sec-Fetch-Site": {"same-origin"}, "X-Http-Method-Override": {r.method}})
					toLogin := a.Status == http.StatusSeeOther && strings.HasPrefix(a.Location, "/login?return=")
					absent := oneOf(a.Status, http.StatusNotFound, http.StatusMethodNotAllowed)
					if !toLogin && !absent {
						t.Errorf("%s %s with an attempt's token: %s", method, path, short(a))
					}
					if method == r.method && path == r.at(phone.ID) && !toLogin {
						t.Errorf("%s %s with an attempt's token: %s, want 303 to /login", method, path, short(a))
					}
					if a.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s %s with an attempt's token: sets %s", method, path, a.Header.Get("Set-Cookie"))
					}
				}
			}
		}
		if after := countRows(t, p, state); after != before {
			t.Errorf("the crawl changed something: %d, was %d", after, before)
		}
		pending.Post("/login/code", "code", phone.Code(0))
		opens(t, pending, "the attempt's own code", true)
		// And the other way round: a session is no attempt.
		session := p.Browser(t)
		session.SetCookie(attemptCookie, pending.Cookie(sessionCookie))
		for _, path := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			if a := session.Get(path); a.Location != "/login?notice=expired" {
				t.Errorf("GET %s with a session's token: %s", path, short(a))
			}
		}
	})
}

func TestAttack78MixedSteps(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := withTwoFactor(t, p, "ada")
		_, eve := withTwoFactor(t, p, "eve")
		p.Clock.Move(time.Minute)
		// Two tabs of one browser: the later sign-in counts.
		b := pendingSignIn(t, p, "eve")
		first := b.Cookie(attemptCookie)
		b.SignIn("ada")
		b.Post("/login/code", "code", eve.Code(0))
		opens(t, b, "password of ada, code of eve", false)
		// The earlier one, put back by hand, is eve's and stays eve's.
		tab := p.Browser(t)
		tab.SetCookie(attemptCookie, first)
		tab.Post("/login/code", "code", ada.Code(0), "username", "ada")
		opens(t, tab, "password of eve, code of ada", false)
		b.Post("/login/code", "code", ada.Code(0))
		opens(t, b, "password and code of ada", true)
		if page := visible(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
			t.Error("the session isn't ada's")
		}
		tab.Post("/login/code", "code", eve.Code(0))
		opens(t, tab, "password and code of eve", true)
		if page := visible(tab.Get("/settings/profile").Body); !strings.Contains(page, "eve") || strings.Contains(page, "ada") {
			t.Error("the session isn't eve's")
		}
		// Back button and double submit: the attempt is gone.
		p.Clock.Move(time.Minute)
		again := p.Browser(t)
		again.SetCookie(attemptCookie, first)
		again.Post("/login/code", "code", eve.Code(0))
		opens(t, again, "an attempt that ended", false)
		// The code first, without any password.
		nobody := p.Browser(t)
		nobody.Post("/login/code", "code", ada.Code(0), "username", "ada", "password", portal.Password)
		opens(t, nobody, "code without a password", false)
		// Cancelled.
		cancelled := pendingSignIn(t, p, "ada")
		kept := cancelled.Cookie(attemptCookie)
		cancelled.Post("/login/cancel")
		cancelled.SetCookie(attemptCookie, kept)
		cancelled.Post("/login/code", "code", ada.Code(0))
		opens(t, cancelled, "cancelled attempt", false)
		last := pendingSignIn(t, p, "ada")
		last.Post("/login/code", "code", ada.Code(0))
		opens(t, last, "the code that none of them used up", true)
	})
}

func TestAttack79AttemptLivesTenMinutes(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		late, inTime := pendingSignIn(t, p, "ada"), pendingSignIn(t, p, "ada")
		p.Clock.Move(10*time.Minute - time.Second)
		inTime.Post("/login/code", "code", phone.Code(0))
		opens(t, inTime, "code a second before the end", true)
		p.Clock.Move(time.Second)
		if a := late.Post("/login/code", "code", phone.Code(totp.Period)); a.Location != "/login?notice=expired" {
			t.Errorf("code after ten minutes: %s", short(a))
		}
		opens(t, late, "code after ten minutes", false)
		if late.Cookie(attemptCookie) != "" {
			t.Error("the cookie of the expired attempt is kept")
		}
		backup := pendingSignIn(t, p, "ada")
		p.Clock.Move(10 * time.Minute)
		if a := backup.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Location != "/login?notice=expired" {
			t.Errorf("backup code after ten minutes: %s", short(a))
		}
		if n := countRows(t, p, unusedCodesOf, "ada"); n != 10 {
			t.Errorf("%d codes left, want 10: an expired attempt used one", n)
		}
	})
}

func TestAttack80SignOut(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b, tab, other := p.Browser(t), p.Browser(t), p.Browser(t)
		b.SignIn("ada")
		other.SignIn("ada")
		tab.SetCookie(sessionCookie, b.Cookie(sessionCookie))
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			if a := b.Do(method, "/logout", nil, nil); !oneOf(a.Status, http.StatusNotFound, http.StatusMethodNotAllowed) {
				t.Errorf("%s /logout: %s", method, short(a))
			}
		}
		if !tab.SignedIn() {
			t.Fatal("a GET signed out")
		}
		if a := b.Post("/logout"); a.Location != "/login?notice=signed_out" || b.Cookie(sessionCookie) != "" {
			t.Errorf("sign-out: %s", short(a))
		}
		if tab.SignedIn() {
			t.Error("the cookie works after the sign-out")
		}
		if !other.SignedIn() {
			t.Error("the sign-out ended another session")
		}
	})
}

// TestAttack80And81OnAnotherNode: what ends on one node has ended on all.
func TestAttack80And81OnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	nodes[0].AddAccount(t, "ada")
	there := func(b *portal.Browser) *portal.Browser {
		copied := nodes[1].Browser(t)
		copied.SetCookie(sessionCookie, b.Cookie(sessionCookie))
		if !copied.SignedIn() {
			t.Fatal("the session doesn't count on the other node")
		}
		return copied
	}
	ctx := context.Background()
	for what, end := range map[string]func(b *portal.Browser){
		"sign-out": func(b *portal.Browser) { b.Post("/logout") },
		"password": func(*portal.Browser) {
			elsewhere := nodes[0].Browser(t)
			elsewhere.SignIn("ada")
			elsewhere.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
			elsewhere.Post("/settings/security/password", "password", "another long password", "new_password", portal.Password)
		},
		"revoke others": func(*portal.Browser) {
			elsewhere := nodes[0].Browser(t)
			elsewhere.SignIn("ada")
			elsewhere.Post("/settings/sessions/revoke-others")
		},
		"disable": func(*portal.Browser) {
			ada := mustAccount(t, nodes[0], "ada")
			if err := nodes[0].Login.Disable(ctx, ada); err != nil {
				t.Fatal(err)
			}
			if err := nodes[0].Login.Enable(ctx, ada); err != nil {
				t.Fatal(err)
			}
		},
	} {
		b := nodes[0].Browser(t)
		b.SignIn("ada")
		copied := there(b)
		end(b)
		if copied.SignedIn() {
			t.Errorf("%s: the session still counts on the other node", what)
		}
	}
}

// TestAttack81WhatEnds holds DESIGN's table of what ends when (section 7).
func TestAttack81WhatEnds(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		for what, c := range map[string]struct {
			own, others bool // they live on
			attempts    bool
			do          func(b *portal.Browser, phone *portal.Phone, name string)
		}{
			"rename": {true, true, true, func(b *portal.Browser, phone *portal.Phone, _ string) {
				b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine")
			}},
			"new backup codes": {true, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/security/backup-codes") }},
			"display name":     {true, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/profile", "display_name", "A") }},
			"password": {true, false, false, func(b *portal.Browser, _ *portal.Phone, _ string) {
				b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill")
			}},
			"enrolment": {true, false, false, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Enroll("Tablet") }},
			"removal": {true, false, false, func(b *portal.Browser, phone *portal.Phone, _ string) {
				b.Post("/settings/security/authenticators/" + phone.ID + "/remove")
			}},
			"disable": {true, false, false, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/security/disable") }},
			"operator's password": {false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				check(t, p.Login.SetPassword(ctx, mustAccount(t, p, name), "set by the operator"))
			}},
			"operator's reset": {false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				_, err := p.Login.ResetTwoFactor(ctx, mustAccount(t, p, name))
				check(t, err)
			}},
			"operator's disable": {false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				check(t, p.Login.Disable(ctx, mustAccount(t, p, name)))
			}},
			"operator's remove": {false, false, false, func(_ *portal.Browser, _ *portal.Phone, name string) {
				check(t, p.Login.Remove(ctx, mustAccount(t, p, name)))
			}},
			"sign-out":      {false, true, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/logout") }},
			"revoke others": {true, false, true, func(b *portal.Browser, _ *portal.Phone, _ string) { b.Post("/settings/sessions/revoke-others") }},
		} {
			name := strings.NewReplacer(" ", "-", "'", "").Replace(what)
			b, phone := withTwoFactor(t, p, name)
			others := []*portal.Browser{p.Browser(t), p.Browser(t)}
			for i, other := range others {
				other.SignIn(name)
				other.Post("/login/backup-code", "backup_code", phone.Codes[i])
				opens(t, other, what+": another browser", true)
			}
			copied := p.Browser(t)
			copied.SetCookie(sessionCookie, b.Cookie(sessionCookie))
			pending := pendingSignIn(t, p, name)
			c.do(b, phone, name)
			if b.Last.Status >= 400 {
				t.Fatalf("%s: %s", what, short(b.Last))
			}
			if got := b.SignedIn(); got != c.own {
				t.Errorf("%s: own session lives %v, want %v", what, got, c.own)
			}
			for _, other := range others {
				if got := other.SignedIn(); got != c.others {
					t.Errorf("%s: another session lives %v, want %v", what, got, c.others)
				}
			}
			// Where the others end, the own one has a new token.
			if got := copied.SignedIn(); got != (c.own && c.others) && what != "revoke others" {
				t.Errorf("%s: a copy of the own cookie lives %v", what, got)
			}
			if got := pending.Get("/login/code").Status == http.StatusOK; got != c.attempts {
				t.Errorf("%s: an attempt of before lives %v, want %v", what, got, c.attempts)
			}
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAttackR17Stamp: a session and an attempt of another stamp are dead, even
// where their rows are there.
func TestAttackR17Stamp(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
		pending := pendingSignIn(t, p, "ada")
		var stamp string
		check(t, p.DB.Reader().QueryRowContext(context.Background(), `SELECT security_stamp FROM accounts`).Scan(&stamp))
		sqlChange(t, p, `UPDATE accounts SET security_stamp = 'another'`)
		if b.SignedIn() {
			t.Error("a session of another stamp lives")
		}
		for _, r := range policy(t) {
			if r.needs == "Public" {
				continue
			}
			a := b.Do(r.method, r.at(phone.ID), nil, http.Header{"Sec-Fetch-Site": {"same-origin"}})
			if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/login?return=") {
				t.Errorf("%s %s with a session of another stamp: %s", r.method, r.path, short(a))
			}
		}
		for _, door := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			one := p.Browser(t)
			one.SetCookie(attemptCookie, pending.Cookie(attemptCookie))
			a := one.Post(door, "code", phone.Code(0), "backup_code", phone.Codes[0], "new_password", "another long password")
			if a.Location != "/login?notice=expired" {
				t.Errorf("POST %s in an attempt of another stamp: %s", door, short(a))
			}
		}
		sqlChange(t, p, `UPDATE accounts SET security_stamp = $1`, stamp)
		pending.Post("/login/code", "code", phone.Code(0))
		opens(t, pending, "the attempt under its own stamp", true)
	})
}

func TestAttack82IdleAndAbsoluteEnd(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		idle, steady := p.Browser(t), p.Browser(t)
		idle.SignIn("ada")
		steady.SignIn("ada")
		// Pages that ask for no session don't keep one alive.
		p.Clock.Move(11 * time.Hour)
		idle.Get("/login")
		if !steady.SignedIn() {
			t.Fatal("a session ended after eleven hours")
		}
		p.Clock.Move(time.Hour)
		if idle.SignedIn() {
			t.Error("a session outlives twelve hours without requests")
		}
		if !steady.SignedIn() {
			t.Fatal("a session in use ended after twelve hours")
		}
		for hours := 12; hours+11 < 7*24; hours += 11 {
			p.Clock.Move(11 * time.Hour)
			if !steady.SignedIn() {
				t.Fatalf("a session in use ended after %d hours", hours+11)
			}
			// Proving again doesn't put the end off.
			if a := steady.Post("/reauthenticate", "password", portal.Password, "return", "/"); a.Status != http.StatusSeeOther {
				t.Fatalf("reauthenticate: %s", short(a))
			}
		}
		for p.Clock.Now().Sub(testkit.Start) < 7*24*time.Hour-time.Second {
			p.Clock.Move(min(time.Hour, 7*24*time.Hour-time.Second-p.Clock.Now().Sub(testkit.Start)))
			if !steady.SignedIn() {
				t.Fatal("a session in use ended before seven days")
			}
		}
		p.Clock.Move(time.Second)
		if steady.SignedIn() {
			t.Error("a session outlives seven days")
		}
		check(t, p.Sweep(context.Background()))
		if n := countRows(t, p, `SELECT COUNT(*) FROM sessions`); n != 0 {
			t.Errorf("%d rows of ended sessions are kept", n)
		}
	})
}

func TestAttack84CookieJunk(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, _ := withTwoFactor(t, p, "ada")
		pending := pendingSignIn(t, p, "ada")
		host := strings.TrimPrefix(p.Base, "http://")
		session, attempt := b.Cookie(sessionCookie), pending.Cookie(attemptCookie)
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
			return toListener(t, p, http.MethodGet, path, host, http.Header{"Cookie": {cookies}}, "")
		}
		for _, value := range junk(session) {
			if a := get("/", sessionCookie+"="+value); a.Status != http.StatusSeeOther && a.Status != http.StatusBadRequest {
				t.Errorf("session cookie %.30q: %s", value, short(a))
			}
		}
		for _, value := range junk(attempt) {
			if a := get("/login/code", attemptCookie+"="+value); a.Location != p.Base+"/login?notice=expired" && a.Status != http.StatusBadRequest {
				t.Errorf("attempt cookie %.30q: %s", value, short(a))
			}
		}
		if a := get("/", strings.Repeat(sessionCookie+"="+session+"; ", 50)+"x=y"); a.Status != http.StatusSeeOther {
			t.Errorf("fifty cookies: %s", short(a))
		}
		for what, cookie := range map[string]string{"0 byte": session + "\x00", "line break": session + "\r\n x", "escape": "\x1b" + session} {
			answer := rawAnswer(t, p, "GET / HTTP/1.1\r\nHost: "+host+"\r\nCookie: "+sessionCookie+"="+cookie+"\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 400") && !strings.HasPrefix(answer, "HTTP/1.1 303") {
				t.Errorf("%s in the cookie: %.40s", what, answer)
			}
		}
		if a := get("/", "x="+strings.Repeat("A", 64<<10)+"; "+sessionCookie+"="+session); a.Status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("64 KiB of cookies: %s", short(a))
		}
		if a := get("/", sessionCookie+"="+session); a.Status != http.StatusOK {
			t.Errorf("the right cookie: %s", short(a))
		}
		if a := get("/login/code", attemptCookie+"="+attempt); a.Status != http.StatusOK {
			t.Errorf("the right attempt cookie: %s", short(a))
		}
	})
}

// TestAttack78OneAttemptManyProofs: an attempt ends once, however many right
// proofs it gets at the same time, and only one of them is used up.
func TestAttack78OneAttemptManyProofs(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		first := pendingSignIn(t, p, "ada")
		before := countRows(t, p, sessionsOf, "ada")
		browsers := make([]*portal.Browser, len(phone.Codes))
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(attemptCookie, first.Cookie(attemptCookie))
			// The pace of backup codes is kept for each network.
			browsers[i].Header.Set("X-Forwarded-For", "10.0."+string(rune('0'+i))+".1")
		}
		code := phone.Code(0)
		got := testkit.Race(len(browsers), func(i int) string {
			var a portal.Answer
			if i == 0 {
				a = browsers[i].Post("/login/code", "code", code)
			} else {
				a = browsers[i].Post("/login/backup-code", "backup_code", phone.Codes[i])
			}
			if browsers[i].Cookie(sessionCookie) != "" {
				return "session"
			}
			return short(a)
		})
		if got["session"] != 1 {
			t.Errorf("got %v, want one session", got)
		}
		if after := countRows(t, p, sessionsOf, "ada"); after != before+1 {
			t.Errorf("sessions: %d before the race, %d after, want one more", before, after)
		}
		if left := countRows(t, p, unusedCodesOf, "ada"); left != 9 && (left != 10 || browsers[0].Cookie(sessionCookie) == "") {
			t.Errorf("%d backup codes are left: one proof opened, others were used up", left)
		}
	}, behindProxy)
}
