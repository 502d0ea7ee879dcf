package access

import (
	"net/http"
	"testing"
)

func TestProxyHeadersAreKnownByFamilyAndName(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded", "X-Forwarded-Anything", "Forwarded", "Forwarded-For", "X-Original-Url", "X-Rewrite-Url", "X-Real-Ip",
		"True-Client-Ip", "X-Client-Ip", "Client-Ip", "X-Cluster-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Scheme", "X-Host",
		"Proxy", "Remote-Addr", "Remote-User", "X-Remote-User", "X-Webauth-User", "X-Ssl-Client-Verify", "X-Auth-Request-Email",
	} {
		if !IsProxyHeader(name) {
			t.Errorf("%s isn't recognized as a proxy's header", name)
		}
	}
	for _, name := range []string{
		"", "Accept", "Authorization", "Content-Type", "Cookie", "Origin", "Range", "Referer", "User-Agent", "X-Auth-Token", "X-Client-Version",
		"X-Csrf-Token", "X-Requested-With", "X-Request-Id", "X-Amz-Date", "X-Storage-User", "Sec-Fetch-Mode", "Tus-Resumable", "Content-Range",
	} {
		if IsProxyHeader(name) {
			t.Errorf("%s is taken for a proxy's header", name)
		}
	}
	for _, name := range ProxyHeaders() {
		if PlainHeader(name) != name || !IsProxyHeader(name) || IsIdentityHeader(name) {
			t.Errorf("%s in ProxyHeaders isn't the plain name of a proxy's header", name)
		}
	}
}

func TestAliasesOfProxyHeadersAreFound(t *testing.T) {
	for name, want := range map[string]bool{
		"X_Forwarded_For": true, "X.real.ip": true, "X_forwarded_anything": true, "True_client_ip": true, "Remote_user": true,
		"X-Forwarded-For": false, "Accept": false, "X_csrf_token": false,
	} {
		if got := IsProxyAlias(name); got != want {
			t.Errorf("IsProxyAlias(%q) is %v, want %v", name, got, want)
		}
	}
}

func TestOnlyWebSocketsUpgrade(t *testing.T) {
	for _, given := range [][]string{{"websocket"}, {"WebSocket"}} {
		if !IsWebSocket(http.Header{"Upgrade": given}) {
			t.Errorf("the upgrade %q isn't recognized as WebSocket", given)
		}
	}
	for _, given := range [][]string{nil, {""}, {"h2c"}, {"h2c, websocket"}, {"websocket, h2c"}, {"websocket", "h2c"}, {"TLS/1.0"}, {"websocket/13"}} {
		if IsWebSocket(http.Header{"Upgrade": given}) {
			t.Errorf("the upgrade %q is taken for WebSocket", given)
		}
	}
}
