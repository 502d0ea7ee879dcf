package maintenance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/db"
)

// Database says where a portal's database is.
type Database struct {
	URL    string // "sqlite:PATH" or "postgres://…"
	Pooled bool   // a pooler is in front of it
	Direct string // the URL past the pooler, or ""
}

// Open opens the database and migrates its schema. It creates an SQLite file that doesn't
// exist.
func (d Database) Open(ctx context.Context) (*db.DB, error) {
	if d.Pooled {
		return db.OpenPooled(ctx, d.URL, d.Direct)
	}
	return db.Open(ctx, d.URL)
}

// OpenCurrent is [Database.Open] without changes to the database: if the database doesn't exist or
// its schema is older, OpenCurrent returns an error.
func (d Database) OpenCurrent(ctx context.Context) (*db.DB, error) {
	if err := d.Exists(ctx); err != nil {
		return nil, err
	}
	return db.OpenCurrent(ctx, d.URL)
}

// ErrNoPortal means that the database doesn't exist.
var ErrNoPortal = errors.New("there is no portal")

// Exists returns nil if the database exists. If the database doesn't exist or can't be reached, it
// returns an error that says what to do; if it doesn't exist, the error wraps [ErrNoPortal]. Exists
// never creates a database.
func (d Database) Exists(ctx context.Context) error {
	path, sqlite := strings.CutPrefix(d.URL, "sqlite:")
	if !sqlite {
		made, err := db.HasSchema(ctx, d.URL)
		if err != nil {
			return err
		}
		if !made {
			return fmt.Errorf("%w in the PostgreSQL database, which has no tables of Sallyport; to make a new one, run: sallyport init", ErrNoPortal)
		}
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s, since there is no %s; name another configuration with --config FILE or SALLYPORT_CONFIG, make a new portal with \"sallyport init\", or restore a backup with \"sallyport restore\"",
			ErrNoPortal, filepath.Dir(path), filepath.Base(path))
	} else if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
}
