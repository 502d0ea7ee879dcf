package panels

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

var verifyDialects = []string{"nginx", "nginx/refused", "caddy", "haproxy", "traefik", "envoy"}

// aboutVideo runs a test on a portal whose panel video another proxy serves.
func aboutVideo(t *testing.T, trusted string, test func(t *testing.T, p *portal.Portal)) {
	t.Helper()
	portal.OnBothEngines(t, test, "SALLYPORT_CONFIG="+panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
trusted_proxies: [%s]
panels:
  - url: %s
    rules:
      - path: /status/
        require: nothing
      - path: /api/
        require: session
        preflight: true
`, panels.PortalAt, trusted, panels.Video)))
}

func TestVerifyAdmitsWithIdentityAndLeadsStrangersToTheSignIn(t *testing.T) {
	aboutVideo(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		// No proxy serves the panel here: the way to a visit is walked by hand.
		b.Get(panels.Video + "/.sallyport/start?return=/rack")
		b.Follow()
		signIn := portal.FieldOf(b.Last.Body, "return")
		b.Post("/login", "username", "ada", "password", portal.Password, "return", signIn)
		for !strings.HasPrefix(b.Last.Location, panels.Video+"/rack") {
			if b.Last.Location == "" {
				t.Fatalf("no way to the panel: %d\n%s", b.Last.Status, b.Last.Body)
			}
			b.Get(b.Last.Location)
		}
		stranger := p.Browser(t)
		page := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		for _, proxy := range verifyDialects {
			a := panels.Ask(b, proxy, "/rack?a=b", nil)
			open := panels.Ask(stranger, proxy, "/status/x", nil)
			if proxy == "nginx/refused" {
				// The gate admits both, so it was the panel that refused: never a 200, which
				// nginx would show in place of the panel's page.
				if a.Status != http.StatusForbidden || !strings.Contains(a.Body, panels.Video+"/rack?a=b") || a.Header.Get("Remote-User") != "" {
					t.Errorf("%s, signed in: %s", proxy, portal.Summary(a))
				}
				if open.Status != http.StatusForbidden {
					t.Errorf("%s, an open path: %s", proxy, portal.Summary(open))
				}
			} else {
				if a.Status != http.StatusOK || a.Header.Get("Remote-User") != "ada" || len(a.Header["Remote-Groups"]) != 1 || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s, signed in: %d %v", proxy, a.Status, a.Header)
				}
				if open.Status != http.StatusOK || len(open.Header["Remote-User"]) != 1 || open.Header.Get("Remote-User") != "" {
					t.Errorf("%s, an open path: %d %v", proxy, open.Status, open.Header)
				}
			}
			if a := panels.Ask(b, proxy, "/.sallyport/x", nil); a.Status != http.StatusForbidden {
				t.Errorf("%s, a path of ours: %d", proxy, a.Status)
			}
			led, script := panels.Ask(stranger, proxy, "/rack?a=b", page), panels.Ask(stranger, proxy, "/rack?a=b", nil)
			if proxy == "nginx" { // which knows yes and no only
				if led.Status != http.StatusUnauthorized || script.Status != http.StatusUnauthorized {
					t.Errorf("nginx: %d, %d", led.Status, script.Status)
				}
				continue
			}
			if want := panels.Video + "/.sallyport/start?return=%2Frack%3Fa%3Db"; led.Status != http.StatusSeeOther || led.Location != want {
				t.Errorf("%s, a page: %d %s, want %s", proxy, led.Status, led.Location, want)
			}
			var body struct{ Login string }
			if err := json.Unmarshal([]byte(script.Body), &body); script.Status != http.StatusUnauthorized || err != nil || !strings.HasPrefix(body.Login, panels.Video+"/.sallyport/start?") {
				t.Errorf("%s, a script: %d %q", proxy, script.Status, script.Body)
			}
		}
	})
}

// R21, R22: a question with a header that is missing, doubled, spelled
// otherwise, or the client's is no; so is a panel that isn't declared.
func TestR21VerifyBelievesOneFamilyOfHeaders(t *testing.T) {
	aboutVideo(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			_, header := panels.Asked(proxy, "/status/")
			read := []string{"X-Original-Method", "X-Original-Url", "X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"}
			if strings.HasPrefix(proxy, "nginx") {
				read = append(read, "X-Real-Ip")
			}
			for _, name := range read {
				values, there := header[name]
				if !there || proxy == "envoy" {
					continue
				}
				for _, more := range []http.Header{
					{name: nil}, {name: {""}}, {name: {values[0], values[0]}}, {strings.ReplaceAll(name, "-", "_"): values}, {strings.ReplaceAll(name, "-", "."): values},
				} {
					if a := panels.Ask(b, proxy, "/status/", more); a.Status != http.StatusForbidden {
						t.Errorf("%s with %v: %d", proxy, more, a.Status)
					}
				}
			}
			for _, name := range []string{"Remote-User", "Remote_User", "remote.groups"} {
				if a := panels.Ask(b, proxy, "/status/", http.Header{name: {"root"}}); a.Status != http.StatusForbidden {
					t.Errorf("%s with %s: %d", proxy, name, a.Status)
				}
			}
			for _, target := range []string{"/status/../rack", "/status/..%2frack", "/status/%00", "//status/", "/status/%2e%2e/rack"} {
				if a := panels.Ask(b, proxy, target, nil); a.Status == http.StatusOK {
					t.Errorf("%s admits to %s", proxy, target)
				}
			}
		}
		for _, host := range []string{"other.test", "video.test.", "video.test@other.test", "video.test, other.test", ""} {
			want := http.StatusForbidden
			if host == "video.test." {
				want = http.StatusMisdirectedRequest // the panel's, but no browser is signed in there
			}
			if a := panels.Ask(b, "caddy", "/status/", http.Header{"X-Forwarded-Host": {host}}); a.Status != want {
				t.Errorf("host %q: %d", host, a.Status)
			}
		}
		for _, address := range []string{panels.PortalAt + "/verify/caddy", panels.PortalAt + "/verify/envoy/status/"} {
			if _, header := panels.Asked("caddy", "/status/"); b.Do(http.MethodGet, address, nil, header).Status == http.StatusOK {
				t.Errorf("%s answers on the portal's own host", address)
			}
		}
		if a := b.Do(http.MethodGet, "http://sallyport/verify/other", nil, nil); a.Status != http.StatusForbidden {
			t.Errorf("an unknown proxy: %d", a.Status)
		}
	})
}

// Attack 89: nobody but a trusted proxy is answered.
func TestAttack89UntrustedCaller(t *testing.T) {
	aboutVideo(t, "192.0.2.1", func(t *testing.T, p *portal.Portal) {
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			if a := panels.Ask(b, proxy, "/status/", http.Header{"X-Forwarded-For": {"192.0.2.1"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s: %d", proxy, a.Status)
			}
		}
		if log := p.Logs.String(); !strings.Contains(log, "trusted_proxies") {
			t.Error("the log doesn't say what to do")
		}
	})
}
