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

// withVideoBehindProxy runs a test with each database engine on a portal whose panel video
// another proxy serves. The portal trusts the address trusted.
func withVideoBehindProxy(t *testing.T, trusted string, test func(t *testing.T, p *portal.Portal)) {
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

func TestVerifyAdmitsVisitsAndRedirectsStrangers(t *testing.T) {
	withVideoBehindProxy(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		// No proxy serves video, so the test follows the redirects to its visit itself.
		b.Get(panels.Video + "/.sallyport/start?return=/rack")
		b.Follow()
		signIn := portal.FieldOf(b.Last.Body, "return")
		b.Post("/login", "username", "ada", "password", portal.Password, "return", signIn)
		for !strings.HasPrefix(b.Last.Location, panels.Video+"/rack") {
			if b.Last.Location == "" {
				t.Fatalf("the redirects to a visit end with status %d, want a further redirect\n%s", b.Last.Status, b.Last.Body)
			}
			b.Get(b.Last.Location)
		}
		stranger := p.Browser(t)
		page := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		for _, proxy := range verifyDialects {
			a := panels.SendVerify(b, proxy, "/rack?a=b", nil)
			open := panels.SendVerify(stranger, proxy, "/status/x", nil)
			if proxy == "nginx/refused" {
				// The gate admits both requests, so the panel itself refused. The answer must
				// not be 200, since nginx would show it in place of the panel's page.
				if a.Status != http.StatusForbidden || !strings.Contains(a.Body, panels.Video+"/rack?a=b") || a.Header.Get("Remote-User") != "" {
					t.Errorf("%s, signed in: %s, want 403 with the page's address and no identity", proxy, portal.Summary(a))
				}
				if open.Status != http.StatusForbidden {
					t.Errorf("%s, an open path: %s, want 403", proxy, portal.Summary(open))
				}
			} else {
				if a.Status != http.StatusOK || a.Header.Get("Remote-User") != "ada" || len(a.Header["Remote-Groups"]) != 1 || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s, signed in: %d %v, want 200 with ada's identity and no cookie", proxy, a.Status, a.Header)
				}
				if open.Status != http.StatusOK || len(open.Header["Remote-User"]) != 1 || open.Header.Get("Remote-User") != "" {
					t.Errorf("%s, an open path: %d %v, want 200 with an empty Remote-User", proxy, open.Status, open.Header)
				}
			}
			if a := panels.SendVerify(b, proxy, "/.sallyport/x", nil); a.Status != http.StatusForbidden {
				t.Errorf("%s, a path below /.sallyport: status %d, want 403", proxy, a.Status)
			}
			navigation, script := panels.SendVerify(stranger, proxy, "/rack?a=b", page), panels.SendVerify(stranger, proxy, "/rack?a=b", nil)
			if proxy == "nginx" { // its auth_request accepts only yes and no
				if navigation.Status != http.StatusUnauthorized || script.Status != http.StatusUnauthorized {
					t.Errorf("nginx, a stranger's navigation and script: statuses %d and %d, want 401", navigation.Status, script.Status)
				}
				continue
			}
			if want := panels.Video + "/.sallyport/start?return=%2Frack%3Fa%3Db"; navigation.Status != http.StatusSeeOther || navigation.Location != want {
				t.Errorf("%s, a stranger's navigation: %d %s, want a redirect to %s", proxy, navigation.Status, navigation.Location, want)
			}
			var body struct{ Login string }
			if err := json.Unmarshal([]byte(script.Body), &body); script.Status != http.StatusUnauthorized || err != nil || !strings.HasPrefix(body.Login, panels.Video+"/.sallyport/start?") {
				t.Errorf("%s, a stranger's script: %d %q, want 401 with the sign-in", proxy, script.Status, script.Body)
			}
		}
	})
}

// A verify request is refused if one of the proxy's headers is missing, doubled or spelled
// differently, if the request carries identity headers, or if the panel isn't declared (R21, R22).
func TestR21VerifyReadsOneFamilyOfHeaders(t *testing.T) {
	withVideoBehindProxy(t, "127.0.0.1", func(t *testing.T, p *portal.Portal) {
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			_, header := panels.VerifyRequest(proxy, "/status/")
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
					if a := panels.SendVerify(b, proxy, "/status/", more); a.Status != http.StatusForbidden {
						t.Errorf("%s, a request with %v: status %d, want 403", proxy, more, a.Status)
					}
				}
			}
			for _, name := range []string{"Remote-User", "Remote_User", "remote.groups"} {
				if a := panels.SendVerify(b, proxy, "/status/", http.Header{name: {"root"}}); a.Status != http.StatusForbidden {
					t.Errorf("%s, a request with %s: status %d, want 403", proxy, name, a.Status)
				}
			}
			for _, target := range []string{"/status/../rack", "/status/..%2frack", "/status/%00", "//status/", "/status/%2e%2e/rack"} {
				if a := panels.SendVerify(b, proxy, target, nil); a.Status == http.StatusOK {
					t.Errorf("%s: a stranger is admitted to %s", proxy, target)
				}
			}
		}
		for _, host := range []string{"other.test", "video.test.", "video.test@other.test", "video.test, other.test", ""} {
			want := http.StatusForbidden
			if host == "video.test." {
				want = http.StatusMisdirectedRequest // the panel's name with a dot, where cookies differ
			}
			if a := panels.SendVerify(b, "caddy", "/status/", http.Header{"X-Forwarded-Host": {host}}); a.Status != want {
				t.Errorf("X-Forwarded-Host %q: status %d, want %d", host, a.Status, want)
			}
		}
		for _, address := range []string{panels.PortalAt + "/verify/caddy", panels.PortalAt + "/verify/envoy/status/"} {
			if _, header := panels.VerifyRequest("caddy", "/status/"); b.Do(http.MethodGet, address, nil, header).Status == http.StatusOK {
				t.Errorf("%s is answered at the portal's own host", address)
			}
		}
		if a := b.Do(http.MethodGet, "http://sallyport/verify/other", nil, nil); a.Status != http.StatusForbidden {
			t.Errorf("an unknown dialect: status %d, want 403", a.Status)
		}
	})
}

// Only trusted proxies may send verify requests (attack 89).
func TestAttack89UntrustedCallersAreRefused(t *testing.T) {
	withVideoBehindProxy(t, "192.0.2.1", func(t *testing.T, p *portal.Portal) {
		b := p.Browser(t)
		for _, proxy := range verifyDialects {
			if a := panels.SendVerify(b, proxy, "/status/", http.Header{"X-Forwarded-For": {"192.0.2.1"}}); a.Status != http.StatusForbidden {
				t.Errorf("%s: status %d, want 403", proxy, a.Status)
			}
		}
		if log := p.Logs.String(); !strings.Contains(log, "trusted_proxies") {
			t.Error("the log doesn't name the setting trusted_proxies")
		}
	})
}
