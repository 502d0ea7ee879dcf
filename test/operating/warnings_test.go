package operating

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestReadyzWarnsIfEveryRequestIsRefused checks the warning about a portal with an https URL but
// without TLS or a trusted proxy, which refuses every request. The log has the warning after the
// start and after a reload. /readyz has it as long as it is true, and still answers 200. A reload also
// logs the settings that take effect at the next start. The warning about site_name is only in the log.
func TestReadyzWarnsIfEveryRequestIsRefused(t *testing.T) {
	t.Parallel()
	const warning = "every request will be refused: name your proxy in trusted_proxies, or set tls"
	file := panels.WriteConfig(t, "public_url: https://auth.test\nsite_name: '\"Radio\"'\n")
	p := portal.Start(t, "sqlite", "SALLYPORT_CONFIG="+file)
	ready := func() string {
		resp, err := http.Get("http://" + p.At + "/readyz")
		testkit.Check(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		testkit.Check(t, err)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("/readyz: %d, want 200:\n%s", resp.StatusCode, text)
		}
		return string(text)
	}
	reload := func(text string) {
		testkit.Check(t, os.WriteFile(file, []byte(text), 0o600))
		testkit.Check(t, p.Reload(config.Load(file, []string{"SALLYPORT_LISTEN=" + p.At, "SALLYPORT_DATA_DIR=" + p.Dir})))
	}
	if text := ready(); !strings.Contains(text, "trusted_proxies: "+warning+"\n") || strings.Count(p.Logs.String(), warning) != 1 {
		t.Errorf("after the start: want the warning in /readyz, and once in the log:\n%s%s", text, p.Logs)
	}
	if !strings.Contains(p.Logs.String(), "has quotes around it") {
		t.Errorf("after the start: want the warning about site_name in the log:\n%s", p.Logs)
	}
	reload("public_url: https://auth.test\ntrusted_proxies: [127.0.0.1]\n")
	if text := ready(); strings.Contains(text, "trusted_proxies") || strings.Count(p.Logs.String(), warning) != 1 {
		t.Errorf("with a trusted proxy: want no warning in /readyz, and no new one in the log:\n%s%s", text, p.Logs)
	}
	reload("public_url: https://auth.test\nsite_name: Acme\nsession:\n  idle: 1h\n")
	if text := ready(); !strings.Contains(text, warning) || strings.Count(p.Logs.String(), warning) != 2 {
		t.Errorf("without a trusted proxy again: want the warning in /readyz, and a second one in the log:\n%s%s", text, p.Logs)
	}
	if !strings.Contains(p.Logs.String(), `"settings":"session.idle, site_name"`) {
		t.Errorf("the log doesn't name the settings that take effect at the next start:\n%s", p.Logs)
	}
}
