package panels

// Machine passes through the gateway, with each dialect and with each real proxy.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// scriptAt is the address of scripts. No proxy uses it.
const scriptAt = "127.0.0.7"

// passRefusal returns what the answer says about the pass. It fails the test unless the
// answer is a 401 that names the sign-in and sets no cookie.
func passRefusal(t *testing.T, what string, a portal.Answer) string {
	t.Helper()
	var body struct{ Login, Pass string }
	if err := json.Unmarshal([]byte(a.Body), &body); a.Status != http.StatusUnauthorized || err != nil || body.Login == "" || len(a.Header["Set-Cookie"]) > 0 {
		t.Errorf("%s: %s, want 401 that names the sign-in", what, portal.Summary(a))
	}
	return body.Pass
}

// testPasses tests which requests a pass admits to panel radio. It needs the rules of
// behindGate and BehindProxies.
func testPasses(t *testing.T, p *portal.Portal) {
	ada := p.AddAccount(t, "ada")
	owner := p.Browser(t)
	owner.SignIn("ada")
	token := panels.MakePass(t, owner, "nightly backup", "path", "/files/", "methods", "GET, POST", "addresses", "10.0.0.0/8, "+scriptAt)
	if strings.Contains(owner.Get("/settings/security").Body, token) || owner.Last.Status != http.StatusOK {
		t.Error("the security page shows the pass a second time")
	}
	script := p.BrowserAt(t, scriptAt)
	for name, h := range map[string]http.Header{"header": panels.AsHeader(token), "bearer": panels.AsBearer(token), "basic": panels.AsBasic(token)} {
		h.Set("Cookie", "theirs=stays")
		a := script.Do(http.MethodPost, panels.Radio+"/files/7?a=b", strings.NewReader("x=y"), h)
		s := panels.Received(t, a)
		if s.Panel != "radio" || s.Method != http.MethodPost || s.URI != "/files/7?a=b" || s.Body != "x=y" || s.Header.Get("Cookie") != "theirs=stays" {
			t.Errorf("a pass as %s: the panel got %+v, want the request as it was sent", name, s)
		}
		if s.Header.Get("Remote-User") != "ada" || s.Header.Get("Remote-Name") != "ada" {
			t.Errorf("a pass as %s: the panel got Remote-User %q, want ada", name, s.Header.Get("Remote-User"))
		}
		if strings.Contains(a.Body, "spp_") || s.Header.Get("Authorization") != "" || s.Header.Get("Sallyport-Pass") != "" {
			t.Errorf("a pass as %s: the panel got %v, want no header with the pass", name, s.Header)
		}
		if len(a.Header["Set-Cookie"]) > 0 {
			t.Errorf("a pass as %s: the answer sets the cookies %q, want none", name, a.Header["Set-Cookie"])
		}
	}
	if a := script.Do(http.MethodHead, panels.Radio+"/files/", nil, panels.AsHeader(token)); a.Status != http.StatusOK {
		t.Errorf("HEAD with a pass for GET: %s, want 200", portal.Summary(a))
	}
	// The panel's own credentials may accompany the pass.
	both := panels.AsHeader(token)
	both.Set("Authorization", "Bearer of-the-panel")
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/files/", nil, both)); s.Header.Get("Authorization") != "Bearer of-the-panel" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("a pass with the panel's own bearer token: the panel got %v, want only its token", s.Header)
	}

	elsewhere := panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "203.0.113.0/24")
	for what, a := range map[string]portal.Answer{
		"an address outside the pass's":        p.Browser(t).Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token)),
		"another path":                         script.Do(http.MethodGet, panels.Radio+"/admin", nil, panels.AsHeader(token)),
		"another path by dots":                 script.Do(http.MethodGet, panels.Radio+"/files/%2e%2e/admin", nil, panels.AsHeader(token)),
		"another method":                       script.Do(http.MethodDelete, panels.Radio+"/files/", nil, panels.AsBearer(token)),
		"another method by a header":           script.Do(http.MethodPost, panels.Radio+"/files/", nil, withHeader(panels.AsHeader(token), "X-Http-Method-Override", "DELETE")),
		"an address outside the second pass's": script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(elsewhere)),
		"a forged X-Forwarded-For":             script.Do(http.MethodGet, panels.Radio+"/files/", nil, withHeader(panels.AsHeader(elsewhere), "X-Forwarded-For", "203.0.113.9")),
		"a forged X-Real-IP":                   script.Do(http.MethodGet, panels.Radio+"/files/", nil, withHeader(panels.AsHeader(elsewhere), "X-Real-Ip", "203.0.113.9")),
		"another panel":                        script.Do(http.MethodGet, panels.Video+"/files/", nil, panels.AsHeader(token)),
		"an unknown pass":                      script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsBasic("spp_"+strings.Repeat("A", 43))),
		"a truncated pass":                     script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token[:len(token)-1])),
		"a pass without its prefix":            script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(strings.TrimPrefix(token, "spp_"))),
		"a pass in the visit's cookie":         script.Do(http.MethodGet, panels.Radio+"/files/", nil, http.Header{"Cookie": {"sallyport-visit=" + token}, "Sallyport-Pass": {"x"}}),
	} {
		if reason := passRefusal(t, what, a); !strings.Contains(reason, "pass") {
			t.Errorf("%s: the answer says %q, want a sentence about the pass", what, reason)
		}
	}
	// An Authorization header of another kind isn't a pass, and an open path stays open.
	if reason := passRefusal(t, "a foreign bearer", script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsBearer("eyJ"))); reason != "" {
		t.Errorf("a foreign bearer token: the answer says %q of a pass, want nothing", reason)
	}
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/status/", nil, panels.AsHeader(token))); s.Header.Get("Remote-User") != "" || s.Header.Get("Sallyport-Pass") != "" {
		t.Errorf("an open path that the pass doesn't cover: the panel got %v, want no identity and no pass", s.Header)
	}
	// A pass opens neither the portal nor Sallyport's own paths on the panel's host.
	for _, page := range []string{panels.PortalAt + "/", panels.PortalAt + "/settings/security", panels.Radio + "/.sallyport/session?for=/files/", panels.Radio + "/.sallyport/signed-in?for=/files/"} {
		if a := script.Do(http.MethodGet, page, nil, panels.AsHeader(token)); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
			t.Errorf("a request for %s with the pass: status %d, want a refusal", page, a.Status)
		}
	}
	// The rule's group admits the pass once its owner is a member.
	ops := panels.OperatorsPass(t, p, p.AddAccount(t, "bob"), panels.Radio, "/", "", "")
	ctx := context.Background()
	testkit.Check(t, p.Manage.Groups.Add(ctx, manage.CommandLine(), "ops"))
	if reason := passRefusal(t, "a pass of bob, who isn't in the group", script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(ops))); !strings.Contains(reason, "has no access here") {
		t.Errorf("a pass of bob, who isn't in the group: the answer says %q, want that bob has no access here", reason)
	}
	testkit.Check(t, p.Manage.Groups.Join(ctx, manage.CommandLine(), portal.MustAccount(t, p, "bob"), "ops"))
	if s := panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(ops))); s.Header.Get("Remote-User") != "bob" || s.Header.Get("Remote-Groups") != "ops" {
		t.Errorf("a pass of bob, who is in the group: the panel got %v, want Remote-User bob and Remote-Groups ops", s.Header)
	}
	// A revoked pass admits no request.
	owner.Post("/settings/security/passes/" + panels.OnlyPass(t, p, "ada", "nightly backup").ID + "/revoke")
	if owner.Last.Location != "/settings/security?notice=pass_revoked" {
		t.Fatalf("revoke the pass: %s, want the notice pass_revoked", portal.Summary(owner.Last))
	}
	passRefusal(t, "a revoked pass", script.Do(http.MethodGet, panels.Radio+"/files/", nil, panels.AsHeader(token)))
}

func TestPassesThroughTheGateway(t *testing.T) {
	behindGate(t, testPasses)
}

func TestPassesThroughRealProxies(t *testing.T) {
	proxies.BehindProxies(t, testPasses)
}

// The answer to each proxy's verify request admits a pass, names the pass's owner for the panel, and
// makes the proxy remove the pass from the request.
func TestPassesInEveryDialect(t *testing.T) {
	withVideoBehindProxy(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := panels.OperatorsPass(t, p, ada, panels.Video, "/rack/", "GET", "192.0.2.0/24")
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			for name, test := range map[string]struct {
				header             http.Header
				kept, envoyRemoves string
			}{
				"header":                      {panels.AsHeader(token), "", "Sallyport-Pass"},
				"bearer":                      {panels.AsBearer(token), "", "Sallyport-Pass,Authorization"},
				"basic":                       {panels.AsBasic(token), "", "Sallyport-Pass,Authorization"},
				"header and a foreign bearer": {withHeader(panels.AsHeader(token), "Authorization", "Bearer eyJ"), "Bearer eyJ", "Sallyport-Pass"},
			} {
				a := panels.SendVerify(b, proxy, "/rack/7?a=b", test.header)
				if proxy == "nginx/refused" {
					if a.Status != http.StatusForbidden || a.Header.Get("Remote-User") != "" || !strings.Contains(a.Body, "video.test refused your request") {
						t.Errorf("%s, pass as %s: the answer to the proxy is %s, want 403 with the page for a panel's refusal", proxy, name, portal.Summary(a))
					}
					continue
				}
				if a.Status != http.StatusOK || a.Header.Get("Remote-User") != "ada" || len(a.Header["Set-Cookie"]) > 0 || strings.Contains(fmt.Sprint(a.Header), token) {
					t.Errorf("%s, pass as %s: the answer to the proxy is %d %v, want 200 with Remote-User ada, without Set-Cookie and without the pass", proxy, name, a.Status, a.Header)
				}
				authorization, removed := a.Header["Authorization"], a.Header.Get("X-Envoy-Auth-Headers-To-Remove")
				if proxy == "envoy" && (removed != test.envoyRemoves || authorization != nil) || proxy != "envoy" && (removed != "" || len(authorization) != 1 || authorization[0] != test.kept) {
					t.Errorf("%s, pass as %s: the panel gets Authorization %q, want %q; the proxy removes %q, want %q for Envoy", proxy, name, authorization, test.kept, removed, test.envoyRemoves)
				}
			}
			for name, a := range map[string]portal.Answer{
				"another path":      panels.SendVerify(b, proxy, "/rack", panels.AsHeader(token)),
				"a method override": panels.SendVerify(b, proxy, "/rack/7", withHeader(panels.AsHeader(token), "X-Http-Method", "DELETE")),
				"an unknown pass":   panels.SendVerify(b, proxy, "/rack/7", panels.AsHeader("spp_x")),
			} {
				if proxy != "nginx" {
					passRefusal(t, proxy+", "+name, a)
				} else if a.Status != http.StatusUnauthorized {
					t.Errorf("nginx, %s: %s, want 401", name, portal.Summary(a))
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
				if a := panels.SendVerify(b, proxy, "/rack/7", withHeader(panels.AsHeader(token), header, from)); (a.Status == admitted) != want {
					t.Errorf("%s, a pass from %q: %s, want it admitted: %v", proxy, from, portal.Summary(a), want)
				}
			}
		}
		whole := panels.OperatorsPass(t, p, p.AddAccount(t, "bob"), panels.Video, "/", "", "")
		for _, proxy := range verifyDialects {
			for _, target := range []string{"/.sallyport/x", "/.Sallyport/", "/%2esallyport/x"} {
				if a := panels.SendVerify(b, proxy, target, panels.AsHeader(whole)); a.Status != http.StatusForbidden {
					t.Errorf("%s, a pass at %s: %s, want 403", proxy, target, portal.Summary(a))
				}
			}
		}
	})
}
