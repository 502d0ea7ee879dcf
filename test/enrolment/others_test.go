package enrolment

// D. Changes by somebody else: without a session, with an old one, from another site or account.

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
		both := p.Browser(t) // the attempt's token in the place of a session's
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
						t.Errorf("%s %s: %s, want 303 to /login", r.Method, r.Path, portal.Summary(a))
					}
				}
			}
		}
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`); after != before {
			t.Errorf("authenticators: %d before, %d after", before, after)
		}
		if !owner.SignedIn() {
			t.Error("the owner's session ended")
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
		// A GET never changes anything: an image, a prefetch, an override.
		for _, r := range portal.Routes(t) {
			for _, query := range []string{"", "?" + form, "?_method=POST&" + form} {
				a := b.Do(http.MethodGet, r.At(phone.ID)+query, nil, http.Header{
					"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}, "X-Http-Method-Override": {"POST"}, "Cookie": nil})
				if r.Method == http.MethodPost && a.Status == http.StatusOK && len(portal.ShownCodes(a.Body)) > 0 {
					t.Errorf("GET %s shows codes", r.Path)
				}
			}
		}
		if portal.CountRows(t, p, stamp, now) != 1 {
			t.Error("something changed how ada signs in")
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL AND name = 'Phone'`); n != 1 {
			t.Error("the authenticator was changed")
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`); n != 2 {
			t.Errorf("%d authenticators, want one and the pending one", n)
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != codes {
			t.Errorf("backup codes: %d before, %d after", codes, n)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM accounts WHERE display_name <> ''`); n != 0 {
			t.Error("the display name was changed")
		}
		if !b.SignedIn() {
			t.Error("ada was signed out")
		}
		// The same form from our own page does change something.
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("our own form: %s", portal.Summary(a))
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
			t.Errorf("cross-site sign-in: %s, cookie %q", portal.Summary(a), victim.Cookie(portal.SessionCookie))
		}
		// Were it to happen all the same, the wizard says whose account it
		// is, in words that the account's owner can't choose.
		victim.SignIn("eve")
		if a := victim.Post("/settings/profile", "display_name", "ada"); a.Status != http.StatusSeeOther {
			t.Fatalf("display name: %s", portal.Summary(a))
		}
		wizard := victim.BeginEnroll()
		if page := portal.VisibleText(victim.Get("/settings/security/authenticators/" + wizard.ID).Body); !strings.Contains(page, "eve") {
			t.Error("the wizard doesn't say that the account is eve's: its display name is ada")
		}
	})
}

// TestAttack62And83StaleSession: everything that changes how one signs in
// needs a proof of the last ten minutes, and nothing but a proof extends them.
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
					t.Errorf("%s, %s: %s, want 303 to /reauthenticate", when, what, portal.Summary(a))
				}
			}
			if after := portal.CountRows(t, p, tables); after != before {
				t.Errorf("%s: something was changed: %d, was %d", when, after, before)
			}
		}
		// Using a fresh session doesn't keep it fresh.
		for range 9 {
			p.Clock.Move(time.Minute)
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Phone"); a.Location != "/settings/security?notice=renamed" {
				t.Fatalf("rename with a fresh proof: %s", portal.Summary(a))
			}
		}
		p.Clock.Move(time.Minute + time.Second)
		refused("after ten minutes")
		// The password alone, or the code alone, is half a proof.
		if a := b.Post("/reauthenticate", "password", portal.Password, "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with the password only: %s", portal.Summary(a))
		}
		if a := b.Post("/reauthenticate", "password", "not the password at all", "code", phone.Code(0), "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a wrong password: %s", portal.Summary(a))
		}
		refused("after half a proof")
		// The code wasn't looked at beside a wrong password: it still counts.
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0), "return", "/settings/security"); a.Location != "/settings/security?notice=confirmed" {
			t.Fatalf("reauthentication: %s", portal.Summary(a))
		}
		// Nothing of before was carried out in the meantime.
		if after := portal.CountRows(t, p, tables); after != before {
			t.Errorf("a form of before was carried out: %d, was %d", after, before)
		}
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename with a fresh proof: %s", portal.Summary(a))
		}
		// A newer proof of the password doesn't renew that of the code.
		p.Clock.Move(9 * time.Minute)
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("password with a fresh proof: %s", portal.Summary(a))
		}
		p.Clock.Move(time.Minute + time.Second)
		if a := b.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a fresh password and a code of before: %s", portal.Summary(a))
		}
		if a := b.Post("/reauthenticate", "password", "another long password", "code", phone.Code(0), "return", "/"); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthentication: %s", portal.Summary(a))
		}
		// A copy of the cookie is as stale as the original.
		p.Clock.Move(10*time.Minute + time.Second)
		copied := p.Browser(t)
		copied.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
		if a := copied.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a copied cookie: %s", portal.Summary(a))
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
				t.Errorf("%s %s: 200 for an id of nobody", r.Method, r.Path)
			}
			for what, id := range map[string]string{"authenticator": phone.ID, "wizard": wizard.ID, "session": found[1], "pass": passID, "account": "ada"} {
				if status, location, body := ask(r, id); status != wantStatus || location != wantLocation || body != wantBody {
					t.Errorf("%s %s with the id of ada's %s: %d %s, want %d %s as for nobody's", r.Method, r.Path, what, status, location, wantStatus, wantLocation)
				}
			}
			// What is no id at all is no fault of ours (R23).
			for _, id := range []string{"%00", "%ff", "%ff%fe", "A%00B", "%27%20OR%20%271%27=%271", "%2e%2e", "%0d%0a", strings.Repeat("A", 5000), "%f0%9f%92%a9"} {
				if status, location, _ := ask(r, id); status >= 500 || status == http.StatusOK {
					t.Errorf("%s %s with the id %.20s: %d %s", r.Method, r.Path, id, status, location)
				}
			}
		}
		if after := portal.CountRows(t, p, state); after != before {
			t.Errorf("something of ada's was changed: %d, was %d", after, before)
		}
		if !ada.SignedIn() || !other.SignedIn() {
			t.Error("a session of ada's ended")
		}
		if a := eve.Post("/settings/security/authenticators/"+evesPhone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("eve's own: %s", portal.Summary(a))
		}
	})
}
