package pages

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Refusals are often the first pages that a new operator sees. A client that gets one also
// gets its style sheet: at every host, from every peer, and with too many cookies.
func TestEveryPageHasItsStyleSheet(t *testing.T) {
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: https://auth.example.test\npanels: [{url: https://panel.example.test, upstream: '%s'}]\n", "http://127.0.0.1:9"))
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
	ask := func(host, path string, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Host, r.RemoteAddr = host, "192.0.2.7:1234"
		r.Header = header
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, r)
		return w
	}
	sheet := regexp.MustCompile(`<link rel="stylesheet" href="([^"]+)">`)
	browser := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
	long := browser.Clone()
	long.Set("Cookie", "a="+strings.Repeat("x", 70<<10))
	for _, one := range []struct {
		what, host string
		header     http.Header
	}{
		{"portal, proxy that isn't trusted", "auth.example.test", browser},
		{"panel, proxy that isn't trusted", "panel.example.test", browser},
		{"another host", "192.0.2.1:9091", browser},
		{"too many cookies", "panel.example.test", long},
	} {
		page := ask(one.host, "/", one.header)
		found := sheet.FindStringSubmatch(page.Body.String())
		if page.Code < 400 || found == nil {
			t.Errorf("%s: status %d, want a refusal that links a style sheet", one.what, page.Code)
			continue
		}
		if css := ask(one.host, found[1], one.header); css.Code != http.StatusOK || css.Header().Get("Content-Type") != "text/css; charset=utf-8" || css.Header().Values("Set-Cookie") != nil {
			t.Errorf("%s: the style sheet %s has status %d and headers %v, want 200 without cookies", one.what, found[1], css.Code, css.Header())
		}
	}
	// Other paths belong to the panel, which no client reaches around the proxy.
	for _, path := range []string{"/static/app.css", "/.sallyport/static/none.css", "/.sallyport/static/../enter"} {
		if a := ask("panel.example.test", path, browser); a.Code == http.StatusOK {
			t.Errorf("%s around the proxy: status 200, want a refusal", path)
		}
	}
}
