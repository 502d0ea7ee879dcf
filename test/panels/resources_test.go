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

// A panel of files, whose rules are walked around where only the path in the request line
// is looked at: WebDAV copies into a folder that asks for a code, object stores copy out of
// one.
func TestNoSecondResourceGoesAroundARule(t *testing.T) {
	t.Parallel()
	const rules = "    rules:\n      - {path: /admin/, require: two_factor}\n      - {path: /status/, require: nothing}\n"
	panel := httptest.NewServer(http.HandlerFunc(panels.AnswerWithRequest))
	t.Cleanup(panel.Close)
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf("public_url: %s\ntrusted_proxies: [127.0.0.1]\npanels:\n  - url: %s\n    upstream: %s\n%s  - url: %s\n%s", panels.PortalAt, panels.Radio, panel.URL, rules, panels.Video, rules)))
	ada := p.AddAccount(t, "ada")
	b := panels.Visit(t, p, "ada", panels.Radio+"/")
	// Nobody serves video here: the way to its visit is walked by hand.
	b.Get(panels.Video + "/.sallyport/start?return=/")
	for b.Last.Location != panels.Video+"/" {
		if b.Last.Location == "" {
			t.Fatalf("no visit to video: %s", portal.Summary(b.Last))
		}
		b.Get(b.Last.Location)
	}
	doors := map[string]func(b *portal.Browser, method, path string, h http.Header) portal.Answer{
		"gateway": func(b *portal.Browser, method, path string, h http.Header) portal.Answer {
			return b.Do(method, panels.Radio+path, nil, h)
		},
	}
	for _, proxy := range []string{"nginx", "caddy", "haproxy", "traefik"} {
		doors[proxy] = func(b *portal.Browser, method, path string, h http.Header) portal.Answer {
			address, question := panels.Asked(proxy, path)
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
	for door, ask := range doors {
		for _, test := range []struct {
			method, path string
			header       http.Header
			in           bool
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
			if in := a.Status == http.StatusOK; in != test.in {
				t.Errorf("%s: %s %s %v by a session without a code: %s, want in: %v", door, test.method, test.path, test.header, portal.Summary(a), test.in)
			}
		}
	}
	// A pass for a folder.
	token := panels.OperatorsPass(t, p, ada, panels.Radio, "/shared/", "", "")
	for destination, in := range map[string]bool{panels.Radio + "/shared/y": true, "/shared/y": true, panels.Radio + "/private/y": false, "/shared/../private/y": false} {
		a := p.Browser(t).Do("COPY", panels.Radio+"/shared/x", nil, with(panels.AsHeader(token), "Destination", destination))
		if (a.Status == http.StatusOK) != in {
			t.Errorf("a pass for /shared/ copies to %s: %s %s", destination, portal.Summary(a), a.Body)
		}
		if !in && !strings.Contains(a.Body, "second path") {
			t.Errorf("the refusal of %s says %s", destination, a.Body)
		}
	}
	if a := b.Do("BIND", panels.Radio+"/files/", nil, panels.AsPerson()); !strings.Contains(portal.VisibleText(a.Body), "names a second address") {
		t.Errorf("the page about BIND says %s", portal.VisibleText(a.Body))
	}
}
