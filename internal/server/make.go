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
)

// ErrNoPortal: the configuration's database or key ring is not there.
var ErrNoPortal = errors.New("there is no portal")

// exists returns an error that wraps [ErrNoPortal] and says what to do, unless there is
// a database and, where Sallyport writes it, a key ring. It creates nothing.
func exists(ctx context.Context, cfg config.Config, noRing bool) error {
	path, sqlite := strings.CutPrefix(cfg.DatabaseURL(), "sqlite:")
	if !sqlite {
		made, err := db.HasSchema(ctx, cfg.DatabaseURL())
		if err != nil {
			return whyNoDatabase(cfg, err)
		}
		if !made {
			return fmt.Errorf("%w in the PostgreSQL database, which has no tables of Sallyport; to make a new one, run: sallyport init", ErrNoPortal)
		}
	} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s, since there is no %s; name another configuration with --config FILE or SALLYPORT_CONFIG, make a new portal with \"sallyport init\", or restore a backup with \"sallyport restore\"",
			ErrNoPortal, filepath.Dir(path), filepath.Base(path))
	} else if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if noRing {
		return fmt.Errorf("there is no key ring at %s, but there is a database: put the database's key ring there (on another node: a copy of the first node's)", cfg.KeyRingPath())
	}
	return nil
}

// KeyRingPart is what [Made] calls a key ring.
const KeyRingPart = "key ring"

// Made is a part of a portal: its data directory, key ring or database.
type Made struct {
	What string // [KeyRingPart] or such as "database"
	Path string // empty for PostgreSQL
	New  bool   // it wasn't there before
}

// Make creates what is missing of a portal, and returns what there is now. Where root
// runs it in another user's data directory, the new files are given to that user, who
// runs the server.
func Make(ctx context.Context, cfg config.Config, now func() time.Time, log *slog.Logger) ([]Made, error) {
	var parts []Made
	add := func(what, path string) {
		_, err := os.Stat(path)
		parts = append(parts, Made{What: what, Path: path, New: errors.Is(err, fs.ErrNotExist)})
	}
	add("data directory", absolute(cfg.DataDir))
	if RingSource(cfg).Ours() {
		add(KeyRingPart, cfg.KeyRingPath())
	}
	path, sqlite := strings.CutPrefix(cfg.DatabaseURL(), "sqlite:")
	if sqlite {
		add("database", path)
	} else {
		made, err := db.HasSchema(ctx, cfg.DatabaseURL())
		if err != nil {
			return nil, whyNoDatabase(cfg, err)
		}
		parts = append(parts, Made{What: "schema in the PostgreSQL database", New: !made})
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, withCause(whyNoDatabase(cfg, err), fmt.Errorf("create data directory: %w", err))
	}
	p, err := Open(ctx, cfg, now, log)
	if err != nil {
		return nil, err
	}
	if err := p.Close(); err != nil { // with it SQLite removes the files beside the database
		return nil, err
	}
	for _, part := range parts[1:] {
		if part.New && part.Path != "" {
			// Not through a link that the directory's owner may have put there meanwhile.
			chown := func(uid, gid int) error { return os.Lchown(part.Path, uid, gid) }
			if err := giveTo(chown, absolute(cfg.DataDir)); err != nil {
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
	return path // the working directory has no name; relative to it is right
}
