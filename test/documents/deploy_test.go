package documents

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/testkit"
)

// systemd-analyze must report an exposure level below maxExposure for the unit: 0 is a process
// without privileges, 10 is root.
const maxExposure = 2.0

func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	unit := testkit.Path("deploy/systemd/sallyport.service")
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	testkit.Check(t, err)
	found := regexp.MustCompile(`Overall exposure level for sallyport.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze reports no exposure level:\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level >= maxExposure {
		t.Errorf("the unit has exposure level %s, want below %v:\n%s", found[1], maxExposure, out)
	}

	// systemd only warns of a misspelled setting, so any output fails the test.
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	testkit.Check(t, os.MkdirAll(units, 0o755))
	testkit.CopyInto(t, unit, units)
	for _, target := range []string{"network-online", "multi-user", "basic", "sysinit", "shutdown"} {
		testkit.WriteFile(t, filepath.Join(units, target+".target"), "[Unit]\nDescription="+target+"\n")
	}
	testkit.Check(t, os.MkdirAll(filepath.Join(root, "usr/bin"), 0o755))
	testkit.Check(t, os.WriteFile(filepath.Join(root, "usr/bin/sallyport"), nil, 0o755))
	out, err = exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root, "sallyport.service").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v, want no output\n%s", err, out)
	}
}

// packaged is the entry of one file in nfpm.yaml.
type packaged struct {
	Src, Dst, Type string
	FileInfo       struct{ Mode fs.FileMode } `yaml:"file_info"`
}

// "make packages-test" installs the packages. This test is faster, and finds missing files and
// unsafe modes.
func TestPackagesContainExistingFilesWithSafeModes(t *testing.T) {
	t.Parallel()
	var declared struct {
		Contents []packaged
		Scripts  map[string]string
	}
	readYAML(t, "deploy/packages/nfpm.yaml", &declared)
	found := map[string]packaged{}
	for _, one := range declared.Contents {
		found[one.Dst] = one
		made := strings.HasPrefix(one.Src, "bin/") || one.Type == "dir"
		if _, err := os.Stat(testkit.Path(one.Src)); err != nil && !made {
			t.Error(err)
		}
		if mode := one.FileInfo.Mode; mode&0o022 != 0 || mode == 0 && one.Type != "tree" {
			t.Errorf("%s has mode %o, want one that isn't writable for group and others", one.Dst, mode)
		}
	}
	for path, want := range map[string]packaged{
		"/usr/bin/sallyport":                        {Src: "bin/sallyport"},
		"/usr/lib/systemd/system/sallyport.service": {Src: "deploy/systemd/sallyport.service"},
		"/etc/sallyport/sallyport.yaml":             {Src: "bin/package/sallyport.yaml", Type: "config|noreplace"},
		"/usr/share/doc/sallyport/copyright":        {Src: "bin/package/copyright"},
		"/usr/share/man/man1/sallyport.1.gz":        {Src: "bin/package/sallyport.1.gz"},
		"/usr/share/man/man5/sallyport.yaml.5.gz":   {Src: "bin/package/sallyport.yaml.5.gz"},

		"/usr/share/bash-completion/completions/sallyport":    {Src: "bin/package/completion.bash"},
		"/usr/share/zsh/vendor-completions/_sallyport":        {Src: "bin/package/completion.zsh"},
		"/usr/share/zsh/site-functions/_sallyport":            {Src: "bin/package/completion.zsh"},
		"/usr/share/fish/vendor_completions.d/sallyport.fish": {Src: "bin/package/completion.fish"},
		"/usr/share/doc/sallyport/docs":                       {Src: "docs", Type: "tree"},
		"/usr/share/doc/sallyport/deploy/prometheus":          {Src: "deploy/prometheus", Type: "tree"},
	} {
		if got := found[path]; got.Src != want.Src || got.Type != want.Type {
			t.Errorf("%s comes from %q with type %q, want %q with type %q", path, got.Src, got.Type, want.Src, want.Type)
		}
	}
	if mode := found["/etc/sallyport/sallyport.yaml"].FileInfo.Mode; mode != 0o640 {
		t.Errorf("the configuration has mode %o, want 640", mode)
	}
	if len(declared.Scripts) != 3 {
		t.Errorf("nfpm.yaml declares the scripts %v, want three", declared.Scripts)
	}
	scripts, err := filepath.Glob(testkit.Path("deploy/packages/*.sh"))
	testkit.Check(t, err)
	for _, script := range declared.Scripts {
		if !slices.Contains(scripts, testkit.Path(script)) {
			t.Errorf("nfpm.yaml declares the script %s, which doesn't exist", script)
		}
	}
	if out, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// The Makefile replaces this line to set data_dir in the packaged configuration.
func TestPackagedConfigurationLoads(t *testing.T) {
	t.Parallel()
	text := config.DefaultYAML()
	line := "data_dir: ./sallyport-data\n"
	if strings.Count(text, "\n"+line) != 1 {
		t.Fatalf("the default configuration doesn't have exactly one line %q", line)
	}
	file := filepath.Join(t.TempDir(), "sallyport.yaml")
	testkit.WriteFile(t, file, strings.Replace(text, line, "data_dir: /var/lib/sallyport\n", 1))
	cfg, err := config.Load(file, nil)
	testkit.Check(t, err)
	if cfg.DataDir != "/var/lib/sallyport" {
		t.Errorf("data_dir is %s, want /var/lib/sallyport", cfg.DataDir)
	}
}

// readYAML decodes a file of the repository.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(testkit.Path(file))
	testkit.Check(t, err)
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", file, err))
	}
}
