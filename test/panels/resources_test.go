package panels

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Requests to a panel for files may name a second path: WebDAV copies to the Destination,
// and object stores copy from a source in a header. If the rules applied only to the path
// in the request line, such a request could write to or read from a folder that requires
// two factors.
func TestRulesApplyToASecondResource(t *testing.T) {
	t.Parallel()
	const rules = "    rules:\n      - {path: /admin/, require: two_factor}\n      - {path: /status/, require: nothing}\n"
	panel := httptest.NewServer(http.HandlerFunc(panels.AnswerWithRequest))
	t.Cleanup(panel.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: %s\n    upstream: %s\n%s  - url: %s\n%s", panels.PortalAt, panels.Radio, panel.URL, rules, panels.Video, rules)))
	ada := p.AddAccount(t, "ada")
	b := panels.Visit(t, p, "ada", panels.Radio+"/")
	// No server answers for video, so the test follows the redirects to its visit itself.
	b.Get(panels.Video + "/.sallyport/start?return=/")
	for b.Last.Location != panels.Video+"/" {
		if b.Last.Location == "" {
			t.Fatalf("the redirects to a visit at video end at %s, want a further redirect", portal.Summary(b.Last))
		}
		b.Get(b.Last.Location)
	}
	clients := map[string]func(b *portal.Browser, method, path string, h http.Header) portal.Answer{
		"gateway": func(b *portal.Browser, method, path string, h http.Header) portal.Answer {
			return b.Do(method, panels.Radio+path, nil, h)
		},
	}
	for _, proxy := range []string{"nginx", "caddy", "haproxy", "traefik"} {
		clients[proxy] = func(b *portal.Browser, method, path string, h http.Header) portal.Answer {
			address, question := panels.VerifyRequest(proxy, path)
			for name, values := range h {
				question[name] = []string{strings.ReplaceAll(values[0], panels.Radio, panels.Video)}
			}
			for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
				if question.Get(name) != "" {
					question.Set(name, method)
				}
			}
			if visit := b.CookieAt(panels.Video, "sallyport-visit"); visit != "" {
				question["Cookie"] = []string{"sallyport-visit=" + visit}
			}
			return b.Do("GET", address, nil, question)
		}
	}
	for client, ask := range clients {
		for _, test := range []struct {
			method, path string
			header       http.Header
			admitted     bool
		}{
			{"COPY", "/files/x", http.Header{"Destination": {panels.Radio + "/files/y"}}, true},
			{"COPY", "/files/x", http.Header{"Destination": {panels.Radio + "/admin/y"}}, false},
			{"MOVE", "/files/x", http.Header{"Destination": {"/admin/y"}}, false},
			{"MOVE", "/files/x", http.Header{"Destination": {"http://elsewhere.test/files/y"}}, false},
			{"PUT", "/files/y", http.Header{"X-Amz-Copy-Source": {"/admin/x"}}, false},
			{"PUT", "/files/y", http.Header{"X-Copy-From": {"admin/x"}}, false},
			{"PUT", "/files/y", http.Header{"X-Ms-Copy-Source": {panels.Radio + "/admin/x"}}, false},
			{"PUT", "/files/y", http.Header{"X-Goog-Copy-Source": {"/admin/x"}}, false},
			{"DELETE", "/", nil, false},
			{"DELETE", "/files/x", nil, true},
			{"BIND", "/files/", nil, false},
			{"POST", "/bucket?delete", nil, false},
			{"POST", "/bucket", nil, true},
		} {
			a := ask(b, test.method, test.path, test.header)
			if admitted := a.Status == http.StatusOK; admitted != test.admitted {
				t.Errorf("%s: %s %s %v by a session with one factor: %s, want it admitted: %v", client, test.method, test.path, test.header, portal.Summary(a), test.admitted)
			}
		}
	}
	// The scope of a pass applies to the second path too.
	token := panels.OperatorsPass(t, p, ada, panels.Radio, "/shared/", "", "")
	for destination, admitted := range map[string]bool{panels.Radio + "/shared/y": true, "/shared/y": true, panels.Radio + "/private/y": false, "/shared/../private/y": false} {
		a := p.Browser(t).Do("COPY", panels.Radio+"/shared/x", nil, withHeader(panels.AsHeader(token), "Destination", destination))
		if (a.Status == http.StatusOK) != admitted {
			t.Errorf("COPY to %s with a pass for /shared/: %s %s, want it admitted: %v", destination, portal.Summary(a), a.Body, admitted)
		}
		if !admitted && !strings.Contains(a.Body, "second path") {
			t.Errorf("the refusal of %s says %s, want that it names a second path", destination, a.Body)
		}
	}
	if a := b.Do("BIND", panels.Radio+"/files/", nil, panels.NavigationHeaders()); !strings.Contains(portal.VisibleText(a.Body), "names a second address") {
		t.Errorf("the refusal of BIND says %s, want that it names a second address", portal.VisibleText(a.Body))
	}
}
