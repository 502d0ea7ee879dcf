package enrolment

// The secret of an enrolment, the code that confirms it, and the names in it.

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack59SecretFromTheClient(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
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
		for what, code := range map[string]string{"code of the client's secret": totp.CodeAt(key, p.Clock.Now()), "code of the other wizard's secret": other.Code(0)} {
			if a := b.Post(path+"?secret="+own, append([]string{"code", code}, fields...)...); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("confirm with a %s: %s, want 422", what, portal.Summary(a))
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL`); n != 0 {
			t.Fatalf("%d authenticators were confirmed, want none", n)
		}
		if a := b.Post(path, append([]string{"code", wizard.Code(0)}, fields...)...); len(portal.ShownCodes(a.Body)) != 10 {
			t.Errorf("confirm with a code of the wizard's secret: %s, want backup codes", portal.Summary(a))
		}
		p.Clock.Move(totp.Period)
		pending := portal.PendingSignIn(t, p, "ada")
		pending.Post("/login/code", "code", totp.CodeAt(key, p.Clock.Now()))
		portal.CheckSignedIn(t, pending, "code of the client's secret", false)
		pending.Post("/login/code", "code", wizard.Code(0))
		portal.CheckSignedIn(t, pending, "code of the server's secret", true)
	})
}

func TestAttack61ConfirmingCodeIsUsedUp(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		phone := b.BeginEnroll()
		code := phone.Code(0)
		if a := b.Post("/settings/security/authenticators/"+phone.ID+"/confirm", "code", code, "name", "Phone"); len(portal.ShownCodes(a.Body)) != 10 {
			t.Fatalf("confirm the enrolment: %s, want backup codes", portal.Summary(a))
		}
		pending := portal.PendingSignIn(t, p, "ada")
		pending.Post("/login/code", "code", code)
		portal.CheckSignedIn(t, pending, "the code that confirmed the enrolment", false)
		p.Clock.Move(totp.Period)
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "the next code", true)
	})
}

func TestAttack69NamesInTheKeyURI(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		for _, name := range []string{
			"", " ", "@", "ada@example.test", "a b", "a\tb", "a\nb", "a\r\nSet-Cookie: x", "a\x00b", "a\x7fb", "\u202eada", "a\u200fb", "a\u2066b", "a\u200bb", "a\ufeffb", "a\u2028b",
			"🙂", "ada🙂", strings.Repeat("a", 65), strings.Repeat("a", 200), strings.Repeat("é", 200), strings.Repeat("a", 100000), "a\xffb", "\xed\xa0\x80",
		} {
			_, err := p.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: name}, portal.Password)
			if !errors.Is(err, account.ErrNameInvalid) {
				t.Errorf("add an account named %.20q: got %v, want %v", name, err, account.ErrNameInvalid)
			}
		}
		for _, name := range []string{
			"a&secret=aaaa", "a?issuer=bank", "a:b", "a%26x", "a#b", "a/b", "a+b", "a\"b", "a'b", "a<b>c", "ａ", "مريم", "日本語", "é", strings.Repeat("語", 42), strings.Repeat("%", 63) + "a",
		} {
			added, err := p.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: name}, portal.Password)
			if err != nil {
				t.Errorf("add an account named %q: %v", name, err)
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

// checkWizard parses the key URI of an account's wizard as authenticator apps do.
func checkWizard(t *testing.T, p *portal.Portal, name, issuer string) {
	t.Helper()
	b := p.Browser(t)
	b.SignIn(name)
	wizard := b.BeginEnroll()
	page := b.Get("/settings/security/authenticators/" + wizard.ID).Body
	var uris []string
	for _, link := range portal.LinksOn(page) {
		if strings.HasPrefix(link, "otpauth:") {
			uris = append(uris, link)
		}
	}
	if len(uris) != 1 {
		t.Fatalf("account %q: %d key URIs on the page, want one", name, len(uris))
	}
	if strings.Count(uris[0], "secret=") != 1 || len(uris[0]) > 400 {
		t.Errorf("account %q: key URI of %d bytes with %d secrets, want at most 400 bytes and one secret: %s", name, len(uris[0]), strings.Count(uris[0], "secret="), uris[0])
	}
	u, err := url.Parse(uris[0])
	if err != nil {
		t.Fatalf("account %q: parse the key URI: %v", name, err)
	}
	query := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Fragment != "" || len(query["secret"]) != 1 || query.Get("secret") != totp.Base32(wizard.Secret) ||
		query.Get("algorithm") != "SHA1" || query.Get("digits") != "6" || query.Get("period") != "30" || len(query) != 5 {
		t.Errorf("account %q: key URI %s, want SHA1, 6 digits, 30 s and the secret of the wizard", name, uris[0])
	}
	label := strings.TrimPrefix(u.Path, "/")
	gotIssuer, gotName, _ := strings.Cut(label, ":")
	if gotIssuer != query.Get("issuer") || !strings.HasPrefix(strings.ReplaceAll(issuer, ":", " "), gotIssuer) || gotIssuer == "" {
		t.Errorf("account %q: issuer %q in the label and %q in the query, want %q or its beginning in both", name, gotIssuer, query.Get("issuer"), issuer)
	}
	if !strings.HasPrefix(name, gotName) || gotName == "" || len(name) < 40 && gotName != name {
		t.Errorf("account %q: name %q in the label, want the account's or its beginning", name, gotName)
	}
}

func TestAttack70SecretOnOnePageOnly(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
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
			t.Errorf("wizard: %s, Cache-Control %q; want 200 with the secret and no-store", portal.Summary(a), a.Header.Get("Cache-Control"))
		}
		if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "img-src 'self' data:") {
			t.Errorf("wizard: Content-Security-Policy %q, want default-src 'none' and no other images", csp)
		}
		for _, link := range portal.LinksOn(a.Body) {
			if strings.HasPrefix(link, "otpauth://totp/") || strings.HasPrefix(link, "#") {
				continue
			}
			if !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "//") || strings.Contains(link, key) {
				t.Errorf("the wizard has a link to another host or with the secret: %s", link)
			}
		}
		// No other session, no other account and no other page shows the secret.
		for what, one := range map[string]*portal.Browser{"another session": other, "another account": eve, "browser without a session": p.Browser(t)} {
			for _, r := range portal.Routes(t) {
				if r.Method == http.MethodGet && strings.Contains(one.Get(r.At(wizard.ID)).Body, key) {
					t.Errorf("GET %s in %s shows the secret", r.Path, what)
				}
			}
		}
		for _, r := range portal.Routes(t) {
			if r.Method == http.MethodGet && !strings.Contains(r.Path, "{id}") && strings.Contains(b.Get(r.Path).Body, key) {
				t.Errorf("GET %s in the session of the wizard shows the secret", r.Path)
			}
		}
		// The wizard shows the secret until it expires, is cancelled or confirmed.
		p.Clock.Move(9 * time.Minute)
		if !strings.Contains(b.Get(path).Body, key) {
			t.Error("after nine minutes, the wizard doesn't show the secret, want it shown until it expires")
		}
		p.Clock.Move(6 * time.Minute)
		if a := b.Post("/reauthenticate", "password", portal.Password, "return", path); a.Status != http.StatusSeeOther {
			t.Fatalf("reauthenticate: %s, want a redirect with 303", portal.Summary(a))
		}
		if a := b.Get(path); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("wizard after a quarter of an hour: %s, want the notice wizard_expired", portal.Summary(a))
		}
		if a := b.Post(path+"/confirm", "code", wizard.Code(0), "name", "Late"); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("confirm after a quarter of an hour: %s, want the notice wizard_expired", portal.Summary(a))
		}
		cancelled := b.BeginEnroll()
		b.Post("/settings/security/authenticators/" + cancelled.ID + "/cancel")
		if a := b.Get("/settings/security/authenticators/" + cancelled.ID); a.Location != "/settings/security?notice=wizard_expired" {
			t.Errorf("cancelled wizard: %s, want the notice wizard_expired", portal.Summary(a))
		}
		confirmed := b.Enroll("Phone")
		if a := b.Get("/settings/security/authenticators/" + confirmed.ID); a.Location != "/settings/security?notice=already_confirmed" {
			t.Errorf("confirmed wizard: %s, want the notice already_confirmed", portal.Summary(a))
		}
		for _, phone := range []*portal.Phone{wizard, cancelled, confirmed} {
			if key := totp.Base32(phone.Secret); strings.Contains(p.Logs.String(), key) || strings.Contains(p.Logs.String(), "otpauth") {
				t.Error("the log contains a secret or a key URI")
			}
		}
	})
}

func TestAttack71HostileNames(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		refused := []string{"a\r\nBcc: eve@evil.test", "a\nb", "a\x00b", "\x1b[31mred", "a\u202eb", "a\u2066b", "a\u2028b", "a\xffb", strings.Repeat("a", 10000), strings.Repeat("語", 81)}
		for _, name := range refused {
			if a := b.Post("/settings/profile", "display_name", name); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("display name %.20q: %s, want 422", name, portal.Summary(a))
			}
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", name); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("authenticator's name %.20q: %s, want 422", name, portal.Summary(a))
			}
			for _, email := range []string{name + "@example.test", "ada@" + name} {
				if len(name) == 243 { // 81 letters are too long only for a display name
					continue
				}
				if err := p.Manage.Accounts.SetEmail(context.Background(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), email); !errors.Is(err, account.ErrEmailInvalid) {
					t.Errorf("e-mail address %.30q: got %v, want %v", email, err, account.ErrEmailInvalid)
				}
			}
		}
		for _, email := range []string{"a", "@", "a@", "@b", "a@b@c", "a b@c", "<a@b>", "a@b, c@d", `"a"@b`, "a@b>c", "(x)a@b", "a:b@c", "a;b@c", `a\@b`, "a@[127.0.0.1]"} {
			if err := p.Manage.Accounts.SetEmail(context.Background(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), email); !errors.Is(err, account.ErrEmailInvalid) {
				t.Errorf("e-mail address %q: got %v, want %v", email, err, account.ErrEmailInvalid)
			}
		}
		for _, name := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{1337*1337}}${1337*1337}`, `'; DROP TABLE x;--`, `&lt;b&gt;`, `</title><b>`} {
			if a := b.Post("/settings/profile", "display_name", name); a.Status != http.StatusSeeOther {
				t.Errorf("display name %q: %s, want 303", name, portal.Summary(a))
			}
			if a := b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", name[:min(len(name), 40)]); a.Location != "/settings/security?notice=renamed" {
				t.Errorf("authenticator's name %q: %s, want the notice renamed", name, portal.Summary(a))
			}
			for _, path := range []string{"/", "/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
				page := b.Get(path).Body
				if strings.ContainsAny(name, `<"'`) && strings.Contains(page, name) {
					t.Errorf("%s contains %q without HTML escapes", path, name)
				}
				if path == "/" && !strings.Contains(portal.VisibleText(page), name) {
					t.Errorf("%s doesn't show %q", path, name)
				}
			}
		}
	})
}
