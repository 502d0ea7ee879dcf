package forwardauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// FuzzAsk: each question is refused, or gives one path of one declared panel, from headers that
// occur exactly once.
func FuzzAsk(f *testing.F) {
	f.Add(0, "GET", "https://panel.test/a?b", "", "")
	f.Add(1, "GET", "https://panel.test", "X_original_url", "https://panel.test/")
	f.Add(2, "GET", "/a", "X-Forwarded-Host", "panel.test:443")
	f.Add(3, "PROPFIND", "/%2e%2e/", "X-Forwarded-Host", "PANEL.test")
	f.Add(4, "", "", "X-Forwarded-Host", "panel.test,evil.test")
	f.Add(5, "GET", "/a/../b", "Remote.User", "root")
	f.Add(5, "GET", "//evil.test/a", "Host", "panel.test")
	panel := &access.Panel{Origin: "https://panel.test", Demand: access.Demand{Requirement: access.Session}}
	h := &handler{Options: Options{MaxHeader: 64 << 10, Panel: func(host string) *access.Panel {
		if host == "panel.test" {
			return panel
		}
		return nil
	}}}
	f.Fuzz(func(t *testing.T, kind int, method, target, name, value string) {
		l := dialects()[uint(kind)%uint(len(dialects()))]
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.RequestURI, r.Host = method, strings.TrimSuffix(l.path, "/")+target, "panel.test"
		for _, header := range []string{"X-Original-Method", "X-Forwarded-Method"} {
			r.Header.Set(header, method)
		}
		for _, header := range []string{"X-Original-Url", "X-Forwarded-Uri"} {
			r.Header.Set(header, target)
		}
		r.Header.Set("X-Forwarded-Host", "panel.test")
		if name = http.CanonicalHeaderKey(name); name != "" {
			r.Header[name] = append(r.Header[name], value)
		}
		q, got, err := h.readQuestion(r, &l)
		if err != nil {
			return
		}
		if got != panel || !strings.HasPrefix(q.target, "/") || !strings.HasSuffix(target, q.target) {
			t.Errorf("the question about %q is read as %q of panel %v", target, q.target, got)
		}
		if host, err := access.CanonicalHost(q.host); err != nil || host != "panel.test" {
			t.Errorf("host %q has the canonical form %q (error %v), want panel.test", q.host, host, err)
		}
		plain := access.PlainHeader(name)
		for _, read := range l.reads {
			if name != "" && plain == read {
				t.Errorf("the question is accepted although %s occurs twice", name)
			}
		}
		if strings.HasPrefix(plain, "Remote-") && name != "" {
			for _, identity := range access.IdentityHeaders() {
				if plain == identity {
					t.Errorf("the question is accepted with the client's header %s", name)
				}
			}
		}
	})
}
