package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// leftoverAge is how long a temporary file must have been left alone to be
// nobody's: longer than the slowest backup writes or reads one.
const leftoverAge = 24 * time.Hour

// removeLeftovers removes the temporary files that a command or server left in
// dir when it was killed: copies of the database, and of the key ring. What it
// can't remove stays for the next time; nothing depends on it.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for left-over files: %w", err)
	}
	var faults []error
	for _, entry := range entries {
		if !isTemporary(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err != nil || time.Since(info.ModTime()) < leftoverAge {
			continue // gone, or somebody writes it
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			faults = append(faults, fmt.Errorf("remove a left-over file: %w", err))
		}
	}
	return errors.Join(faults...)
}

// isTemporary reports whether name is one that [os.CreateTemp] makes of a
// pattern of ours, or of what SQLite puts beside such a file.
func isTemporary(name string) bool {
	for _, end := range []string{"-wal", "-shm", "-journal"} {
		name = strings.TrimSuffix(name, end)
	}
	for _, pattern := range []string{temporaryName, secret.TemporaryRing, db.TemporaryCopy} {
		first, last, _ := strings.Cut(pattern, "*")
		digits, begins := strings.CutPrefix(name, first)
		digits, ends := strings.CutSuffix(digits, last)
		if begins && ends && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}
