package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// MoveFile renames a file.
func MoveFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// CopyFile copies a file. Only the owner can read the copy.
func CopyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	Check(t, err)
	Check(t, os.WriteFile(to, content, 0o600))
}

// EditFile replaces the text old by the text new, everywhere in a file of the folder dir. It
// fails the test if the file doesn't contain old.
func EditFile(t *testing.T, dir, file, old, new string) {
	t.Helper()
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s doesn't contain %q:\n%s", file, old, text)
	}
	WriteFile(t, path, strings.ReplaceAll(string(text), old, new))
}

// CopyInto copies a file into a folder, under its own name.
func CopyInto(t *testing.T, file, dir string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	WriteFile(t, filepath.Join(dir, filepath.Base(file)), string(text))
}

// WriteFile writes text into a file that every user of the machine can read.
func WriteFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
