package sessions

// E. The order of steps.

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
				t.Fatalf("%s: %s, a new token %v", step, portal.Summary(a), now != "" && !slices.Contains(sessions, now))
			}
			for _, old := range sessions {
				thief := p.Browser(t)
				thief.SetCookie(portal.SessionCookie, old)
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
			t.Fatalf("reauthentication: %s", portal.Summary(a))
		}
		replaced("password", b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"))
		if a := b.Post("/settings/security/password", "password", "another long password", "new_password", portal.Password); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("password: %s", portal.Summary(a))
		}

		// A whole sign-in of the browser that is signed in already, over all
		// stages: each has another token for the attempt.
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		p.Clock.Move(time.Minute)
		var attempts []string
		stage := func(want string, a portal.Answer) {
			t.Helper()
			now := b.Cookie(portal.AttemptCookie)
			if a.Location != want || now == "" || slices.Contains(attempts, now) {
				t.Fatalf("%s, want %s with a new token", portal.Summary(a), want)
			}
			for _, old := range attempts {
				thief := p.Browser(t)
				thief.SetCookie(portal.AttemptCookie, old)
				if a := thief.Get(want); a.Location != "/login?notice=expired" {
					t.Errorf("GET %s with the token of an earlier stage: %s", want, portal.Summary(a))
				}
				if a := thief.Post(want, "new_password", "chosen by a thief", "code", phone.Code(0)); a.Location != "/login?notice=expired" {
					t.Errorf("POST %s with the token of an earlier stage: %s", want, portal.Summary(a))
				}
			}
			attempts = append(attempts, now)
		}
		stage("/login/code", b.SignIn("ada"))
		stage("/login/new-password", b.Post("/login/code", "code", phone.Code(0)))
		replaced("sign-in", b.Post("/login/new-password", "new_password", "a third long password"))
		if b.Cookie(portal.AttemptCookie) != "" {
			t.Error("the attempt's cookie outlives the attempt")
		}
		for _, token := range attempts {
			thief := p.Browser(t)
			thief.SetCookie(portal.AttemptCookie, token)
			thief.SetCookie(portal.SessionCookie, token)
			if thief.SignedIn() || thief.Get("/login/code").Location != "/login?notice=expired" {
				t.Error("an attempt's token works after the sign-in")
			}
		}
		if n := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); n != 1 {
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
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := portal.PendingSignIn(t, p, "ada")
		if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
			t.Fatalf("code: %s", portal.Summary(a))
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
			t.Errorf("got %v, want one session of one attempt", got)
		}
		if n := portal.EventCounts(t, p)["password_changed:done"]; n != 1 {
			t.Errorf("one attempt changed the password %d times", n)
		}
	})
}

// TestAttack72AttemptEndedWhileItsPasswordIsHashed: an attempt with an old
// stamp is refused (R17), whenever the stamp changed.
func TestAttack72AttemptEndedWhileItsPasswordIsHashed(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "postgres")
	_, phone := portal.WithTwoFactor(t, p, "ada")
	portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
	b := portal.PendingSignIn(t, p, "ada")
	if a := b.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" {
		t.Fatalf("code: %s", portal.Summary(a))
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
	if a := <-answer; a.Location != "/login?notice=expired" || b.Cookie(portal.SessionCookie) != "" {
		t.Errorf("new password in an attempt that was ended: %s, session %v", portal.Summary(a), b.Cookie(portal.SessionCookie) != "")
	}
	if n := portal.EventCounts(t, p)["password_changed:done"]; n != 0 {
		t.Error("an attempt that was ended changed the password")
	}
}

// TestAttack20SuspectPasswordWithoutTwoFactor: a suspect password that stands alone
// neither signs in nor chooses the next one. The operator's link does.
func TestAttack20SuspectPasswordWithoutTwoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		portal.ChangeRows(t, p, `UPDATE passwords SET suspect_at = 1`)
		b := p.Browser(t)
		if a := b.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusUnprocessableEntity ||
			!strings.Contains(portal.VisibleText(a.Body), "Ask your administrator for a link") {
			t.Errorf("the suspect password: %s", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM attempts`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`); n != 0 {
			t.Errorf("the suspect password began %d attempts or sessions", n)
		}
		if a := b.Post("/login/new-password", "new_password", "chosen by a thief"); a.Location != "/login?notice=expired" {
			t.Errorf("a new password: %s", portal.Summary(a))
		}
		if got := portal.EventCounts(t, p); got["sign_in_failed:refused"] != 1 || got["password_changed:done"] != 0 {
			t.Errorf("events %v", got)
		}
	})
}

// publicRoutes is all that somebody may reach without a session. A new line
// here is a decision.
var publicRoutes = []string{
	"GET /setup", "POST /setup", "GET /login", "POST /login", "GET /login/code", "POST /login/code", "GET /login/backup-code", "POST /login/backup-code",
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
				t.Errorf("%s %s asks for %s", r.Method, r.Path, r.Needs)
			}
			if r.Needs != "Public" && r.Needs != "Session" && r.Needs != "Fresh" {
				t.Errorf("%s %s asks for %s, which the crawl doesn't know", r.Method, r.Path, r.Needs)
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
						t.Errorf("%s %s with an attempt's token: %s", method, path, portal.Summary(a))
					}
					if method == r.Method && path == r.At(phone.ID) && !toLogin {
						t.Errorf("%s %s with an attempt's token: %s, want 303 to /login", method, path, portal.Summary(a))
					}
					if a.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s %s with an attempt's token: sets %s", method, path, a.Header.Get("Set-Cookie"))
					}
				}
			}
		}
		if after := portal.CountRows(t, p, state); after != before {
			t.Errorf("the crawl changed something: %d, was %d", after, before)
		}
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "the attempt's own code", true)
		// And the other way round: a session is no attempt.
		session := p.Browser(t)
		session.SetCookie(portal.AttemptCookie, pending.Cookie(portal.SessionCookie))
		for _, path := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			if a := session.Get(path); a.Location != "/login?notice=expired" {
				t.Errorf("GET %s with a session's token: %s", path, portal.Summary(a))
			}
		}
	})
}

func TestAttack78MixedSteps(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := portal.WithTwoFactor(t, p, "ada")
		_, eve := portal.WithTwoFactor(t, p, "eve")
		p.Clock.Move(time.Minute)
		// Two tabs of one browser: the later sign-in counts.
		b := portal.PendingSignIn(t, p, "eve")
		first := b.Cookie(portal.AttemptCookie)
		b.SignIn("ada")
		b.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, b, "password of ada, code of eve", false)
		// The earlier one, put back by hand, is eve's and stays eve's.
		tab := p.Browser(t)
		tab.SetCookie(portal.AttemptCookie, first)
		tab.Post("/login/code", "code", ada.Code(0), "username", "ada")
		portal.CheckSignedIn(t, tab, "password of eve, code of ada", false)
		b.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, b, "password and code of ada", true)
		if page := portal.VisibleText(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
			t.Error("the session isn't ada's")
		}
		tab.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, tab, "password and code of eve", true)
		if page := portal.VisibleText(tab.Get("/settings/profile").Body); !strings.Contains(page, "eve") || strings.Contains(page, "ada") {
			t.Error("the session isn't eve's")
		}
		// Back button and double submit: the attempt is gone.
		p.Clock.Move(time.Minute)
		again := p.Browser(t)
		again.SetCookie(portal.AttemptCookie, first)
		again.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, again, "an attempt that ended", false)
		// The code first, without any password.
		nobody := p.Browser(t)
		nobody.Post("/login/code", "code", ada.Code(0), "username", "ada", "password", portal.Password)
		portal.CheckSignedIn(t, nobody, "code without a password", false)
		// Cancelled.
		cancelled := portal.PendingSignIn(t, p, "ada")
		kept := cancelled.Cookie(portal.AttemptCookie)
		cancelled.Post("/login/cancel")
		cancelled.SetCookie(portal.AttemptCookie, kept)
		cancelled.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, cancelled, "cancelled attempt", false)
		last := portal.PendingSignIn(t, p, "ada")
		last.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, last, "the code that none of them used up", true)
	})
}

// TestAttack78OneAttemptManyProofs: an attempt ends once, however many right
// proofs it gets at the same time, and only one of them is used up.
func TestAttack78OneAttemptManyProofs(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		first := portal.PendingSignIn(t, p, "ada")
		before := portal.CountRows(t, p, portal.SessionsOfQuery, "ada")
		browsers := make([]*portal.Browser, len(phone.Codes))
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(portal.AttemptCookie, first.Cookie(portal.AttemptCookie))
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
			if browsers[i].Cookie(portal.SessionCookie) != "" {
				return "session"
			}
			return portal.Summary(a)
		})
		if got["session"] != 1 {
			t.Errorf("got %v, want one session", got)
		}
		if after := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); after != before+1 {
			t.Errorf("sessions: %d before the race, %d after, want one more", before, after)
		}
		if left := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); left != 9 && (left != 10 || browsers[0].Cookie(portal.SessionCookie) == "") {
			t.Errorf("%d backup codes are left: one proof opened, others were used up", left)
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
			t.Errorf("code after ten minutes: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, late, "code after ten minutes", false)
		if late.Cookie(portal.AttemptCookie) != "" {
			t.Error("the cookie of the expired attempt is kept")
		}
		backup := portal.PendingSignIn(t, p, "ada")
		p.Clock.Move(10 * time.Minute)
		if a := backup.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Location != "/login?notice=expired" {
			t.Errorf("backup code after ten minutes: %s", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != 10 {
			t.Errorf("%d codes left, want 10: an expired attempt used one", n)
		}
	})
}
