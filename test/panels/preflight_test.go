package panels

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// preflight returns the headers of a CORS preflight: the question that a browser sends
// before it lets a script of another site send a request.
func preflight() http.Header {
	return http.Header{
		"Origin": {"https://other.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"content-type"},
		"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"},
	}
}

// withHeader sets a header in h and returns h.
func withHeader(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

// testPreflights tests preflights at panel radio (attack 94): they pass below /api/
// without an identity, and no other request passes as one.
func testPreflights(t *testing.T, p *portal.Portal) {
	t.Helper()
	p.AddAccount(t, "bob")
	stranger, bob := p.Browser(t), panels.Visit(t, p, "bob", panels.Radio+"/")
	for who, b := range map[string]*portal.Browser{"a stranger": stranger, "bob": bob} {
		s := panels.Received(t, b.Do(http.MethodOptions, panels.Radio+"/api/x?y", nil, preflight()))
		if s.Method != http.MethodOptions || s.URI != "/api/x?y" || s.Header.Get("Origin") != "https://other.example" {
			t.Errorf("a preflight by %s: the panel got %+v, want it as it was sent", who, s)
		}
		for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups"} {
			if s.Header.Get(name) != "" {
				t.Errorf("a preflight by %s: the panel got %s: %s, want no identity", who, name, s.Header.Get(name))
			}
		}
	}
	for name, test := range map[string]struct {
		method, target string
		header         http.Header
	}{
		"another path":                {"OPTIONS", "/admin", preflight()},
		"a stricter rule":             {"OPTIONS", "/ops/", preflight()},
		"dots":                        {"OPTIONS", "/api/../admin", preflight()},
		"escaped dots":                {"OPTIONS", "/api/%2e%2e/admin", preflight()},
		"an escaped slash":            {"OPTIONS", "/api/..%2fadmin", preflight()},
		"other case":                  {"OPTIONS", "/API/x", preflight()},
		"not a preflight":             {"OPTIONS", "/api/x", nil},
		"no requested method":         {"OPTIONS", "/api/x", http.Header{"Origin": {"https://other.example"}}},
		"another method":              {"PUT", "/api/x", preflight()},
		"GET":                         {"GET", "/api/x", preflight()},
		"lower case":                  {"options", "/api/x", preflight()},
		"an override to OPTIONS":      {"PUT", "/api/x", withHeader(preflight(), "X-Http-Method-Override", "OPTIONS")},
		"an override from OPTIONS":    {"OPTIONS", "/api/x", withHeader(preflight(), "X-Http-Method-Override", "PUT")},
		"a forged X-Forwarded-Method": {"PUT", "/api/x", withHeader(preflight(), "X-Forwarded-Method", "OPTIONS")},
		"a forged X-Original-Method":  {"PUT", "/api/x", withHeader(preflight(), "X-Original-Method", "OPTIONS")},
	} {
		a := stranger.Do(test.method, panels.Radio+test.target, nil, test.header)
		if a.Status < 400 || a.Status >= 500 || strings.Contains(a.Body, `"Panel"`) {
			t.Errorf("%s: status %d, want a refusal by the gate\n%s", name, a.Status, a.Body)
		}
		for header := range a.Header {
			if strings.HasPrefix(header, "Access-Control-") {
				t.Errorf("%s: the refusal has the header %s, want none that begins with Access-Control-", name, header)
			}
		}
	}
	// Any other OPTIONS request needs a visit, as every request does.
	if s := panels.Received(t, bob.Do(http.MethodOptions, panels.Radio+"/api/x", nil, nil)); s.Header.Get("Remote-User") != "bob" {
		t.Errorf("OPTIONS by bob: the panel got Remote-User %q, want bob", s.Header.Get("Remote-User"))
	}
}

func TestAttack94PreflightsThroughTheGateway(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		testPreflights(t, p)
		// A request with a body isn't a preflight.
		if a := p.Browser(t).Do(http.MethodOptions, panels.Radio+"/api/x", strings.NewReader("a=b"), preflight()); a.Status != http.StatusUnauthorized {
			t.Errorf("a preflight with a body: status %d, want 401", a.Status)
		}
	})
}

func TestAttack94PreflightsThroughRealProxies(t *testing.T) {
	proxies.BehindProxies(t, testPreflights)
}

func TestAttack94PreflightsInEveryDialect(t *testing.T) {
	withVideoBehindProxy(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		stranger := p.Browser(t)
		askVerify := func(method, proxy, target string, h http.Header) portal.Answer {
			address, header := panels.VerifyRequest(proxy, target)
			for name := range header {
				if strings.HasSuffix(name, "-Method") {
					header.Set(name, method)
				}
			}
			for name, values := range h {
				header[name] = values
			}
			verifyMethod := http.MethodGet
			if proxy == "envoy" {
				verifyMethod = method
			}
			return stranger.Do(verifyMethod, address, nil, header)
		}
		for _, proxy := range verifyDialects {
			a := askVerify("OPTIONS", proxy, "/api/x", preflight())
			if proxy == "nginx/refused" {
				if a.Status != http.StatusForbidden {
					t.Errorf("%s: %s, want 403", proxy, portal.Summary(a))
				}
				continue
			}
			if a.Status != http.StatusOK || len(a.Header["Remote-User"]) != 1 || a.Header.Get("Remote-User") != "" || len(a.Header["Remote-Groups"]) != 1 {
				t.Errorf("%s, a preflight: %d %v, want 200 with empty identity headers", proxy, a.Status, a.Header)
			}
			for name, a := range map[string]portal.Answer{
				"another path":           askVerify("OPTIONS", proxy, "/rack", preflight()),
				"a path of Sallyport":    askVerify("OPTIONS", proxy, "/.sallyport/x", preflight()),
				"an ambiguous path":      askVerify("OPTIONS", proxy, "/api/%2e%2e/rack", preflight()),
				"another method":         askVerify("PUT", proxy, "/api/x", preflight()),
				"not a preflight":        askVerify("OPTIONS", proxy, "/api/x", nil),
				"an override":            askVerify("OPTIONS", proxy, "/api/x", withHeader(preflight(), "X-Http-Method-Override", "PUT")),
				"an override to OPTIONS": askVerify("PUT", proxy, "/api/x", withHeader(preflight(), "X-Http-Method-Override", "OPTIONS")),
			} {
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("%s, %s: status %d, want 401 or 403", proxy, name, a.Status)
				}
			}
		}
	})
}
