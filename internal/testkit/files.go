package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func MoveFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func CopyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	Check(t, err)
	Check(t, os.WriteFile(to, content, 0o600))
}

// EditFile replaces a text in a file of a proxy's folder.
func EditFile(t *testing.T, dir, file, old, new string) {
	t.Helper()
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s doesn't hold %q:\n%s", file, old, text)
	}
	WriteFile(t, path, strings.ReplaceAll(string(text), old, new))
}

func CopyInto(t *testing.T, file, dir string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, filepath.Join(dir, filepath.Base(file)), string(text))
}

func WriteFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
