package doctor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

// newPanelTest returns the test of a panel that handler serves. The panel demands a session; if
// open is true, paths below /open/ are public.
func newPanelTest(t *testing.T, handler http.HandlerFunc, open bool) *panelTest {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	panel := Panel{Panel: &access.Panel{Origin: srv.URL, Demand: access.Demand{Requirement: access.Session}}}
	if open {
		with, err := access.NewPanel(srv.URL, panel.Demand, []access.Rule{{Path: "/open/", Demand: access.Demand{Requirement: access.Public}}})
		if err != nil {
			t.Fatal(err)
		}
		panel.Panel, panel.Open = with, []string{"/open/"}
	}
	d := &doctor{
		Options: Options{PublicURL: "http://auth.test", Panels: []Panel{panel}},
		client:  newClient(nil), report: Report{Proxies: map[string]string{}}, marker: "mark",
	}
	return &panelTest{doctor: d, Panel: &d.Panels[0], routed: true}
}

// ids returns the IDs of the findings.
func (p *panelTest) ids() []string {
	all := []string{}
	for _, f := range p.report.Findings {
		all = append(all, f.ID)
	}
	return all
}

// refuse sends the answer that Sallyport gives to a script without a session.
func refuse(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusUnauthorized)
	json.NewEncoder(w).Encode(map[string]string{"login": "http://" + r.Host + access.StartPath + "?return=" + r.URL.Path})
}

// deny sends a page of Sallyport.
func deny(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", access.PagePolicy)
	w.WriteHeader(http.StatusForbidden)
}

func switchTo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// A proxy that accepts an upgrade to HTTP/2 itself doesn't pass it on.
func TestAnUpgradeThatTheProxyAcceptsItselfIsNoFinding(t *testing.T) {
	p := newPanelTest(t, switchTo, true)
	p.testUpgrades(context.Background())
	if diff := cmp.Diff([]string{}, p.ids()); diff != "" {
		t.Error(diff)
	}
	p = newPanelTest(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/open/") {
			switchTo(w, r)
		} else {
			deny(w)
		}
	}, true)
	p.testUpgrades(context.Background())
	if diff := cmp.Diff([]string{"upgrade.passed"}, p.ids()); diff != "" || len(p.report.Findings[0].Seen) != len(upgrades) {
		t.Errorf("%s\n%+v", diff, p.report.Findings)
	}
}

// If no path is open, upgrades can't be tested. The report says so if the panel's own server
// accepts upgrades.
func TestUpgradesThatCanNotBeTestedAreReportedAsSkipped(t *testing.T) {
	p := newPanelTest(t, refuse, false)
	p.Upstream = newPanelTest(t, switchTo, false).Origin
	p.testUpgrades(context.Background())
	if len(p.report.Findings) > 0 || len(p.report.Skipped) != len(upgrades) {
		t.Errorf("found %+v, skipped %+v; want all upgrades skipped", p.report.Findings, p.report.Skipped)
	}
	p = newPanelTest(t, refuse, false)
	p.Upstream = newPanelTest(t, http.NotFound, false).Origin
	p.testUpgrades(context.Background())
	if len(p.report.Findings) > 0 || len(p.report.Skipped) > 0 {
		t.Errorf("found %+v, skipped %+v; want neither", p.report.Findings, p.report.Skipped)
	}
}

// A proxy that hides one of the headers is a finding. For a panel without rules, Sallyport
// ignores the headers, so there is no finding.
func TestHeadersThatNameASecondResourceMustReachSallyport(t *testing.T) {
	for _, hidden := range append([]string{""}, resourceHeaders...) {
		for _, open := range []bool{true, false} {
			p := newPanelTest(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "COPY" && hidden == "Destination" {
					http.NotFound(w, r) // the panel's answer
					return
				}
				for _, name := range resourceHeaders {
					if r.Header.Get(name) != "" && name != hidden {
						deny(w)
						return
					}
				}
				refuse(w, r)
			}, open)
			p.testResourceHeaders(context.Background())
			want := []string{}
			if hidden != "" && open {
				want = []string{"resource.hidden"}
			}
			if diff := cmp.Diff(want, p.ids()); diff != "" {
				t.Errorf("%q is hidden, the panel has rules: %v\n%s\n%+v", hidden, open, diff, p.report.Findings)
			}
		}
	}
}

// Package access knows each of resourceHeaders.
func TestAccessKnowsTheResourceHeaders(t *testing.T) {
	p := newPanelTest(t, refuse, true)
	for _, name := range resourceHeaders {
		if _, err := p.DemandFor(access.Request{Method: "GET", Target: "/a", Header: http.Header{name: {"https://elsewhere.invalid/"}}}); err == nil {
			t.Errorf("access ignores %s", name)
		}
	}
}

// nginx's own 401 page counts as a refusal by Sallyport, unless the panel's own server gives the
// same answer.
func TestNginxsOwn401IsNoOpenPath(t *testing.T) {
	const page = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	nginx401 := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, page)
	}
	challenge := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="panel"`)
		nginx401(w, r)
	}
	for _, test := range []struct {
		name         string
		proxy, panel http.HandlerFunc // panel nil: its address is unknown
		want         []string
	}{
		{"from nginx", nginx401, nil, []string{"path.deadend"}},
		{"from nginx, while the panel answers 404", nginx401, http.NotFound, []string{"path.deadend"}},
		{"from the panel", nginx401, nginx401, []string{"path.open"}},
		{"from the panel, with its challenge", challenge, nil, []string{"path.open"}},
	} {
		p := newPanelTest(t, test.proxy, false)
		p.routed = false
		p.PublicURL = newPanelTest(t, http.NotFound, false).Origin
		if test.panel != nil {
			p.Upstream = newPanelTest(t, test.panel, false).Origin
		}
		p.expectRefusal(context.Background(), "path.open", request{origin: p.Origin, path: "/api/mark"})
		if diff := cmp.Diff(test.want, p.ids()); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

// sendRaw sends requests that net/http would change or refuse.
func TestRawRequestsAreSentUnchanged(t *testing.T) {
	p := newPanelTest(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Join([]string{r.Proto, r.Host, r.RequestURI, r.Header.Get("Accept")}, " "))
	}, false)
	for want, raw := range map[string]rawHead{
		"HTTP/1.1 a.test,b.test / text/html":       {version: "1.1", hosts: []string{"a.test,b.test"}},
		"HTTP/1.0  / text/html":                    {version: "1.0"},
		"HTTP/1.1 b.test http://b.test/ text/html": {version: "1.1", target: "http://b.test/", hosts: []string{"a.test"}},
	} {
		r := p.homeRequest("")
		r.raw = &raw
		if a := p.client.send(context.Background(), r); a.status != http.StatusOK || a.body != want {
			t.Errorf("%+v: %s %q", raw, a, a.body)
		}
	}
	r := p.homeRequest("")
	r.raw = &rawHead{version: "1.1", hosts: []string{"a.test", "b.test"}}
	if a := p.client.send(context.Background(), r); a.status != http.StatusBadRequest {
		t.Errorf("two Host lines: %s, want 400", a)
	}
}

// targetHeaders has every header that names a page, scheme or method, but no header that names
// a user.
func TestEveryHeaderThatNamesATargetIsSent(t *testing.T) {
	sent := map[string]string{}
	for _, one := range targetHeaders(request{origin: "https://other.test", path: "/a"}) {
		sent[one[0]] = one[1]
	}
	for name, want := range map[string]string{
		"X-Forwarded-Host": "other.test", "X-Original-Host": "other.test", "X-Http-Host-Override": "other.test", "X-Forwarded-Server": "other.test",
		"X-Forwarded-Uri": "/a", "X-Original-Uri": "/a", "X-Http-Path-Override": "/a", "X-Forwarded-Prefix": "/a", "X-Original-Url": "https://other.test/a",
		"X-Rewrite-Url": "https://other.test/a", "X-Forwarded-Method": "GET", "X-Original-Method": "GET", "X-Forwarded-Proto": "https",
		"X-Original-Scheme": "https", "Forwarded": "host=other.test;proto=https", "X-Forwarded-For": "127.0.0.1",
	} {
		if sent[name] != want {
			t.Errorf("%s: %q, want %q", name, sent[name], want)
		}
	}
	if _, ok := sent["X-Remote-User"]; ok {
		t.Error("targetHeaders has X-Remote-User")
	}
}
