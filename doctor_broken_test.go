package sallyport_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// change is a text of one of the proxy's files that becomes another. ONE and TWO
// stand for the panels' own servers, GATE for Sallyport, AT and PLAIN for the
// proxy, DIR for its folder.
type change struct{ file, old, new string }

// brokenSetup is a way to break a set-up that was found clean.
type brokenSetup struct {
	proxy, name string
	changes     []change
	ids         []string // of what doctor finds, and nothing else

	// fix is where LINES, those of the finding lines, go to; it is clean then.
	lines string
	fix   change
}

const (
	atRadio  = " https://radio.example"
	atVideo  = " https://video.test"
	atPortal = " https://auth.test"

	inRadio = "server_name radio.example; include sallyport.conf;"
	inVideo = "server_name video.test; include sallyport.conf;"
	asks    = "http-request lua.sallyport GATE if !portal !{ path_beg /.sallyport/ }"
	nobody  = "server { listen AT ssl default_server; ssl_reject_handshake on; }"
	takeAll = "server { listen AT ssl default_server; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; location / { proxy_pass http://"

	socketLines = "proxy_set_header Upgrade $sallyport_upgrade;\nproxy_set_header Connection $sallyport_connection;"
	noComma     = "http-request deny deny_status 400 if { req.fhdr(host) -m sub , }\n    "
	portalIs    = "acl portal req.fhdr(host),host_only -i auth.test"
	caddyAsks   = "header_up Host sallyport\n\t\theader_up X-Forwarded-Host {http.request.host}"

	caddyUpgrades = `	@websocket header_regexp Upgrade (?i)^websocket$
	@upgrade not header_regexp Upgrade (?i)^websocket$
	request_header @websocket Upgrade websocket
	# It has no body, which the panel could take for its next request.
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

var brokenSetups = []brokenSetup{
	{"nginx", "a location for WebSockets without the gate",
		[]change{{"nginx.conf", inRadio, inRadio + " location /socket { auth_request off; proxy_pass http://ONE; }"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"websocket.open", change{"nginx.conf", "location /socket { auth_request off; proxy_pass http://ONE; }", "LINES"}},
	{"nginx", "files without the gate",
		[]change{{"nginx.conf", inVideo, inVideo + ` location ~ \.(css)$ { auth_request off; proxy_pass http://TWO; }`}},
		[]string{"path.open" + atVideo},
		"path.open", change{"nginx.conf", `location ~ \.(css)$ { auth_request off; proxy_pass http://TWO; }`, "LINES"}},
	{"nginx", "the gate or this machine",
		[]change{{"nginx.conf", inVideo, inVideo + " satisfy any; allow 127.0.0.1; deny all;"}},
		[]string{"gate.absent" + atVideo},
		"gate.absent", change{"nginx.conf", inVideo + " satisfy any; allow 127.0.0.1; deny all;", "LINES"}},
	{"nginx", "the gate or what says that it is near",
		[]change{{"nginx.conf", inVideo, inVideo + " set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; satisfy any; allow 10.0.0.0/8;"}},
		[]string{"request.open" + atVideo},
		"request.open", change{"nginx.conf", "include sallyport.conf; set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; satisfy any; allow 10.0.0.0/8;", "LINES set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;"}},
	{"nginx", "a site for hosts that nobody named",
		[]change{{"nginx.conf", nobody, takeAll + "ONE; } }"}},
		[]string{"host.unnamed" + atRadio}, "", change{}},
	{"nginx", "the page that is asked for isn't said",
		[]change{{"sallyport.conf", "proxy_set_header X-Original-URL $scheme://$server_name$request_uri;", ""}},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo, "gate.refuses" + atRadio, "gate.refuses" + atVideo},
		"forged.target", change{"sallyport.conf", `proxy_set_header Host sallyport;
    proxy_set_header Content-Length "";
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Original-Method $request_method;
    
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For "";
    proxy_set_header X-Forwarded-Host "";
    proxy_set_header X-Forwarded-Proto "";`, `proxy_set_header Content-Length ""; proxy_set_header Upgrade ""; LINES`}},
	{"nginx", "the portal's site takes all hosts",
		[]change{{"nginx.conf", nobody, takeAll + "sallyport; proxy_set_header Host $http_host; } }"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"nginx.conf", "default_server; ssl_certificate", "default_server; LINES ssl_certificate"}},
	{"nginx", "no HSTS",
		[]change{{"sallyport.conf", "location ^~ /.sallyport/ {", "location ^~ /.sallyport/ { proxy_hide_header Strict-Transport-Security;"}},
		[]string{"hsts.missing" + atRadio, "hsts.missing" + atVideo},
		"hsts.missing", change{"sallyport.conf", "proxy_hide_header Strict-Transport-Security;", "LINES"}},
	{"nginx", "plain http",
		[]change{{"nginx.conf", "default_server; return 301 https://$host$request_uri; }", "default_server; location / { proxy_pass http://sallyport; proxy_set_header Host $host; } }"}},
		[]string{"http.open" + atPortal},
		"http.open", change{"nginx.conf", "upstream sallyport", "LINES\nupstream sallyport"}},
	{"nginx", "the way to the sign-in isn't routed",
		[]change{{"sallyport.conf", "location ^~ /.sallyport/ {", "location ^~ /.other/ {"}},
		[]string{"sallyport.unrouted" + atRadio, "sallyport.unrouted" + atVideo},
		"sallyport.unrouted", change{"sallyport.conf", "location ^~ /.other/ {", "LINES\nlocation ^~ /.other/ {"}},

	{"caddy", "a path beside the gate",
		[]change{{"Caddyfile", "import sallyport GATE\n\treverse_proxy ONE", "handle /api/* {\n\t\treverse_proxy ONE\n\t}\n\thandle {\n\t\timport sallyport GATE\n\t\treverse_proxy ONE\n\t}"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"path.open", change{"Caddyfile", "handle /api/* {\n\t\treverse_proxy ONE\n\t}\n\thandle {\n\t\timport sallyport GATE", "LINES\n\thandle {"}},
	{"caddy", "WebSockets beside the gate",
		[]change{{"sallyport.caddy", "@guarded not path /.sallyport/*", "@guarded {\n\t\tnot path /.sallyport/*\n\t\tnot header Upgrade websocket\n\t}"}},
		[]string{"request.open" + atRadio, "request.open" + atVideo, "websocket.open" + atRadio, "websocket.open" + atVideo}, "", change{}},
	{"caddy", "the client's word on the host",
		[]change{{"sallyport.caddy", "uri /verify/caddy\n\t\theader_up Host sallyport\n\t\theader_up X-Forwarded-Host {http.request.host}", "uri /verify/caddy\n\t\ttrusted_proxies private_ranges\n\t\theader_up Host sallyport"}},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo},
		"forged.target", change{"sallyport.caddy", "uri /verify/caddy\n\t\ttrusted_proxies private_ranges\n\t\theader_up Host sallyport", "LINES"}},
	{"caddy", "a site for hosts that nobody named",
		[]change{{"Caddyfile", "https://video.test {", "https:// {\n\ttls DIR/cert.pem DIR/key.pem\n\treverse_proxy TWO\n}\nhttps://video.test {"}},
		[]string{"host.mismatch" + atVideo, "host.unnamed" + atVideo}, "", change{}},
	{"caddy", "cookies for all hosts of a domain",
		[]change{{"sallyport.caddy", "\t\treverse_proxy {args.0}\n", "\t\treverse_proxy {args.0} {\n\t\t\theader_down Set-Cookie \"(.*)\" \"$1; Domain=radio.example\"\n\t\t}\n"}},
		[]string{"cookie.scope" + atRadio, "cookie.scope" + atVideo},
		"cookie.scope", change{"sallyport.caddy", "handle @sallyport {\n\t\treverse_proxy {args.0} {\n\t\t\theader_down Set-Cookie \"(.*)\" \"$1; Domain=radio.example\"\n\t\t}\n\t}", "LINES"}},

	{"haproxy", "OPTIONS beside the gate",
		[]change{{"haproxy.cfg", asks, asks + " !METH_OPTIONS"}},
		[]string{"method.open" + atRadio, "method.open" + atVideo},
		"method.open", change{"haproxy.cfg", asks + " !METH_OPTIONS", "LINES"}},
	{"haproxy", "a health check's name beside the gate",
		[]change{{"haproxy.cfg", asks, asks + " !{ req.hdr(user-agent) -m beg kube-probe }"}},
		[]string{"request.open" + atRadio, "request.open" + atVideo},
		"request.open", change{"haproxy.cfg", asks + " !{ req.hdr(user-agent) -m beg kube-probe }", "LINES"}},
	{"haproxy", "the host compared with its port",
		[]change{{"haproxy.cfg", asks, "default_backend radio\n    http-request lua.sallyport GATE if { hdr(host) -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.mismatch" + atRadio, "host.mismatch" + atVideo, "host.unnamed" + atRadio},
		"host.mismatch", change{"haproxy.cfg", "default_backend radio\n    http-request lua.sallyport GATE if { hdr(host) -i radio.example video.test } !{ path_beg /.sallyport/ }", "LINES"}},
	{"haproxy", "another spelling kept from the gate",
		[]change{{"sallyport.lua", `["host"] = true,`, `["host"] = true, ["remote_user"] = true,`}},
		[]string{"identity.forged" + atRadio},
		"identity.forged", change{"haproxy.cfg", asks, "LINES\n    " + asks}},
	{"haproxy", "no redirect to https",
		[]change{{"haproxy.cfg", "http-request redirect scheme https unless { ssl_fc }", ""}},
		[]string{"http.open" + atPortal},
		"http.open", change{"haproxy.cfg", "acl portal", "LINES\n    acl portal"}},

	{"nginx", "a location with an error_page of its own",
		[]change{{"nginx.conf", inRadio, inRadio + " location /api/ { error_page 404 /none.html; proxy_pass http://ONE; }"}},
		[]string{"path.deadend" + atRadio},
		"path.deadend", change{"nginx.conf", "error_page 404 /none.html;", "error_page 404 /none.html; LINES"}},
	{"nginx", "other upgrades than WebSocket",
		[]change{
			{"sallyport.conf", "proxy_set_header Upgrade $http_upgrade;", `proxy_set_header Upgrade "";`},
			{"sallyport.conf", socketLines, "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $http_connection;"},
		},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"sallyport.conf", "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $http_connection;", "LINES"}},
	{"nginx", "the client's Host line on the way to the sign-in",
		[]change{{"sallyport.conf", "proxy_set_header Host $host;", "proxy_set_header Host $http_host;"}},
		[]string{"host.lost" + atRadio, "host.lost" + atVideo},
		"host.lost", change{"sallyport.conf", "proxy_set_header Host $http_host;", "LINES"}},
	{"nginx", "Destination kept from the gate",
		[]change{{"sallyport.conf", `proxy_set_header Content-Length "";`, `proxy_set_header Content-Length ""; proxy_set_header Destination "";`}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.conf", `proxy_set_header Destination "";`, "LINES"}},
	{"nginx", "no site for hosts that nobody named",
		[]change{{"nginx.conf", nobody, ""}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"nginx.conf", "server_name auth.test;", "server_name auth.test; LINES"}},

	{"caddy", "other upgrades than WebSocket",
		[]change{
			{"sallyport.caddy", "header_up Host sallyport", "header_up Host sallyport\n\t\theader_up -Upgrade"},
			{"sallyport.caddy", caddyUpgrades, ""},
		},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"sallyport.caddy", "request_header -HTTP2-Settings", "LINES"}},
	{"caddy", "Destination kept from the gate",
		[]change{{"sallyport.caddy", caddyAsks, caddyAsks + "\n\t\theader_up -Destination"}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.caddy", caddyAsks + "\n\t\theader_up -Destination", "LINES"}},
	{"caddy", "the portal's site takes all hosts",
		[]change{{"Caddyfile", "https://auth.test {", "https://auth.test, https:// {"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"Caddyfile", "https://auth.test, https:// {", "https://auth.test, https:// {\n\tLINES"}},

	{"haproxy", "two hosts in one are both",
		[]change{{"haproxy.cfg", noComma + portalIs, "acl portal hdr(host) -i auth.test\n    use_backend video if { hdr(host) -i video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.joined" + atVideo},
		"host.joined", change{"haproxy.cfg", "acl portal hdr(host) -i auth.test", "LINES"}},
	{"haproxy", "the beginning of a host is compared",
		[]change{{"haproxy.cfg", asks, "use_backend video if { req.fhdr(host) -i -m beg video.test } !{ path_beg /.sallyport/ }\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.mismatch" + atVideo},
		"host.mismatch", change{"haproxy.cfg", "use_backend video if { req.fhdr(host) -i -m beg video.test } !{ path_beg /.sallyport/ }\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }", "LINES"}},
	{"haproxy", "the gate is asked about the last of two hosts",
		[]change{
			{"haproxy.cfg", noComma + portalIs, portalIs},
			{"sallyport.lua", `req_fhdr("host")`, `req_hdr("host")`},
		},
		[]string{"host.joined" + atRadio, "host.joined" + atVideo},
		"host.joined", change{"haproxy.cfg", portalIs, "LINES"}},
	{"haproxy", "the client's word on the host",
		[]change{
			{"sallyport.lua", `["x-forwarded-host"] = true, `, ""},
			{"sallyport.lua", `headers["x-forwarded-host"] = { host }`, `headers["x-forwarded-host"] = headers["x-forwarded-host"] or { host }`},
		},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo},
		"forged.target", change{"sallyport.lua", `headers["x-forwarded-host"] = headers["x-forwarded-host"] or { host }`, "LINES"}},
	{"haproxy", "other upgrades than WebSocket",
		[]change{{"sallyport.lua", `txn.http:req_del_header("upgrade")`, ""}},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"haproxy.cfg", asks, asks + "\n    LINES"}},
	{"haproxy", "COPY beside the gate",
		[]change{{"haproxy.cfg", asks, asks + " !{ method COPY }"}},
		[]string{"method.open" + atRadio, "method.open" + atVideo, "resource.hidden" + atRadio},
		"method.open", change{"haproxy.cfg", asks + " !{ method COPY }", "LINES"}},
	{"haproxy", "Destination kept from the gate",
		[]change{{"sallyport.lua", `["host"] = true, ["connection"] = true,`, `["host"] = true, ["destination"] = true, ["connection"] = true,`}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.lua", strings.Replace(keptBack, `["host"] = true,`, `["host"] = true, ["destination"] = true,`, 1), "LINES"}},
	{"haproxy", "the portal's site takes all hosts",
		[]change{{"haproxy.cfg", asks, "default_backend sallyport\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"haproxy.cfg", "default_backend sallyport", "default_backend sallyport\n    LINES"}},
}

// Each is found under its name and no other, and those lines fix it which are
// printed with it.
func TestDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, m := range brokenSetups {
		t.Run(m.proxy+"/"+m.name, func(t *testing.T) {
			t.Parallel()
			broken := startSite(t, m.proxy, siteConfig, m.changes...)
			code, d := consult(t, broken.environ, broken.args...)
			if diff := cmp.Diff(m.ids, d.ids()); diff != "" || code != 1 {
				t.Fatalf("exit code %d, findings (-want +got):\n%s\n%+v", code, diff, d.Findings)
			}
			if m.lines == "" {
				return
			}
			fix := m.fix
			fix.new = strings.ReplaceAll(fix.new, "LINES", d.lines(m.lines, m.proxy))
			fixed := startSite(t, m.proxy, siteConfig, append(slices.Clip(m.changes), fix)...)
			if _, d := consult(t, fixed.environ, fixed.args...); len(d.Findings) > 0 {
				t.Errorf("after %s: %+v", fix.new, d.Findings)
			}
		})
	}
}

// lines returns those that fix the first finding of an id, for this test's
// ports, files and names.
func (d diagnosis) lines(id, proxy string) string {
	for _, f := range d.Findings {
		if f.ID == id && len(f.Fixes) == 1 && f.Fixes[0].For == proxy {
			panel, _, _ := strings.Cut(hostOf(f.At), ".")
			return strings.NewReplacer("listen 80;", "listen PLAIN;", "use_backend panel ", "use_backend "+panel+" ").Replace(strings.Join(f.Fixes[0].Lines, "\n"))
		}
	}
	return "no lines for " + id
}
