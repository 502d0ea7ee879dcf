package enrolment

// Changes that an attacker attempts without a session, with a stale one, from another site or
// from another account.

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack55EnrolWithoutASession(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		wizard := owner.BeginEnroll()
		pending := portal.PendingSignIn(t, p, "ada")
		attempt := pending.Cookie(portal.AttemptCookie)
		both := p.Browser(t) // with the attempt's token in place of the session's
		both.SetCookie(portal.SessionCookie, attempt)
		both.SetCookie(portal.AttemptCookie, attempt)
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`)
		for _, b := range []*portal.Browser{pending, both, p.Browser(t)} {
			for _, r := range portal.Routes(t) {
				if !strings.HasPrefix(r.Path, "/settings/security") {
					continue
				}
				for _, id := range []string{wizard.ID, phone.ID, "new"} {
					var a portal.Answer
					if r.Method == http.MethodGet {
						a = b.Get(r.At(id))
					} else {
						a = b.Post(r.At(id), "code", wizard.Code(0), "name", "Eve", "password", portal.Password, "new_password", "another long password")
					}
					if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/login?return=") {
						t.Errorf("%s %s without a session: %s, want 303 to /login", r.Method, r.Path, portal.Summary(a))
					}
				}
			}
		}
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`); after != before {
			t.Errorf("authenticators: %d before, %d after, want the same number", before, after)
		}
		if !owner.SignedIn() {
			t.Error("requests without a session ended the owner's session")
		}
	})
}

func TestAttack57FormsOfOtherSites(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		wizard := b.BeginEnroll()
		codes := portal.CountRows(t, p, portal.UnusedCodesOf, "ada")
		stamp := `SELECT COUNT(*) FROM accounts WHERE security_stamp = $1`
		var now string
		if err := p.DB.Reader().QueryRowContext(context.Background(), `SELECT security_stamp FROM accounts`).Scan(&now); err != nil {
			t.Fatal(err)
		}
		form := url.Values{"code": {wizard.Code(0)}, "name": {"Eve"}, "password": {portal.Password}, "new_password": {"another long password"},
			"display_name": {"Eve"}, "username": {"ada"}}.Encode()
		for what, header := range map[string]http.Header{
			"cross-site":              {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.test"}},
			"cross-site, no Origin":   {"Sec-Fetch-Site": {"cross-site"}},
			"sibling host":            {"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://evil.127.0.0.1.test"}},
			"old browser":             {"Origin": {"https://evil.test"}},
			"old browser, other port": {"Origin": {"http://127.0.0.1:1"}},
			"old browser, suffix":     {"Origin": {p.Base + ".evil.test"}},
			"Origin: null":            {"Origin": {"null"}},
			"Origin: null, sandbox":   {"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
			"empty Sec-Fetch-Site":    {"Sec-Fetch-Site": {"weird"}, "Origin": {"https://evil.test"}},
			"text/plain":              {"Content-Type": {"text/plain"}, "Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.test"}},
			"method override":         {"X-Http-Method-Override": {"GET"}, "X-Method-Override": {"GET"}, "Sec-Fetch-Site": {"cross-site"}},
			"forged host":             {"Origin": {"https://evil.test"}, "X-Forwarded-Host": {"evil.test"}},
		} {
			if header.Get("Content-Type") == "" {
				header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			for _, r := range portal.Routes(t) {
				if r.Method != http.MethodPost {
					continue
				}
				for _, id := range []string{phone.ID, wizard.ID} {
					if a := b.Do(http.MethodPost, r.At(id), strings.NewReader(form), header); a.Status != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s, POST %s: %s, want 403", what, r.Path, portal.Summary(a))
					}
				}
			}
		}
		// No GET changes anything, be it for an image, a prefetch or with a method override.
		for _, r := range portal.Routes(t) {
			for _, query := range []string{"", "?" + form, "?_method=POST&" + form} {
				a := b.Do(http.MethodGet, r.At(phone.ID)+query, nil, http.Header{
					"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}, "X-Http-Method-Override": {"POST"}, "Cookie": nil})
				if r.Method == http.MethodPost && a.Status == http.StatusOK && len(portal.ShownCodes(a.Body)) > 0 {
					t.Errorf("GET %s from another site shows backup codes", r.Path)
				}
			}
		}
		if portal.CountRows(t, p, stamp, now) != 1 {
			t.Error("a request of another site changed ada's security stamp")
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL AND name = 'Phone'`); n != 1 {
			t.Error("a request of another site changed ada's authenticator")
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`); n != 2 {
			t.Errorf("%d authenticators, want a confirmed and a pending one", n)
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != codes {
			t.Errorf("backup codes: %d before, %d after, want the same number", codes, n)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM accounts WHERE display_name <> ''`); n != 0 {
			t.Error("a request of another site changed the display name")
		}
		if !b.SignedIn() {
			t.Error("a request of another site signed ada out")
		}
		// A form of the portal's own page does change something.
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename by the portal's own form: %s, want the notice renamed", portal.Summary(a))
		}
	})
}

func TestAttack58SignInOfAnotherSite(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "eve")
		victim := p.Browser(t)
		a := victim.Do(http.MethodPost, "/login", strings.NewReader(url.Values{"username": {"eve"}, "password": {portal.Password}}.Encode()), http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.test"}, "Sec-Fetch-Site": {"cross-site"}})
		if a.Status != http.StatusForbidden || victim.Cookie(portal.SessionCookie) != "" {
			t.Errorf("cross-site sign-in: %s, session cookie %q; want 403 and none", portal.Summary(a), victim.Cookie(portal.SessionCookie))
		}
		// If such a sign-in succeeded nevertheless, the wizard would show the name of the
		// account, which its owner can't choose.
		victim.SignIn("eve")
		if a := victim.Post("/settings/profile", "display_name", "ada"); a.Status != http.StatusSeeOther {
			t.Fatalf("change the display name: %s, want 303", portal.Summary(a))
		}
		wizard := victim.BeginEnroll()
		if page := portal.VisibleText(victim.Get("/settings/security/authenticators/" + wizard.ID).Body); !strings.Contains(page, "eve") {
			t.Error("the wizard of eve's account, whose display name is ada, doesn't mention eve")
		}
	})
}

// TestAttack62And83StaleSession checks that every change of how an account signs in needs a proof
// from the last ten minutes, and that only a new proof extends this time.
func TestAttack62And83StaleSession(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		pending := b.BeginEnroll()
		changes := func(id string) map[string]func() portal.Answer {
			return map[string]func() portal.Answer{
				"rename":       func() portal.Answer { return b.Post("/settings/security/authenticators/"+id+"/rename", "name", "Eve") },
				"remove":       func() portal.Answer { return b.Post("/settings/security/authenticators/" + id + "/remove") },
				"disable":      func() portal.Answer { return b.Post("/settings/security/disable") },
				"backup codes": func() portal.Answer { return b.Post("/settings/security/backup-codes") },
				"add":          func() portal.Answer { return b.Post("/settings/security/authenticators") },
				"wizard":       func() portal.Answer { return b.Get("/settings/security/authenticators/" + pending.ID) },
				"confirm": func() portal.Answer {
					return b.Post("/settings/security/authenticators/"+pending.ID+"/confirm", "code", pending.Code(0), "name", "Eve")
				},
				"new pass": func() portal.Answer { return b.Get("/settings/security/passes/new") },
				"pass":     func() portal.Answer { return b.Post("/settings/security/passes", panels.PassFields("Eve")...) },
				"revoke":   func() portal.Answer { return b.Post("/settings/security/passes/" + id + "/revoke") },
				"password": func() portal.Answer {
					return b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
				},
			}
		}
		tables := `SELECT (SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL AND name = 'Phone') * 1000000
			+ (SELECT COUNT(*) FROM authenticators) * 1000 + (SELECT COUNT(*) FROM backup_codes)`
		before := portal.CountRows(t, p, tables)
		refused := func(when string) {
			t.Helper()
			for what, change := range changes(phone.ID) {
				if a := change(); a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
					t.Errorf("%s %s: %s, want 303 to /reauthenticate", what, when, portal.Summary(a))
				}
			}
			if after := portal.CountRows(t, p, tables); after != before {
				t.Errorf("%s, refused requests changed authenticators or backup codes: counts %d, were %d", when, after, before)
			}
		}
		// Using a fresh session doesn't keep it fresh.
		for range 9 {
			p.Clock.Move(time.Minute)
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Phone"); a.Location != "/settings/security?notice=renamed" {
				t.Fatalf("rename with a fresh proof: %s, want the notice renamed", portal.Summary(a))
			}
		}
		p.Clock.Move(time.Minute + time.Second)
		refused("after ten minutes")
		// The password alone, or a code with a wrong password, isn't enough.
		if a := b.Post("/reauthenticate", "password", portal.Password, "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with the password only: %s, want 422", portal.Summary(a))
		}
		if a := b.Post("/reauthenticate", "password", "not the password at all", "code", phone.Code(0), "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a wrong password and a right code: %s, want 422", portal.Summary(a))
		}
		refused("after an incomplete reauthentication")
		// With a wrong password the code wasn't compared, so it is still unused.
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0), "return", "/settings/security"); a.Location != "/settings/security?notice=confirmed" {
			t.Fatalf("reauthentication with password and code: %s, want the notice confirmed", portal.Summary(a))
		}
		// The reauthentication didn't carry out a refused change.
		if after := portal.CountRows(t, p, tables); after != before {
			t.Errorf("the reauthentication carried out a refused change: counts %d, were %d", after, before)
		}
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename after the reauthentication: %s, want the notice renamed", portal.Summary(a))
		}
		// A newer proof of the password doesn't renew that of the code.
		p.Clock.Move(9 * time.Minute)
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("change the password with a fresh proof: %s, want the notice password_changed", portal.Summary(a))
		}
		p.Clock.Move(time.Minute + time.Second)
		if a := b.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a fresh proof of the password and a stale one of the code: %s, want /reauthenticate", portal.Summary(a))
		}
		if a := b.Post("/reauthenticate", "password", "another long password", "code", phone.Code(0), "return", "/"); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthentication: %s, want 303", portal.Summary(a))
		}
		// A copy of the cookie is as stale as the original.
		p.Clock.Move(10*time.Minute + time.Second)
		copied := p.Browser(t)
		copied.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
		if a := copied.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a copied cookie: %s, want /reauthenticate", portal.Summary(a))
		}
	})
}

func TestAttack63ForeignIDs(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ada, phone := portal.WithTwoFactor(t, p, "ada")
		wizard := ada.BeginEnroll()
		adas := regexp.MustCompile(`/settings/sessions/([^/"]+)/revoke`)
		other := p.Browser(t)
		other.SignIn("ada")
		p.Clock.Move(totp.Period)
		other.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, other, "ada's second browser", true)
		found := adas.FindStringSubmatch(ada.Get("/settings/sessions").Body)
		if found == nil {
			t.Fatal("no id of a session on ada's page")
		}
		panels.OperatorsPass(t, p, portal.MustAccount(t, p, "ada"), panels.Radio, "/", "", "")
		passID := panels.OnlyPass(t, p, "ada", "of the operator").ID
		eve, evesPhone := portal.WithTwoFactor(t, p, "eve")
		reference := regexp.MustCompile(`<code>[A-Za-z0-9_-]{12}</code>`)
		state := `SELECT (SELECT COUNT(*) FROM authenticators WHERE name = 'Phone') * 100 + (SELECT COUNT(*) FROM authenticators) * 10 + (SELECT COUNT(*) FROM sessions) * 1000 + (SELECT COUNT(*) FROM passes) * 10000`
		before := portal.CountRows(t, p, state)
		ask := func(r portal.Route, id string) (int, string, string) {
			var a portal.Answer
			if r.Method == http.MethodGet {
				a = eve.Get(r.At(id))
			} else {
				a = eve.Post(r.At(id), "name", "Eve", "code", wizard.Code(0), "id", phone.ID, "account_id", "ada")
			}
			return a.Status, a.Location, reference.ReplaceAllString(a.Body, "")
		}
		for _, r := range portal.Routes(t) {
			if !strings.Contains(r.Path, "{id}") {
				continue
			}
			wantStatus, wantLocation, wantBody := ask(r, "AAAAAAAAAAAAAAAAAAAA")
			if wantStatus == http.StatusOK {
				t.Errorf("%s %s with an unknown id: 200, want a refusal", r.Method, r.Path)
			}
			for what, id := range map[string]string{"authenticator": phone.ID, "wizard": wizard.ID, "session": found[1], "pass": passID, "account": "ada"} {
				if status, location, body := ask(r, id); status != wantStatus || location != wantLocation || body != wantBody {
					t.Errorf("%s %s with the id of ada's %s: %d %s, want %d %s as for an unknown id", r.Method, r.Path, what, status, location, wantStatus, wantLocation)
				}
			}
			// An invalid id isn't an internal error (R23).
			for _, id := range []string{"%00", "%ff", "%ff%fe", "A%00B", "%27%20OR%20%271%27=%271", "%2e%2e", "%0d%0a", strings.Repeat("A", 5000), "%f0%9f%92%a9"} {
				if status, location, _ := ask(r, id); status >= 500 || status == http.StatusOK {
					t.Errorf("%s %s with the id %.20s: %d %s, want a refusal without 5xx", r.Method, r.Path, id, status, location)
				}
			}
		}
		if after := portal.CountRows(t, p, state); after != before {
			t.Errorf("eve's requests changed ada's rows: counts %d, were %d", after, before)
		}
		if !ada.SignedIn() || !other.SignedIn() {
			t.Error("eve's requests ended a session of ada's")
		}
		if a := eve.Post("/settings/security/authenticators/"+evesPhone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename of eve's own authenticator: %s, want the notice renamed", portal.Summary(a))
		}
	})
}
