package operating

// Debugging pages, versions and other information that helps attackers.

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack162NothingToDebug(t *testing.T) {
	t.Parallel()
	p, metrics := portal.StartMeasured(t, "sqlite")
	p.AddAccount(t, "ada")
	signedIn := p.Browser(t)
	signedIn.SignIn("ada")
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests", "/.git/", "/.git/HEAD", "/.git/config", "/.env",
		"/swagger", "/swagger.json", "/openapi.json", "/api", "/api/", "/graphql", "/server-status", "/actuator", "/actuator/env", "/version", "/status", "/info",
		"/static/", "/templates/", "/keyring", "/sallyport.db", "/backup", "/administrator", "/console", "/phpinfo.php", "/.well-known/", "/robots.txt",
	} {
		for who, b := range map[string]*portal.Browser{"without a session": p.Browser(t), "in ada's session": signedIn} {
			if a := b.Get(path); a.Status != http.StatusNotFound {
				t.Errorf("GET %s %s: %s, want 404", path, who, portal.Summary(a))
			}
		}
	}
	const secretHeader = "echo-me-and-be-sorry"
	for _, method := range []string{http.MethodTrace, "TRACK", "DEBUG", "PROPFIND", http.MethodConnect, http.MethodOptions} {
		for _, path := range []string{"/", "/login", "/healthz"} {
			answer := portal.RawAnswer(t, p, method+" "+path+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(p.Base, "http://")+"\r\nX-Secret: "+secretHeader+"\r\nConnection: close\r\n\r\n")
			if strings.Contains(answer, secretHeader) || strings.HasPrefix(answer, "HTTP/1.1 2") {
				t.Errorf("%s %s: %.100s, want a refusal without the secret header", method, path, answer)
			}
		}
	}
	version := regexp.MustCompile(`(?i)go1\.\d|golang|sqlite|modernc|v?0\.\d+\.\d+|net/http`)
	for _, path := range []string{"/", "/login", "/healthz", "/readyz", "/nothing-here", "/settings/security"} {
		a := p.Browser(t).Get(path)
		for _, name := range []string{"Server", "X-Powered-By", "X-Version", "Via"} {
			if value := a.Header.Get(name); value != "" {
				t.Errorf("GET %s: the answer has the header %s: %s, want none", path, name, value)
			}
		}
		if found := version.FindString(portal.VisibleText(a.Body)); found != "" {
			t.Errorf("GET %s: the page contains %q, want no names or versions of software", path, found)
		}
	}
	// The metrics listener serves one page.
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound, "/login": http.StatusNotFound} {
		resp, err := http.Get("http://" + metrics + path)
		testkit.Check(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s at the metrics listener: %d, want %d", path, resp.StatusCode, want)
		}
	}
}
