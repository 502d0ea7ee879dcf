package panels

// Machine passes: through the gateway, every dialect and every real proxy.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// scriptAt is where a script runs: on no proxy's address.
const scriptAt = "127.0.0.7"

// refusal returns what a machine is told of its pass, and fails the test unless it
// is a 401 that sets no cookie.
func refusal(t *testing.T, what string, a portal.Answer) string {
	t.Helper()
	var body struct{ Login, Pass string }
	if err := json.Unmarshal([]byte(a.Body), &body); a.Status != http.StatusUnauthorized || err != nil || body.Login == "" || len(a.Header["Set-Cookie"]) > 0 {
		t.Errorf("%s: %s, want 401 that says where to sign in", what, portal.Summary(a))
	}
	return body.Pass
}

// passesOpen holds what every way to a panel must do: panel radio, no rules but
// those of behindGate and BehindProxies.
func passesOpen(t *testing.T, p *portal.Portal) {
	ada := p.AddAccount(t, "ada")
	owner := p.Browser(t)
	owner.SignIn("ada")
	token := panels.MakePass(t, owner, "nightly backup", "path", "/files/", "methods", "GET, POST", "addresses", "10.0.0.0/8, "+scriptAt)
	if strings.Contains(owner.Get("/settings/security").Body, token) || owner.Last.Status != http.StatusOK {
		t.Error("the pass is shown again")
	}
	script := p.BrowserAt(t, scriptAt)
	for name, h := range map[string]http.Header{"header": panels.AsHeader(token), "bearer": panels.AsBearer(token), "basic": panels.AsBasic(token)} {
		h.Set("Cookie", "theirs=stays")
		a := script.Do(http.MethodPost, panels.Radio+"/files/7?a=b", strings.NewReader("x=y"), h)
		s := panels.Received(t, a)
		if s.Panel != "radio" || s.Method != http.MethodPost || s.URI != "/files/7?a=b" || s.Body != "x=y" || s.Header.Get("Cookie") != "theirs=stays" {
			t.Errorf("%s: the panel got %+v", name, s)
		}
		if s.Header.Get("Remote-User") != "ada" || s.Header.Get("Remote-Name") != "ada" {
			t.Errorf("%s: the panel saw %q", name, s.Header.Get("Remote-User"))
		}
		if strings.Contains(a.Body, "spp_") || s.Header.Get("Authorization") != "" || s.Header.Get("Sallyport-Pass") != "" {
			t.Errorf("%s: the panel saw the pass: %v", name, s.Header)
		}
		if len(a.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s: sets cookies %q", name, a.Header["Set-Cookie"])
		}
	}
	if a := script.Do(http.MethodHead, panels.Radio+"/files/", nil, panels.AsHeader(token)); a.Status != http.StatusOK {
		t.Errorf("HEAD: %s", portal.Summary(a))
	}
	// What is the panel's own passes beside it.
	both := panels.AsHeader(token)
	both.Set("Authorization", "Bearer of-the-panel")
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/files/", nil, both)); s.Header.Get("Authorization") != "Bearer of-the-panel" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("beside the panel's own: %v", s.Header)
	}

	elsewhere := panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "203.0.113.0/24")
	for what, a := range map[string]portal.Answer{
		"from another machine":             p.Browser(t).Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token)),
		"another path":                     script.Do(http.MethodGet, panels.Radio+"/admin", nil, panels.AsHeader(token)),
		"another path by dots":             script.Do(http.MethodGet, panels.Radio+"/files/%2e%2e/admin", nil, panels.AsHeader(token)),
		"another method":                   script.Do(http.MethodDelete, panels.Radio+"/files/", nil, panels.AsBearer(token)),
		"another method by a header":       script.Do(http.MethodPost, panels.Radio+"/files/", nil, with(panels.AsHeader(token), "X-Http-Method-Override", "DELETE")),
		"another address":                  script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(elsewhere)),
		"another address, by its word":     script.Do(http.MethodGet, panels.Radio+"/files/", nil, with(panels.AsHeader(elsewhere), "X-Forwarded-For", "203.0.113.9")),
		"another address, by another's":    script.Do(http.MethodGet, panels.Radio+"/files/", nil, with(panels.AsHeader(elsewhere), "X-Real-Ip", "203.0.113.9")),
		"another panel":                    script.Do(http.MethodGet, panels.Video+"/files/", nil, panels.AsHeader(token)),
		"one that never was":               script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsBasic("spp_"+strings.Repeat("A", 43))),
		"a shortened one":                  script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token[:len(token)-1])),
		"one without its mark":             script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(strings.TrimPrefix(token, "spp_"))),
		"one that is a visit's, or a pass": script.Do(http.MethodGet, panels.Radio+"/files/", nil, http.Header{"Cookie": {"sallyport-visit=" + token}, "Sallyport-Pass": {"x"}}),
	} {
		if said := refusal(t, what, a); !strings.Contains(said, "pass") {
			t.Errorf("%s: says %q of the pass", what, said)
		}
	}
	// A foreign Authorization is nobody's pass, and an open path stays open.
	if said := refusal(t, "a foreign bearer", script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsBearer("eyJ"))); said != "" {
		t.Errorf("a foreign bearer: says %q", said)
	}
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/status/", nil, panels.AsHeader(token))); s.Header.Get("Remote-User") != "" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("an open path outside of the pass's: %v", s.Header)
	}
	// Neither the portal nor what is ours on the panel's host.
	for _, page := range []string{panels.PortalAt + "/", panels.PortalAt + "/settings/security", panels.Radio + "/.sallyport/session?for=/files/", panels.Radio + "/.sallyport/signed-in?for=/files/"} {
		if a := script.Do(http.MethodGet, page, nil, panels.AsHeader(token)); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
			t.Errorf("the pass opens %s: %d", page, a.Status)
		}
	}
	// A group that its owner isn't in, then is, then isn't.
	ops := panels.OperatorsPass(t, p, p.AddAccount(t, "bob"), panels.Radio, "/", "", "")
	ctx := context.Background()
	testkit.Check(t, p.Login.AddGroup(ctx, "ops"))
	if said := refusal(t, "another group", script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(ops))); !strings.Contains(said, "has no access here") {
		t.Errorf("another group: says %q", said)
	}
	testkit.Check(t, p.Login.Join(ctx, portal.MustAccount(t, p, "bob"), "ops"))
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(ops))); s.Header.Get("Remote-User") != "bob" || s.Header.Get("Remote-Groups") != "ops" {
		t.Errorf("a group of bob's: %v", s.Header)
	}
	// Revoked.
	owner.Post("/settings/security/passes/" + panels.OnlyPass(t, p, "ada", "nightly backup").ID + "/revoke")
	if owner.Last.Location != "/settings/security?notice=pass_revoked" {
		t.Fatalf("revoke: %s", portal.Summary(owner.Last))
	}
	refusal(t, "a revoked one", script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token)))
}

func TestPassesThroughTheGateway(t *testing.T) {
	behindGate(t, passesOpen)
}

func TestPassesThroughRealProxies(t *testing.T) {
	proxies.BehindProxies(t, passesOpen)
}

// TestPassesInEveryDialect: what each proxy is told of a pass, for itself and for
// the panel.
func TestPassesInEveryDialect(t *testing.T) {
	aboutVideo(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := panels.OperatorsPass(t, p, ada, panels.Video, "/rack/", "GET", "192.0.2.0/24")
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			for name, test := range map[string]struct {
				header          http.Header
				kept, envoysOff string
			}{
				"header":         {panels.AsHeader(token), "", "Sallyport-Pass"},
				"bearer":         {panels.AsBearer(token), "", "Sallyport-Pass,Authorization"},
				"basic":          {panels.AsBasic(token), "", "Sallyport-Pass,Authorization"},
				"beside another": {with(panels.AsHeader(token), "Authorization", "Bearer eyJ"), "Bearer eyJ", "Sallyport-Pass"},
			} {
				a := panels.Ask(b, proxy, "/rack/7?a=b", test.header)
				if proxy == "nginx/refused" {
					if a.Status != http.StatusForbidden || a.Header.Get("Remote-User") != "" || !strings.Contains(a.Body, "video.test refused your request") {
						t.Errorf("%s, %s: %s", proxy, name, portal.Summary(a))
					}
					continue
				}
				if a.Status != http.StatusOK || a.Header.Get("Remote-User") != "ada" || len(a.Header["Set-Cookie"]) > 0 || strings.Contains(fmt.Sprint(a.Header), token) {
					t.Errorf("%s, %s: %d %v", proxy, name, a.Status, a.Header)
				}
				told, off := a.Header["Authorization"], a.Header.Get("X-Envoy-Auth-Headers-To-Remove")
				if proxy == "envoy" && (off != test.envoysOff || told != nil) || proxy != "envoy" && (off != "" || len(told) != 1 || told[0] != test.kept) {
					t.Errorf("%s, %s: the panel gets %q, the proxy removes %q", proxy, name, told, off)
				}
			}
			for name, a := range map[string]portal.Answer{
				"another path": panels.Ask(b, proxy, "/rack", panels.AsHeader(token)),
				"an override":  panels.Ask(b, proxy, "/rack/7", with(panels.AsHeader(token), "X-Http-Method", "DELETE")),
				"an unknown":   panels.Ask(b, proxy, "/rack/7", panels.AsHeader("spp_x")),
			} {
				if proxy != "nginx" {
					refusal(t, proxy+", "+name, a)
				} else if a.Status != http.StatusUnauthorized {
					t.Errorf("nginx, %s: %s", name, portal.Summary(a))
				}
			}
			addresses := map[string]bool{"192.0.2.9": true, "203.0.113.9": false, "127.0.0.1": false, "unix:": false, "::ffff:192.0.2.9": true}
			header := "X-Real-Ip"
			if !strings.HasPrefix(proxy, "nginx") {
				header = "X-Forwarded-For"
				addresses["203.0.113.9, 192.0.2.9"], addresses["192.0.2.9, 203.0.113.9"], addresses["192.0.2.9, 127.0.0.1"] = true, false, true
			}
			for from, want := range addresses {
				admitted := http.StatusOK
				if proxy == "nginx/refused" {
					admitted = http.StatusForbidden // the panel itself refused
				}
				if a := panels.Ask(b, proxy, "/rack/7", with(panels.AsHeader(token), header, from)); (a.Status == admitted) != want {
					t.Errorf("%s, from %q: %s, want %v", proxy, from, portal.Summary(a), want)
				}
			}
		}
		whole := panels.OperatorsPass(t, p, p.AddAccount(t, "bob"), panels.Video, "/", "", "")
		for _, proxy := range verifyDialects {
			for _, target := range []string{"/.sallyport/x", "/.Sallyport/", "/%2esallyport/x"} {
				if a := panels.Ask(b, proxy, target, panels.AsHeader(whole)); a.Status != http.StatusForbidden {
					t.Errorf("%s, %s: %s", proxy, target, portal.Summary(a))
				}
			}
		}
	})
}
