package db

import "errors"

// ErrServed: another server runs on this SQLite file; only one may (F14).
var ErrServed = errors.New("another sallyport serves this database; stop it first, or use PostgreSQL to run several nodes")

// ServesOne reports whether at most one server works on the database, as on an
// SQLite file (F14). On PostgreSQL any number of nodes do.
func (d *DB) ServesOne() bool { return d.engine.servesOne() }

// LockServer marks the database as served by this process until the process ends or unlock is
// called. On SQLite a second server gets [ErrServed]; commands that run beside the server don't
// lock. On PostgreSQL any number of nodes may serve, and LockServer has no effect.
func (d *DB) LockServer() (unlock func(), err error) {
	return d.engine.lockServer()
}
