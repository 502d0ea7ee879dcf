package cli

import (
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionNamesTheGoThatBuiltTheBinary(t *testing.T) {
	code, out, errs := call(nil, "", "version")
	lines := strings.Split(out, "\n")
	if code != 0 || errs != "" || len(lines) != 2 || !strings.HasPrefix(out, "sallyport "+version+" ") || !strings.HasSuffix(lines[0], " "+runtime.Version()) {
		t.Errorf("%d, %q, %q; want one line that begins with sallyport %s and ends in %s", code, out, errs, version, runtime.Version())
	}
}

func TestVersionIsTheNewestReleaseInTheChangelog(t *testing.T) {
	changelog, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$`).FindSubmatch(changelog)
	if heading == nil {
		t.Fatal("CHANGELOG.md has no heading of a release")
	}
	if got := string(heading[1]); got != version {
		t.Errorf("the newest release in CHANGELOG.md is %s, version is %s, want the same", got, version)
	}
}

func TestBuildRevision(t *testing.T) {
	const revision = "7199a4b20c61aa05d1b1c1c1ae5b8f21a7ddf3e9"
	info := func(modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}}
	}
	for _, test := range []struct {
		info *debug.BuildInfo
		ok   bool
		want string
	}{
		{info("false"), true, "7199a4b20c61"},
		{info("true"), true, "7199a4b20c61, changed"},
		{&debug.BuildInfo{}, true, ""},
		{nil, false, ""},
	} {
		if got := buildRevision(test.info, test.ok); got != test.want {
			t.Errorf("%+v, %v: %q, want %q", test.info, test.ok, got, test.want)
		}
	}
}
