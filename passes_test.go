package sallyport_test

// Machine passes: through the gateway, every dialect and every real proxy.

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// scriptAt is where a script runs: on no proxy's address.
const scriptAt = "127.0.0.7"

var ShownPass = regexp.MustCompile(`spp_[A-Za-z0-9_-]{43}`)

// PanelRadio is a setting that declares one panel, which doesn't run.
func PanelRadio(t *testing.T) string {
	t.Helper()
	return "SALLYPORT_CONFIG=" + WriteConfig(t, "panels: [{url: "+Radio+", upstream: 'http://127.0.0.1:9'}]\n")
}

// MakePass makes a pass in the browser; more are fields in place of the usual
// ones.
func MakePass(t *testing.T, b *portal.Browser, name string, more ...string) string {
	t.Helper()
	a := b.Post("/settings/security/passes", PassFields(name, more...)...)
	token := ShownPass.FindString(a.Body)
	if a.Status != http.StatusOK || token == "" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("pass %s: %s", name, Summary(a))
	}
	return token
}

func PassFields(name string, more ...string) []string {
	fields := map[string]string{"name": name, "panel": Radio, "path": "/", "methods": "", "addresses": "", "days": "90"}
	for i := 0; i+1 < len(more); i += 2 {
		fields[more[i]] = more[i+1]
	}
	var pairs []string
	for field, value := range fields {
		pairs = append(pairs, field, value)
	}
	return pairs
}

// OperatorsPass makes a pass as the command line does.
func OperatorsPass(t *testing.T, p *portal.Portal, a account.Account, panel, path, methods, addresses string) string {
	t.Helper()
	scope, err := access.NewScope(panel, path, methods, addresses)
	Check(t, err)
	token, err := p.Login.IssuePass(context.Background(), a, pass.Pass{Name: "of the operator", Scope: scope, ExpiresAt: p.Clock.Now().Add(time.Hour)})
	Check(t, err)
	return token.Reveal()
}

func AsHeader(token string) http.Header { return http.Header{"Sallyport-Pass": {token}} }
func AsBearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
func AsBasic(token string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("script:"+token))}}
}

// refusal returns what a machine is told of its pass, and fails the test unless it
// is a 401 that sets no cookie.
func refusal(t *testing.T, what string, a portal.Answer) string {
	t.Helper()
	var body struct{ Login, Pass string }
	if err := json.Unmarshal([]byte(a.Body), &body); a.Status != http.StatusUnauthorized || err != nil || body.Login == "" || len(a.Header["Set-Cookie"]) > 0 {
		t.Errorf("%s: %s, want 401 that says where to sign in", what, Summary(a))
	}
	return body.Pass
}

// passesOpen holds what every way to a panel must do: panel radio, no rules but
// those of behindGate and BehindProxies.
func passesOpen(t *testing.T, p *portal.Portal) {
	ada := p.AddAccount(t, "ada")
	owner := p.Browser(t)
	owner.SignIn("ada")
	token := MakePass(t, owner, "nightly backup", "path", "/files/", "methods", "GET, POST", "addresses", "10.0.0.0/8, "+scriptAt)
	if strings.Contains(owner.Get("/settings/security").Body, token) || owner.Last.Status != http.StatusOK {
		t.Error("the pass is shown again")
	}
	script := p.BrowserAt(t, scriptAt)
	for name, h := range map[string]http.Header{"header": AsHeader(token), "bearer": AsBearer(token), "basic": AsBasic(token)} {
		h.Set("Cookie", "theirs=stays")
		a := script.Do(http.MethodPost, Radio+"/files/7?a=b", strings.NewReader("x=y"), h)
		s := Received(t, a)
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
	if a := script.Do(http.MethodHead, Radio+"/files/", nil, AsHeader(token)); a.Status != http.StatusOK {
		t.Errorf("HEAD: %s", Summary(a))
	}
	// What is the panel's own passes beside it.
	both := AsHeader(token)
	both.Set("Authorization", "Bearer of-the-panel")
	if s := Received(t, script.Do(http.MethodGet, Radio+"/files/", nil, both)); s.Header.Get("Authorization") != "Bearer of-the-panel" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("beside the panel's own: %v", s.Header)
	}

	elsewhere := OperatorsPass(t, p, ada, Radio, "/", "", "203.0.113.0/24")
	for what, a := range map[string]portal.Answer{
		"from another machine":             p.Browser(t).Do(http.MethodGet, Radio+"/files/", nil, AsHeader(token)),
		"another path":                     script.Do(http.MethodGet, Radio+"/admin", nil, AsHeader(token)),
		"another path by dots":             script.Do(http.MethodGet, Radio+"/files/%2e%2e/admin", nil, AsHeader(token)),
		"another method":                   script.Do(http.MethodDelete, Radio+"/files/", nil, AsBearer(token)),
		"another method by a header":       script.Do(http.MethodPost, Radio+"/files/", nil, with(AsHeader(token), "X-Http-Method-Override", "DELETE")),
		"another address":                  script.Do(http.MethodGet, Radio+"/files/", nil, AsHeader(elsewhere)),
		"another address, by its word":     script.Do(http.MethodGet, Radio+"/files/", nil, with(AsHeader(elsewhere), "X-Forwarded-For", "203.0.113.9")),
		"another address, by another's":    script.Do(http.MethodGet, Radio+"/files/", nil, with(AsHeader(elsewhere), "X-Real-Ip", "203.0.113.9")),
		"another panel":                    script.Do(http.MethodGet, Video+"/files/", nil, AsHeader(token)),
		"one that never was":               script.Do(http.MethodGet, Radio+"/files/", nil, AsBasic("spp_"+strings.Repeat("A", 43))),
		"a shortened one":                  script.Do(http.MethodGet, Radio+"/files/", nil, AsHeader(token[:len(token)-1])),
		"one without its mark":             script.Do(http.MethodGet, Radio+"/files/", nil, AsHeader(strings.TrimPrefix(token, "spp_"))),
		"one that is a visit's, or a pass": script.Do(http.MethodGet, Radio+"/files/", nil, http.Header{"Cookie": {"sallyport-visit=" + token}, "Sallyport-Pass": {"x"}}),
	} {
		if said := refusal(t, what, a); !strings.Contains(said, "pass") {
			t.Errorf("%s: says %q of the pass", what, said)
		}
	}
	// A foreign Authorization is nobody's pass, and an open path stays open.
	if said := refusal(t, "a foreign bearer", script.Do(http.MethodGet, Radio+"/files/", nil, AsBearer("eyJ"))); said != "" {
		t.Errorf("a foreign bearer: says %q", said)
	}
	if s := Received(t, script.Do(http.MethodGet, Radio+"/status/", nil, AsHeader(token))); s.Header.Get("Remote-User") != "" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("an open path outside of the pass's: %v", s.Header)
	}
	// Neither the portal nor what is ours on the panel's host.
	for _, page := range []string{PortalAt + "/", PortalAt + "/settings/security", Radio + "/.sallyport/session?for=/files/", Radio + "/.sallyport/signed-in?for=/files/"} {
		if a := script.Do(http.MethodGet, page, nil, AsHeader(token)); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
			t.Errorf("the pass opens %s: %d", page, a.Status)
		}
	}
	// A group that its owner isn't in, then is, then isn't.
	ops := OperatorsPass(t, p, p.AddAccount(t, "bob"), Radio, "/", "", "")
	ctx := context.Background()
	Check(t, p.Login.AddGroup(ctx, "ops"))
	if said := refusal(t, "another group", script.Do(http.MethodGet, Radio+"/ops/", nil, AsHeader(ops))); !strings.Contains(said, "has no access here") {
		t.Errorf("another group: says %q", said)
	}
	Check(t, p.Login.Join(ctx, MustAccount(t, p, "bob"), "ops"))
	if s := Received(t, script.Do(http.MethodGet, Radio+"/ops/", nil, AsHeader(ops))); s.Header.Get("Remote-User") != "bob" || s.Header.Get("Remote-Groups") != "ops" {
		t.Errorf("a group of bob's: %v", s.Header)
	}
	// Revoked.
	owner.Post("/settings/security/passes/" + OnlyPass(t, p, "ada", "nightly backup").ID + "/revoke")
	if owner.Last.Location != "/settings/security?notice=pass_revoked" {
		t.Fatalf("revoke: %s", Summary(owner.Last))
	}
	refusal(t, "a revoked one", script.Do(http.MethodGet, Radio+"/files/", nil, AsHeader(token)))
}

// OnlyPass returns the account's pass of that name.
func OnlyPass(t *testing.T, p *portal.Portal, owner, name string) pass.Pass {
	t.Helper()
	all, err := pass.List(context.Background(), p.DB.Reader(), MustAccount(t, p, owner).ID)
	Check(t, err)
	for _, one := range all {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("%s has no pass %q", owner, name)
	return pass.Pass{}
}

func TestPassesThroughTheGateway(t *testing.T) {
	behindGate(t, passesOpen)
}

func TestPassesThroughRealProxies(t *testing.T) {
	BehindProxies(t, passesOpen)
}

// TestPassesInEveryDialect: what each proxy is told of a pass, for itself and for
// the panel.
func TestPassesInEveryDialect(t *testing.T) {
	aboutVideo(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := OperatorsPass(t, p, ada, Video, "/rack/", "GET", "192.0.2.0/24")
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			for name, test := range map[string]struct {
				header          http.Header
				kept, envoysOff string
			}{
				"header":         {AsHeader(token), "", "Sallyport-Pass"},
				"bearer":         {AsBearer(token), "", "Sallyport-Pass,Authorization"},
				"basic":          {AsBasic(token), "", "Sallyport-Pass,Authorization"},
				"beside another": {with(AsHeader(token), "Authorization", "Bearer eyJ"), "Bearer eyJ", "Sallyport-Pass"},
			} {
				a := Ask(b, proxy, "/rack/7?a=b", test.header)
				if proxy == "nginx/refused" {
					if a.Status != http.StatusForbidden || a.Header.Get("Remote-User") != "" || !strings.Contains(a.Body, "video.test refused your request") {
						t.Errorf("%s, %s: %s", proxy, name, Summary(a))
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
				"another path": Ask(b, proxy, "/rack", AsHeader(token)),
				"an override":  Ask(b, proxy, "/rack/7", with(AsHeader(token), "X-Http-Method", "DELETE")),
				"an unknown":   Ask(b, proxy, "/rack/7", AsHeader("spp_x")),
			} {
				if proxy != "nginx" {
					refusal(t, proxy+", "+name, a)
				} else if a.Status != http.StatusUnauthorized {
					t.Errorf("nginx, %s: %s", name, Summary(a))
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
				if a := Ask(b, proxy, "/rack/7", with(AsHeader(token), header, from)); (a.Status == admitted) != want {
					t.Errorf("%s, from %q: %s, want %v", proxy, from, Summary(a), want)
				}
			}
		}
		whole := OperatorsPass(t, p, p.AddAccount(t, "bob"), Video, "/", "", "")
		for _, proxy := range verifyDialects {
			for _, target := range []string{"/.sallyport/x", "/.Sallyport/", "/%2esallyport/x"} {
				if a := Ask(b, proxy, target, AsHeader(whole)); a.Status != http.StatusForbidden {
					t.Errorf("%s, %s: %s", proxy, target, Summary(a))
				}
			}
		}
	})
}
