package maintenance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// backupName is the layout of a scheduled backup's name: its time in UTC.
	backupName = "sallyport-20060102-150405.db"

	// encryptedEnd is the end of an encrypted backup's name.
	encryptedEnd = ".age"
)

// scheduled is a scheduled backup in the directory.
type scheduled struct {
	at   time.Time
	name string
}

// Schedule says how often a server makes backups, and how many of them it keeps.
type Schedule struct {
	Dir        string
	Every      time.Duration
	Keep       int
	Recipients []age.Recipient // whose keys decrypt the backups; empty for plain text

	// Clock is the machine's clock, by which the file system dates files. The age of left-over files
	// is computed with Clock, and not with the time that package clock believes.
	Clock func() time.Time
}

// Made is a backup that [Schedule.BackUp] made.
type Made struct {
	File    string
	Secrets int // the number of sealed secrets in it
}

// BackUp makes a backup and returns it, or returns nil if none is due. After a backup, if trusted is
// true, it removes the oldest backups beyond Keep; if that fails, it returns the backup and the
// error. The parameter now must be the time that package clock believes: a backup whose name has
// the time of a clock that leapt ahead would never be removed.
func (s Schedule) BackUp(ctx context.Context, d *db.DB, ring *secret.Ring, now time.Time, trusted bool) (*Made, error) {
	if err := durable.MakeDir(s.Dir); err != nil {
		return nil, fmt.Errorf("make the directory of backups: %w", err)
	}
	now = now.UTC()
	there, err := listScheduled(s.Dir, now)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 && now.Sub(there[len(there)-1].at) < s.Every {
		return nil, nil
	}
	next := scheduled{at: now, name: now.Format(backupName)}
	if len(s.Recipients) > 0 {
		next.name += encryptedEnd
	}
	made := &Made{File: filepath.Join(s.Dir, next.name)}
	if made.Secrets, err = Backup(ctx, d, ring, made.File, s.Clock(), s.Recipients...); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	// Remove backups only after a new one succeeded, so that a fault never removes the last one. And
	// don't remove any by an untrusted time: a clock that leaps again and again must not replace all
	// backups by new ones.
	if !trusted {
		return made, nil
	}
	for there = append(there, next); len(there) > s.Keep; there = there[1:] {
		if err := os.Remove(filepath.Join(s.Dir, there[0].name)); err != nil {
			return made, fmt.Errorf("remove an old backup: %w", err)
		}
	}
	return made, nil
}

// listScheduled returns the scheduled backups in dir, oldest first. It leaves out other
// files, which are the operator's, and backups dated after now: they were made while the
// clock was wrong, so their age is unknown.
func listScheduled(dir string, now time.Time) ([]scheduled, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var made []scheduled
	for _, entry := range entries {
		plain := strings.TrimSuffix(entry.Name(), encryptedEnd)
		if at, err := time.Parse(backupName, plain); err == nil && at.Format(backupName) == plain && !at.After(now) {
			made = append(made, scheduled{at, entry.Name()})
		}
	}
	slices.SortFunc(made, func(a, b scheduled) int { return a.at.Compare(b.at) })
	return made, nil
}
