package main

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/throttle"
)

const (
	// pageSize is the size of SQLite's pages.
	pageSize = 4096

	// frameHeader is the size of the header of each page in SQLite's write-ahead log. See
	// https://sqlite.org/fileformat2.html, "The WAL File Format".
	frameHeader = 24
)

// pages counts what the writing connection of an SQLite database reads and writes. The
// counts don't depend on how busy the machine is.
type pages struct {
	*bench
	writer sqlite.DBStatus
}

// watchPages calls open, which opens the SQLite database in dir with package db, and
// returns the counter of its writing connection.
func (b *bench) watchPages(dir string, open func()) *pages {
	p := &pages{bench: b}
	watched.Do(func() { sqlite.RegisterConnectionHook(noteWriter) })
	newWriter = func(c sqlite.DBStatus, name string) {
		if strings.Contains(name, filepath.Join(dir, "sallyport.db")) {
			p.writer = c
		}
	}
	open()
	return p
}

var (
	watched   sync.Once
	newWriter = func(sqlite.DBStatus, string) {}
)

// noteWriter passes each new writing connection of package db to newWriter, with the data source name
// that opened it. It recognizes such a connection by its setting to keep temporary data in memory.
func noteWriter(c sqlite.ExecQuerierContext, name string) error {
	if strings.Contains(name, "temp_store") {
		newWriter(c.(sqlite.DBStatus), name)
	}
	return nil
}

// pageCounts is what was read and written.
type pageCounts struct {
	reads  int // pages that weren't in the cache
	frames int // pages that were written to the write-ahead log
}

// count runs work and returns what it read and wrote. The database must have been written to
// before.
func (p *pages) count(work func()) pageCounts {
	p.sinceLast()
	work()
	return p.sinceLast()
}

// sinceLast returns what was read and written since the last call.
func (p *pages) sinceLast() (c pageCounts) {
	if p.writer == nil {
		p.Fatal("no connection has written to the database yet, so there are no counts")
	}
	var err, failed error
	c.reads, _, err = p.writer.Status(sqlite.DBStatusCacheMiss, true)
	c.frames, _, failed = p.writer.Status(sqlite.DBStatusCacheWrite, true)
	p.must(errors.Join(err, failed))
	return c
}

// kilobytes returns the size of the log in kilobytes, divided by the number of codes, n.
func (c pageCounts) kilobytes(n int) float64 {
	return float64(c.frames*(frameHeader+pageSize)) / float64(n) / kB
}

// codeCost is what a right code costs in a population.
type codeCost struct {
	kilobytes, reads float64 // kilobytes of write-ahead log; pages that are read

	// bare is the rate of one writer that changes the same rows, bareTogether that of as many
	// writers as there are clients. ratio and together are the ratios of codes to these rates.
	bare, bareTogether float64
	ratio, together    float64
}

// scattered is the difference between the numbers of two successive accounts of a round. It is
// large, so that their rows lie on different pages, and prime.
const scattered = 7919

// changeRows makes the changes of rows that a sign-in of account i with a right code makes, in as
// many transactions as it. It doesn't read rows.
func (t *population) changeRows(d *db.DB, i int, at time.Time) error {
	var (
		now             = db.At{Time: at}
		account, device = idOf("account", i), idOf("device", i)
		token           = secret.NewToken().Reveal()
	)
	count := func(tx *db.Tx, times []byte) error {
		_, err := db.Exec(t.ctx, tx, `UPDATE ledger SET times = $4, version = version + 1, changed_at = $5 WHERE account_id = $1 AND bucket = $2 AND subject = $3`,
			account, string(throttle.CodeKnownDevice), device, times, now)
		return err
	}
	if err := d.Write(t.ctx, func(tx *db.Tx) error { return count(tx, entry) }); err != nil {
		return err
	}
	return d.Write(t.ctx, func(tx *db.Tx) error {
		failed := []error{count(tx, []byte{})}
		for _, one := range []struct {
			query string
			args  []any
		}{
			{`UPDATE totp SET last_step = $2, used_at = $3 WHERE authenticator_id = $1`, []any{idOf("phone", i), totp.Step(at, totp.Period), now}},
			{insertSession, []any{secret.NewTimedID(at), secret.Hash(token), account, "", "", now, now}},
			{`UPDATE devices SET token_hash = $2, used_at = $3 WHERE id = $1`, []any{device, secret.Hash(token + "device"), now}},
			{`INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
				VALUES ($1, $2, $3, 'owner', 'signed_in', 'ok', 'password_totp', 0, '127.0.0.1', 'bench')`, []any{secret.NewTimedID(at), now, account}},
		} {
			_, err := db.Exec(t.ctx, tx, one.query, one.args...)
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	})
}
