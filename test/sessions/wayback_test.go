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

// A person is back at the exact address after the sign-in, through the gateway and
// through each proxy: from the addresses on the way, from a cookie, or from what a script
// kept. Where nothing can hold it the page says so before the sign-in.
func TestLongAddressesComeBack(t *testing.T) {
	proxies.BehindProxies(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		for _, size := range []int{20, 700, 1400, 3500} {
			target := "/explore?left=" + strings.Repeat("query%20abc/", size)[:size-len("/explore?left=")]
			b := panels.Visit(t, p, "ada", panels.Radio+target)
			if s := panels.Received(t, b.Last); s.URI != target {
				t.Errorf("%d bytes: back at %.60s… (%d bytes)", size, s.URI, len(s.URI))
			}
		}
		b := p.Browser(t)
		long := panels.Radio + "/deep/explore?left=" + strings.Repeat("x", 7480)
		page := b.Do("GET", long, nil, panels.AsPerson())
		links := keepLink.FindStringSubmatch(page.Body)
		if page.Status != http.StatusUnauthorized || page.Header.Get("WWW-Authenticate") == "" || links == nil || !strings.Contains(portal.VisibleText(page.Body), "/deep/explore opens instead") {
			t.Fatalf("7,500 bytes: %s\n%s", portal.Summary(page), page.Body)
		}
		// Without the script the link leads to the folder; with it a page of ours on the
		// panel's host, which knows the whole address.
		for i, want := range map[int]string{1: panels.Radio + "/deep/explore", 2: panels.Radio + "/.sallyport/back/kept?"} {
			b := p.Browser(t)
			panels.Navigate(b, html.UnescapeString(links[i]))
			back := portal.FieldOf(b.Last.Body, "return")
			b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
			for b.Last.Location != "" && !strings.HasPrefix(b.Last.Location, want) {
				b.Get(b.Last.Location)
			}
			if b.Last.Location == "" {
				t.Errorf("7,500 bytes: link %d doesn't lead to %s: %s", i, want, portal.Summary(b.Last))
				continue
			}
			if a := b.Get(b.Last.Location); a.Status != http.StatusOK || i == 2 && !strings.Contains(a.Body, "data-back") {
				t.Errorf("7,500 bytes: link %d ends at %s", i, portal.Summary(a))
			}
		}
	})
}

// Each tab's address waits by itself.
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
			t.Errorf("tab %d is at %.40s…", i, s.URI)
		}
	}
	if a := p.Browser(t).Do("GET", panels.Radio+"/far/away?q="+strings.Repeat("x", 9000), nil, panels.AsPerson()); a.Status != http.StatusUnauthorized || !strings.Contains(portal.VisibleText(a.Body), "/far/away opens instead") {
		t.Errorf("9,000 bytes: %s", portal.Summary(a))
	}
}

// A page of sign-in that was left open outlives the cookie that marks the browser. Only
// who comes back without one twice keeps no cookies.
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
		t.Errorf("back at %s", s.URI)
	}
	// Cookies of the panel's host that are never kept.
	b = p.Browser(t)
	panels.Navigate(b, panels.Radio+"/page?x=1")
	back = portal.FieldOf(b.Last.Body, "return")
	b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
	for hops := 0; b.Last.Location != ""; hops++ {
		if hops > 15 {
			t.Fatal("it goes round for ever")
		}
		b.SetCookieAt(panels.Radio, "sallyport-state", "")
		b.Get(b.Last.Location)
	}
	if b.Last.Status != http.StatusBadRequest || !strings.Contains(portal.VisibleText(b.Last.Body), "is blocking cookies") {
		t.Errorf("without cookies: %s\n%s", portal.Summary(b.Last), portal.VisibleText(b.Last.Body))
	}
}

// Who lost the way in the wizard is led on after its full time, and some more for the
// backup codes.
func TestAWizardMayTakeItsFullTime(t *testing.T) {
	t.Parallel()
	p := panels.Guarded(t, http.HandlerFunc(panels.AnswerWithRequest), "    require: two_factor")
	p.AddAccount(t, "ada")
	b := panels.Visit(t, p, "ada", panels.Radio+"/page")
	if b.Cookie("sallyport-return") == "" {
		t.Fatal("no way back is kept")
	}
	b.SetCookieAt(panels.Radio, "sallyport-state", "")
	b.Enroll("Phone")
	b.Get("/settings/security")
	if s := panels.Received(t, b.Follow()); s.URI != "/page" {
		t.Errorf("after the wizard: %s", s.URI)
	}
}

// A form that is sent twice, and a second tab, end where each of them began.
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
		t.Fatalf("the tabs lead to %q and %q", first, second)
	}
	code := phone.Code(0)
	b.Post("/login/code", "code", code, "return", first)
	if s := panels.Received(t, b.Follow()); s.URI != "/one" {
		t.Errorf("the first tab is at %s", s.URI)
	}
	for name, test := range map[string]struct{ path, field, back, want string }{
		"the same form again": {"/login/code", "code", first, "/one"}, "the second tab's": {"/login/code", "code", second, "/two"},
		"a backup code": {"/login/backup-code", "backup_code", second, "/two"}, "a new password": {"/login/new-password", "new_password", second, "/two"},
	} {
		b.Post(test.path, test.field, code, "return", test.back)
		if s := panels.Received(t, b.Follow()); s.URI != test.want {
			t.Errorf("%s: at %s", name, s.URI)
		}
	}
	// Nobody is led elsewhere by it, and a stranger isn't led at all.
	if a := b.Post("/login/code", "code", code, "return", "//evil.test/"); a.Location != "/" {
		t.Errorf("a forged way back: %s", portal.Summary(a))
	}
	if a := p.Browser(t).Post("/login/code", "code", code, "return", first); !strings.HasPrefix(a.Location, "/login?notice=expired") {
		t.Errorf("a stranger: %s", portal.Summary(a))
	}
}

// Blocked cookies are told apart from a sign-in that took too long.
func TestBlockedCookiesAreSaid(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	_, _ = portal.WithTwoFactor(t, p, "bob")
	// A browser that keeps nothing, and says where it comes from.
	blocked := func(path string) portal.Answer {
		return p.Browser(t).Do("GET", path, nil, http.Header{"Referer": {p.Base + "/login?return=%2F"}, "Accept": {"text/html"}})
	}
	for _, path := range []string{"/", "/login/code", "/settings/security", "/continue?return=/enter"} {
		if a := blocked(path); a.Status != http.StatusBadRequest || !strings.Contains(portal.VisibleText(a.Body), "is blocking cookies") {
			t.Errorf("%s: %s", path, portal.Summary(a))
		}
	}
	// One that keeps them, whose sign-in has expired.
	b := p.Browser(t)
	b.Get("/login")
	if a := b.Do("GET", "/login/code", nil, http.Header{"Referer": {p.Base + "/login"}}); !strings.HasPrefix(a.Location, "/login?notice=expired") {
		t.Errorf("an expired sign-in: %s", portal.Summary(a))
	}
	if a := b.Do("GET", "/", nil, http.Header{"Referer": {p.Base + "/login"}}); !strings.HasPrefix(a.Location, "/login?return=") {
		t.Errorf("a click on the name above the form: %s", portal.Summary(a))
	}
}
