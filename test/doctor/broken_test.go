package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/testkit/proxies"
)

// change replaces a text in one of the proxy's files. In old and new, ONE and TWO stand for
// the addresses of the panels' servers, GATE for Sallyport's, AT and PLAIN for the proxy's
// (https and http), and DIR for the proxy's directory.
type change struct{ file, old, new string }

// brokenSetup adds a fault to a set-up without findings.
type brokenSetup struct {
	proxy, name string
	changes     []change
	ids         []string // exactly the findings that doctor must report

	// lines is the ID of a finding. In fix, LINES stands for the lines that doctor prints with it.
	// After the fix doctor must have no findings.
	lines string
	fix   change
	more  []change // the fix's changes in other places

	named bool // doctor gets --proxy, since it can't recognize the proxy
}

const (
	atRadio  = " https://radio.example"
	atVideo  = " https://video.test"
	atPortal = " https://auth.test"

	inRadio     = "server_name radio.example; include sallyport.conf;"
	inVideo     = "server_name video.test; include sallyport.conf;"
	gateLine    = "http-request lua.sallyport GATE if !portal !{ path_beg /.sallyport/ }"
	rejectSite  = "server { listen AT ssl default_server; ssl_reject_handshake on; }"
	defaultSite = "server { listen AT ssl default_server; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; location / { proxy_pass http://"

	ownCertificate    = "ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem;"
	expired           = "ssl_certificate DIR/expired.pem; ssl_certificate_key DIR/expired.key;"
	early             = "ssl_certificate DIR/early.pem; ssl_certificate_key DIR/early.key;"
	otherName         = "ssl_certificate DIR/others.pem; ssl_certificate_key DIR/others.key;"
	apacheCertificate = "SSLCertificateFile DIR/cert.pem\nSSLCertificateKeyFile DIR/key.pem"
	apacheExpired     = "SSLCertificateFile DIR/expired.pem\nSSLCertificateKeyFile DIR/expired.key"

	socketLines = "proxy_set_header Upgrade $sallyport_upgrade;\nproxy_set_header Connection $sallyport_connection;"
	denyComma   = "http-request deny deny_status 400 if { req.fhdr(host) -m sub , }\n    "
	portalRule  = "acl portal req.fhdr(host),host_only -i auth.test"
	caddyVerify = "header_up Host sallyport\n\t\theader_up X-Forwarded-Host {http.request.host}"

	caddyUpgrades = `	@websocket header_regexp Upgrade (?i)^websocket$
	@upgrade not header_regexp Upgrade (?i)^websocket$
	request_header @websocket Upgrade websocket
	# No body, since the panel could take it for its next request.
	request_body @websocket {
		max_size 1
	}
	request_header @upgrade -Upgrade
`
	keptBack = `local kept_back = {
  ["host"] = true, ["connection"] = true, ["upgrade"] = true, ["te"] = true, ["trailer"] = true,
  ["keep-alive"] = true, ["transfer-encoding"] = true, ["content-length"] = true, ["expect"] = true,
  ["x-forwarded-method"] = true, ["x-forwarded-host"] = true, ["x-forwarded-uri"] = true,
}`
)

// Each of groups is a proxy and the set-ups that one start of the proxy tests together. No fault in
// a group hides another, and no two have the same finding. Every set-up outside the groups has a
// start of its own.
var groups = [][]string{
	{"nginx", "a location for WebSockets without the gate", "the gate isn't asked about a forged address", "no HSTS", "plain http",
		"a location with an error_page of its own", "other upgrades than WebSocket", "Destination isn't sent to the gate",
		"an expired certificate", "a certificate for another name", "a certificate that isn't valid yet"},
	{"nginx", "a location for files without the gate", "a folder without the gate", "OPTIONS answered by nginx", "Set-Cookie removed", "no default site", "the client's Host line is sent to the sign-in"},
	{"nginx", "the gate isn't asked about this machine", "a default site that is a panel"},
	{"nginx", "the portal gets no client's host", "the site's first name is another"},
	{"caddy", "a path without the gate", "cookies for all hosts of a domain", "other upgrades than WebSocket", "HSTS removed", "the portal's site is the default"},
	{"caddy", "Destination isn't sent to the gate", "a default site that is a panel", "the portal gets its server's name as host"},
	{"haproxy", "OPTIONS without the gate", "no redirect to https", "other upgrades than WebSocket", "the gate is asked about the last of two hosts"},
	{"haproxy", "a health check's User-Agent without the gate", "an alias of an identity header isn't sent to the gate"},
	{"haproxy", "only the prefix of a host is compared", "Destination isn't sent to the gate"},
	{"haproxy", "COPY without the gate", "a client's X-Forwarded-Host is trusted"},
	{"apache", "a folder that Apache serves itself", "HSTS removed", "cookies for all hosts of a domain", "plain http", "an expired certificate"},
}

// groupSetups returns all set-ups, divided as groups says.
func groupSetups(t *testing.T) [][]brokenSetup {
	t.Helper()
	rest := slices.Clone(brokenSetups)
	var all [][]brokenSetup
	for _, names := range groups {
		var group []brokenSetup
		for _, name := range names[1:] {
			i := slices.IndexFunc(rest, func(b brokenSetup) bool { return b.proxy == names[0] && b.name == name })
			if i < 0 {
				t.Fatalf("groups names %q of %s, which isn't a set-up", name, names[0])
			}
			group = append(group, rest[i])
			rest = slices.Delete(rest, i, i+1)
		}
		all = append(all, group)
	}
	for _, one := range rest {
		all = append(all, []brokenSetup{one})
	}
	return all
}

// Doctor reports exactly the findings of a fault, and the lines that it prints fix the fault.
func TestDoctorFindsEachFaultAndItsLinesFixIt(t *testing.T) {
	t.Parallel()
	for _, group := range groupSetups(t) {
		proxy := group[0].proxy
		t.Run(proxy+"/"+group[0].name, func(t *testing.T) {
			t.Parallel()
			var changes []change
			want := []string{}
			for _, b := range group {
				changes = append(changes, b.changes...)
				want = append(want, b.ids...)
			}
			slices.Sort(want)
			broken := startSite(t, proxy, configOf(proxy), changes...)
			args := broken.args
			if group[0].named {
				args = append(args, "--proxy", proxy)
			}
			code, d := runDoctor(t, broken.environ, args...)
			if diff := cmp.Diff(slices.Compact(want), d.ids()); diff != "" || code != 1 {
				t.Fatalf("exit code %d, findings (-want +got):\n%s\n%+v", code, diff, d.Findings)
			}
			for _, b := range group {
				if b.lines == "" {
					return
				}
				lines := strings.ReplaceAll(d.lines(b), broken.portal.At, "GATE")
				for _, c := range append([]change{b.fix}, b.more...) {
					c.new = strings.ReplaceAll(c.new, "LINES", lines)
					changes = append(changes, c)
				}
			}
			fixed := startSite(t, proxy, configOf(proxy), changes...)
			if _, d := runDoctor(t, fixed.environ, fixed.args...); len(d.Findings) > 0 {
				t.Errorf("after the fix %+v doctor still finds %+v", changes, d.Findings)
			}
		})
	}
}

// configOf returns Sallyport's configuration for a proxy.
func configOf(proxy string) string {
	if proxies.BeforeGateway[proxy] {
		return gatewayConfig
	}
	return siteConfig
}

// public_url says http, but the proxy serves https at that port. The lines of the fix
// contain the port.
func TestDoctorFindsPublicURLWithTheWrongScheme(t *testing.T) {
	t.Parallel()
	for _, proxy := range tlsProxies {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			text := strings.ReplaceAll(withPorts(configOf(proxy)), "https://", "http://")
			broken := startSite(t, proxy, text)
			_, d := runDoctor(t, broken.environ, broken.args...)
			at := port(broken.at)
			wantIDs(t, d, "url.scheme http://auth.test:"+at)
			for _, line := range d.Findings[0].Fixes[0].Lines {
				line = strings.ReplaceAll(line, at, "PORT")
				text = strings.ReplaceAll(text, strings.Replace(line, "https://", "http://", 1), line)
			}
			fixed := startSite(t, proxy, text)
			_, d = runDoctor(t, fixed.environ, fixed.args...)
			wantIDs(t, d)
		})
	}
}

// public_url says http and has no port. Port 80 redirects to https, or no server listens
// there.
func TestDoctorFollowsARedirectToHTTPS(t *testing.T) {
	t.Parallel()
	s := startSite(t, "nginx", strings.ReplaceAll(siteConfig, "https://", "http://"))
	want := []string{"public_url: https://auth.test", "panels:", "  - url: https://radio.example", "  - url: https://video.test"}
	for _, args := range [][]string{s.args, append([]string{"--connect-to", ":80:127.0.0.9:1"}, s.args...)} {
		_, d := runDoctor(t, s.environ, args...)
		wantIDs(t, d, "url.scheme http://auth.test")
		if diff := cmp.Diff(want, d.Findings[0].Fixes[0].Lines); diff != "" {
			t.Errorf("lines of the fix (-want +got):\n%s", diff)
		}
	}
}

// A rule of the proxy compares the whole Host header with a name. Since public_url has a
// port, the header contains it and never matches.
func TestDoctorFindsARuleThatComparesTheHostWithItsPort(t *testing.T) {
	t.Parallel()
	broken := change{"haproxy.cfg", portalRule, "acl portal hdr(host) -i auth.test"}
	s := startSite(t, "haproxy", withPorts(siteConfig), broken)
	_, d := runDoctor(t, s.environ, s.args...)
	origin := "https://auth.test:" + port(s.at)
	wantIDs(t, d, "portal.unrouted "+origin)
	lines := d.Findings[0].Fixes[0].Lines
	s = startSite(t, "haproxy", withPorts(siteConfig), broken, change{"haproxy.cfg", "acl portal hdr(host) -i auth.test", strings.Join(lines, "\n    ")})
	_, d = runDoctor(t, s.environ, s.args...)
	wantIDs(t, d)
}
