package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// earlier are the patterns of temporary names in earlier versions: those for the key
// ring, and those for the copy of a database before a migration.
var earlier = []string{".keyring-*", ".before-*"}

// leftoverAge is the age at which a temporary file counts as abandoned. It is longer than
// the slowest backup takes.
const leftoverAge = 24 * time.Hour

// RemoveLeftovers removes the temporary files that a killed command or server left in dir: copies
// of the database and of the key ring. It continues after an error and returns all errors.
// Left-over files take space and contain secrets, but don't affect the program, so callers may
// ignore the error.
func RemoveLeftovers(dir string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for left-over files: %w", err)
	}
	var faults []error
	for _, entry := range entries {
		if !isTemporary(entry.Name()) || !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err != nil || now.Sub(info.ModTime()) < leftoverAge {
			continue // another process removed it, or may still be writing it
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			faults = append(faults, fmt.Errorf("remove a left-over file: %w", err))
		}
	}
	return errors.Join(faults...)
}

// isTemporary reports whether name is one that [os.CreateTemp] makes from a pattern of this
// program, or the name of a file that SQLite keeps beside such a file.
func isTemporary(name string) bool {
	for _, end := range beside {
		name = strings.TrimSuffix(name, end)
	}
	for _, one := range append([]string{pattern}, earlier...) {
		first, last, _ := strings.Cut(one, "*")
		digits, hasFirst := strings.CutPrefix(name, first)
		digits, hasLast := strings.CutSuffix(digits, last)
		if hasFirst && hasLast && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}
