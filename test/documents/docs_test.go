package documents

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// maxArchitectureLines is how long ARCHITECTURE.md may be, so that a newcomer reads it.
const maxArchitectureLines = 220

func TestArchitectureNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile(testkit.Path("ARCHITECTURE.md"))
	testkit.Check(t, err)
	if n := strings.Count(string(page), "\n"); n > maxArchitectureLines {
		t.Errorf("ARCHITECTURE.md has %d lines, want at most %d", n, maxArchitectureLines)
	}
	var paths strings.Builder // one path a line, from the root, with a leading slash
	err = fs.WalkDir(os.DirFS(testkit.Path(".")), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		paths.WriteString("/" + path + "\n")
		return nil
	})
	testkit.Check(t, err)
	names := regexp.MustCompile(`[a-z_./-]*[a-z_-]+\.(?:go|txt|json|js|md|yaml)\b`).FindAllString(string(page), -1)
	if len(names) < 60 {
		t.Errorf("ARCHITECTURE.md names only %d files, want at least 60", len(names))
	}
	for _, name := range names {
		if !strings.Contains(paths.String(), "/"+name+"\n") {
			t.Errorf("ARCHITECTURE.md names %s, which doesn't exist", name)
		}
	}
	packages, err := os.ReadDir(testkit.Path("internal"))
	testkit.Check(t, err)
	for _, entry := range packages {
		if entry.IsDir() && !regexp.MustCompile(`\b`+entry.Name()+`\b`).MatchString(string(page)) {
			t.Errorf("ARCHITECTURE.md doesn't name the package %s", entry.Name())
		}
	}
}

// documents returns the Markdown documents by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages, tree := map[string]string{}, os.DirFS(testkit.Path("."))
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/five-minutes/*.md"} {
		paths, err := fs.Glob(tree, pattern)
		testkit.Check(t, err)
		for _, path := range paths {
			text, err := fs.ReadFile(tree, path)
			testkit.Check(t, err)
			pages[path] = string(text)
		}
	}
	return pages
}

func TestDocumentsLinkToExistingFilesAndHeadings(t *testing.T) {
	t.Parallel()
	pages := documents(t)
	links := 0
	for path, text := range pages {
		for _, found := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(found[1], "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(testkit.Path(to)); err != nil {
				t.Errorf("%s links to %s: %v", path, found[1], err)
			} else if anchor != "" && !slices.Contains(anchors(pages[to]), anchor) {
				t.Errorf("%s links to %s, but that heading doesn't exist", path, found[1])
			}
		}
	}
	if links < 40 {
		t.Errorf("found only %d links, want at least 40", links)
	}
}

// anchors returns the names by which links refer to the headings of a page.
func anchors(page string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// foreignMessages holds the messages in docs/troubleshooting.md that other programs write.
var foreignMessages = []string{
	"permission denied", "address already in use", "bind: permission denied", "unrecognized name",
	"a duplicate default server for 0.0.0.0:80", "rules ignored for frontend", "as they require HTTP mode", "Invalid command 'SSLEngine'", "'ProxyPass'",
}

// The first column of the tables in docs/troubleshooting.md quotes messages: those of
// commands and logs in backquotes, and those of pages in double quotes. Each must occur in
// Sallyport's source.
func TestTroubleshootingQuotesRealMessages(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	for _, root := range []string{"internal", "deploy/proxy"} {
		testkit.Check(t, filepath.WalkDir(testkit.Path(root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			sources.Write(text)
			return err
		}))
	}
	quoted := 0
	for line := range strings.Lines(documents(t)["docs/troubleshooting.md"]) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, found := range regexp.MustCompile("`([^`]+)`|\"([^\"]+)\"").FindAllStringSubmatch(cells[1], -1) {
			message := found[1] + found[2]
			quoted++
			if !strings.Contains(sources.String(), message) && !slices.Contains(foreignMessages, message) {
				t.Errorf("docs/troubleshooting.md quotes %q, which Sallyport doesn't write", message)
			}
		}
	}
	if quoted < 30 {
		t.Errorf("found only %d messages, want at least 30", quoted)
	}
}
