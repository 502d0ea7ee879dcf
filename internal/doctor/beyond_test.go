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

// newPatient returns a panel at a test server. It demands a session; with open, it demands
// nothing below /open/.
func newPatient(t *testing.T, handler http.HandlerFunc, open bool) *patient {
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
		client:  newClient(nil), report: Report{Proxies: map[string]string{}}, mark: "mark",
	}
	return &patient{doctor: d, Panel: &d.Panels[0], routed: true}
}

func (p *patient) ids() []string {
	all := []string{}
	for _, f := range p.report.Findings {
		all = append(all, f.ID)
	}
	return all
}

// refuse answers as the gate does to a script of a stranger.
func refuse(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusUnauthorized)
	json.NewEncoder(w).Encode(map[string]string{"login": "http://" + r.Host + access.StartPath + "?return=" + r.URL.Path})
}

// deny answers with a page of Sallyport's.
func deny(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", access.PagePolicy)
	w.WriteHeader(http.StatusForbidden)
}

func switchTo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// A proxy that speaks HTTP/2 itself passes no upgrade on.
func TestAnUpgradeThatTheProxyTakesItselfIsNoFinding(t *testing.T) {
	p := newPatient(t, switchTo, true)
	p.upgrades(context.Background())
	if diff := cmp.Diff([]string{}, p.ids()); diff != "" {
		t.Error(diff)
	}
	p = newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/open/") {
			switchTo(w, r)
		} else {
			deny(w)
		}
	}, true)
	p.upgrades(context.Background())
	if diff := cmp.Diff([]string{"upgrade.passed"}, p.ids()); diff != "" || len(p.report.Findings[0].Seen) != len(upgrades) {
		t.Errorf("%s\n%+v", diff, p.report.Findings)
	}
}

// Where no path is open, only the panel's own server tells that there is something to ask.
func TestDoctorSaysThatItCanNotTellWhetherAnUpgradePasses(t *testing.T) {
	p := newPatient(t, refuse, false)
	p.Upstream = newPatient(t, switchTo, false).Origin
	p.upgrades(context.Background())
	if len(p.report.Findings) > 0 || len(p.report.Skipped) != len(upgrades) {
		t.Errorf("found %+v, skipped %+v", p.report.Findings, p.report.Skipped)
	}
	p = newPatient(t, refuse, false)
	p.Upstream = newPatient(t, http.NotFound, false).Origin
	p.upgrades(context.Background())
	if len(p.report.Findings) > 0 || len(p.report.Skipped) > 0 {
		t.Errorf("found %+v, skipped %+v", p.report.Findings, p.report.Skipped)
	}
}

// A gate that sees every header but one names a finding; one whose panel has no rules
// minds none of them.
func TestHeadersThatNameASecondResourceMustBeSeen(t *testing.T) {
	for _, hidden := range append([]string{""}, resourceHeaders...) {
		for _, open := range []bool{true, false} {
			p := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "COPY" && hidden == "Destination" {
					http.NotFound(w, r) // the panel's
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
			p.resources(context.Background())
			want := []string{}
			if hidden != "" && open {
				want = []string{"resource.hidden"}
			}
			if diff := cmp.Diff(want, p.ids()); diff != "" {
				t.Errorf("%q hidden, rules that differ: %v\n%s\n%+v", hidden, open, diff, p.report.Findings)
			}
		}
	}
}

// Each header that names a resource to the gate may be asked with.
func TestTheGateKnowsTheResourceHeaders(t *testing.T) {
	p := newPatient(t, refuse, true)
	for _, name := range resourceHeaders {
		if _, err := p.DemandFor(access.Request{Method: "GET", Target: "/a", Header: http.Header{name: {"https://elsewhere.invalid/"}}}); err == nil {
			t.Errorf("the gate minds no %s", name)
		}
	}
}

// nginx's own 401 is the gate's no, unless the panel's own server answers so too.
func TestNginxsOwn401IsNoOpenPath(t *testing.T) {
	const page = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	bare := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, page)
	}
	challenge := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="panel"`)
		bare(w, r)
	}
	for _, test := range []struct {
		name         string
		there, panel http.HandlerFunc
		want         []string
	}{
		{"the gate's", bare, nil, []string{"path.deadend"}},
		{"the gate's, before a panel that answers", bare, http.NotFound, []string{"path.deadend"}},
		{"the panel's", bare, bare, []string{"path.open"}},
		{"the panel's, with its challenge", challenge, nil, []string{"path.open"}},
	} {
		p := newPatient(t, test.there, false)
		p.routed = false
		p.PublicURL = newPatient(t, http.NotFound, false).Origin
		if test.panel != nil {
			p.Upstream = newPatient(t, test.panel, false).Origin
		}
		p.try(context.Background(), "path.open", request{origin: p.Origin, path: "/api/mark"})
		if diff := cmp.Diff(test.want, p.ids()); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

// What Go's client would change or refuse is sent as it stands.
func TestRawRequestsAreSentAsTheyAreWritten(t *testing.T) {
	p := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Join([]string{r.Proto, r.Host, r.RequestURI, r.Header.Get("Accept")}, " "))
	}, false)
	for want, raw := range map[string]rawHead{
		"HTTP/1.1 a.test,b.test / text/html":       {version: "1.1", hosts: []string{"a.test,b.test"}},
		"HTTP/1.0  / text/html":                    {version: "1.0"},
		"HTTP/1.1 b.test http://b.test/ text/html": {version: "1.1", target: "http://b.test/", hosts: []string{"a.test"}},
	} {
		r := p.home("")
		r.raw = &raw
		if a := p.client.ask(context.Background(), r); a.status != http.StatusOK || a.body != want {
			t.Errorf("%+v: %s %q", raw, a, a.body)
		}
	}
	r := p.home("")
	r.raw = &rawHead{version: "1.1", hosts: []string{"a.test", "b.test"}}
	if a := p.client.ask(context.Background(), r); a.status != http.StatusBadRequest {
		t.Errorf("two Host lines: %s", a)
	}
}

// All headers that say which page was asked for, or by which scheme and method, are tried.
func TestEveryHeaderThatNamesAPageIsClaimed(t *testing.T) {
	claimed := map[string]string{}
	for _, one := range claims(request{origin: "https://other.test", path: "/a"}) {
		claimed[one[0]] = one[1]
	}
	for name, want := range map[string]string{
		"X-Forwarded-Host": "other.test", "X-Original-Host": "other.test", "X-Http-Host-Override": "other.test", "X-Forwarded-Server": "other.test",
		"X-Forwarded-Uri": "/a", "X-Original-Uri": "/a", "X-Http-Path-Override": "/a", "X-Forwarded-Prefix": "/a", "X-Original-Url": "https://other.test/a",
		"X-Rewrite-Url": "https://other.test/a", "X-Forwarded-Method": "GET", "X-Original-Method": "GET", "X-Forwarded-Proto": "https",
		"X-Original-Scheme": "https", "Forwarded": "host=other.test;proto=https", "X-Forwarded-For": "127.0.0.1",
	} {
		if claimed[name] != want {
			t.Errorf("%s: %q, want %q", name, claimed[name], want)
		}
	}
	if _, there := claimed["X-Remote-User"]; there {
		t.Error("a person is claimed")
	}
}
