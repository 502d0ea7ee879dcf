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

// sharedHost is the origin that a portal shares with its panel.
const sharedHost = "http://video.test"

// onSharedHost runs a test with each database engine on a portal that shares its host with
// a panel. settings are further lines of the panel.
func onSharedHost(t *testing.T, settings string, test func(t *testing.T, p *portal.Portal)) {
	t.Helper()
	panel := panels.StartPanel(t, "video")
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\nshared_host: true\npanels:\n  - url: %s\n    upstream: %s\n%s", sharedHost, sharedHost, panel.URL, settings))
	portal.OnBothEngines(t, test, "SALLYPORT_CONFIG="+file)
}

// htmlBrowser returns a browser that asks for HTML, as it does for navigations.
func htmlBrowser(t *testing.T, p *portal.Portal) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	b.Header.Set("Accept", "text/html")
	return b
}

// enrollShared enables two-factor authentication on a shared host, where the forms carry
// the password.
func enrollShared(t *testing.T, p *portal.Portal, b *portal.Browser) *portal.Phone {
	t.Helper()
	begun := b.Post("/settings/security/authenticators", "password", portal.Password)
	id, ok := strings.CutPrefix(begun.Location, "/settings/security/authenticators/")
	if !ok {
		t.Fatalf("the wizard doesn't open: %s\n%s", portal.Summary(begun), begun.Body)
	}
	phone := b.Scan(id)
	if a := b.Post("/settings/security/authenticators/"+id+"/confirm", "code", phone.Code(0), "name", "Phone"); a.Status != http.StatusOK {
		t.Fatalf("confirm the enrolment: %s, want 200\n%s", portal.Summary(a), a.Body)
	}
	phone.Codes = portal.ShownCodes(b.Last.Body)
	p.Clock.Move(30e9)
	return phone
}

func TestPortalSharesAHostWithItsPanel(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		page := panels.Navigate(b, sharedHost+"/rack?a=1")
		if page.Status != http.StatusOK || !strings.Contains(page.Body, `action="/.sallyport/login"`) {
			t.Fatalf("the panel leads to %s, want the sign-in below /.sallyport\n%s", portal.Summary(page), page.Body)
		}
		panels.SignInAtPage(t, b, "ada")
		s := panels.Received(t, b.Last)
		if s.URI != "/rack?a=1" || s.Header.Get("Remote-User") != "ada" || s.Header.Get("Cookie") != "" {
			t.Errorf("after the sign-in the panel got %+v, want /rack?a=1 by ada without a cookie", s)
		}
		if home := b.Get("/"); home.Status != http.StatusOK || !strings.Contains(home.Body, `href="`+sharedHost+`/"`) {
			t.Errorf("the portal's first page: %s, want a link to the panel\n%s", portal.Summary(home), home.Body)
		}
		for _, link := range []string{"/settings/profile", "/settings/security", "/settings/sessions", "/settings/activity"} {
			if a := b.Get(link); a.Status != http.StatusOK || strings.Contains(a.Body, `="/settings`) || strings.Contains(a.Body, `="/static`) {
				t.Errorf("%s: %s, want 200 without links that leave /.sallyport\n%s", link, portal.Summary(a), a.Body)
			}
		}
		// Outside /.sallyport every path belongs to the panel.
		if s := panels.Received(t, b.Get(sharedHost+"/login")); s.URI != "/login" {
			t.Errorf("a request for /login reached the panel as %+v, want /login", s)
		}
		if a := p.Browser(t).Get("/healthz"); a.Status != http.StatusOK {
			t.Errorf("/healthz: status %d, want 200", a.Status)
		}

		session := b.Cookie("sallyport")
		b.Get(sharedHost + "/plants")
		if b.Cookie("sallyport") != session {
			t.Error("the panel replaced the session's cookie, want it unchanged")
		}
		b.Get(sharedHost + "/.sallyport/logout")
		if a := b.Post("/logout"); a.Location != "/login?notice=signed_out" {
			t.Errorf("the sign-out: %s, want a redirect to the sign-in", portal.Summary(a))
		}
		thief := htmlBrowser(t, p)
		thief.SetCookieAt(sharedHost, "sallyport", session)
		if a := thief.Get(sharedHost + "/"); a.Status != http.StatusSeeOther {
			t.Errorf("the session's cookie after the sign-out: %s, want a redirect to the sign-in", portal.Summary(a))
		}
	})
}

func TestSharedHostLeadsThroughTheWizard(t *testing.T) {
	onSharedHost(t, "    require: two_factor\n", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		panels.Navigate(b, sharedHost+"/rack?a=1")
		panels.SignInAtPage(t, b, "ada")
		if !strings.Contains(b.Last.Body, "Enable two-factor authentication") {
			t.Fatalf("the sign-in leads to %s, want the wizard\n%s", portal.Summary(b.Last), b.Last.Body)
		}
		enrollShared(t, p, b)
		b.Get("/settings/security")
		if s := panels.Received(t, b.Follow()); s.URI != "/rack?a=1" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("after the wizard the panel got %+v, want /rack?a=1 by ada", s)
		}
	})
}

// A request by a script of the panel carries the session's cookie and has the portal's own
// origin.
func TestPanelScriptsCannotChangeTheAccount(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		b.SignIn("ada")
		phone := enrollShared(t, p, b)
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0)); a.Status != http.StatusSeeOther {
			t.Fatalf("the reauthentication: %s, want a redirect", portal.Summary(a))
		}
		p.Clock.Move(30e9)
		before := portal.CountRows(t, p, "SELECT COUNT(*) FROM events")
		for _, route := range portal.Routes(t) {
			path := route.At(phone.ID)
			fetched := http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {sharedHost}, "Accept": {"text/html"}}
			framed := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}, "Sec-Fetch-Site": {"same-origin"}}
			for what, header := range map[string]http.Header{"fetched": fetched, "framed": framed} {
				if a := b.Do(route.Method, path, nil, header); a.Status != http.StatusForbidden {
					t.Errorf("%s %s, %s by a script: %s, want 403", route.Method, path, what, portal.Summary(a))
				}
			}
			if route.Method != http.MethodPost || route.Needs != "Fresh" || strings.HasSuffix(path, "/confirm") {
				continue
			}
			// A script can send a form too, but doesn't know the password or a code.
			if a := b.Post(path, "name", "<Mine>"); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/.sallyport`+path+`"`) ||
				!strings.Contains(a.Body, `name="name" value="&lt;Mine&gt;"`) {
				t.Errorf("%s without the password: %s, want the form again\n%s", path, portal.Summary(a), a.Body)
			}
			if a := b.Post(path, "password", portal.Password); a.Status != http.StatusOK || !strings.Contains(a.Body, `name="code"`) {
				t.Errorf("%s without a code: %s, want the form again\n%s", path, portal.Summary(a), a.Body)
			}
		}
		if n := portal.CountRows(t, p, "SELECT COUNT(*) FROM events"); n != before {
			t.Errorf("the scripts' requests wrote %d events, want none", n-before)
		}
		if a := b.Post("/settings/security/disable", "password", "wrong", "code", phone.Code(0)); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong password: %s, want 422", portal.Summary(a))
		}
		if a := b.Post("/settings/security/disable", "password", portal.Password, "code", portal.WrongCode(phone)); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("a wrong code: %s, want 422", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, "SELECT COUNT(*) FROM totp"); n != 1 {
			t.Errorf("%d authenticators are left, want 1", n)
		}
	})
}

func TestFormsOnASharedHostCarryTheirProof(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		b.SignIn("ada")
		phone := enrollShared(t, p, b)
		rename := "/settings/security/authenticators/" + phone.ID + "/rename"
		old := b.Cookie("sallyport")
		if a := b.Post(rename, "name", "Work", "password", portal.Password, "code", phone.Code(0)); a.Location != "/settings/security?notice=renamed" {
			t.Fatalf("rename with password and code: %s, want the notice renamed\n%s", portal.Summary(a), a.Body)
		}
		if lines := b.Last.Header["Set-Cookie"]; len(lines) != 1 || b.Cookie("sallyport") == old {
			t.Errorf("the proof in the form sets the cookies %v, want one new session cookie", lines)
		}
		if a := b.Get("/settings/security"); !strings.Contains(a.Body, "Work") {
			t.Errorf("the security page doesn't show the new name\n%s", portal.VisibleText(a.Body))
		}
		p.Clock.Move(30e9)
		// A backup code may replace the code; the form keeps its other fields.
		a := b.Post(rename, "name", "Car", "ask", "backup")
		if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="backup_code"`) || !strings.Contains(a.Body, `value="Car"`) {
			t.Errorf("ask to type a backup code: %s, want the form with a field for it and the name Car\n%s", portal.Summary(a), a.Body)
		}
		if a := b.Post(rename, "name", "Car", "password", portal.Password, "backup_code", phone.Codes[0]); a.Location != "/settings/security?notice=renamed" {
			t.Errorf("rename with a backup code: %s, want the notice renamed\n%s", portal.Summary(a), a.Body)
		}
		// The form for a new password already has a field for the current one.
		changed := "a new and much longer one"
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", changed); a.Status != http.StatusOK || !strings.Contains(a.Body, `name="code"`) {
			t.Errorf("a new password that was sent without a code: %s, want the form with a field for the code\n%s", portal.Summary(a), a.Body)
		}
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", changed, "code", phone.Code(0)); a.Location != "/settings/security?notice=password_changed" {
			t.Errorf("a new password with a code: %s, want the notice password_changed\n%s", portal.Summary(a), a.Body)
		}
		if lines := b.Last.Header["Set-Cookie"]; len(lines) != 1 || !b.SignedIn() {
			t.Errorf("the new password sets the cookies %v, want one session cookie that is signed in", lines)
		}
		if s := panels.Received(t, b.Get(sharedHost+"/")); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("after the changes the panel got %+v, want Remote-User ada", s)
		}
	})
}

func TestLinksOnASharedHostLeadToThePortal(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		link, err := p.SetupLink(t.Context())
		if at, ok := strings.CutPrefix(link, sharedHost+"/.sallyport"); err != nil || !ok {
			t.Errorf("the setup link is %s (error %v), want it below /.sallyport", link, err)
		} else if a := htmlBrowser(t, p).Get(at); a.Status != http.StatusOK || !strings.Contains(a.Body, `action="/.sallyport/setup"`) {
			t.Errorf("the setup page %s: %s, want 200 and a form that posts below /.sallyport\n%s", at, portal.Summary(a), a.Body)
		}
		// The portal redirects to no site but its panel.
		p.AddAccount(t, "ada")
		for _, back := range []string{"//evil.test", "https://evil.test", `/\evil.test`} {
			b := htmlBrowser(t, p)
			b.SignIn("ada")
			a := b.Get("/enter?" + url.Values{"panel": {sharedHost}, "return": {back}}.Encode())
			if a.Header.Get("Location") != sharedHost+"/" {
				t.Errorf("return %s leads to %s, want the panel", back, a.Header.Get("Location"))
			}
		}
	})
}

// A configuration that adds a panel to the portal's host, or takes it away, moves the portal's
// paths. That can't happen while requests are in flight, so a reload refuses it.
func TestReloadRefusesToMoveThePortal(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		for what, change := range map[string]func(*config.Config){
			"no shared host": func(c *config.Config) { c.SharedHost = false },
			"another host":   func(c *config.Config) { c.PublicURL.Host, c.Panels[0].URL.Host = "other.test", "other.test" },
		} {
			moved := p.Config
			moved.Panels = slices.Clone(moved.Panels)
			change(&moved)
			if err := p.Reload(moved, nil); err == nil || !strings.Contains(err.Error(), "restart the server") {
				t.Errorf("a reload with %s: %v, want an error that says to restart the server", what, err)
			}
		}
		if a := panels.Navigate(htmlBrowser(t, p), sharedHost+"/"); !strings.Contains(a.Body, `action="/.sallyport/login"`) {
			t.Errorf("after the refused reloads: %s, want the sign-in", portal.Summary(a))
		}
		if err := p.Reload(p.Config, nil); err != nil {
			t.Errorf("a reload of the same configuration: %v, want no error", err)
		}
	})
}
