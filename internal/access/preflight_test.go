package access

import (
	"net/http"
	"testing"
)

// panelWithPreflights returns a panel that requires two factors below /api/. Preflights are
// open below /api/ except for /api/admin/, and at /hook.
func panelWithPreflights(t testing.TB) *Panel {
	t.Helper()
	p := panel(t, session, Rule{"/api/admin/", twoFactor}, Rule{"/api/", twoFactor}, Rule{"/hook", twoFactor})
	p.Preflights = panel(t, session, Rule{"/api/admin/", twoFactor}, Rule{"/api/", nothing}, Rule{"/hook", nothing})
	return p
}

func preflightHeader(more ...string) http.Header {
	h := http.Header{"Origin": {"https://other.example"}, "Access-Control-Request-Method": {"PUT"}}
	for i := 0; i+1 < len(more); i += 2 {
		h[more[i]] = append(h[more[i]], more[i+1])
	}
	return h
}

// TestAttack94PreflightsPassWhereARuleSaysSo: only preflights in the form that browsers send
// are open, and only for paths whose rule opens them.
func TestAttack94PreflightsPassWhereARuleSaysSo(t *testing.T) {
	p := panelWithPreflights(t)
	for _, path := range []string{"/api/", "/api/x", "/api/x/y?q=/../admin", "/hook", "/hook?x"} {
		if !p.IsOpenPreflight("OPTIONS", path, preflightHeader("Access-Control-Request-Headers", "x-a")) {
			t.Errorf("a preflight for %s is refused", path)
		}
	}
	// A path isn't open if some panel reads it as another path (R22).
	for _, path := range []string{
		"/", "/x", "/api", "/hook/", "/hooks", "/api/admin/", "/api/admin/x", "/api/admin", "/API/x", "/Api/", "/api/ADMIN/", "/api/../x", "/api/./x",
		"//api/x", "/api//x", "/api/%2e%2e/x", "/api/..%2fx", "/%61pi/x", "/api/x;y", "/api/..;/x", `/api/\x`, "/api/%00", "/api/%61dmin/", "/api/x/../admin/",
		"*", "", "http://panel.example.com/api/x", "/api/%zz", "/api/admin.", "/api/ａdmin/",
	} {
		if p.IsOpenPreflight("OPTIONS", path, preflightHeader()) {
			t.Errorf("a preflight for %q is open", path)
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "options", "Options", "OPTIONS ", "TRACE", ""} {
		if p.IsOpenPreflight(method, "/api/x", preflightHeader()) {
			t.Errorf("a request with method %q is taken for an open preflight", method)
		}
	}
	for name, h := range map[string]http.Header{
		"no headers": {}, "no origin": {"Access-Control-Request-Method": {"PUT"}}, "no method": {"Origin": {"https://other.example"}},
		"an empty origin": {"Origin": {""}, "Access-Control-Request-Method": {"PUT"}}, "an empty method": {"Origin": {"null"}, "Access-Control-Request-Method": {""}},
		"two origins": preflightHeader("Origin", "https://b.example"), "two methods": preflightHeader("Access-Control-Request-Method", "GET"),
		"other spelling": {"Origin": {"null"}, "Access_control_request_method": {"PUT"}},
		"override":       preflightHeader("X-Http-Method-Override", "DELETE"), "an alias of it": preflightHeader("X_http_method_override", "DELETE"),
		"another": preflightHeader("X-Http-Method", "DELETE"), "a third": preflightHeader("X-Method-Override", "DELETE"),
	} {
		if p.IsOpenPreflight("OPTIONS", "/api/x", h) {
			t.Errorf("%s: the request is taken for an open preflight", name)
		}
	}
	if panel(t, session, Rule{"/api/", twoFactor}).IsOpenPreflight("OPTIONS", "/api/x", preflightHeader()) {
		t.Error("a preflight is open although no rule opens it")
	}
}
