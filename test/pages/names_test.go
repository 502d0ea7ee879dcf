package pages

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// radioName is a name that would be markup if a page didn't escape it.
const radioName = `Radio <b>"1"</b> & more`

func TestPagesNameTheirPanel(t *testing.T) {
	panel := panels.StartPanel(t, "radio")
	file := panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
panels:
  - url: %s
    name: '%s'
    upstream: %s
    rules:
      - {path: /ops/, require: session, groups: [ops]}
      - {path: /vault/, require: session, max_age: 1h}
      - {path: /open/, require: nothing}
      - {path: /two/, require: two_factor}
  - url: %s
    name: Video
    upstream: http://%s
`, panels.PortalAt, panels.Radio, radioName, panel.URL, panels.Video, testkit.FreeAddress(t)))
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		says := func(when string, a portal.Answer, status int, sentences ...string) {
			t.Helper()
			if strings.Contains(a.Body, "<b>") {
				t.Errorf("%s: the page contains the panel's name as markup\n%s", when, a.Body)
			}
			for _, sentence := range sentences {
				if a.Status != status || !strings.Contains(html.UnescapeString(a.Body), sentence) {
					t.Errorf("%s: status %d, want %d and %q\n%s", when, a.Status, status, sentence, a.Body)
				}
			}
		}
		framed := b.Do(http.MethodGet, panels.Radio+"/x", nil, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"iframe"}})
		says("in a frame", framed, http.StatusUnauthorized, "Sign in to "+radioName)
		says("the sign-in", panels.Navigate(b, panels.Radio+"/x"), http.StatusOK, "<h1>Sign in to "+radioName+"</h1>", "with your Sallyport account")
		back := portal.FieldOf(b.Last.Body, "return")
		says("a wrong password", b.Post("/login", "username", "ada", "password", "nope", "return", back), http.StatusUnprocessableEntity, "Sign in to "+radioName)
		b.Post("/login", "username", "ada", "password", portal.Password, "return", back)
		says("the page after the sign-in", b.Get(b.Last.Location), http.StatusOK, radioName+" opens in a moment.")
		panels.Received(t, panels.Navigate(b, panels.Radio+"/x"))

		says("the start page", b.Get("/"), http.StatusOK, "<bdi>"+radioName+"</bdi></span></a>", "<bdi>Video</bdi></span></a>")
		says("the form for a new pass", b.Get("/settings/security/passes/new"), http.StatusOK, `value="`+panels.Radio+`" dir="auto">`+radioName+" ("+panels.Radio+")", "Video ("+panels.Video+")")
		says("the page that shows a pass", b.Post("/settings/security/passes", "name", "backup", "panel", panels.Radio, "path", "/api/", "methods", "GET", "addresses", "", "days", "7"),
			http.StatusOK, radioName+" ("+panels.Radio+"/api/)")
		says("the list of passes", b.Get("/settings/security"), http.StatusOK, radioName+" ("+panels.Radio+"/api/)")
		says("the sign-out at the panel", panels.Navigate(b, panels.Radio+"/.sallyport/logout"), http.StatusOK, "This signs you out of "+radioName)

		says("a path for a group without the account", panels.Navigate(b, panels.Radio+"/ops/"), http.StatusForbidden, "You don’t have access to "+radioName, "You’re signed in as ada.", `action="/.sallyport/logout"`)
		other := p.Browser(t)
		other.SignIn("ada")
		says("a path for a group, without a session at the panel", panels.Navigate(other, panels.Radio+"/ops/"), http.StatusForbidden, "You don’t have access to "+radioName, "You’re signed in as ada.", `action="/logout"`)
		says("a panel that is down", panels.Navigate(b, panels.Video+"/a?b=c"), http.StatusBadGateway, "Video isn’t responding", `href="`+panels.Video+`/a?b=c"`, `href="`+panels.PortalAt+`/"`)
		says("a form to a panel that is down", b.Do(http.MethodPost, panels.Video+"/a?b=c", strings.NewReader(""), http.Header{"Sec-Fetch-Mode": {"navigate"}, "Origin": {panels.Video}}),
			http.StatusBadGateway, "Video isn’t responding", `href="`+panels.Video+`/"`)

		says("a path that requires a second factor", panels.Navigate(b, panels.Radio+"/two/"), http.StatusOK, radioName+" requires two-factor authentication. Set it up here, and you’ll be taken there.")
		if !strings.Contains(b.Last.Body, "<h1>Enable two-factor authentication</h1>") {
			t.Errorf("a path that requires a second factor doesn't lead to the wizard:\n%s", b.Last.Body)
		}

		p.Clock.Move(2 * time.Hour)
		says("a path that requires a newer sign-in", panels.Navigate(b, panels.Radio+"/vault/"), http.StatusOK, "Sign in again for "+radioName, radioName+" requires a more recent sign-in than yours. You’re signed in as ada.")
		says("a change that requires a newer sign-in", b.Get("/reauthenticate?return=/settings/security"), http.StatusOK, "Confirm that it’s you")
	}, "SALLYPORT_CONFIG="+file)
}

// The sign-in page takes a panel's name from the configuration, never from a link.
func TestLinkCannotNameAPanel(t *testing.T) {
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\npanels:\n  - {url: %s, name: Grafana, upstream: 'http://127.0.0.1:9'}\n", panels.PortalAt, panels.Radio))
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
	b := p.Browser(t)
	at := func(panel string) string { return "/enter?" + url.Values{"panel": {panel}, "return": {"/"}}.Encode() }
	for back, want := range map[string]string{
		at(panels.Radio):                       "Grafana",
		"https://evil.test" + at(panels.Radio): "Sallyport", // it isn't a path, so the sign-in leads to the portal
		at("Grafana"):                          "Sallyport",
		at("http://evil.test"):                 "Sallyport",
		at(panels.Radio + "/"):                 "Sallyport",
		at(panels.Radio + ".evil.test"):        "Sallyport",
		at("http://<b>evil"):                   "Sallyport",
		"/enter?name=evil&panel=":              "Sallyport",
		"/settings?panel=" + panels.Radio:      "Sallyport",
		"//evil.test" + at(panels.Radio):       "Sallyport",
		`/\evil.test` + at(panels.Radio):       "Sallyport",
		"/login" + at(panels.Radio)[6:]:        "Sallyport",
	} {
		a := b.Get("/login?" + url.Values{"return": {back}, "panel": {"evil"}, "name": {"evil"}}.Encode())
		if !strings.Contains(a.Body, "<h1>Sign in to "+want+"</h1>") {
			t.Errorf("the sign-in with return %s: want the name %s\n%s", back, want, a.Body)
		}
	}
}

func TestSignInAndErrorPagesShowTheContact(t *testing.T) {
	for contact, link := range map[string]string{
		"help@example.com":                      `href="mailto:help@example.com"><bdi>help@example.com</bdi></a>`,
		"a?subject=b&c@example.com":             `href="mailto:a%3Fsubject=b&c@example.com"><bdi>a?subject=b&c@example.com</bdi></a>`,
		"https://chat.example.com/?a=<b>&c='d'": `href="https://chat.example.com/?a=%3cb%3e&c=%27d%27"><bdi>https://chat.example.com/?a=<b>&c='d'</bdi></a>`,
	} {
		file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\noperator_contact: %q\npanels: [{url: %s, upstream: 'http://127.0.0.1:9'}]\n", panels.PortalAt, contact, panels.Radio))
		p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
		b := p.Browser(t)
		for _, page := range []string{"/login", "/nowhere", "/setup?ticket=none", panels.Radio + "/.sallyport/nowhere", panels.Radio + "/.sallyport/logout"} {
			a := b.Get(page)
			if !strings.Contains(html.UnescapeString(a.Body), link) || strings.Contains(a.Body, "<b>") {
				t.Errorf("%s with contact %s lacks the link %s\n%s", page, contact, link, a.Body)
			}
			if !strings.Contains(a.Body, "Need help? Contact your administrator:") {
				t.Errorf("%s with contact %s doesn't say what the link is for\n%s", page, contact, a.Body)
			}
		}
	}
	if a := portal.Start(t, "sqlite").Browser(t).Get("/login"); !strings.Contains(a.Body, "Forgot your password? Ask your administrator.") || strings.Contains(a.Body, "Need help?") {
		t.Errorf("the sign-in without a contact: want only the sentence about an administrator\n%s", a.Body)
	}
}
