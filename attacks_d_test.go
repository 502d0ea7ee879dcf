package sallyport_test

// D. Enrolment, removal, recovery.

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

var linkPattern = regexp.MustCompile(`(?:href|src|action|poster|srcset|data|formaction)="([^"]*)"`)

// links returns the addresses on a page as a browser reads them.
func links(page string) []string {
	var all []string
	for _, found := range linkPattern.FindAllStringSubmatch(page, -1) {
		all = append(all, unescape(found[1]))
	}
	return all
}

func TestAttack55EnrolWithoutASession(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := withTwoFactor(t, p, "ada")
		wizard := owner.BeginEnroll()
		pending := pendingSignIn(t, p, "ada")
		attempt := pending.Cookie(attemptCookie)
		both := p.Browser(t) // the attempt's token in the place of a session's
		both.SetCookie(sessionCookie, attempt)
		both.SetCookie(attemptCookie, attempt)
		before := countRows(t, p, `SELECT COUNT(*) FROM authenticators`)
		for _, b := range []*portal.Browser{pending, both, p.Browser(t)} {
			for _, r := range policy(t) {
				if !strings.HasPrefix(r.path, "/settings/security") {
					continue
				}
				for _, id := range []string{wizard.ID, phone.ID, "new"} {
					var a portal.Answer
					if r.method == http.MethodGet {
						a = b.Get(r.at(id))
					} else {
						a = b.Post(r.at(id), "code", wizard.Code(0), "name", "Eve", "password", portal.Password, "new_password", "another long password")
					}
					if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/login?return=") {
						t.Errorf("%s %s: %s, want 303 to /login", r.method, r.path, short(a))
					}
				}
			}
		}
		if after := countRows(t, p, `SELECT COUNT(*) FROM authenticators`); after != before {
			t.Errorf("authenticators: %d before, %d after", before, after)
		}
		if !owner.SignedIn() {
			t.Error("the owner's session ended")
		}
	})
}

func TestAttack57FormsOfOtherSites(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
		wizard := b.BeginEnroll()
		codes := countRows(t, p, unusedCodesOf, "ada")
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
			for _, r := range policy(t) {
				if r.method != http.MethodPost {
					continue
				}
				for _, id := range []string{phone.ID, wizard.ID} {
					if a := b.Do(http.MethodPost, r.at(id), strings.NewReader(form), header); a.Status != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
						t.Errorf("%s, POST %s: %s, want 403", what, r.path, short(a))
					}
				}
			}
		}
		// A GET never changes anything: an image, a prefetch, an override.
		for _, r := range policy(t) {
			for _, query := range []string{"", "?" + form, "?_method=POST&" + form} {
				a := b.Do(http.MethodGet, r.at(phone.ID)+query, nil, http.Header{
					"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}, "X-Http-Method-Override": {"POST"}, "Cookie": nil})
				if r.method == http.MethodPost && a.Status == http.StatusOK && len(shownCodes(a.Body)) > 0 {
					t.Errorf("GET %s shows codes", r.path)
				}
			}
		}
		if countRows(t, p, stamp, now) != 1 {
			t.Error("something changed how ada signs in")
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL AND name = 'Phone'`); n != 1 {
			t.Error("the authenticator was changed")
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM authenticators`); n != 2 {
			t.Errorf("%d authenticators, want one and the pending one", n)
		}
		if n := countRows(t, p, unusedCodesOf, "ada"); n != codes {
			t.Errorf("backup codes: %d before, %d after", codes, n)
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM accounts WHERE display_name <> ''`); n != 0 {
			t.Error("the display name was changed")
		}
		if !b.SignedIn() {
			t.Error("ada was signed out")
		}
		// The same form from our own page does change something.
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("our own form: %s", short(a))
		}
	})
}

func TestAttack58SignInOfAnotherSite(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "eve")
		victim := p.Browser(t)
		a := victim.Do(http.MethodPost, "/login", strings.NewReader(url.Values{"username": {"eve"}, "password": {portal.Password}}.Encode()), http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.test"}, "Sec-Fetch-Site": {"cross-site"}})
		if a.Status != http.StatusForbidden || victim.Cookie(sessionCookie) != "" {
			t.Errorf("cross-site sign-in: %s, cookie %q", short(a), victim.Cookie(sessionCookie))
		}
		// Were it to happen all the same, the wizard says whose account it
		// is, in words that the account's owner can't choose.
		victim.SignIn("eve")
		if a := victim.Post("/settings/profile", "display_name", "ada"); a.Status != http.StatusSeeOther {
			t.Fatalf("display name: %s", short(a))
		}
		wizard := victim.BeginEnroll()
		if page := visible(victim.Get("/settings/security/authenticators/" + wizard.ID).Body); !strings.Contains(page, "eve") {
			t.Error("the wizard doesn't say that the account is eve's: its display name is ada")
		}
	})
}

func TestAttack59SecretFromTheClient(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		wizard, other := b.BeginEnroll(), b.BeginEnroll()
		path := "/settings/security/authenticators/" + wizard.ID + "/confirm"
		const own = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
		key, err := totp.ParseBase32(own)
		if err != nil {
			t.Fatal(err)
		}
		fields := []string{"name", "Mine", "secret", own, "key", own, "uri", "otpauth://totp/x?secret=" + own, "id", other.ID, "authenticator", other.ID}
		for what, code := range map[string]string{"code of my secret": totp.CodeAt(key, p.Clock.Now()), "code of the other wizard": other.Code(0)} {
			if a := b.Post(path+"?secret="+own, append([]string{"code", code}, fields...)...); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("%s: %s, want 422", what, short(a))
			}
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL`); n != 0 {
			t.Fatalf("%d authenticators were confirmed", n)
		}
		if a := b.Post(path, append([]string{"code", wizard.Code(0)}, fields...)...); len(shownCodes(a.Body)) != 10 {
			t.Errorf("code of the wizard's secret: %s", short(a))
		}
		p.Clock.Move(totp.Period)
		pending := pendingSignIn(t, p, "ada")
		pending.Post("/login/code", "code", totp.CodeAt(key, p.Clock.Now()))
		opens(t, pending, "code of the client's secret", false)
		pending.Post("/login/code", "code", wizard.Code(0))
		opens(t, pending, "code of the server's secret", true)
	})
}

func TestAttack61ConfirmingCodeIsUsedUp(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		phone := b.BeginEnroll()
		code := phone.Code(0)
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/confirm", "code", code, "name", "Phone"); len(shownCodes(a.Body)) != 10 {
			t.Fatalf("confirm: %s", short(a))
		}
		pending := pendingSignIn(t, p, "ada")
		pending.Post("/login/code", "code", code)
		opens(t, pending, "the confirming code", false)
		p.Clock.Move(totp.Period)
		pending.Post("/login/code", "code", phone.Code(0))
		opens(t, pending, "the next code", true)
	})
}

// TestAttack62And83StaleSession: everything that changes how one signs in
// needs a proof of the last ten minutes, and nothing but a proof extends them.
func TestAttack62And83StaleSession(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
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
				"password": func() portal.Answer {
					return b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
				},
			}
		}
		tables := `SELECT (SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL AND name = 'Phone') * 1000000
			+ (SELECT COUNT(*) FROM authenticators) * 1000 + (SELECT COUNT(*) FROM backup_codes)`
		before := countRows(t, p, tables)
		refused := func(when string) {
			t.Helper()
			for what, change := range changes(phone.ID) {
				if a := change(); a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
					t.Errorf("%s, %s: %s, want 303 to /reauthenticate", when, what, short(a))
				}
			}
			if after := countRows(t, p, tables); after != before {
				t.Errorf("%s: something was changed: %d, was %d", when, after, before)
			}
		}
		// Using a fresh session doesn't keep it fresh.
		for range 9 {
			p.Clock.Move(time.Minute)
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Phone"); a.Location != "/settings/security?notice=renamed" {
				t.Fatalf("rename with a fresh proof: %s", short(a))
			}
		}
		p.Clock.Move(time.Minute + time.Second)
		refused("after ten minutes")
		// The password alone, or the code alone, is half a proof.
		if a := b.Post("/reauthenticate", "password", portal.Password, "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with the password only: %s", short(a))
		}
		if a := b.Post("/reauthenticate", "password", "not the password at all", "code", phone.Code(0), "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a wrong password: %s", short(a))
		}
		refused("after half a proof")
		// The code wasn't looked at beside a wrong password: it still counts.
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0), "return", "/settings/security"); a.Location != "/settings/security?notice=confirmed" {
			t.Fatalf("reauthentication: %s", short(a))
		}
		// Nothing of before was carried out in the meantime.
		if after := countRows(t, p, tables); after != before {
			t.Errorf("a form of before was carried out: %d, was %d", after, before)
		}
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename with a fresh proof: %s", short(a))
		}
		// A newer proof of the password doesn't renew that of the code.
		p.Clock.Move(9 * time.Minute)
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password"); a.Location != "/settings/security?notice=password_changed" {
			t.Fatalf("password with a fresh proof: %s", short(a))
		}
		p.Clock.Move(time.Minute + time.Second)
		if a := b.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a fresh password and a code of before: %s", short(a))
		}
		if a := b.Post("/reauthenticate", "password", "another long password", "code", phone.Code(0), "return", "/"); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthentication: %s", short(a))
		}
		// A copy of the cookie is as stale as the original.
		p.Clock.Move(10*time.Minute + time.Second)
		copied := p.Browser(t)
		copied.SetCookie(sessionCookie, b.Cookie(sessionCookie))
		if a := copied.Post("/settings/security/disable"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("disable with a copied cookie: %s", short(a))
		}
	})
}

func TestAttack63ForeignIDs(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ada, phone := withTwoFactor(t, p, "ada")
		wizard := ada.BeginEnroll()
		adas := regexp.MustCompile(`/settings/sessions/([^/"]+)/revoke`)
		other := p.Browser(t)
		other.SignIn("ada")
		p.Clock.Move(totp.Period)
		other.Post("/login/code", "code", phone.Code(0))
		opens(t, other, "ada's second browser", true)
		found := adas.FindStringSubmatch(ada.Get("/settings/sessions").Body)
		if found == nil {
			t.Fatal("no id of a session on ada's page")
		}
		eve, evesPhone := withTwoFactor(t, p, "eve")
		reference := regexp.MustCompile(`<code>[A-Za-z0-9_-]{12}</code>`)
		state := `SELECT (SELECT COUNT(*) FROM authenticators WHERE name = 'Phone') * 100 + (SELECT COUNT(*) FROM authenticators) * 10 + (SELECT COUNT(*) FROM sessions)`
		before := countRows(t, p, state)
		ask := func(r policyRoute, id string) (int, string, string) {
			var a portal.Answer
			if r.method == http.MethodGet {
				a = eve.Get(r.at(id))
			} else {
				a = eve.Post(r.at(id), "name", "Eve", "code", wizard.Code(0), "id", phone.ID, "account_id", "ada")
			}
			return a.Status, a.Location, reference.ReplaceAllString(a.Body, "")
		}
		for _, r := range policy(t) {
			if !strings.Contains(r.path, "{id}") {
				continue
			}
			wantStatus, wantLocation, wantBody := ask(r, "AAAAAAAAAAAAAAAAAAAA")
			if wantStatus == http.StatusOK {
				t.Errorf("%s %s: 200 for an id of nobody", r.method, r.path)
			}
			for what, id := range map[string]string{"authenticator": phone.ID, "wizard": wizard.ID, "session": found[1], "account": "ada"} {
				if status, location, body := ask(r, id); status != wantStatus || location != wantLocation || body != wantBody {
					t.Errorf("%s %s with the id of ada's %s: %d %s, want %d %s as for nobody's", r.method, r.path, what, status, location, wantStatus, wantLocation)
				}
			}
			// What is no id at all is no fault of ours (R23).
			for _, id := range []string{"%00", "%ff", "%ff%fe", "A%00B", "%27%20OR%20%271%27=%271", "%2e%2e", "%0d%0a", strings.Repeat("A", 5000), "%f0%9f%92%a9"} {
				if status, location, _ := ask(r, id); status >= 500 || status == http.StatusOK {
					t.Errorf("%s %s with the id %.20s: %d %s", r.method, r.path, id, status, location)
				}
			}
		}
		if after := countRows(t, p, state); after != before {
			t.Errorf("something of ada's was changed: %d, was %d", after, before)
		}
		if !ada.SignedIn() || !other.SignedIn() {
			t.Error("a session of ada's ended")
		}
		if a := eve.Post("/settings/security/authenticators/"+evesPhone.ID+"/rename", "name", "Mine"); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("eve's own: %s", short(a))
		}
	})
}

func TestAttack64LastAuthenticatorRemoved(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := withTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		elsewhere := pendingSignIn(t, p, "ada")
		elsewhere.Post("/login/code", "code", second.Code(0))
		opens(t, elsewhere, "second browser", true)
		if a := b.Post("/settings/security/authenticators/" + first.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
			t.Fatalf("remove the first: %s", short(a))
		}
		if elsewhere.SignedIn() {
			t.Error("another session outlives the removal")
		}
		if n := countRows(t, p, unusedCodesOf, "ada"); n != 10 {
			t.Errorf("%d codes while an authenticator is left, want 10", n)
		}
		// Its proof died with it: the code of the other one is due again.
		if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" && !strings.HasPrefix(a.Location, "/reauthenticate") {
			t.Fatalf("remove the last: %s", short(a))
		}
		if countRows(t, p, `SELECT COUNT(*) FROM authenticators`) > 0 {
			p.Clock.Move(totp.Period)
			if a := b.Post("/reauthenticate", "password", portal.Password, "code", second.Code(0), "return", "/settings/security"); a.Status != http.StatusSeeOther {
				t.Fatalf("reauthenticate: %s", short(a))
			}
			if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
				t.Fatalf("remove the last: %s", short(a))
			}
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM backup_codes`); n != 0 {
			t.Errorf("%d backup codes outlive the last authenticator", n)
		}
		if n := countRows(t, p, `SELECT COUNT(*) FROM totp`); n != 0 {
			t.Errorf("%d secrets outlive the last authenticator", n)
		}
		if page := visible(b.Get("/settings/security").Body); !strings.Contains(page, "Enable two-factor authentication") || strings.Contains(page, "Disable two-factor") {
			t.Error("the Security tab doesn't say that it is off")
		}
		again := p.Browser(t)
		if a := again.SignIn("ada"); a.Location != "/" || !again.SignedIn() {
			t.Errorf("sign-in without two-factor authentication: %s", short(a))
		}
	})
}

func TestAttack65OperatorReset(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
		wizard := b.BeginEnroll()
		pending := pendingSignIn(t, p, "ada")
		p.AddAccount(t, "eve")
		eve := p.Browser(t)
		eve.SignIn("eve")
		ada, err := account.ByName(context.Background(), p.DB.Reader(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		token, err := p.Login.ResetTwoFactor(context.Background(), ada)
		if err != nil {
			t.Fatal(err)
		}
		link := strings.TrimPrefix(p.TicketLink(token), p.Base)

		if b.SignedIn() {
			t.Error("a session outlives the reset")
		}
		for what, a := range map[string]portal.Answer{
			"code":        pending.Post("/login/code", "code", phone.Code(0)),
			"backup code": pending.Post("/login/backup-code", "backup_code", phone.Codes[0]),
		} {
			if a.Location != "/login?notice=expired" {
				t.Errorf("%s in an attempt of before: %s", what, short(a))
			}
		}
		for _, table := range []string{"authenticators", "totp", "backup_codes", "attempts"} {
			if n := countRows(t, p, `SELECT COUNT(*) FROM `+table); n != 0 {
				t.Errorf("%s: %d rows outlive the reset", table, n)
			}
		}
		// The password alone signs in, but opens no wizard.
		again := p.Browser(t)
		again.SignIn("ada")
		opens(t, again, "password after the reset", true)
		if a := again.Post("/settings/security/authenticators"); a.Location != "/settings/security?notice=locked" {
			t.Errorf("wizard without the link: %s", short(a))
		}
		if a := again.Post("/settings/security/authenticators/"+wizard.ID+"/confirm", "code", wizard.Code(0), "name", "x"); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("wizard of before: %s", short(a))
		}
		// The link opens nobody else's, and isn't used up by looking.
		eve.Get(link)
		evesWizard := eve.BeginEnroll()
		if a := eve.Post("/settings/security/authenticators/"+evesWizard.ID+"/confirm", "code", evesWizard.Code(0), "name", "Phone"); len(shownCodes(a.Body)) != 10 {
			t.Errorf("eve's own wizard: %s", short(a))
		}
		for range 3 {
			p.Browser(t).Do(http.MethodHead, link, nil, nil)
			p.Browser(t).Get(link)
		}
		if a := again.Get(link); a.Location != "/settings/security" {
			t.Fatalf("link: %s", short(a))
		}
		again.Enroll("New phone")
		// Once only.
		third := p.Browser(t)
		if a := third.Get(link); a.Status != http.StatusNotFound {
			t.Errorf("used link: %s", short(a))
		}
		third.SetCookie("sallyport-ticket", token.Reveal())
		pendingSignIn(t, p, "ada")
		if n := kinds(t, p)["two_factor_reset:done"]; n != 1 {
			t.Errorf("%d events two_factor_reset, want one", n)
		}
		if strings.Contains(p.Logs.String(), token.Reveal()) {
			t.Error("the link stands in the log")
		}
	})
}

// TestAttack68InvitationEndsWithAnotherPassword: a link that sets a password
// is worth nothing once the account has one by other means.
func TestAttack68InvitationEndsWithAnotherPassword(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		token, err := p.Login.Invite(ctx, account.Account{Name: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		ada, err := account.ByName(ctx, p.DB.Reader(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		link := strings.TrimPrefix(p.TicketLink(token), p.Base)
		b := p.Browser(t)
		if a := b.Get(link); a.Status != http.StatusOK {
			t.Fatalf("link: %s", short(a))
		}
		if err := p.Login.SetPassword(ctx, ada, portal.Password); err != nil {
			t.Fatal(err)
		}
		b.SignIn("ada")
		p.Clock.Move(time.Hour)
		stranger := p.Browser(t)
		if a := stranger.Post("/setup", "ticket", token.Reveal(), "username", "ada", "email", "", "new_password", "chosen by a stranger"); a.Status != http.StatusNotFound {
			t.Errorf("invitation of before the password was set: %s, want 404", short(a))
		}
		if !b.SignedIn() {
			t.Error("the invitation of before ended the owner's session")
		}
	})
}

func TestAttack69NamesInTheKeyURI(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		for _, name := range []string{
			"", " ", "@", "ada@example.test", "a b", "a\tb", "a\nb", "a\r\nSet-Cookie: x", "a\x00b", "a\x7fb", "\u202eada", "a\u200fb", "a\u2066b", "a\u200bb", "a\ufeffb", "a\u2028b",
			"🙂", "ada🙂", strings.Repeat("a", 65), strings.Repeat("a", 200), strings.Repeat("é", 200), strings.Repeat("a", 100000), "a\xffb", "\xed\xa0\x80",
		} {
			_, err := p.Login.AddAccount(context.Background(), account.Account{Name: name}, portal.Password)
			if !errors.Is(err, account.ErrNameInvalid) {
				t.Errorf("name %.20q: got %v, want it refused", name, err)
			}
		}
		for _, name := range []string{
			"a&secret=aaaa", "a?issuer=bank", "a:b", "a%26x", "a#b", "a/b", "a+b", "a\"b", "a'b", "a<b>c", "ａ", "مريم", "日本語", "é", strings.Repeat("語", 42), strings.Repeat("%", 64),
		} {
			added, err := p.Login.AddAccount(context.Background(), account.Account{Name: name}, portal.Password)
			if err != nil {
				t.Errorf("name %q: %v", name, err)
				continue
			}
			checkWizard(t, p, added.Name, "Sallyport")
		}
	})
}

func TestAttack69IssuerInTheKeyURI(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{"Acme & Co?secret=AAAA", "Acme: the \"bank\"", "<b>Acme</b>%3A", "Ünïcödé 日本", strings.Repeat("語", 40)} {
		p := portal.Start(t, "sqlite", "SALLYPORT_SITE_NAME="+issuer)
		p.AddAccount(t, "ada")
		checkWizard(t, p, "ada", issuer)
	}
}

// checkWizard reads the key URI of an account's wizard the way that apps do.
func checkWizard(t *testing.T, p *portal.Portal, name, issuer string) {
	t.Helper()
	b := p.Browser(t)
	b.SignIn(name)
	wizard := b.BeginEnroll()
	page := b.Get("/settings/security/authenticators/" + wizard.ID).Body
	var uris []string
	for _, link := range links(page) {
		if strings.HasPrefix(link, "otpauth:") {
			uris = append(uris, link)
		}
	}
	if len(uris) != 1 {
		t.Fatalf("%q: %d key URIs on the page, want one", name, len(uris))
	}
	if strings.Count(uris[0], "secret=") != 1 || len(uris[0]) > 400 {
		t.Errorf("%q: %d bytes with %d secrets: %s", name, len(uris[0]), strings.Count(uris[0], "secret="), uris[0])
	}
	u, err := url.Parse(uris[0])
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	query := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Fragment != "" || len(query["secret"]) != 1 || query.Get("secret") != totp.Base32(wizard.Secret) ||
		query.Get("algorithm") != "SHA1" || query.Get("digits") != "6" || query.Get("period") != "30" || len(query) != 5 {
		t.Errorf("%q: key URI %s", name, uris[0])
	}
	label := strings.TrimPrefix(u.Path, "/")
	gotIssuer, gotName, _ := strings.Cut(label, ":")
	if gotIssuer != query.Get("issuer") || !strings.HasPrefix(strings.ReplaceAll(issuer, ":", " "), gotIssuer) || gotIssuer == "" {
		t.Errorf("%q: issuer %q in the label, %q in the query, want %q", name, gotIssuer, query.Get("issuer"), issuer)
	}
	if !strings.HasPrefix(name, gotName) || gotName == "" || len(name) < 40 && gotName != name {
		t.Errorf("%q: label says %q", name, gotName)
	}
}

func TestAttack70SecretOnOnePageOnly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b, other, eve := p.Browser(t), p.Browser(t), p.Browser(t)
		p.AddAccount(t, "eve")
		b.SignIn("ada")
		other.SignIn("ada")
		eve.SignIn("eve")
		wizard := b.BeginEnroll()
		key := totp.Base32(wizard.Secret)
		path := "/settings/security/authenticators/" + wizard.ID
		a := b.Get(path)
		if a.Status != http.StatusOK || !strings.Contains(a.Body, key) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("wizard: %s, %q", short(a), a.Header.Get("Cache-Control"))
		}
		if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "img-src 'self' data:") {
			t.Errorf("wizard: Content-Security-Policy %q", csp)
		}
		for _, link := range links(a.Body) {
			if strings.HasPrefix(link, "otpauth://totp/") || strings.HasPrefix(link, "#") {
				continue
			}
			if !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "//") || strings.Contains(link, key) {
				t.Errorf("wizard: address %s", link)
			}
		}
		// Neither another session of ada's, nor eve's, nor any other page.
		for what, one := range map[string]*portal.Browser{"another session": other, "another account": eve, "nobody": p.Browser(t)} {
			for _, r := range policy(t) {
				if r.method == http.MethodGet && strings.Contains(one.Get(r.at(wizard.ID)).Body, key) {
					t.Errorf("%s: GET %s shows the secret", what, r.path)
				}
			}
		}
		for _, r := range policy(t) {
			if r.method == http.MethodGet && !strings.Contains(r.path, "{id}") && strings.Contains(b.Get(r.path).Body, key) {
				t.Errorf("GET %s shows the secret", r.path)
			}
		}
		// Until it expires, is cancelled or confirmed.
		p.Clock.Move(9 * time.Minute)
		if !strings.Contains(b.Get(path).Body, key) {
			t.Error("the wizard closed before its time")
		}
		p.Clock.Move(6 * time.Minute)
		if a := b.Post("/reauthenticate", "password", portal.Password, "return", path); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthenticate: %s", short(a))
		}
		if a := b.Get(path); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("wizard after a quarter of an hour: %s", short(a))
		}
		if a := b.Post(path+"/confirm", "code", wizard.Code(0), "name", "Late"); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("confirming after a quarter of an hour: %s", short(a))
		}
		cancelled := b.BeginEnroll()
		b.Post("/settings/security/authenticators/" + cancelled.ID + "/cancel")
		if a := b.Get("/settings/security/authenticators/" + cancelled.ID); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("cancelled wizard: %s", short(a))
		}
		confirmed := b.Enroll("Phone")
		if a := b.Get("/settings/security/authenticators/" + confirmed.ID); a.Location != "/settings/security?notice=already_confirmed" {
			t.Errorf("confirmed wizard: %s", short(a))
		}
		for _, phone := range []*portal.Phone{wizard, cancelled, confirmed} {
			if key := totp.Base32(phone.Secret); strings.Contains(p.Logs.String(), key) || strings.Contains(p.Logs.String(), "otpauth") {
				t.Error("the log holds the secret")
			}
		}
	})
}

func TestAttack71HostileNames(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := withTwoFactor(t, p, "ada")
		refused := []string{"a\r\nBcc: eve@evil.test", "a\nb", "a\x00b", "\x1b[31mred", "a\u202eb", "a\u2066b", "a\u2028b", "a\xffb", strings.Repeat("a", 10000), strings.Repeat("語", 81)}
		for _, name := range refused {
			if a := b.Post("/settings/profile", "display_name", name); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("display name %.20q: %s, want 422", name, short(a))
			}
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", name); a.Location != "/settings/security?notice=name_invalid" {
				t.Errorf("authenticator's name %.20q: %s", name, short(a))
			}
			for _, email := range []string{name + "@example.test", "ada@" + name} {
				if len(name) == 243 { // 81 letters: too long for a display name only
					continue
				}
				if err := p.Login.SetEmail(context.Background(), mustAccount(t, p, "ada"), email); !errors.Is(err, account.ErrEmailInvalid) {
					t.Errorf("e-mail %.30q: got %v, want it refused", email, err)
				}
			}
		}
		for _, email := range []string{"a", "@", "a@", "@b", "a@b@c", "a b@c", "<a@b>", "a@b, c@d", `"a"@b`, "a@b>c", "(x)a@b", "a:b@c", "a;b@c", `a\@b`, "a@[127.0.0.1]"} {
			if err := p.Login.SetEmail(context.Background(), mustAccount(t, p, "ada"), email); !errors.Is(err, account.ErrEmailInvalid) {
				t.Errorf("e-mail %q: got %v, want it refused", email, err)
			}
		}
		for _, name := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{1337*1337}}${1337*1337}`, `'; DROP TABLE x;--`, `&lt;b&gt;`, `</title><b>`} {
			if a := b.Post("/settings/profile", "display_name", name); a.Status != http.StatusSeeOther {
				t.Errorf("display name %q: %s", name, short(a))
			}
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", name[:min(len(name), 40)]); a.Location != "/settings/security?notice=renamed" {
				t.Errorf("authenticator's name %q: %s", name, short(a))
			}
			for _, path := range []string{"/", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
				page := b.Get(path).Body
				if strings.ContainsAny(name, `<"'`) && strings.Contains(page, name) {
					t.Errorf("%s holds %q as it was typed", path, name)
				}
				if path == "/" && !strings.Contains(visible(page), name) {
					t.Errorf("%s doesn't show %q", path, name)
				}
			}
		}
	})
}

// mustAccount returns the account of that name as it is now.
func mustAccount(t *testing.T, p *portal.Portal, name string) account.Account {
	t.Helper()
	a, err := account.ByName(context.Background(), p.DB.Reader(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
