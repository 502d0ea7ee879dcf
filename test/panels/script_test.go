package panels

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// maxSessionScript is the largest size of the session script in bytes: every page of a
// panel that includes the script loads it.
const maxSessionScript = 4 << 10

func TestSessionScriptIsSmallAndCacheable(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		a := p.Browser(t).Get(panels.Radio + "/.sallyport/session.js")
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || len(a.Body) > maxSessionScript {
			t.Fatalf("session.js: status %d, type %s, %d bytes; want 200, JavaScript and at most %d bytes", a.Status, a.Header.Get("Content-Type"), len(a.Body), maxSessionScript)
		}
		for _, want := range []string{"Sign in again", `"lang":"en"`} {
			if !strings.Contains(a.Body, want) {
				t.Errorf("the script lacks %s", want)
			}
		}
		if strings.Contains(a.Body, "⟦") {
			t.Error("the script uses a message that the catalogue lacks")
		}
		tag := a.Header.Get("ETag")
		if a.Header.Get("Cache-Control") != "max-age=3600" || tag == "" || len(a.Header["Set-Cookie"]) != 0 {
			t.Errorf("a browser can't cache the script: %v", a.Header)
		}
		again := p.Browser(t).Do(http.MethodGet, panels.Radio+"/.sallyport/session.js", nil, http.Header{"If-None-Match": {tag}})
		if again.Status != http.StatusNotModified || again.Body != "" {
			t.Errorf("a request with the script's ETag: status %d, %d bytes; want 304 without a body", again.Status, len(again.Body))
		}
	})
}

// checkVisit asks the gate whether the browser's visit opens a path. With status 401 it
// also returns the URL to sign in at.
func checkVisit(t *testing.T, b *portal.Browser, path string) (status int, login string) {
	t.Helper()
	a := b.Get(panels.Radio + "/.sallyport/session?" + url.Values{"for": {path}}.Encode())
	if a.Header.Get("Cache-Control") != "no-store" || len(a.Header["Set-Cookie"]) != 0 || a.Location != "" {
		t.Errorf("the check of %s: want an answer that isn't cached, sets no cookie and doesn't redirect; got %v", path, a.Header)
	}
	if a.Status == http.StatusUnauthorized {
		var body struct{ Login string }
		if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
			t.Errorf("the check of %s: the answer isn't JSON: %v\n%s", path, err, a.Body)
		}
		return a.Status, body.Login
	}
	return a.Status, ""
}

func TestSessionCheckAnswersForTheGivenPath(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := p.Browser(t)
		if status, _ := checkVisit(t, b, "/status/x"); status != http.StatusNoContent {
			t.Errorf("the check of an open path: status %d, want 204", status)
		}
		status, start := checkVisit(t, b, "/list")
		if status != http.StatusUnauthorized || !strings.HasPrefix(start, panels.Radio+"/.sallyport/start?return=") {
			t.Fatalf("the check without a visit: %d %s, want 401 with the sign-in", status, start)
		}
		panels.Navigate(b, start)
		panels.SignInAtPage(t, b, "bob")
		if a := b.Last; a.Status != http.StatusOK || !strings.Contains(a.Body, "close this tab") || !strings.Contains(a.Body, "/.sallyport/session.js") {
			t.Fatalf("the sign-in ends with status %d, want the page that says to close the tab\n%s", a.Status, a.Body)
		}
		for path, want := range map[string]int{"/list": 204, "/vault/x": 204, "/ops/": 403, "/ops/..%2fx": 403} {
			if status, _ := checkVisit(t, b, path); status != want {
				t.Errorf("the check of %s: status %d, want %d", path, status, want)
			}
		}
		// A path with a stricter rule leads to a reauthentication, though other paths are open.
		p.Clock.Move(2 * time.Hour)
		if status, _ := checkVisit(t, b, "/list"); status != http.StatusNoContent {
			t.Errorf("the check of /list two hours later: status %d, want 204", status)
		}
		status, start = checkVisit(t, b, "/vault/x")
		if a := panels.Navigate(b, start); status != http.StatusUnauthorized || !strings.Contains(a.Body, `action="/reauthenticate"`) {
			t.Fatalf("the check of /vault/x with an old proof: status %d, and its sign-in has status %d; want 401 and a reauthentication\n%s", status, a.Status, a.Body)
		}
		b.Post("/reauthenticate", "password", portal.Password, "return", portal.FieldOf(b.Last.Body, "return"))
		if a := b.Follow(); a.Status != http.StatusOK || !strings.Contains(a.Body, "close this tab") {
			t.Fatalf("the reauthentication ends with status %d, want the page that says to close the tab\n%s", a.Status, a.Body)
		}
		if status, _ := checkVisit(t, b, "/vault/x"); status != http.StatusNoContent {
			t.Errorf("the check of /vault/x after the reauthentication: status %d, want 204", status)
		}
		// The page requires a visit, and the check answers only GET.
		if a := p.Browser(t).Get(panels.Radio + "/.sallyport/signed-in?for=/list"); a.Status != http.StatusSeeOther || a.Location != startFor("/list") {
			t.Errorf("the signed-in page without a visit: %d %s, want a redirect to the sign-in", a.Status, a.Location)
		}
		if a := b.Post(panels.Radio + "/.sallyport/session"); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
			t.Errorf("a check by POST: status %d, want 404 or 405", a.Status)
		}
	})
}

// startFor returns the URL of a sign-in that ends at the signed-in page for a path.
func startFor(path string) string {
	back := "/.sallyport/signed-in?" + url.Values{"for": {path}}.Encode()
	return panels.Radio + "/.sallyport/start?" + url.Values{"return": {back}}.Encode()
}

// Neither the check nor the page leads to another site (attack 99).
func TestAttack99SignedInPageLinksNowhereElse(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		for _, bad := range []string{"//evil.test/", "https://evil.test/", `/\evil.test`, "javascript:alert(1)", "", "/" + strings.Repeat("x", 3000), "/.sallyport/signed-in?for=https://evil.test"} {
			query := "?" + url.Values{"for": {bad}}.Encode()
			if a := b.Get(panels.Radio + "/.sallyport/signed-in" + query); a.Status != http.StatusOK || strings.Contains(a.Body, "evil") || strings.Contains(a.Body, "javascript:") {
				t.Errorf("the signed-in page for %q: %d %s, want a page without that address\n%s", bad, a.Status, a.Location, a.Body)
			}
			stranger := p.Browser(t)
			if a := stranger.Get(panels.Radio + "/.sallyport/signed-in" + query); !strings.HasPrefix(a.Location, panels.Radio+"/.sallyport/start?") {
				t.Errorf("the signed-in page for %q redirects a stranger to %s, want the sign-in", bad, a.Location)
			}
			if status, login := checkVisit(t, stranger, bad); status != http.StatusUnauthorized || !strings.HasPrefix(login, panels.Radio+"/.sallyport/start?") {
				t.Errorf("the check of %q by a stranger: %d %s, want 401 with the sign-in", bad, status, login)
			}
		}
	})
}
