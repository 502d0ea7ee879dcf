package durable

import (
	"os"
	"path/filepath"
	"testing"
)

// The names that are looked for are those of the files that are really written.
func TestTemporaryFilesHaveTheNamesThatAreLookedFor(t *testing.T) {
	dir := t.TempDir()
	for _, pattern := range []string{Work, KeyRing, Before} {
		f, err := os.CreateTemp(dir, pattern)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !isTemporary(filepath.Base(f.Name())) {
			t.Errorf("%s isn't looked for", f.Name())
		}
	}
}
