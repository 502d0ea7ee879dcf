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

// maxSessionScript: whoever adds the script to a panel adds that much to it.
const maxSessionScript = 4 << 10

func TestSessionScriptIsSmallAndKept(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		a := p.Browser(t).Get(panels.Radio + "/.sallyport/session.js")
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || len(a.Body) > maxSessionScript {
			t.Fatalf("%d %s, %d bytes", a.Status, a.Header.Get("Content-Type"), len(a.Body))
		}
		for _, want := range []string{"Sign in again", `"lang":"en"`} {
			if !strings.Contains(a.Body, want) {
				t.Errorf("the script lacks %s", want)
			}
		}
		if strings.Contains(a.Body, "⟦") {
			t.Error("the script has a sentence that the catalogue doesn't")
		}
		tag := a.Header.Get("ETag")
		if a.Header.Get("Cache-Control") != "max-age=3600" || tag == "" || len(a.Header["Set-Cookie"]) != 0 {
			t.Errorf("the script can't be kept: %v", a.Header)
		}
		again := p.Browser(t).Do(http.MethodGet, panels.Radio+"/.sallyport/session.js", nil, http.Header{"If-None-Match": {tag}})
		if again.Status != http.StatusNotModified || again.Body != "" {
			t.Errorf("the same script again: %d, %d bytes", again.Status, len(again.Body))
		}
	})
}

// checkVisit asks whether the visit opens a path, and returns where to sign in.
func checkVisit(t *testing.T, b *portal.Browser, path string) (status int, login string) {
	t.Helper()
	a := b.Get(panels.Radio + "/.sallyport/session?" + url.Values{"for": {path}}.Encode())
	if a.Header.Get("Cache-Control") != "no-store" || len(a.Header["Set-Cookie"]) != 0 || a.Location != "" {
		t.Errorf("%s: %v", path, a.Header)
	}
	if a.Status == http.StatusUnauthorized {
		var body struct{ Login string }
		if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
			t.Errorf("%s: %v\n%s", path, err, a.Body)
		}
		return a.Status, body.Login
	}
	return a.Status, ""
}

func TestSignInInAnotherTabIsForThePathThatWaits(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := p.Browser(t)
		if status, _ := checkVisit(t, b, "/status/x"); status != http.StatusNoContent {
			t.Errorf("an open path: %d", status)
		}
		status, start := checkVisit(t, b, "/list")
		if status != http.StatusUnauthorized || !strings.HasPrefix(start, panels.Radio+"/.sallyport/start?return=") {
			t.Fatalf("a stranger: %d %s", status, start)
		}
		panels.Navigate(b, start)
		panels.SignInHere(t, b, "bob")
		if a := b.Last; a.Status != http.StatusOK || !strings.Contains(a.Body, "close this tab") || !strings.Contains(a.Body, "/.sallyport/session.js") {
			t.Fatalf("the sign-in ends at %d\n%s", a.Status, a.Body)
		}
		for path, want := range map[string]int{"/list": 204, "/vault/x": 204, "/ops/": 403, "/ops/..%2fx": 403} {
			if status, _ := checkVisit(t, b, path); status != want {
				t.Errorf("%s: %d, want %d", path, status, want)
			}
		}
		// What asks for more proves more there, though the page itself is open.
		p.Clock.Move(2 * time.Hour)
		if status, _ := checkVisit(t, b, "/list"); status != http.StatusNoContent {
			t.Errorf("two hours later: %d", status)
		}
		status, start = checkVisit(t, b, "/vault/x")
		if a := panels.Navigate(b, start); status != http.StatusUnauthorized || !strings.Contains(a.Body, `action="/reauthenticate"`) {
			t.Fatalf("an old proof: %d leads to %d\n%s", status, a.Status, a.Body)
		}
		b.Post("/reauthenticate", "password", portal.Password, "return", portal.FieldOf(b.Last.Body, "return"))
		if a := b.Follow(); a.Status != http.StatusOK || !strings.Contains(a.Body, "close this tab") {
			t.Fatalf("after the proof: %d\n%s", a.Status, a.Body)
		}
		if status, _ := checkVisit(t, b, "/vault/x"); status != http.StatusNoContent {
			t.Errorf("after the proof: %d", status)
		}
		// Nobody is led to the page without a visit, or by a question from afar.
		if a := p.Browser(t).Get(panels.Radio + "/.sallyport/signed-in?for=/list"); a.Status != http.StatusSeeOther || a.Location != startFor("/list") {
			t.Errorf("a stranger at the page: %d %s", a.Status, a.Location)
		}
		if a := b.Post(panels.Radio + "/.sallyport/session"); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", a.Status)
		}
	})
}

// startFor is where a sign-in begins that ends at the page for a path.
func startFor(path string) string {
	back := "/.sallyport/signed-in?" + url.Values{"for": {path}}.Encode()
	return panels.Radio + "/.sallyport/start?" + url.Values{"return": {back}}.Encode()
}

// Attack 99: neither the question nor the page leads elsewhere.
func TestAttack99SignedInPageStaysHere(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		for _, bad := range []string{"//evil.test/", "https://evil.test/", `/\evil.test`, "javascript:alert(1)", "", "/" + strings.Repeat("x", 3000), "/.sallyport/signed-in?for=https://evil.test"} {
			query := "?" + url.Values{"for": {bad}}.Encode()
			if a := b.Get(panels.Radio + "/.sallyport/signed-in" + query); a.Status != http.StatusOK || strings.Contains(a.Body, "evil") || strings.Contains(a.Body, "javascript:") {
				t.Errorf("%q: %d %s\n%s", bad, a.Status, a.Location, a.Body)
			}
			stranger := p.Browser(t)
			if a := stranger.Get(panels.Radio + "/.sallyport/signed-in" + query); !strings.HasPrefix(a.Location, panels.Radio+"/.sallyport/start?") {
				t.Errorf("%q: a stranger is led to %s", bad, a.Location)
			}
			if status, login := checkVisit(t, stranger, bad); status != http.StatusUnauthorized || !strings.HasPrefix(login, panels.Radio+"/.sallyport/start?") {
				t.Errorf("%q: %d %s", bad, status, login)
			}
		}
	})
}
