package durable

import (
	"path/filepath"
	"testing"
)

func TestTemporaryFilesHaveTheNamesThatAreLookedFor(t *testing.T) {
	f, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if !isTemporary(filepath.Base(f.Name())) {
		t.Errorf("%s isn't looked for", f.Name())
	}
}
