package sallyport_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ARCHITECTURE.md promises which test holds which invariant, and names files.
func TestArchitectureNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "\n"); n > 200 {
		t.Errorf("ARCHITECTURE.md has %d lines; 200 are what somebody reads", n)
	}
	var code strings.Builder
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && entry.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			code.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 20 {
		t.Fatalf("ARCHITECTURE.md names %d tests only", len(names))
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "func "+name[1]+"(") {
			t.Errorf("ARCHITECTURE.md names %s, which isn't there", name[1])
		}
	}
	for _, script := range regexp.MustCompile("`([0-9][0-9a-z-]+\\.txtar)`").FindAllStringSubmatch(string(page), -1) {
		if _, err := os.Stat(filepath.Join("testdata", "flows", script[1])); err != nil {
			t.Errorf("ARCHITECTURE.md: %v", err)
		}
	}
}
