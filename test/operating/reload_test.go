package operating

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// TestAttack161Reload sends SIGHUP to the built program. A faulty configuration leaves the earlier
// one in force, and a valid one replaces it while the server answers requests.
func TestAttack161Reload(t *testing.T) {
	t.Parallel()
	panel := panels.StartPanel(t, "radio")
	p := &sallyport.Program{T: t, Path: sallyport.BuildProgram(t), Dir: t.TempDir(), File: filepath.Join(t.TempDir(), "sallyport.yaml")}
	write := func(text string) { testkit.Check(t, os.WriteFile(p.File, []byte(text), 0o600)) }
	declared := func(host string) string {
		return fmt.Sprintf("panels:\n  - {url: 'http://%s', upstream: '%s'}\n", host, panel.URL)
	}
	write(declared("one.test"))
	server := p.Serve()

	get := func(host, path string) (status int, body string) {
		req, err := http.NewRequest(http.MethodGet, p.Base+path, nil)
		testkit.Check(t, err)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		testkit.Check(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		testkit.Check(t, err)
		return resp.StatusCode, string(text)
	}
	// served reports whether a host is a panel: requests to panels need a sign-in.
	served := func(host string) bool {
		status, _ := get(host, "/x")
		return status == http.StatusUnauthorized
	}
	reload := func(text string, until func() bool) {
		t.Helper()
		write(text)
		testkit.Check(t, server.Cmd.Process.Signal(syscall.SIGHUP))
		for begin := time.Now(); !until(); time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > sallyport.StartTime {
				t.Fatalf("%v after the reload, the server doesn't use, or report, the configuration:\n%s", sallyport.StartTime, text)
			}
		}
	}
	own := strings.TrimPrefix(p.Base, "http://")
	faulty := func() bool {
		_, body := get(own, "/readyz")
		return strings.Contains(body, "configuration: faulty")
	}
	if !served("one.test") || served("two.test") || faulty() {
		t.Fatal("after the start, the server doesn't serve the declared panel, or serves another one")
	}
	for _, broken := range []string{"panels: [", "panles: []\n", "panels:\n  - {url: 'http://two.test', upstream: 'http://two.test'}\n", declared("two.test") + "site_name: ''\n"} {
		reload(broken, faulty)
		if !served("one.test") || served("two.test") {
			t.Errorf("after the reload of a faulty configuration, the earlier one isn't in force:\n%s", broken)
		}
		if status, _ := get(own, "/readyz"); status != http.StatusOK {
			t.Errorf("/readyz after the reload of a faulty configuration: %d, want 200, since users can sign in", status)
		}
		reload(declared("one.test"), func() bool { return !faulty() })
	}
	reload(declared("two.test"), func() bool { return served("two.test") })
	if served("one.test") || faulty() {
		t.Error("after the reload, the earlier panel is still served, or the configuration counts as faulty")
	}
	// The command "reload" makes the server reload the configuration. If the file is faulty, the
	// command reports the faults itself and doesn't signal the server.
	write(declared("one.test"))
	p.Command("reload")
	for begin := time.Now(); !served("one.test"); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > sallyport.StartTime {
			t.Fatalf("%v after the command reload, the server doesn't serve the new panel", sallyport.StartTime)
		}
	}
	write("panles: []\n")
	if one := p.Background("reload"); one.Wait() == nil || !strings.Contains(one.Output(), "panles") {
		t.Errorf("command reload with a faulty file: %v, want an error that names the key\n%s", one.Err, one.Output())
	}
	write(declared("one.test"))
	if faulty() {
		t.Error("the command reload made the server load a faulty file")
	}
	server.Kill()
	// The file with the server's process id still exists. Another process may have that id now.
	if one := p.Background("reload"); one.Wait() == nil || !strings.Contains(one.Output(), "no server is running") {
		t.Errorf("command reload without a server: %v, want an error that says so\n%s", one.Err, one.Output())
	}
	out := server.Output()
	for _, want := range []string{p.File + ":1: panles", "stays in force", "configuration reloaded"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log doesn't have %q:\n%s", want, out)
		}
	}
}
