package testkit

import (
	"os"
	"path/filepath"
)

// Path returns the absolute path of a file or directory of the repository. name is its
// slash-separated path relative to the root. Path works in the tests of every package.
func Path(name string) string { return filepath.Join(root(), filepath.FromSlash(name)) }

// root returns the repository's root: the working directory, or the nearest one above it,
// that has a go.mod.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("testkit: no go.mod in the working directory or above it")
		}
		dir = parent
	}
}
