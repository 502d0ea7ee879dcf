package cli

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

func TestServeOnAnEmptyDatabasePrintsTheLinkThatMakesTheFirstAccount(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environFor(t, engine)
			served := start(t, environ, "serve")
			link := served.waitFor(t, `(http://\S+)/setup\?ticket=(\S+)`)
			client := browser(t)
			for range 3 { // GET doesn't use the link up
				if status, body := fetch(t, client, link[0], nil); status != 200 || !strings.Contains(body, "Create the first account") {
					t.Fatalf("set-up page: status %d, want 200 and \"Create the first account\", got\n%s", status, body)
				}
			}
			form := url.Values{"ticket": {link[2]}, "username": {"root1"}, "new_password": {"a password of the operator"}}
			if status, body := fetch(t, client, link[1]+"/setup", form); status != 200 || !strings.Contains(body, "Your account is ready") {
				t.Fatalf("set up: status %d, want 200 and \"Your account is ready\", got\n%s", status, body)
			}
			if status, _ := fetch(t, client, link[1]+"/setup", form); status != 404 {
				t.Errorf("set up twice: %d, want 404", status)
			}
			if status, body := fetch(t, client, link[1]+"/login", url.Values{"username": {"root1"}, "password": {"a password of the operator"}}); status != 200 || !strings.Contains(body, "Hello, root1") {
				t.Errorf("sign-in: status %d, want 200 and \"Hello, root1\", got\n%s", status, body)
			}
			if code, out, errs := call(environ, "", "account", "show", "root1"); code != 0 || !regexp.MustCompile(`Role +administrator`).MatchString(out) {
				t.Errorf("account show: exit code %d, want 0, got\n%s%s", code, out, errs)
			}
			if code := served.end(); code != 0 {
				t.Errorf("serve ended with exit code %d, want 0, got\n%s", code, served.err)
			}
			restarted := start(t, environ, "serve")
			restarted.waitFor(t, "Sallyport is at")
			if strings.Contains(restarted.out.String(), "ticket=") {
				t.Error("a database with an account prints a set-up link")
			}
		})
	}
}

// Until there is an account, every printed link works: those of a server before and after a
// restart, of each node, and of "account setup-link".
func TestEverySetUpLinkThatWasPrintedWorks(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environFor(t, engine)
			link := func(c *command) string {
				t.Helper()
				return c.waitFor(t, `http://\S+/setup\?ticket=\S+`)[0]
			}
			first := start(t, environ, "serve")
			links := []string{link(first)}
			if engine == "sqlite" {
				first.end()
			} else { // another node
				ring, err := os.ReadFile(filepath.Join(strings.TrimPrefix(environ[1], "SALLYPORT_DATA_DIR="), "keyring"))
				must(t, err)
				other := filepath.Join(t.TempDir(), "other")
				write(t, filepath.Join(other, "keyring"), string(ring))
				links = append(links, link(start(t, append(environ, "SALLYPORT_DATA_DIR="+other, "SALLYPORT_LISTEN="+testkit.FreeAddress(t)), "serve")))
			}
			if engine == "sqlite" {
				links = append(links, link(start(t, environ, "serve")))
			}
			code, out, errs := call(environ, "", "account", "setup-link")
			if code != 0 {
				t.Fatalf("setup-link: exit code %d, want 0, got\n%s", code, errs)
			}
			links = append(links, regexp.MustCompile(`http://\S+`).FindString(out))
			for i, one := range links {
				if status, body := fetch(t, browser(t), one, nil); status != http.StatusOK {
					t.Errorf("link %d: status %d, want 200, got\n%s", i, status, body)
				}
			}
		})
	}
}

// A server that fails to start issues and prints no link, and the existing link stays valid.
func TestAStartThatFailsPrintsNoSetUpLink(t *testing.T) {
	environ := environFor(t, "sqlite")
	link := start(t, environ, "serve").waitFor(t, `http://\S+/setup\?ticket=\S+`)[0]
	for name, more := range map[string]string{
		"another server on the database": "SALLYPORT_LISTEN=" + testkit.FreeAddress(t),
		"a taken address":                environ[0],
	} {
		if code, out, errs := call(append(environ, more), "", "serve"); code != exitFailed || out != "" || strings.Contains(errs, "ticket=") {
			t.Errorf("%s: exit code %d, want 1, got\n%s%s", name, code, out, errs)
		}
	}
	if status, _ := fetch(t, browser(t), link, nil); status != http.StatusOK {
		t.Errorf("the running server's link: status %d, want 200", status)
	}
	_, out, _ := call(environ, "", "audit", "export")
	if n := strings.Count(out, "setup_link_issued"); n != 1 {
		t.Errorf("%d links were issued, want 1", n)
	}
}
