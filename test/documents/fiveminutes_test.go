package documents

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// maxCommands is how many commands a reader can run in five minutes.
const maxCommands = 12

// trial holds what the test of a page needs besides the page.
type trial struct {
	in    string                         // directory in which the page's commands run; if empty, root's home, with the package
	panel string                         // address of the panel's own server
	ca    string                         // certificate that browsers trust
	begin func(t *testing.T, m *machine) // does what the page leaves to its reader; may be nil
}

const panelAddress = "127.0.0.1:8082"

var trials = map[string]trial{
	"gateway": {panel: panelAddress, ca: "/etc/sallyport/fullchain.pem"},
	"nginx":   {panel: panelAddress, ca: "/etc/ssl/sallyport.pem"},
	"caddy":   {panel: panelAddress, ca: "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"},
	"haproxy": {panel: panelAddress, ca: "/etc/haproxy/certs/sallyport.pem"},
	"apache":  {panel: panelAddress, ca: "/etc/ssl/sallyport.pem"},
	"traefik": {panel: panelAddress, ca: "/etc/traefik/fullchain.pem", begin: beginTraefik},
	// internal/testkit/standins chooses the address of the panel's container.
	"compose": {in: "/srv/clone/deploy/container/sqlite", panel: "127.0.0.2:80", ca: "/srv/clone/deploy/container/sqlite/tls/fullchain.pem"},
}

// TestFiveMinutes runs every command of docs/five-minutes word for word. Each page has its
// own machine: this Debian system in new namespaces, without access to the network. Only
// systemctl, apt-get and docker are stand-ins, which refuse arguments that they don't know.
// Afterwards a stranger is redirected to the sign-in, and the owner of the first account,
// created with the link that a command printed, gets the panel.
func TestFiveMinutes(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(testkit.Path("docs/five-minutes/*.md"))
	testkit.Check(t, err)
	if len(pages) != len(trials) {
		t.Errorf("docs/five-minutes has %d pages, but trials has %d", len(pages), len(trials))
	}
	install := newInstallation(t)
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			text, err := os.ReadFile(page)
			testkit.Check(t, err)
			commands := shellCommands(string(text))
			if len(commands) < 4 || len(commands) > maxCommands {
				t.Errorf("the page has %d commands, want 4 to %d", len(commands), maxCommands)
			}
			one := trials[name]
			m := install.boot(t)
			reached := m.servePanel(t, one.panel)
			printed := ""
			for _, command := range commands {
				out, err := m.run(one.in, command)
				if err != nil {
					t.Fatalf("the command\n%s\nends with %v and prints\n%s", command, err, out)
				}
				// The page now tells its reader to open a browser.
				if strings.Contains(command, " setup-link") {
					printed = out
					if one.begin != nil {
						one.begin(t, m)
					}
					testAccess(t, m, one.ca, printed, reached)
				}
			}
			if printed == "" {
				t.Error("no command prints a set-up link")
			}
			t.Logf("%d commands and the visits took %v", len(commands), time.Since(begun).Round(time.Millisecond))
		})
	}
}

// shellCommands returns the commands in a page's sh blocks. A command is a line with its
// continuation lines and here-documents.
func shellCommands(page string) (commands []string) {
	command, until := "", ""
	inside := false
	for line := range strings.Lines(page) {
		switch {
		case !inside:
			inside = line == "```sh\n"
		case command == "" && line == "```\n":
			inside = false
		default:
			command += line
			if found := hereDocument.FindStringSubmatch(line); until == "" && found != nil {
				until = found[1] + "\n"
			} else if until == line {
				until = ""
			}
			if until == "" && !strings.HasSuffix(line, "\\\n") {
				commands = append(commands, command)
				command = ""
			}
		}
	}
	return commands
}

var (
	hereDocument = regexp.MustCompile(`<<'(\w+)'`)
	setUpLink    = regexp.MustCompile(`https://auth\.example\.com(/setup\?ticket=(\S+))`)
)

const (
	exampleAuth  = "https://auth.example.com"
	examplePanel = "https://panel.example.com"
)

// testAccess opens the panel as a stranger and then as the owner of the first account.
// reached counts the panel's requests.
func testAccess(t *testing.T, m *machine, ca, printed string, reached *atomic.Int32) {
	stranger := m.outsider(t, ca)
	// systemctl may return before Sallyport listens.
	testkit.Until(t, "the portal answers", func() bool {
		resp, err := stranger.client.Get(exampleAuth + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if status, location, body := stranger.get(examplePanel + "/rack?a=b"); status != http.StatusSeeOther || location != examplePanel+"/.sallyport/start?return=%2Frack%3Fa%3Db" {
		t.Fatalf("a stranger at the panel gets %d %s, want a redirect to the sign-in\n%s", status, location, body)
	}
	if reached.Load() > 0 {
		t.Error("a stranger's request reached the panel")
	}
	if location := stranger.follow(examplePanel + "/rack"); !strings.HasPrefix(location, exampleAuth+"/login?") {
		t.Errorf("a stranger is redirected to %s, want the portal's sign-in", location)
	}

	link := setUpLink.FindStringSubmatch(printed)
	if link == nil {
		t.Fatalf("the command printed no set-up link:\n%s", printed)
	}
	const password = "seven lamps by the harbour door"
	owner := m.outsider(t, ca)
	if status, _, body := owner.get(link[0]); status != http.StatusOK {
		t.Fatalf("open the set-up link: status %d, want 200\n%s", status, body)
	}
	if status, _, body := owner.post("/setup", url.Values{"ticket": {link[2]}, "username": {"ada"}, "new_password": {password}}); status != http.StatusSeeOther {
		t.Fatalf("create the first account: status %d, want 303\n%s", status, body)
	}
	if status, _, body := owner.post("/login", url.Values{"username": {"ada"}, "password": {password}}); status != http.StatusSeeOther {
		t.Fatalf("sign in with the password: status %d, want 303\n%s", status, body)
	}
	status, wizard, body := owner.post("/settings/security/authenticators", url.Values{})
	if status != http.StatusSeeOther {
		t.Fatalf("open the wizard: status %d, want 303\n%s", status, body)
	}
	wizard = strings.TrimPrefix(wizard, exampleAuth)
	_, _, body = owner.get(exampleAuth + wizard)
	key, err := portal.SecretOn(body)
	testkit.Check(t, err)
	if status, _, body := owner.post(wizard+"/confirm", url.Values{"code": {totp.CodeAt(key, time.Now())}, "name": {"Phone"}}); status != http.StatusOK {
		t.Fatalf("confirm the code: status %d, want 200\n%s", status, body)
	}
	if at := owner.follow(examplePanel + "/rack"); at != examplePanel+"/rack" || owner.status != http.StatusOK || owner.body != "the panel, for ada" {
		t.Errorf("the owner at the panel gets %d at %s, want the panel's page for ada\n%s", owner.status, at, owner.body)
	}
}

// outsider is a browser outside a machine that resolves the machine's names and trusts its
// certificate.
type outsider struct {
	t      *testing.T
	client *http.Client
	status int    // of the last answer
	body   string // of the last answer
}

func (v *outsider) get(address string) (status int, location, body string) {
	v.t.Helper()
	return v.do(http.MethodGet, address, nil)
}

// post sends a form of the portal.
func (v *outsider) post(path string, form url.Values) (status int, location, body string) {
	v.t.Helper()
	return v.do(http.MethodPost, exampleAuth+path, form)
}

// follow opens a page and follows its redirects. It returns the last address.
func (v *outsider) follow(address string) string {
	v.t.Helper()
	for range 10 {
		status, location, _ := v.get(address)
		if status != http.StatusSeeOther {
			return address
		}
		from, err := url.Parse(address)
		testkit.Check(v.t, err)
		to, err := from.Parse(location)
		testkit.Check(v.t, err)
		address = to.String()
	}
	v.t.Fatalf("more than 10 redirects, the last one to %s", address)
	return ""
}

func (v *outsider) do(method, address string, form url.Values) (status int, location, body string) {
	v.t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	testkit.Check(v.t, err)
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := v.client.Do(req)
	testkit.Check(v.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	testkit.Check(v.t, err)
	v.status, v.body = resp.StatusCode, string(text)
	return v.status, resp.Header.Get("Location"), v.body
}
