package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

func TestVulncheckFailsOnlyForAVulnerabilityThatIsCalled(t *testing.T) {
	// madeUp returns the URL of a database in which this function of crypto/rand is vulnerable.
	madeUp := func(function string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"index/db.json":      `{"modified": "2026-01-01T00:00:00Z"}`,
			"index/modules.json": `[{"path": "stdlib", "vulns": [{"id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z"}]}]`,
			"index/vulns.json":   `[{"id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z"}]`,
			"ID/GO-2026-9999.json": `{"schema_version": "1.3.1", "id": "GO-2026-9999", "modified": "2026-01-01T00:00:00Z",
				"published": "2026-01-01T00:00:00Z", "summary": "Made up for a test", "details": "Made up for a test.",
				"database_specific": {"url": "https://pkg.go.dev/vuln/GO-2026-9999"},
				"affected": [{"package": {"name": "stdlib", "ecosystem": "Go"},
					"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
					"ecosystem_specific": {"imports": [{"path": "crypto/rand", "symbols": ["` + function + `"]}]}}]}`,
		} {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return "file://" + dir
	}
	for name, test := range map[string]struct {
		database string
		fails    bool
		says     string
	}{
		"a vulnerable function that is called":    {madeUp("Read"), true, "GO-2026-9999"},
		"a vulnerable function that isn't called": {madeUp("Prime"), false, "No vulnerabilities found."},
		// No server listens at port 1.
		"no database": {"http://127.0.0.1:1", false, "Nothing was checked: the vulnerability database http://127.0.0.1:1 is not reachable."},
	} {
		// The target's default timeout is too short for a busy machine.
		vulncheck := exec.Command("make", "vulncheck", "VULNDB="+test.database, "VULNDB_SECONDS=60", "VULNCHECK=./internal/secret")
		vulncheck.Dir = testkit.Path(".")
		output, err := vulncheck.CombinedOutput()
		if failed := err != nil; failed != test.fails || !strings.Contains(string(output), test.says) {
			t.Errorf("make vulncheck with %s ends with %v, want an error: %v, and the text %q in its output:\n%s", name, err, test.fails, test.says, output)
		}
	}
}
