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

// brokenSetup adds a fault to a set-up in which doctor finds nothing.
type brokenSetup struct {
	proxy, name string
	changes     []change
	ids         []string // exactly the findings that doctor must report

	// In fix, LINES stands for the lines that doctor prints with the finding lines. With
	// them doctor must find nothing.
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

var brokenSetups = []brokenSetup{
	{"nginx", "a location for WebSockets without the gate",
		[]change{{"nginx.conf", inRadio, inRadio + " location /socket { auth_request off; proxy_pass http://ONE; }"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"websocket.open", change{"nginx.conf", "location /socket { auth_request off; proxy_pass http://ONE; }", "LINES"}, nil, false},
	{"nginx", "a location for files without the gate",
		[]change{{"nginx.conf", inVideo, inVideo + ` location ~ \.(css)$ { auth_request off; proxy_pass http://TWO; }`}},
		[]string{"path.open" + atVideo},
		"path.open", change{"nginx.conf", `location ~ \.(css)$ { auth_request off; proxy_pass http://TWO; }`, "LINES"}, nil, false},
	{"nginx", "the gate isn't asked about this machine",
		[]change{{"nginx.conf", inVideo, inVideo + " satisfy any; allow 127.0.0.1; deny all;"}},
		[]string{"gate.absent" + atVideo},
		"gate.absent", change{"nginx.conf", inVideo + " satisfy any; allow 127.0.0.1; deny all;", "LINES"}, nil, false},
	{"nginx", "the gate isn't asked about a forged address",
		[]change{{"nginx.conf", inVideo, inVideo + " set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; satisfy any; allow 10.0.0.0/8;"}},
		[]string{"request.open" + atVideo},
		"request.open", change{"nginx.conf", "include sallyport.conf; set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; satisfy any; allow 10.0.0.0/8;", "LINES set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;"}, nil, false},
	{"nginx", "a default site that is a panel",
		[]change{{"nginx.conf", rejectSite, defaultSite + "ONE; } }"}},
		[]string{"host.unnamed" + atRadio},
		"host.unnamed", change{"nginx.conf", defaultSite + "ONE; } }", "LINES"},
		[]change{{"nginx.conf", "server { listen PLAIN default_server; return 301 https://$host$request_uri; }", ""}}, false},
	{"nginx", "no X-Original-URL",
		[]change{{"sallyport.conf", "proxy_set_header X-Original-URL $scheme://$server_name$request_uri;", ""}},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo, "gate.refuses" + atRadio, "gate.refuses" + atVideo},
		"forged.target", change{"sallyport.conf", `proxy_set_header Host sallyport;
    proxy_set_header Content-Length "";
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Original-Method $request_method;
    
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For "";
    proxy_set_header X-Forwarded-Host "";
    proxy_set_header X-Forwarded-Proto "";`, `proxy_set_header Content-Length ""; proxy_set_header Upgrade ""; LINES`}, nil, false},
	{"nginx", "the portal's site is the default",
		[]change{{"nginx.conf", rejectSite, defaultSite + "sallyport; proxy_set_header Host $http_host; } }"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"nginx.conf", "default_server; ssl_certificate", "default_server; LINES ssl_certificate"}, nil, false},
	{"nginx", "no HSTS",
		[]change{{"sallyport.conf", "location ^~ /.sallyport/ {", "location ^~ /.sallyport/ { proxy_hide_header Strict-Transport-Security;"}},
		[]string{"hsts.missing" + atRadio, "hsts.missing" + atVideo},
		"hsts.missing", change{"sallyport.conf", "proxy_hide_header Strict-Transport-Security;", "LINES"}, nil, false},
	{"nginx", "plain http",
		[]change{{"nginx.conf", "default_server; return 301 https://$host$request_uri; }", "default_server; location / { proxy_pass http://sallyport; proxy_set_header Host $host; } }"}},
		[]string{"http.open" + atPortal},
		"http.open", change{"nginx.conf", "upstream sallyport", "LINES\nupstream sallyport"}, nil, false},
	{"nginx", "/.sallyport/ isn't routed",
		[]change{{"sallyport.conf", "location ^~ /.sallyport/ {", "location ^~ /.other/ {"}},
		[]string{"sallyport.unrouted" + atRadio, "sallyport.unrouted" + atVideo},
		"sallyport.unrouted", change{"sallyport.conf", "location ^~ /.other/ {", "LINES\nlocation ^~ /.other/ {"}, nil, false},

	{"caddy", "a path without the gate",
		[]change{{"Caddyfile", "import sallyport GATE\n\treverse_proxy ONE", "handle /api/* {\n\t\treverse_proxy ONE\n\t}\n\thandle {\n\t\timport sallyport GATE\n\t\treverse_proxy ONE\n\t}"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"path.open", change{"Caddyfile", "handle /api/* {\n\t\treverse_proxy ONE\n\t}\n\thandle {\n\t\timport sallyport GATE", "LINES\n\thandle {"}, nil, false},
	{"caddy", "WebSockets without the gate",
		[]change{{"sallyport.caddy", "@guarded not path /.sallyport/*", "@guarded {\n\t\tnot path /.sallyport/*\n\t\tnot header Upgrade websocket\n\t}"}},
		[]string{"request.open" + atRadio, "request.open" + atVideo, "websocket.open" + atRadio, "websocket.open" + atVideo}, "", change{}, nil, false},
	{"caddy", "a client's X-Forwarded-Host is trusted",
		[]change{{"sallyport.caddy", "uri /verify/caddy\n\t\theader_up Host sallyport\n\t\theader_up X-Forwarded-Host {http.request.host}", "uri /verify/caddy\n\t\ttrusted_proxies private_ranges\n\t\theader_up Host sallyport"}},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo},
		"forged.target", change{"sallyport.caddy", "uri /verify/caddy\n\t\ttrusted_proxies private_ranges\n\t\theader_up Host sallyport", "LINES"}, nil, false},
	{"caddy", "a default site that is a panel",
		[]change{{"Caddyfile", "https://video.test {", "https:// {\n\ttls DIR/cert.pem DIR/key.pem\n\treverse_proxy TWO\n}\nhttps://video.test {"}},
		[]string{"host.mismatch" + atVideo, "host.unnamed" + atVideo}, "", change{}, nil, false},
	{"caddy", "cookies for all hosts of a domain",
		[]change{{"sallyport.caddy", "\t\treverse_proxy {args.0}\n", "\t\treverse_proxy {args.0} {\n\t\t\theader_down Set-Cookie \"(.*)\" \"$1; Domain=radio.example\"\n\t\t}\n"}},
		[]string{"cookie.scope" + atRadio, "cookie.scope" + atVideo},
		"cookie.scope", change{"sallyport.caddy", "handle @sallyport {\n\t\treverse_proxy {args.0} {\n\t\t\theader_down Set-Cookie \"(.*)\" \"$1; Domain=radio.example\"\n\t\t}\n\t}", "LINES"}, nil, false},

	{"haproxy", "OPTIONS without the gate",
		[]change{{"haproxy.cfg", gateLine, gateLine + " !METH_OPTIONS"}},
		[]string{"method.open" + atRadio, "method.open" + atVideo},
		"method.open", change{"haproxy.cfg", gateLine + " !METH_OPTIONS", "LINES"}, nil, false},
	{"haproxy", "a health check's User-Agent without the gate",
		[]change{{"haproxy.cfg", gateLine, gateLine + " !{ req.hdr(user-agent) -m beg kube-probe }"}},
		[]string{"request.open" + atRadio, "request.open" + atVideo},
		"request.open", change{"haproxy.cfg", gateLine + " !{ req.hdr(user-agent) -m beg kube-probe }", "LINES"}, nil, false},
	{"haproxy", "the host compared with its port",
		[]change{{"haproxy.cfg", gateLine, "default_backend radio\n    http-request lua.sallyport GATE if { hdr(host) -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.mismatch" + atRadio, "host.mismatch" + atVideo, "host.unnamed" + atRadio},
		"host.mismatch", change{"haproxy.cfg", "default_backend radio\n    http-request lua.sallyport GATE if { hdr(host) -i radio.example video.test } !{ path_beg /.sallyport/ }", "LINES"}, nil, false},
	{"haproxy", "an alias of an identity header isn't sent to the gate",
		[]change{{"sallyport.lua", `["host"] = true,`, `["host"] = true, ["remote_user"] = true,`}},
		[]string{"identity.forged" + atRadio},
		"identity.forged", change{"haproxy.cfg", gateLine, "LINES\n    " + gateLine}, nil, false},
	{"haproxy", "no redirect to https",
		[]change{{"haproxy.cfg", "http-request redirect scheme https unless { ssl_fc }", ""}},
		[]string{"http.open" + atPortal},
		"http.open", change{"haproxy.cfg", "acl portal", "LINES\n    acl portal"}, nil, false},

	{"nginx", "a location with an error_page of its own",
		[]change{{"nginx.conf", inRadio, inRadio + " location /api/ { error_page 404 /none.html; proxy_pass http://ONE; }"}},
		[]string{"path.deadend" + atRadio},
		"path.deadend", change{"nginx.conf", "error_page 404 /none.html;", "error_page 404 /none.html; LINES"}, nil, false},
	{"nginx", "other upgrades than WebSocket",
		[]change{
			{"sallyport.conf", "proxy_set_header Upgrade $http_upgrade;", `proxy_set_header Upgrade "";`},
			{"sallyport.conf", socketLines, "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $http_connection;"},
		},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"sallyport.conf", "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $http_connection;", "LINES"}, nil, false},
	{"nginx", "the client's Host line is sent to the sign-in",
		[]change{{"sallyport.conf", "proxy_set_header Host $host;", "proxy_set_header Host $http_host;"}},
		[]string{"host.lost" + atRadio, "host.lost" + atVideo},
		"host.lost", change{"sallyport.conf", "proxy_set_header Host $http_host;", "LINES"}, nil, false},
	{"nginx", "Destination isn't sent to the gate",
		[]change{{"sallyport.conf", `proxy_set_header Content-Length "";`, `proxy_set_header Content-Length ""; proxy_set_header Destination "";`}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.conf", `proxy_set_header Destination "";`, "LINES"}, nil, false},
	{"nginx", "no default site",
		[]change{{"nginx.conf", rejectSite, ""}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"nginx.conf", "server_name auth.test;", "server_name auth.test; LINES"}, nil, false},

	{"caddy", "other upgrades than WebSocket",
		[]change{
			{"sallyport.caddy", "header_up Host sallyport", "header_up Host sallyport\n\t\theader_up -Upgrade"},
			{"sallyport.caddy", caddyUpgrades, ""},
		},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"sallyport.caddy", "request_header -HTTP2-Settings", "LINES"}, nil, false},
	{"caddy", "Destination isn't sent to the gate",
		[]change{{"sallyport.caddy", caddyVerify, caddyVerify + "\n\t\theader_up -Destination"}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.caddy", caddyVerify + "\n\t\theader_up -Destination", "LINES"}, nil, false},
	{"caddy", "the portal's site is the default",
		[]change{{"Caddyfile", "https://auth.test {", "https://auth.test, https:// {"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"Caddyfile", "https://auth.test, https:// {", "https://auth.test, https:// {\n\tLINES"}, nil, false},

	{"haproxy", "a header with two hosts matches both",
		[]change{{"haproxy.cfg", denyComma + portalRule, "acl portal hdr(host) -i auth.test\n    use_backend video if { hdr(host) -i video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.joined" + atVideo},
		"host.joined", change{"haproxy.cfg", "acl portal hdr(host) -i auth.test", "LINES"}, nil, false},
	{"haproxy", "only the prefix of a host is compared",
		[]change{{"haproxy.cfg", gateLine, "use_backend video if { req.fhdr(host) -i -m beg video.test } !{ path_beg /.sallyport/ }\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"host.mismatch" + atVideo},
		"host.mismatch", change{"haproxy.cfg", "use_backend video if { req.fhdr(host) -i -m beg video.test } !{ path_beg /.sallyport/ }\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }", "LINES"}, nil, false},
	{"haproxy", "the gate is asked about the last of two hosts",
		[]change{
			{"haproxy.cfg", denyComma + portalRule, portalRule},
			{"sallyport.lua", `req_fhdr("host")`, `req_hdr("host")`},
		},
		[]string{"host.joined" + atRadio, "host.joined" + atVideo},
		"host.joined", change{"haproxy.cfg", portalRule, "LINES"}, nil, false},
	{"haproxy", "a client's X-Forwarded-Host is trusted",
		[]change{
			{"sallyport.lua", `["x-forwarded-host"] = true, `, ""},
			{"sallyport.lua", `headers["x-forwarded-host"] = { host }`, `headers["x-forwarded-host"] = headers["x-forwarded-host"] or { host }`},
		},
		[]string{"forged.target" + atRadio, "forged.target" + atVideo},
		"forged.target", change{"sallyport.lua", `headers["x-forwarded-host"] = headers["x-forwarded-host"] or { host }`, "LINES"}, nil, false},
	{"haproxy", "other upgrades than WebSocket",
		[]change{{"sallyport.lua", `txn.http:req_del_header("upgrade")`, ""}},
		[]string{"upgrade.passed" + atRadio},
		"upgrade.passed", change{"haproxy.cfg", gateLine, gateLine + "\n    LINES"}, nil, false},
	{"haproxy", "COPY without the gate",
		[]change{{"haproxy.cfg", gateLine, gateLine + " !{ method COPY }"}},
		[]string{"method.open" + atRadio, "method.open" + atVideo, "resource.hidden" + atRadio},
		"method.open", change{"haproxy.cfg", gateLine + " !{ method COPY }", "LINES"}, nil, false},
	{"haproxy", "Destination isn't sent to the gate",
		[]change{{"sallyport.lua", `["host"] = true, ["connection"] = true,`, `["host"] = true, ["destination"] = true, ["connection"] = true,`}},
		[]string{"resource.hidden" + atRadio},
		"resource.hidden", change{"sallyport.lua", strings.Replace(keptBack, `["host"] = true,`, `["host"] = true, ["destination"] = true,`, 1), "LINES"}, nil, false},
	{"haproxy", "the portal's site is the default",
		[]change{{"haproxy.cfg", gateLine, "default_backend sallyport\n    http-request lua.sallyport GATE if { req.fhdr(host),host_only -i radio.example video.test } !{ path_beg /.sallyport/ }"}},
		[]string{"verify.reachable" + atPortal, "verify.reachable" + atRadio, "verify.reachable" + atVideo},
		"verify.reachable", change{"haproxy.cfg", "default_backend sallyport", "default_backend sallyport\n    LINES"}, nil, false},

	{"nginx", "a folder without the gate",
		[]change{{"nginx.conf", inRadio, inRadio + " location /api/ { auth_request off; proxy_pass http://ONE; }"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"path.open", change{"nginx.conf", "location /api/ { auth_request off; proxy_pass http://ONE; }", "LINES"}, nil, false},
	{"nginx", "OPTIONS answered by nginx",
		[]change{{"nginx.conf", inVideo, inVideo + " if ($request_method = OPTIONS) { return 204; }"}},
		[]string{"method.open" + atVideo},
		"method.open", change{"nginx.conf", "include sallyport.conf; if ($request_method = OPTIONS) { return 204; }", "LINES"}, nil, false},
	{"nginx", "Set-Cookie removed",
		[]change{{"sallyport.conf", "location ^~ /.sallyport/ {", "location ^~ /.sallyport/ { proxy_hide_header Set-Cookie;"}},
		[]string{"cookie.scope" + atRadio, "cookie.scope" + atVideo},
		"cookie.scope", change{"sallyport.conf", "proxy_hide_header Set-Cookie;", "LINES"}, nil, false},
	{"nginx", "the portal gets no client's host",
		[]change{{"nginx.conf", "server_name auth.test; location / { proxy_pass http://sallyport; proxy_set_header Host $host;", "server_name auth.test; location / { proxy_pass http://sallyport;"}},
		[]string{"portal.unrouted" + atPortal, "verify.reachable" + atPortal},
		"portal.unrouted", change{"nginx.conf", "server_name auth.test; location / { proxy_pass http://sallyport; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }", "LINES"}, nil, false},
	{"nginx", "the site's first name is another",
		[]change{{"nginx.conf", inVideo, "server_name video.example video.test; include sallyport.conf;"}},
		[]string{"gate.refuses" + atVideo},
		"gate.refuses", change{"nginx.conf", "server_name video.example video.test; include sallyport.conf;", "LINES"}, nil, false},
	{"nginx", "an expired certificate",
		[]change{{"nginx.conf", ownCertificate + " server_name auth.test", expired + " server_name auth.test"}},
		[]string{"tls.expired" + atPortal},
		"tls.expired", change{"nginx.conf", expired, "LINES"}, nil, false},
	{"nginx", "a certificate for another name",
		[]change{{"nginx.conf", ownCertificate + " server_name radio.example", otherName + " server_name radio.example"}},
		[]string{"tls.name" + atRadio},
		"tls.name", change{"nginx.conf", otherName, "LINES"}, nil, false},
	{"nginx", "a certificate that isn't valid yet",
		[]change{{"nginx.conf", ownCertificate + " server_name video.test", early + " server_name video.test"}},
		[]string{"tls.early" + atVideo},
		"tls.early", change{"nginx.conf", early, "LINES"}, nil, false},
	{"nginx", "no TLS",
		[]change{
			{"nginx.conf", "listen AT ssl; " + ownCertificate, "listen AT;"},
			{"nginx.conf", rejectSite, "server { listen AT default_server; return 444; }"},
		},
		[]string{"tls.absent" + atPortal, "tls.absent" + atRadio, "tls.absent" + atVideo},
		"tls.absent", change{"nginx.conf", "listen AT;", "LINES"},
		[]change{{"nginx.conf", "server { listen AT default_server; return 444; }", rejectSite}}, false},
	{"nginx", "another site answers at the portal's host",
		[]change{
			{"nginx.conf", "server_name auth.test;", "server_name login.test;"},
			{"nginx.conf", rejectSite, `server { listen AT ssl default_server; ` + ownCertificate + ` default_type text/html; return 200 "<title>Welcome to nginx!</title>"; }`},
		},
		[]string{"portal.unrouted" + atPortal},
		"portal.unrouted", change{"nginx.conf", "server_name login.test; location / { proxy_pass http://sallyport; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }", "LINES"}, nil, false},
	{"nginx", "a wrong address of Sallyport",
		[]change{{"nginx.conf", "upstream sallyport { server GATE; }", "upstream sallyport { server 127.0.0.1:1; }"}},
		[]string{"sallyport.unreached" + atPortal, "sallyport.unreached" + atRadio, "sallyport.unreached" + atVideo},
		"sallyport.unreached", change{"nginx.conf", "upstream sallyport { server 127.0.0.1:1; }", "LINES"}, nil, false},

	{"caddy", "HSTS removed",
		[]change{{"Caddyfile", "import sallyport GATE\n\treverse_proxy TWO", "import sallyport GATE\n\theader {\n\t\t-Strict-Transport-Security\n\t\tdefer\n\t}\n\treverse_proxy TWO"}},
		[]string{"hsts.missing" + atVideo},
		"hsts.missing", change{"Caddyfile", "header {\n\t\t-Strict-Transport-Security\n\t\tdefer\n\t}", "LINES"}, nil, false},
	{"caddy", "the portal gets its server's name as host",
		[]change{{"Caddyfile", "reverse_proxy GATE\n}", "reverse_proxy GATE {\n\t\theader_up Host {upstream_hostport}\n\t}\n}"}},
		[]string{"portal.unrouted" + atPortal},
		"portal.unrouted", change{"Caddyfile", "https://auth.test {\n\ttls DIR/cert.pem DIR/key.pem\n\treverse_proxy GATE {\n\t\theader_up Host {upstream_hostport}\n\t}\n}", "LINES"},
		[]change{{"Caddyfile", "https://auth.test {", "https://auth.test {\n\ttls DIR/cert.pem DIR/key.pem"}}, false},
	{"caddy", "a wrong address of Sallyport",
		[]change{{"Caddyfile", "https://auth.test {\n\ttls DIR/cert.pem DIR/key.pem\n\treverse_proxy GATE", "https://auth.test {\n\ttls DIR/cert.pem DIR/key.pem\n\treverse_proxy 127.0.0.1:1"}},
		[]string{"sallyport.unreached" + atPortal},
		"sallyport.unreached", change{"Caddyfile", "reverse_proxy 127.0.0.1:1", "LINES"}, nil, false},

	{"haproxy", "TCP mode",
		[]change{
			{"haproxy.cfg", "    mode http\n", ""},
			{"haproxy.cfg", "    use_backend sallyport if portal or { path_beg /.sallyport/ }\n", "    default_backend radio\n"},
			{"haproxy.cfg", "    use_backend radio if { req.fhdr(host),host_only -i radio.example } !{ path_beg /.sallyport/ }\n", ""},
			{"haproxy.cfg", "    use_backend video if { req.fhdr(host),host_only -i video.test } !{ path_beg /.sallyport/ }\n", ""},
		},
		[]string{"portal.unrouted" + atPortal, "sallyport.unrouted" + atRadio, "sallyport.unrouted" + atVideo, "gate.absent" + atRadio, "host.unnamed" + atRadio,
			"identity.forged" + atRadio, "upgrade.passed" + atRadio, "gate.refuses" + atVideo, "method.open" + atVideo, "path.open" + atVideo, "websocket.open" + atVideo},
		"gate.absent", change{"haproxy.cfg", denyComma + portalRule + "\n    " + gateLine, "LINES"},
		[]change{
			{"haproxy.cfg", "defaults\n", "defaults\n    mode http\n"},
			{"haproxy.cfg", "    default_backend radio\n", `    use_backend sallyport if portal or { path_beg /.sallyport/ }
    use_backend radio if { req.fhdr(host),host_only -i radio.example } !{ path_beg /.sallyport/ }
    use_backend video if { req.fhdr(host),host_only -i video.test } !{ path_beg /.sallyport/ }
`},
		}, true},

	{"haproxy", "no TLS",
		[]change{{"haproxy.cfg", "bind AT ssl crt DIR/both.pem", "bind AT"}},
		[]string{"tls.absent" + atPortal, "tls.absent" + atRadio, "tls.absent" + atVideo},
		"tls.absent", change{"haproxy.cfg", "bind AT\n", "LINES\n"}, nil, false},

	{"apache", "no TLS",
		[]change{{"httpd.conf", "SSLEngine on", "SSLEngine off"}},
		[]string{"tls.absent" + atPortal, "tls.absent" + atRadio, "tls.absent" + atVideo},
		"tls.absent", change{"httpd.conf", "SSLEngine off", "LINES"}, nil, false},
	{"apache", "a folder that Apache serves itself",
		[]change{{"httpd.conf", "ServerName radio.example\n", "ServerName radio.example\nDocumentRoot DIR\nProxyPass /static/ !\n"}},
		[]string{"path.open" + atRadio, "websocket.open" + atRadio},
		"path.open", change{"httpd.conf", "DocumentRoot DIR\nProxyPass /static/ !\n", "LINES\n"}, nil, false},
	{"apache", "HSTS removed",
		[]change{{"httpd.conf", "ServerName video.test\n", "ServerName video.test\nHeader unset Strict-Transport-Security\n"}},
		[]string{"hsts.missing" + atVideo},
		"hsts.missing", change{"httpd.conf", "Header unset Strict-Transport-Security", "LINES"}, nil, false},
	{"apache", "cookies for all hosts of a domain",
		[]change{{"httpd.conf", "ServerName radio.example\n", "ServerName radio.example\nHeader edit Set-Cookie (.*) \"$1; Domain=radio.example\"\n"}},
		[]string{"cookie.scope" + atRadio},
		"cookie.scope", change{"httpd.conf", "Header edit Set-Cookie (.*) \"$1; Domain=radio.example\"", "LINES"}, nil, false},
	{"apache", "plain http",
		[]change{{"httpd.conf", "Redirect permanent / https://auth.test/", "Include DIR/apache.conf"}},
		[]string{"http.open" + atPortal},
		"http.open", change{"httpd.conf", "<VirtualHost PLAIN>\nInclude DIR/apache.conf", "<VirtualHost PLAIN>\nLINES"}, nil, false},
	{"apache", "an expired certificate",
		[]change{{"httpd.conf", "ServerName auth.test\n" + apacheCertificate, "ServerName auth.test\n" + apacheExpired}},
		[]string{"tls.expired" + atPortal},
		"tls.expired", change{"httpd.conf", apacheExpired, "LINES"}, nil, false},
	{"apache", "the client's host isn't forwarded",
		[]change{{"apache.conf", "ProxyPreserveHost On\nAllowEncodedSlashes NoDecode\nProxyPass / http://${sallyport}/ nocanon upgrade=websocket", "ProxyPreserveHost Off\nAllowEncodedSlashes NoDecode\nProxyPass / http://${sallyport}/ nocanon upgrade=websocket"}},
		[]string{"portal.unrouted" + atPortal, "sallyport.unrouted" + atRadio, "sallyport.unrouted" + atVideo, "gate.refuses" + atRadio, "gate.refuses" + atVideo},
		"sallyport.unrouted", change{"apache.conf", "ProxyPreserveHost Off", "LINES"}, nil, false},
	{"apache", "a wrong address of Sallyport",
		[]change{{"httpd.conf", "Define sallyport GATE", "Define sallyport 127.0.0.1:1"}},
		[]string{"sallyport.unreached" + atPortal, "sallyport.unreached" + atRadio, "sallyport.unreached" + atVideo},
		"sallyport.unreached", change{"httpd.conf", "Define sallyport 127.0.0.1:1", "LINES"}, nil, false},
}

// groups holds the set-ups that one start of a proxy tests together; the first entry is the
// proxy. No fault in a group hides another, and no two have the same finding. Each other
// set-up has a start of its own.
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
