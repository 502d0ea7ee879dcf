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

// TestAttack161Reload sends SIGHUP to the real program: a broken configuration
// leaves the one before in force, and a whole one takes its place without an
// end of the connection.
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
	// A panel asks for a sign-in; other hosts are nobody's.
	served := func(host string) bool {
		status, _ := get(host, "/x")
		return status == http.StatusUnauthorized
	}
	hangUp := func(text string, until func() bool) {
		t.Helper()
		write(text)
		testkit.Check(t, server.Cmd.Process.Signal(syscall.SIGHUP))
		for begin := time.Now(); !until(); time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > sallyport.StartTime {
				t.Fatalf("nothing came of:\n%s", text)
			}
		}
	}
	own := strings.TrimPrefix(p.Base, "http://")
	faulty := func() bool {
		_, body := get(own, "/readyz")
		return strings.Contains(body, "configuration: faulty")
	}
	if !served("one.test") || served("two.test") || faulty() {
		t.Fatal("at the start: not what was declared")
	}
	for _, broken := range []string{"panels: [", "panles: []\n", "panels:\n  - {url: 'http://two.test', upstream: 'http://two.test'}\n", declared("two.test") + "site_name: ''\n"} {
		hangUp(broken, faulty)
		if !served("one.test") || served("two.test") {
			t.Errorf("a broken configuration is in force:\n%s", broken)
		}
		if status, _ := get(own, "/readyz"); status != http.StatusOK {
			t.Errorf("/readyz: %d, and yet people can sign in", status)
		}
		hangUp(declared("one.test"), func() bool { return !faulty() })
	}
	hangUp(declared("two.test"), func() bool { return served("two.test") })
	if served("one.test") || faulty() {
		t.Error("the configuration of before is in force too")
	}
	// The command tells the server too, and faults nobody's server: it says
	// them itself.
	write(declared("one.test"))
	p.Command("reload")
	for begin := time.Now(); !served("one.test"); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > sallyport.StartTime {
			t.Fatal("nothing came of sallyport reload")
		}
	}
	write("panles: []\n")
	if one := p.Background("reload"); one.Wait() == nil || !strings.Contains(one.Output(), "panles") {
		t.Errorf("reload of a faulty file: %v\n%s", one.Err, one.Output())
	}
	write(declared("one.test"))
	if faulty() {
		t.Error("reload told the server of a faulty file")
	}
	server.Kill()
	// Its number is there still, and may be another process's by now.
	if one := p.Background("reload"); one.Wait() == nil || !strings.Contains(one.Output(), "no server is running") {
		t.Errorf("reload without a server: %v\n%s", one.Err, one.Output())
	}
	out := server.Output()
	for _, want := range []string{p.File + ":1: panles", "stays in force", "configuration reloaded"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log doesn't say %q:\n%s", want, out)
		}
	}
}
