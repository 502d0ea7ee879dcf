package panels

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// sharedHost is where a portal and its panel are together.
const sharedHost = "http://video.test"

// onPanelsHost runs a test on a portal of each engine that is on its panel's
// host; settings are lines of the panel.
func onPanelsHost(t *testing.T, settings string, test func(t *testing.T, p *portal.Portal)) {
	t.Helper()
	panel := panels.StartPanel(t, "video")
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\nshared_host: true\npanels:\n  - url: %s\n    upstream: %s\n%s", sharedHost, sharedHost, panel.URL, settings))
	portal.OnBothEngines(t, test, "SALLYPORT_CONFIG="+file)
}

// person returns a browser that says what it opens.
func person(t *testing.T, p *portal.Portal) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	b.Header.Set("Accept", "text/html")
	return b
}

// enrollShared enables two-factor authentication with the proof in the form.
func enrollShared(t *testing.T, p *portal.Portal, b *portal.Browser) *portal.Phone {
	t.Helper()
	begun := b.Post("/settings/security/authenticators", "password", portal.Password)
	id, ok := strings.CutPrefix(begun.Location, "/settings/security/authenticators/")
	if !ok {
		t.Fatalf("the wizard doesn't open: %s\n%s", portal.Summary(begun), begun.Body)
	}
	phone := b.Scan(id)
	if a := b.Post("/settings/security/authenticators/"+id+"/confirm", "code", phone.Code(0), "name", "Phone"); a.Status != http.StatusOK {
		t.Fatalf("confirm: %s\n%s", portal.Summary(a), a.Body)
	}
	phone.Codes = portal.ShownCodes(b.Last.Body)
	p.Clock.Move(30e9)
	return phone
}

func TestPortalOnItsPanelsHost(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := person(t, p)
		page := panels.Navigate(b, sharedHost+"/rack?a=1")
		if page.Status != http.StatusOK || !strings.Contains(page.Body, `action="/.sallyport/login"`) {
			t.Fatalf("the panel leads to %s\n%s", portal.Summary(page), page.Body)
		}
		panels.SignInHere(t, b, "ada")
		s := panels.Received(t, b.Last)
		if s.URI != "/rack?a=1" || s.Header.Get("Remote-User") != "ada" || s.Header.Get("Cookie") != "" {
			t.Errorf("the panel got %+v", s)
		}
		if home := b.Get("/"); home.Status != http.StatusOK || !strings.Contains(home.Body, `href="`+sharedHost+`/"`) {
			t.Errorf("the portal's home: %s\n%s", portal.Summary(home), home.Body)
		}
		for _, link := range []string{"/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
			if a := b.Get(link); a.Status != http.StatusOK || strings.Contains(a.Body, `="/settings`) || strings.Contains(a.Body, `="/static`) {
				t.Errorf("%s: %s, or a link out of the portal\n%s", link, portal.Summary(a), a.Body)
			}
		}
		// Nothing of ours is where the panel is.
		if s := panels.Received(t, b.Get(sharedHost+"/login")); s.URI != "/login" {
			t.Errorf("the panel's own sign-in: %+v", s)
		}
		if a := p.Browser(t).Get("/healthz"); a.Status != http.StatusOK {
			t.Errorf("healthz: %d", a.Status)
		}

		session := b.Cookie("sallyport")
		b.Get(sharedHost + "/plants")
		if b.Cookie("sallyport") != session {
			t.Error("the panel replaced the session's cookie")
		}
		b.Get(sharedHost + "/.sallyport/logout")
		if a := b.Post("/logout"); a.Location != "/login?notice=signed_out" {
			t.Errorf("sign-out: %s", portal.Summary(a))
		}
		thief := person(t, p)
		thief.SetCookieAt(sharedHost, "sallyport", session)
		if a := thief.Get(sharedHost + "/"); a.Status != http.StatusSeeOther {
			t.Errorf("open after the sign-out: %s", portal.Summary(a))
		}
	})
}

func TestPortalOnItsPanelsHostLeadsThroughTheWizard(t *testing.T) {
	onPanelsHost(t, "    require: two_factor\n", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := person(t, p)
		panels.Navigate(b, sharedHost+"/rack?a=1")
		panels.SignInHere(t, b, "ada")
		if !strings.Contains(b.Last.Body, "Enable two-factor authentication") {
			t.Fatalf("no way to the wizard: %s\n%s", portal.Summary(b.Last), b.Last.Body)
		}
		enrollShared(t, p, b)
		b.Get("/settings/security")
		if s := panels.Received(t, b.Follow()); s.URI != "/rack?a=1" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("after the wizard the panel got %+v", s)
		}
	})
}

// What a script of the panel sends has the session's cookie and the portal's own
// origin.
func TestScriptsOfThePanelChangeNoSignIn(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := person(t, p)
		b.SignIn("ada")
		phone := enrollShared(t, p, b)
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0)); a.Status != http.StatusSeeOther {
			t.Fatalf("fresh proof: %s", portal.Summary(a))
		}
		p.Clock.Move(30e9)
		before := portal.CountRows(t, p, "SELECT COUNT(*) FROM events")
		for _, route := range portal.Routes(t) {
			path := route.At(phone.ID)
			fetched := http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {sharedHost}, "Accept": {"text/html"}}
			framed := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}, "Sec-Fetch-Site": {"same-origin"}}
			for what, header := range map[string]http.Header{"fetched": fetched, "framed": framed} {
				if a := b.Do(route.Method, path, nil, header); a.Status != http.StatusForbidden {
					t.Errorf("%s %s, %s: %s", route.Method, path, what, portal.Summary(a))
				}
			}
			if route.Method != http.MethodPost || route.Needs != "Fresh" || strings.HasSuffix(path, "/confirm") {
				continue
			}
			// Forms can be sent by scripts, without the password and with guesses.
			if a := b.Post(path, "name", "<Mine>"); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/.sallyport`+path+`"`) ||
				!strings.Contains(a.Body, `name="name" value="&lt;Mine&gt;"`) {
				t.Errorf("%s without a proof: %s\n%s", path, portal.Summary(a), a.Body)
			}
			if a := b.Post(path, "password", portal.Password); a.Status != http.StatusOK || !strings.Contains(a.Body, `name="code"`) {
				t.Errorf("%s without a code: %s\n%s", path, portal.Summary(a), a.Body)
			}
		}
		if n := portal.CountRows(t, p, "SELECT COUNT(*) FROM events"); n != before {
			t.Errorf("%d events were written", n-before)
		}
		if a := b.Post("/settings/security/disable", "password", "wrong", "code", phone.Code(0)); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong password: %s", portal.Summary(a))
		}
		if a := b.Post("/settings/security/disable", "password", portal.Password, "code", portal.WrongCode(phone)); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong code: %s", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, "SELECT COUNT(*) FROM totp"); n != 1 {
			t.Errorf("%d authenticators are left", n)
		}
	})
}

func TestProofWithinTheForm(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := person(t, p)
		b.SignIn("ada")
		phone := enrollShared(t, p, b)
		rename := "/settings/security/authenticators/" + phone.ID + "/rename"
		old := b.Cookie("sallyport")
		if a := b.Post(rename, "name", "Work", "password", portal.Password, "code", phone.Code(0)); a.Location != "/settings/security?notice=renamed" {
			t.Fatalf("rename: %s\n%s", portal.Summary(a), a.Body)
		}
		if lines := b.Last.Header["Set-Cookie"]; len(lines) != 1 || b.Cookie("sallyport") == old {
			t.Errorf("the proof's cookie: %v", lines)
		}
		if a := b.Get("/settings/security"); !strings.Contains(a.Body, "Work") {
			t.Errorf("not renamed\n%s", portal.VisibleText(a.Body))
		}
		p.Clock.Move(30e9)
		// Another way to prove it, and what the form holds stays.
		a := b.Post(rename, "name", "Car", "ask", "backup")
		if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="backup_code"`) || !strings.Contains(a.Body, `value="Car"`) {
			t.Errorf("with a backup code: %s\n%s", portal.Summary(a), a.Body)
		}
		if a := b.Post(rename, "name", "Car", "password", portal.Password, "backup_code", phone.Codes[0]); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename by backup code: %s\n%s", portal.Summary(a), a.Body)
		}
		// The change of the password has a field for it already.
		changed := "a new and much longer one"
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", changed); a.Status != http.StatusOK || !strings.Contains(a.Body, `name="code"`) {
			t.Errorf("no code is asked for: %s\n%s", portal.Summary(a), a.Body)
		}
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", changed, "code", phone.Code(0)); a.Location != "/settings/security?notice=password_changed" {
			t.Errorf("password: %s\n%s", portal.Summary(a), a.Body)
		}
		if lines := b.Last.Header["Set-Cookie"]; len(lines) != 1 || !b.SignedIn() {
			t.Errorf("after the change: %v", lines)
		}
		if s := panels.Received(t, b.Get(sharedHost+"/")); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("the panel got %+v", s)
		}
	})
}

func TestLinksLeadToThePortalOnItsPanelsHost(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		link, err := p.SetupLink(t.Context())
		if at, ok := strings.CutPrefix(link, sharedHost+"/.sallyport"); err != nil || !ok {
			t.Errorf("link %s, %v", link, err)
		} else if a := person(t, p).Get(at); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/.sallyport/setup"`) {
			t.Errorf("%s: %s\n%s", at, portal.Summary(a), a.Body)
		}
		// Out of the portal there is no way but to the panel.
		p.AddAccount(t, "ada")
		for _, back := range []string{"//evil.test", "https://evil.test", `/\evil.test`} {
			b := person(t, p)
			b.SignIn("ada")
			a := b.Get("/enter?" + url.Values{"panel": {sharedHost}, "return": {back}}.Encode())
			if a.Header.Get("Location") != sharedHost+"/" {
				t.Errorf("%s leads to %s", back, a.Header.Get("Location"))
			}
		}
	})
}

// A panel that comes to the portal's host, or leaves it, takes the portal along:
// beside requests under way that can't be.
func TestReloadMovesNoPortal(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		for what, change := range map[string]func(*config.Config){
			"apart":     func(c *config.Config) { c.SharedHost = false },
			"elsewhere": func(c *config.Config) { c.PublicURL.Host, c.Panels[0].URL.Host = "other.test", "other.test" },
		} {
			moved := p.Config
			moved.Panels = slices.Clone(moved.Panels)
			change(&moved)
			if err := p.Reload(moved, nil); err == nil || !strings.Contains(err.Error(), "restart the server") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if a := panels.Navigate(person(t, p), sharedHost+"/"); !strings.Contains(a.Body, `action="/.sallyport/login"`) {
			t.Errorf("the portal is gone: %s", portal.Summary(a))
		}
		if err := p.Reload(p.Config, nil); err != nil {
			t.Errorf("as it was: %v", err)
		}
	})
}
