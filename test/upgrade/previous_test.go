package upgrade

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit"
)

// previous is the commit of the release before this tree, which operators upgrade from. No
// release is tagged yet, so it is the last commit before the packages were moved and version 12
// of the schema was added. Once v0.1.0 is tagged, change it to that commit, and at each later
// release to that of the release before.
const previous = "7199a4bc1077ee16556905ea9d3fc081c9dc209f"

// release is a program and the number of migrations in its sources.
type release struct {
	path    string
	version int
}

// buildPrevious builds the program of the commit previous, as for a release. It takes the
// sources from the repository's history, so the test fails in a clone that lacks the commit.
func buildPrevious(t *testing.T) release {
	t.Helper()
	run := func(dir, name string, args ...string) ([]byte, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0") // as make build does
		return cmd.CombinedOutput()
	}
	if out, err := run(testkit.Path("."), "git", "cat-file", "-e", previous+"^{commit}"); err != nil {
		t.Fatalf("this clone lacks the commit %s, whose program the test upgrades from; run: git fetch --unshallow\n(git cat-file: %v %s)", previous, err, out)
	}
	dir := t.TempDir()
	sources, program := filepath.Join(dir, "sources"), filepath.Join(dir, "sallyport")
	testkit.Check(t, os.Mkdir(sources, 0o700))
	archive := filepath.Join(dir, "sources.tar")
	for _, step := range []struct {
		dir  string
		args []string
	}{
		{testkit.Path("."), []string{"git", "archive", "--output", archive, previous}},
		{sources, []string{"tar", "-xf", archive}},
		{sources, []string{"go", "build", "-trimpath", "-o", program, "./cmd/sallyport"}},
	} {
		if out, err := run(step.dir, step.args[0], step.args[1:]...); err != nil {
			t.Fatalf("build the previous release: %v: %v\n%s", step.args, err, out)
		}
	}
	return release{program, countMigrations(t, sources)}
}

// countMigrations returns the number of migrations in a tree, which is its schema's version.
func countMigrations(t *testing.T, tree string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tree, "internal/db/migrations/*.sql"))
	testkit.Check(t, err)
	if len(files) == 0 {
		t.Fatalf("found no migration in %s", tree)
	}
	return len(files)
}
