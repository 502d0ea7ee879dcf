package web

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
)

// rendered returns the HTML of s.
func rendered(t *testing.T, v *page.Views, s sample) string {
	t.Helper()
	return renderedIn(t, v, v.Catalogue(), s)
}

// renderedIn returns the HTML of s with the sentences of c.
func renderedIn(t *testing.T, v *page.Views, c *locale.Catalogue, s sample) string {
	t.Helper()
	w := httptest.NewRecorder()
	if err := v.Render(&page.Request{W: w, Catalogue: c}, http.StatusUnprocessableEntity, s.name, s.data); err != nil {
		t.Fatalf("%s, %s: %v", s.name, s.state, err)
	}
	if got, want := w.Code, http.StatusUnprocessableEntity; got != want {
		t.Errorf("%s, %s: status %d, want %d", s.name, s.state, got, want)
	}
	if got, want := w.Header().Get("Content-Type"), "text/html; charset=utf-8"; got != want {
		t.Errorf("%s, %s: Content-Type %q, want %q", s.name, s.state, got, want)
	}
	return w.Body.String()
}

func testViews(t *testing.T, site string) *page.Views {
	t.Helper()
	v, err := page.NewViews(page.Options{SiteName: site, Base: "/", Templates: templates})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPagesAreWholeAndKeepTheContentSecurityPolicy(t *testing.T) {
	// Markup that style-src 'self' and script-src 'self' forbid, and sentences that the
	// catalogue doesn't have or whose gaps weren't filled.
	forbidden := regexp.MustCompile(`(?i)<style|<script>|<script [^>]*>[^<]|\sstyle=|\son[a-z]+=|javascript:|ZgotmplZ|⟦|\{[a-z_]+\}|%!`)
	hosts := regexp.MustCompile(`(src|action)="(https?:)?//|<link[^>]* href="(https?:)?//`) // a link to a panel makes no request
	id := regexp.MustCompile(`\sid="([^"]+)"`)
	refers := regexp.MustCompile(`\s(?:for|form|aria-describedby|aria-labelledby|data-copy)="([^"]+)"`)

	v := testViews(t, "Streaming panel")
	seen := make(map[string]bool)
	for _, s := range samples("ada") {
		seen[s.name] = true
		html := rendered(t, v, s)
		if found := forbidden.FindString(html); found != "" {
			t.Errorf("%s, %s: the page has %q, which its policy or the catalogue doesn't allow", s.name, s.state, found)
		}
		if found := hosts.FindString(html); found != "" {
			t.Errorf("%s, %s: the page makes a request to another host: %q", s.name, s.state, found)
		}
		if !strings.HasSuffix(strings.TrimSpace(html), "</html>") {
			t.Errorf("%s, %s: the page doesn't end with </html>", s.name, s.state)
		}
		if got := strings.Count(html, "<h1"); got != 1 {
			t.Errorf("%s, %s: %d main headings, want 1", s.name, s.state, got)
		}
		ids := make(map[string]bool)
		for _, m := range id.FindAllStringSubmatch(html, -1) {
			if ids[m[1]] {
				t.Errorf("%s, %s: two elements have the id %q", s.name, s.state, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range refers.FindAllStringSubmatch(html, -1) {
			for _, name := range strings.Fields(m[1]) {
				if !ids[name] {
					t.Errorf("%s, %s: no element has the id %q", s.name, s.state, name)
				}
			}
		}
		if strings.Count(html, " autofocus") > 1 {
			t.Errorf("%s, %s: more than one field has the attribute autofocus", s.name, s.state)
		}
	}
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, name := range append(files, "error.html") {
		if name := strings.TrimSuffix(path.Base(name), ".html"); !seen[name] {
			t.Errorf("the page %s has no sample", name)
		}
	}
}

func TestTitlesNameTheSiteOnce(t *testing.T) {
	v := testViews(t, "Streaming panel")
	title := regexp.MustCompile(`<title>(.*)</title>`)
	for _, s := range samples("ada") {
		found := title.FindStringSubmatch(rendered(t, v, s))
		if found == nil || strings.Count(found[1], "Streaming panel") != 1 || strings.HasPrefix(found[1], " ") {
			t.Errorf("%s, %s: title %q, want the site's name in it once", s.name, s.state, found)
		}
	}
}

func TestPagesEscapeWhatPeopleTyped(t *testing.T) {
	const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{site}`
	v := testViews(t, hostile)
	for _, s := range samples(hostile) {
		html := rendered(t, v, s)
		for _, bad := range []string{"<script>alert", "<img src=x", `"'>`} {
			if strings.Contains(html, bad) {
				t.Errorf("%s, %s: the page has the unescaped text %q", s.name, s.state, bad)
			}
		}
	}
}

func TestErrorsAreLinkedWithTheirField(t *testing.T) {
	v := testViews(t, "Streaming panel")
	field := regexp.MustCompile(`<(?:input|select)[^>]*aria-invalid="true"[^>]*>`)
	for _, s := range samples("ada") {
		html := rendered(t, v, s)
		if !strings.Contains(html, `id="error"`) {
			continue
		}
		fields := field.FindAllString(html, -1)
		if len(fields) == 0 {
			t.Errorf("%s, %s: the page has an error, but no field is marked as invalid", s.name, s.state)
		}
		for _, f := range fields {
			if !regexp.MustCompile(`aria-describedby="error[" ]`).MatchString(f) {
				t.Errorf("%s, %s: the invalid field doesn't refer to the error: %s", s.name, s.state, f)
			}
		}
	}
}

func TestFormsPostWhatTheHandlersRead(t *testing.T) {
	v := testViews(t, "Streaming panel")
	form := regexp.MustCompile(`(?s)<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>`)
	name := regexp.MustCompile(`<(?:input|select)[^>]*?\sname="([^"]*)"`)
	got := make(map[string]map[string]bool)
	for _, s := range samples("ada") {
		for _, f := range form.FindAllStringSubmatch(rendered(t, v, s), -1) {
			if got[f[1]] == nil {
				got[f[1]] = make(map[string]bool)
			}
			for _, n := range name.FindAllStringSubmatch(f[2], -1) {
				got[f[1]][n[1]] = true
			}
		}
	}
	const authenticators = "/settings/security/authenticators"
	for action, fields := range map[string]string{
		"/login":                                   "username password return",
		"/login/code":                              "code next_code return",
		"/login/backup-code":                       "backup_code return",
		"/login/new-password":                      "username new_password return",
		"/login/cancel":                            "",
		"/two-factor/later":                        "",
		"/forgot":                                  "username",
		"/unlock":                                  "ticket",
		"/unlock/ask":                              "username",
		"/unlock/code":                             "unlock_code",
		"/undo-email":                              "ticket email",
		"/settings/profile/email":                  "email",
		"/settings/profile/email/confirm":          "ticket",
		"/reset":                                   "ticket username new_password",
		"/logout":                                  "",
		"/.sallyport/logout":                       "",
		"/reauthenticate":                          "username password code next_code backup_code return",
		"/setup":                                   "ticket username email new_password",
		"/settings/profile":                        "display_name",
		authenticators:                             "",
		authenticators + "/a1/confirm":             "code name",
		authenticators + "/a1/cancel":              "",
		authenticators + "/a1/rename":              "name",
		authenticators + "/a2/rename":              "name",
		authenticators + "/a1/remove":              "",
		authenticators + "/a2/remove":              "",
		"/settings/security/backup-codes":          "replaces",
		"/settings/security/backup-codes/c1/saved": "",
		"/settings/security/disable":               "",
		"/settings/security/proven":                "username password code name",
		"/settings/security/password":              "username password new_password",
		"/settings/security/passes":                "name panel path methods addresses days",
		passesPath + "/p1/revoke":                  "",
		passesPath + "/p2/revoke":                  "",
		"/settings/sessions/s2/revoke":             "",
		"/settings/sessions/s3/revoke":             "",
		"/settings/sessions/revoke-others":         "",
		"/settings/sessions/let-in":                "",
		"/settings/devices/d1/forget":              "",
		"/settings/devices/d2/forget":              "",
		"/settings/devices/d3/forget":              "",
		"/settings/devices/forget-all":             "",
	} {
		for _, want := range strings.Fields(fields) {
			if !got[action][want] {
				t.Errorf("the form for %s has no field %s", action, want)
			}
			delete(got[action], want)
		}
		if _, ok := got[action]; !ok {
			t.Errorf("no page has a form for %s", action)
		}
		for extra := range got[action] {
			t.Errorf("the form for %s has the unknown field %s", action, extra)
		}
		delete(got, action)
	}
	for action := range got {
		t.Errorf("a page has a form for the unknown path %s", action)
	}
}

func TestAFaultyPageSendsNothing(t *testing.T) {
	v := testViews(t, "Streaming panel")
	for _, s := range []sample{{"code", "another page's data", &page.ErrorPage{}}, {"nowhere", "no template", &page.ErrorPage{}}} {
		w := httptest.NewRecorder()
		if err := v.Render(&page.Request{W: w, Catalogue: v.Catalogue()}, http.StatusOK, s.name, s.data); err == nil {
			t.Errorf("%s: render returns no error", s.state)
		}
		if w.Body.Len() != 0 || len(w.Header()) != 0 {
			t.Errorf("%s: render returns an error, but has written %q", s.state, w.Body)
		}
	}
}

// BenchmarkPages renders every sample page.
func BenchmarkPages(b *testing.B) {
	v, err := page.NewViews(page.Options{SiteName: "Streaming panel", Base: "/", Templates: templates})
	if err != nil {
		b.Fatal(err)
	}
	all := samples("ada")
	for b.Loop() {
		for _, s := range all {
			req := &page.Request{W: httptest.NewRecorder(), Catalogue: v.Catalogue()}
			if err := v.Render(req, http.StatusOK, s.name, s.data); err != nil {
				b.Fatal(err)
			}
		}
	}
}
