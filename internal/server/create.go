package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/durable"
)

// KeyRingPart is what [Part.What] says for a key ring.
const KeyRingPart = "key ring"

// Part is a part of a portal: its data directory, key ring or database.
type Part struct {
	What string // what the part is, in words: [KeyRingPart], "database", …
	Path string // empty for PostgreSQL
	New  bool   // the part was created just now
}

// CreateMissing creates the missing parts of a portal and returns all parts. If root runs it and
// the data directory belongs to another user, the new files get that owner, since the server runs
// as that user.
func CreateMissing(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) ([]Part, error) {
	var parts []Part
	add := func(what, path string) {
		_, err := os.Stat(path)
		parts = append(parts, Part{What: what, Path: path, New: errors.Is(err, fs.ErrNotExist)})
	}
	add("data directory", absolute(cfg.DataDir))
	if ringSource(cfg).IsWritable() {
		add(KeyRingPart, cfg.KeyRingPath())
	}
	path, sqlite := strings.CutPrefix(cfg.DatabaseURL(), "sqlite:")
	if sqlite {
		add("database", path)
	} else {
		found, err := db.HasSchema(ctx, cfg.DatabaseURL())
		if err != nil {
			return nil, databaseFault(cfg, err)
		}
		parts = append(parts, Part{What: "schema in the PostgreSQL database", New: !found})
	}
	if err := durable.MakeDir(cfg.DataDir); err != nil {
		return nil, withCause(databaseFault(cfg, err), fmt.Errorf("create data directory: %w", err))
	}
	p, err := Open(ctx, cfg, now, log)
	if err != nil {
		return nil, err
	}
	if err := p.Close(); err != nil { // close before chown, since that removes SQLite's -wal and -shm files
		return nil, err
	}
	for _, part := range parts[1:] {
		if part.New && part.Path != "" {
			// Use Lchown, which doesn't follow symbolic links. To get one of root's files, the
			// directory's owner could have replaced the new file by a link in the meantime.
			chown := func(uid, gid int) error { return os.Lchown(part.Path, uid, gid) }
			if err := durable.GiveToOwner(absolute(cfg.DataDir), chown); err != nil {
				return nil, err
			}
		}
	}
	return parts, nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // the working directory was removed; the relative path is all there is
}
