package sessions

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

var keepLink = regexp.MustCompile(`href="([^"]*)" data-keep="([^"]*)"`)

// TestLongAddressesComeBack checks that a user returns to the exact URL after the sign-in,
// through the gateway and through each proxy. The URL is kept in the URLs of the sign-in, in a
// cookie, or by a script. If it is too long for all of them, the page says so before the sign-in.
func TestLongAddressesComeBack(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		for _, size := range []int{20, 700, 1400, 3500} {
			target := "/explore?left=" + strings.Repeat("query%20abc/", size)[:size-len("/explore?left=")]
			b := panels.Visit(t, p, "ada", panels.Radio+target)
			if s := panels.Received(t, b.Last); s.URI != target {
				t.Errorf("sign-in for a URL of %d bytes: it ends at %.60s… (%d bytes), want the same URL", size, s.URI, len(s.URI))
			}
		}
		b := p.Browser(t)
		long := panels.Radio + "/deep/explore?left=" + strings.Repeat("x", 7480)
		page := b.Do("GET", long, nil, panels.NavigationHeaders())
		links := keepLink.FindStringSubmatch(page.Body)
		if page.Status != http.StatusUnauthorized || page.Header.Get("WWW-Authenticate") == "" || links == nil || !strings.Contains(portal.VisibleText(page.Body), "/deep/explore opens instead") {
			t.Fatalf("request for a URL of 7,500 bytes: %s, want 401 and a page that says what opens instead:\n%s", portal.Summary(page), page.Body)
		}
		// Without the script the link leads to the URL's folder. With it, the link leads to a
		// page of the portal on the panel's host, which knows the whole URL.
		for i, want := range map[int]string{1: panels.Radio + "/deep/explore", 2: panels.Radio + "/.sallyport/back/kept?"} {
			b := p.Browser(t)
			panels.Navigate(b, html.UnescapeString(links[i]))
			back := portal.FieldOf(b.Last.Body, "return")
			b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
			for b.Last.Location != "" && !strings.HasPrefix(b.Last.Location, want) {
				b.Get(b.Last.Location)
			}
			if b.Last.Location == "" {
				t.Errorf("sign-in for a URL of 7,500 bytes: link %d doesn't lead to %s: %s", i, want, portal.Summary(b.Last))
				continue
			}
			if a := b.Get(b.Last.Location); a.Status != http.StatusOK || i == 2 && !strings.Contains(a.Body, "data-back") {
				t.Errorf("sign-in for a URL of 7,500 bytes: link %d ends at %s, want 200 and the right page", i, portal.Summary(a))
			}
		}
	})
}

// TestTwoTabsWithLongAddresses checks that the URLs of two tabs are kept separately.
func TestTwoTabsWithLongAddresses(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest))
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	var backs []string
	targets := []string{"/one?q=" + strings.Repeat("1", 1000), "/two?q=" + strings.Repeat("2", 1000)}
	for _, target := range targets {
		panels.Navigate(b, panels.Radio+target)
		backs = append(backs, portal.FieldOf(b.Last.Body, "return"))
	}
	for i, target := range targets {
		b.Post("/login", "username", "ada", "password", portal.Password, "return", backs[i])
		if s := panels.Received(t, b.Follow()); s.URI != target {
			t.Errorf("the sign-in in tab %d ends at %.40s…, want the URL of that tab", i, s.URI)
		}
	}
	if a := p.Browser(t).Do("GET", panels.Radio+"/far/away?q="+strings.Repeat("x", 9000), nil, panels.NavigationHeaders()); a.Status != http.StatusUnauthorized || !strings.Contains(portal.VisibleText(a.Body), "/far/away opens instead") {
		t.Errorf("request for a URL of 9,000 bytes: %s, want 401 and a page that says what opens instead", portal.Summary(a))
	}
}

// TestASignInMayTakeLongerThanItsCookie checks a sign-in that takes longer than the lifetime of
// the cookie on the panel's host. Only a browser that returns without this cookie twice gets the
// page that says that it blocks cookies.
func TestASignInMayTakeLongerThanItsCookie(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest))
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	panels.Navigate(b, panels.Radio+"/page?x=1")
	back := portal.FieldOf(b.Last.Body, "return")
	b.SetCookieAt(panels.Radio, "sallyport-state", "")
	b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
	if s := panels.Received(t, b.Follow()); s.URI != "/page?x=1" {
		t.Errorf("the sign-in ends at %s, want /page?x=1", s.URI)
	}
	// A browser that keeps no cookies of the panel's host.
	b = p.Browser(t)
	panels.Navigate(b, panels.Radio+"/page?x=1")
	back = portal.FieldOf(b.Last.Body, "return")
	b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
	for hops := 0; b.Last.Location != ""; hops++ {
		if hops > 15 {
			t.Fatal("more than 15 redirects without cookies, want an error page")
		}
		b.SetCookieAt(panels.Radio, "sallyport-state", "")
		b.Get(b.Last.Location)
	}
	if b.Last.Status != http.StatusBadRequest || !strings.Contains(portal.VisibleText(b.Last.Body), "is blocking cookies") {
		t.Errorf("sign-in without cookies: %s, want 400 and a page that says so:\n%s", portal.Summary(b.Last), portal.VisibleText(b.Last.Body))
	}
}

// TestAWizardMayTakeItsFullTime checks that a user who had to enroll on the way to a panel is sent
// to the panel afterwards, even after leaving the page, for as long as the wizard and the page with
// backup codes may take.
func TestAWizardMayTakeItsFullTime(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "    require: two_factor")
	p.AddAccount(t, "ada")
	b := panels.Visit(t, p, "ada", panels.Radio+"/page")
	if b.Cookie("sallyport-return") == "" {
		t.Fatal("the portal set no sallyport-return cookie")
	}
	b.SetCookieAt(panels.Radio, "sallyport-state", "")
	b.Enroll("Phone")
	b.Get("/settings/security")
	if s := panels.Received(t, b.Follow()); s.URI != "/page" {
		t.Errorf("the redirects after the wizard end at %s, want /page", s.URI)
	}
}

// TestEachTabComesBackToItsOwnPage checks that a form that is submitted twice, and forms in two
// tabs, lead back to the page that each of them was for.
func TestEachTabComesBackToItsOwnPage(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest))
	_, phone := portal.WithTwoFactor(t, p, "ada")
	b := p.Browser(t)
	tab := func(page string) (back string) {
		panels.Navigate(b, panels.Radio+page)
		b.Post("/login", "username", "ada", "password", portal.Password, "return", portal.FieldOf(b.Last.Body, "return"))
		b.Follow()
		return portal.FieldOf(b.Last.Body, "return")
	}
	first := tab("/one")
	second := tab("/two")
	if first == second || first == "" {
		t.Fatalf("the tabs have the return URLs %q and %q, want two different ones", first, second)
	}
	code := phone.Code(0)
	b.Post("/login/code", "code", code, "return", first)
	if s := panels.Received(t, b.Follow()); s.URI != "/one" {
		t.Errorf("the sign-in in the first tab ends at %s, want /one", s.URI)
	}
	for name, test := range map[string]struct{ path, field, back, want string }{
		"the same form a second time": {"/login/code", "code", first, "/one"}, "the form of the second tab": {"/login/code", "code", second, "/two"},
		"a backup code": {"/login/backup-code", "backup_code", second, "/two"}, "a new password": {"/login/new-password", "new_password", second, "/two"},
	} {
		b.Post(test.path, test.field, code, "return", test.back)
		if s := panels.Received(t, b.Follow()); s.URI != test.want {
			t.Errorf("%s: it ends at %s, want %s", name, s.URI, test.want)
		}
	}
	// The form leads to no other site, and without a session to no page at all.
	if a := b.Post("/login/code", "code", code, "return", "//evil.test/"); a.Location != "/" {
		t.Errorf("form with a forged return URL: %s, want /", portal.Summary(a))
	}
	if a := p.Browser(t).Post("/login/code", "code", code, "return", first); !strings.HasPrefix(a.Location, "/login?notice=expired") {
		t.Errorf("form in a browser without a session: %s, want the notice expired", portal.Summary(a))
	}
}

// TestThePagesSayThatCookiesAreBlocked checks that blocked cookies and an expired attempt get
// different answers.
func TestThePagesSayThatCookiesAreBlocked(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	_, _ = portal.WithTwoFactor(t, p, "bob")
	// A browser that keeps no cookies, and sends a Referer header.
	blocked := func(path string) portal.Answer {
		return p.Browser(t).Do("GET", path, nil, http.Header{"Referer": {p.Base + "/login?return=%2F"}, "Accept": {"text/html"}})
	}
	for _, path := range []string{"/", "/login/code", "/settings/security", "/continue?return=/enter"} {
		if a := blocked(path); a.Status != http.StatusBadRequest || !strings.Contains(portal.VisibleText(a.Body), "is blocking cookies") {
			t.Errorf("GET %s without cookies: %s, want 400 and a page that says that cookies are blocked", path, portal.Summary(a))
		}
	}
	// A browser that keeps cookies, with an expired attempt.
	b := p.Browser(t)
	b.Get("/login")
	if a := b.Do("GET", "/login/code", nil, http.Header{"Referer": {p.Base + "/login"}}); !strings.HasPrefix(a.Location, "/login?notice=expired") {
		t.Errorf("code page without an attempt: %s, want the notice expired", portal.Summary(a))
	}
	if a := b.Do("GET", "/", nil, http.Header{"Referer": {p.Base + "/login"}}); !strings.HasPrefix(a.Location, "/login?return=") {
		t.Errorf("click on the site's name above the form: %s, want /login", portal.Summary(a))
	}
}
