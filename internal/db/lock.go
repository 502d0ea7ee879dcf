package db

import (
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/internal/durable"
)

// ErrServed: another server runs on this SQLite file; only one may (F14).
var ErrServed = errors.New("another sallyport serves this database; stop it first, or use PostgreSQL to run several nodes")

// ServesOne reports whether one server at most works on the database, as on an
// SQLite file (F14). On PostgreSQL any number of nodes do.
func (d *DB) ServesOne() bool { return !d.postgres }

// LockServer marks the database as served by this process until the process
// ends or unlock is called. On SQLite a second server gets [ErrServed]; commands
// that run beside the server don't lock. On PostgreSQL any number of nodes may
// serve, and LockServer does nothing.
func (d *DB) LockServer() (unlock func(), err error) {
	if !d.ServesOne() {
		return func() {}, nil
	}
	f, err := os.OpenFile(d.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	if err := durable.Lock(f); err != nil {
		f.Close()
		if errors.Is(err, durable.ErrLocked) {
			return nil, ErrServed
		}
		return nil, fmt.Errorf("lock database: %w", err)
	}
	return func() { f.Close() }, nil
}
