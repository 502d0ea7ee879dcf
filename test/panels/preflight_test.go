package panels

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// preflight is what a browser asks before a script of another site may.
func preflight() http.Header {
	return http.Header{
		"Origin": {"https://other.example"}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"content-type"},
		"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"},
	}
}

func with(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

// preflightsPass holds the door in front of panel radio against attack 94:
// below /api/ preflights pass, without identity; nothing else is opened by one.
func preflightsPass(t *testing.T, p *portal.Portal) {
	t.Helper()
	p.AddAccount(t, "bob")
	stranger, bob := p.Browser(t), panels.Visit(t, p, "bob", panels.Radio+"/")
	for who, b := range map[string]*portal.Browser{"a stranger": stranger, "bob": bob} {
		s := panels.Received(t, b.Do(http.MethodOptions, panels.Radio+"/api/x?y", nil, preflight()))
		if s.Method != http.MethodOptions || s.URI != "/api/x?y" || s.Header.Get("Origin") != "https://other.example" {
			t.Errorf("%s: the panel got %+v", who, s)
		}
		for _, name := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups"} {
			if s.Header.Get(name) != "" {
				t.Errorf("%s: the panel got %s: %s", who, name, s.Header.Get(name))
			}
		}
	}
	for name, test := range map[string]struct {
		method, target string
		header         http.Header
	}{
		"another path":        {"OPTIONS", "/admin", preflight()},
		"a stricter rule":     {"OPTIONS", "/ops/", preflight()},
		"dots":                {"OPTIONS", "/api/../admin", preflight()},
		"escaped dots":        {"OPTIONS", "/api/%2e%2e/admin", preflight()},
		"an escaped slash":    {"OPTIONS", "/api/..%2fadmin", preflight()},
		"other case":          {"OPTIONS", "/API/x", preflight()},
		"no preflight":        {"OPTIONS", "/api/x", nil},
		"no method asked for": {"OPTIONS", "/api/x", http.Header{"Origin": {"https://other.example"}}},
		"another method":      {"PUT", "/api/x", preflight()},
		"GET":                 {"GET", "/api/x", preflight()},
		"lower case":          {"options", "/api/x", preflight()},
		"an override to it":   {"PUT", "/api/x", with(preflight(), "X-Http-Method-Override", "OPTIONS")},
		"an override from it": {"OPTIONS", "/api/x", with(preflight(), "X-Http-Method-Override", "PUT")},
		"a forged method":     {"PUT", "/api/x", with(preflight(), "X-Forwarded-Method", "OPTIONS")},
		"a forged method too": {"PUT", "/api/x", with(preflight(), "X-Original-Method", "OPTIONS")},
	} {
		a := stranger.Do(test.method, panels.Radio+test.target, nil, test.header)
		if a.Status < 400 || a.Status >= 500 || strings.Contains(a.Body, `"Panel"`) {
			t.Errorf("%s: %d\n%s", name, a.Status, a.Body)
		}
		for header := range a.Header {
			if strings.HasPrefix(header, "Access-Control-") {
				t.Errorf("%s: we answer with %s", name, header)
			}
		}
	}
	// Any other OPTIONS needs what every request needs.
	if s := panels.Received(t, bob.Do(http.MethodOptions, panels.Radio+"/api/x", nil, nil)); s.Header.Get("Remote-User") != "bob" {
		t.Errorf("OPTIONS of bob's came from %q", s.Header.Get("Remote-User"))
	}
}

func TestAttack94PreflightsThroughTheGateway(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		preflightsPass(t, p)
		// No preflight has a body.
		if a := p.Browser(t).Do(http.MethodOptions, panels.Radio+"/api/x", strings.NewReader("a=b"), preflight()); a.Status != http.StatusUnauthorized {
			t.Errorf("with a body: %d", a.Status)
		}
	})
}

func TestAttack94PreflightsThroughRealProxies(t *testing.T) {
	proxies.BehindProxies(t, preflightsPass)
}

func TestAttack94PreflightsInEveryDialect(t *testing.T) {
	aboutVideo(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		stranger := p.Browser(t)
		put := func(method, proxy, target string, h http.Header) portal.Answer {
			address, header := panels.Asked(proxy, target)
			for name := range header {
				if strings.HasSuffix(name, "-Method") {
					header.Set(name, method)
				}
			}
			for name, values := range h {
				header[name] = values
			}
			how := http.MethodGet
			if proxy == "envoy" {
				how = method
			}
			return stranger.Do(how, address, nil, header)
		}
		for _, proxy := range verifyDialects {
			a := put("OPTIONS", proxy, "/api/x", preflight())
			if proxy == "nginx/refused" {
				if a.Status != http.StatusForbidden {
					t.Errorf("%s: %s", proxy, portal.Summary(a))
				}
				continue
			}
			if a.Status != http.StatusOK || len(a.Header["Remote-User"]) != 1 || a.Header.Get("Remote-User") != "" || len(a.Header["Remote-Groups"]) != 1 {
				t.Errorf("%s: %d %v", proxy, a.Status, a.Header)
			}
			for name, a := range map[string]portal.Answer{
				"another path":       put("OPTIONS", proxy, "/rack", preflight()),
				"a path of ours":     put("OPTIONS", proxy, "/.sallyport/x", preflight()),
				"another reading":    put("OPTIONS", proxy, "/api/%2e%2e/rack", preflight()),
				"another method":     put("PUT", proxy, "/api/x", preflight()),
				"no preflight":       put("OPTIONS", proxy, "/api/x", nil),
				"an override":        put("OPTIONS", proxy, "/api/x", with(preflight(), "X-Http-Method-Override", "PUT")),
				"forged by a client": put("PUT", proxy, "/api/x", with(preflight(), "X-Http-Method-Override", "OPTIONS")),
			} {
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("%s, %s: %d", proxy, name, a.Status)
				}
			}
		}
	})
}
