package internal

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Two branches that each add a migration may give it the same number, and git sees no conflict.
func TestMigrationsAreNumberedOneByOne(t *testing.T) {
	files, err := filepath.Glob("db/migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no migrations: %v", err)
	}
	for i, file := range files { // sorted
		if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(filepath.Base(file), want) {
			t.Errorf("%s isn't the next in number, want %s", file, want)
		}
	}
}
