package sessions

// The order of the steps of a sign-in, and the tokens that each step issues.

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
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		sessions := []string{b.Cookie(portal.SessionCookie)}
		replaced := func(step string, a portal.Answer) {
			t.Helper()
			now := b.Cookie(portal.SessionCookie)
			if a.Status >= 400 || now == "" || slices.Contains(sessions, now) {
				t.Fatalf("%s: %s; the session has a new token: %v, want true", step, portal.Summary(a), now != "" && !slices.Contains(sessions, now))
			}
			for _, old := range sessions {
				thief := p.Browser(t)
				thief.SetCookie(portal.SessionCookie, old)
				if thief.SignedIn() {
					t.Errorf("after the step %q, an earlier session token still works", step)
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
			t.Fatalf("reauthentication with a backup code: %s, want 303", portal.Summary(a))
		}
		replaced("password", b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"))
		if a := b.Post("/settings/security/password", "password", "another long password", "new_password", portal.Password); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("change the password back: %s, want the notice password_changed", portal.Summary(a))
		}

		// A sign-in through all stages, in the browser that is signed in already. Each stage
		// gives the attempt a new token.
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		p.Clock.Move(time.Minute)
		var attempts []string
		stage := func(want string, a portal.Answer) {
			t.Helper()
			now := b.Cookie(portal.AttemptCookie)
			if a.Location != want || now == "" || slices.Contains(attempts, now) {
				t.Fatalf("next stage of the sign-in: %s, want %s with a new attempt token", portal.Summary(a), want)
			}
			for _, old := range attempts {
				thief := p.Browser(t)
				thief.SetCookie(portal.AttemptCookie, old)
				if a := thief.Get(want); a.Location != "/login?notice=expired" {
					t.Errorf("GET %s with the token of an earlier stage: %s, want the notice expired", want, portal.Summary(a))
				}
				if a := thief.Post(want, "new_password", "chosen by a thief", "code", phone.Code(0)); a.Location != "/login?notice=expired" {
					t.Errorf("POST %s with the token of an earlier stage: %s, want the notice expired", want, portal.Summary(a))
				}
			}
			attempts = append(attempts, now)
		}
		stage("/login/code", b.SignIn("ada"))
		stage("/login/new-password", b.Post("/login/code", "code", phone.Code(0)))
		replaced("sign-in", b.Post("/login/new-password", "new_password", "a third long password"))
		if b.Cookie(portal.AttemptCookie) != "" {
			t.Error("after the sign-in, the browser still has the attempt's cookie")
		}
		for _, token := range attempts {
			thief := p.Browser(t)
			thief.SetCookie(portal.AttemptCookie, token)
			thief.SetCookie(portal.SessionCookie, token)
			if thief.SignedIn() || thief.Get("/login/code").Location != "/login?notice=expired" {
				t.Error("after the sign-in, a token of the attempt still works")
			}
		}
		if n := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); n != 1 {
			t.Errorf("the browser has %d sessions, want one", n)
		}
		for _, token := range append(sessions, attempts...) {
			if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != 32 {
				t.Errorf("a token has %d bytes, want 32 (%v)", len(raw), err)
			}
		}
	})
}

// TestAttack72NewPasswordOnce checks that an attempt ends once if several new passwords are
// submitted in it at the same time.
func TestAttack72NewPasswordOnce(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := portal.PendingSignIn(t, p, "ada")
		if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
			t.Fatalf("right code with a suspect password: %s, want /login/new-password", portal.Summary(a))
		}
		browsers := make([]*portal.Browser, 8)
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(portal.AttemptCookie, b.Cookie(portal.AttemptCookie))
		}
		got := testkit.Race(len(browsers), func(i int) string {
			browsers[i].Post("/login/new-password", "new_password", "a long password, number "+string(rune('a'+i)))
			if browsers[i].Cookie(portal.SessionCookie) != "" {
				return "session"
			}
			return "none"
		})
		if got["session"] != 1 {
			t.Errorf("eight new passwords in one attempt at once: %v, want one session", got)
		}
		if n := portal.EventCounts(t, p)["password_changed:done"]; n != 1 {
			t.Errorf("one attempt changed the password %d times, want once", n)
		}
	})
}

// TestAttack72AttemptEndedWhileItsPasswordIsHashed checks that an attempt with an old stamp is
// refused (R17), even if the stamp changes while the server processes the request.
func TestAttack72AttemptEndedWhileItsPasswordIsHashed(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	_, phone := portal.WithTwoFactor(t, p, "ada")
	portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
	b := portal.PendingSignIn(t, p, "ada")
	if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
		t.Fatalf("right code with a suspect password: %s, want /login/new-password", portal.Summary(a))
	}
	answer := make(chan portal.Answer, 1)
	err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
		// The operator ends all sessions and attempts of the account. The request has read
		// the attempt already and waits for the lock on the account's row.
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
	if a := <-answer; a.Location != "/login?notice=expired" || b.Cookie(portal.SessionCookie) != "" {
		t.Errorf("new password in an attempt that was ended: %s, session: %v; want the notice expired and none", portal.Summary(a), b.Cookie(portal.SessionCookie) != "")
	}
	if n := portal.EventCounts(t, p)["password_changed:done"]; n != 0 {
		t.Error("an attempt that was ended changed the password")
	}
}

// TestAttack20SuspectPasswordWithoutTwoFactor checks that without two-factor authentication a
// suspect password can neither open a session nor choose the next password. Only a link of the
// operator can.
func TestAttack20SuspectPasswordWithoutTwoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := p.Browser(t)
		if a := b.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusUnprocessableEntity ||
			!strings.Contains(portal.VisibleText(a.Body), "Ask your administrator for a link") {
			t.Errorf("sign-in with the suspect password: %s, want 422 and a hint to ask the administrator", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM attempts`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`); n != 0 {
			t.Errorf("the suspect password began %d attempts or sessions, want none", n)
		}
		if a := b.Post("/login/new-password", "new_password", "chosen by a thief"); a.Location != "/login?notice=expired" {
			t.Errorf("new password without an attempt: %s, want the notice expired", portal.Summary(a))
		}
		if got := portal.EventCounts(t, p); got["sign_in_failed:refused"] != 1 || got["password_changed:done"] != 0 {
			t.Errorf("events: %v, want sign_in_failed once and password_changed never", got)
		}
	})
}

// publicRoutes lists all routes that a client may use without a session. Decide with care
// before you add one.
var publicRoutes = []string{
	"GET /setup", "POST /setup", "GET /login", "POST /login", "GET /login/code", "POST /login/code", "GET /login/backup-code", "POST /login/backup-code",
	"GET /forgot", "POST /forgot", "GET /reset", "POST /reset", "GET /undo-email", "POST /undo-email",
	"GET /unlock", "POST /unlock", "POST /unlock/ask", "POST /unlock/code",
	"GET /login/new-password", "POST /login/new-password", "POST /login/cancel", "POST /logout", "GET /.well-known/change-password",
}

func TestAttack74AttemptOpensNoPage(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		pending := portal.PendingSignIn(t, p, "ada")
		token := pending.Cookie(portal.AttemptCookie)
		state := `SELECT (SELECT COUNT(*) FROM sessions) * 10000 + (SELECT COUNT(*) FROM authenticators) * 100 + (SELECT COUNT(*) FROM backup_codes WHERE used_at IS NULL)`
		before := portal.CountRows(t, p, state)
		methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "Post"}
		for _, r := range portal.Routes(t) {
			if public := slices.Contains(publicRoutes, r.Method+" "+r.Path); public != (r.Needs == "Public") {
				t.Errorf("%s %s needs %s; it is public in this test's list: %v", r.Method, r.Path, r.Needs, public)
			}
			if r.Needs != "Public" && r.Needs != "Session" && r.Needs != "Fresh" {
				t.Errorf("%s %s needs %s, which this test doesn't know", r.Method, r.Path, r.Needs)
			}
			for _, method := range methods {
				for _, path := range []string{r.At(phone.ID), r.At(phone.ID) + "/", r.At(phone.ID) + "?_method=" + r.Method} {
					b := p.Browser(t)
					b.SetCookie(portal.AttemptCookie, token)
					b.SetCookie(portal.SessionCookie, token)
					if slices.Contains(publicRoutes, method+" "+r.Path) || method == "HEAD" && slices.Contains(publicRoutes, "GET "+r.Path) {
						continue
					}
					a := b.Do(method, path, nil, http.Header{"Sec-Fetch-Site": {"same-origin"}, "X-Http-Method-Override": {r.Method}})
					toLogin := a.Status == http.StatusSeeOther && strings.HasPrefix(a.Location, "/login?return=")
					absent := portal.OneOf(a.Status, http.StatusNotFound, http.StatusMethodNotAllowed)
					if !toLogin && !absent {
						t.Errorf("%s %s with an attempt's token: %s, want 303 to /login, 404 or 405", method, path, portal.Summary(a))
					}
					if method == r.Method && path == r.At(phone.ID) && !toLogin {
						t.Errorf("%s %s with an attempt's token: %s, want 303 to /login", method, path, portal.Summary(a))
					}
					if a.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s %s with an attempt's token sets the cookie %s, want none", method, path, a.Header.Get("Set-Cookie"))
					}
				}
			}
		}
		if after := portal.CountRows(t, p, state); after != before {
			t.Errorf("the requests changed sessions, authenticators or backup codes: counts %d, were %d", after, before)
		}
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "right code in the attempt", true)
		// The other way round, a session's token isn't accepted as an attempt's.
		session := p.Browser(t)
		session.SetCookie(portal.AttemptCookie, pending.Cookie(portal.SessionCookie))
		for _, path := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			if a := session.Get(path); a.Location != "/login?notice=expired" {
				t.Errorf("GET %s with a session's token as the attempt's: %s, want the notice expired", path, portal.Summary(a))
			}
		}
	})
}

func TestAttack78MixedSteps(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := portal.WithTwoFactor(t, p, "ada")
		_, eve := portal.WithTwoFactor(t, p, "eve")
		p.Clock.Move(time.Minute)
		// In two tabs of one browser, the later sign-in replaces the earlier one.
		b := portal.PendingSignIn(t, p, "eve")
		first := b.Cookie(portal.AttemptCookie)
		b.SignIn("ada")
		b.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, b, "password of ada, code of eve", false)
		// The earlier attempt, with its cookie set again, is eve's and stays eve's.
		tab := p.Browser(t)
		tab.SetCookie(portal.AttemptCookie, first)
		tab.Post("/login/code", "code", ada.Code(0), "username", "ada")
		portal.CheckSignedIn(t, tab, "password of eve, code of ada", false)
		b.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, b, "password and code of ada", true)
		if page := portal.VisibleText(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
			t.Error("the profile page doesn't show ada's account alone")
		}
		tab.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, tab, "password and code of eve", true)
		if page := portal.VisibleText(tab.Get("/settings/profile").Body); !strings.Contains(page, "eve") || strings.Contains(page, "ada") {
			t.Error("the profile page doesn't show eve's account alone")
		}
		// After the back button or a double submit, the attempt has ended.
		p.Clock.Move(time.Minute)
		again := p.Browser(t)
		again.SetCookie(portal.AttemptCookie, first)
		again.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, again, "an attempt that ended", false)
		// A code without an attempt, that is without a password.
		withoutAttempt := p.Browser(t)
		withoutAttempt.Post("/login/code", "code", ada.Code(0), "username", "ada", "password", portal.Password)
		portal.CheckSignedIn(t, withoutAttempt, "code without an attempt", false)
		// A cancelled attempt.
		cancelled := portal.PendingSignIn(t, p, "ada")
		kept := cancelled.Cookie(portal.AttemptCookie)
		cancelled.Post("/login/cancel")
		cancelled.SetCookie(portal.AttemptCookie, kept)
		cancelled.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, cancelled, "cancelled attempt", false)
		last := portal.PendingSignIn(t, p, "ada")
		last.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, last, "the code that no refused request used up", true)
	})
}

// TestAttack78OneAttemptManyProofs checks that an attempt that gets many right proofs at the same
// time opens one session and uses up one of them.
func TestAttack78OneAttemptManyProofs(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		first := portal.PendingSignIn(t, p, "ada")
		before := portal.CountRows(t, p, portal.SessionsOfQuery, "ada")
		browsers := make([]*portal.Browser, len(phone.Codes))
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(portal.AttemptCookie, first.Cookie(portal.AttemptCookie))
			// Backup codes are paced by network.
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
			if browsers[i].Cookie(portal.SessionCookie) != "" {
				return "session"
			}
			return portal.Summary(a)
		})
		if got["session"] != 1 {
			t.Errorf("ten right proofs in one attempt at once: %v, want one session", got)
		}
		if after := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); after != before+1 {
			t.Errorf("sessions: %d before the race, %d after, want one more", before, after)
		}
		if left := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); left != 9 && (left != 10 || browsers[0].Cookie(portal.SessionCookie) == "") {
			t.Errorf("after the race, %d backup codes are left, want 9, or 10 if the app's code opened the session", left)
		}
	}, portal.BehindProxy)
}

func TestAttack79AttemptLivesTenMinutes(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		late, inTime := portal.PendingSignIn(t, p, "ada"), portal.PendingSignIn(t, p, "ada")
		p.Clock.Move(10*time.Minute - time.Second)
		inTime.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, inTime, "code a second before the end", true)
		p.Clock.Move(time.Second)
		if a := late.Post("/login/code", "code", phone.Code(totp.Period)); a.Location != "/login?notice=expired" {
			t.Errorf("code after ten minutes: %s, want the notice expired", portal.Summary(a))
		}
		portal.CheckSignedIn(t, late, "code after ten minutes", false)
		if late.Cookie(portal.AttemptCookie) != "" {
			t.Error("the browser still has the cookie of the expired attempt")
		}
		backup := portal.PendingSignIn(t, p, "ada")
		p.Clock.Move(10 * time.Minute)
		if a := backup.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Location != "/login?notice=expired" {
			t.Errorf("backup code after ten minutes: %s, want the notice expired", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != 10 {
			t.Errorf("after a backup code in an expired attempt, %d are left, want 10", n)
		}
	})
}
