package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// oneRow inserts an event like the one that a right code inserts.
const oneRow = `INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
	VALUES ($1, $2, '', 'owner', 'signed_in', 'ok', 'password_totp', 0, '127.0.0.1', 'bench')`

// bareCommits returns a side that commits one row after the other to an SQLite file through one
// prepared statement, as durably as package db does.
func (b *bench) bareCommits() side {
	path := filepath.Join(b.TempDir(), "sallyport.db")
	testkit.Open(b.stage, "sqlite:"+path).Close() // creates the tables
	lite, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	b.must(err)
	lite.SetMaxOpenConns(1)
	b.Cleanup(func() { lite.Close() })
	insert, err := lite.Prepare(oneRow)
	b.must(err)
	return func() sample {
		return b.concurrently(1, func(i int) error {
			_, err := insert.Exec(secret.NewID(), i)
			return err
		})
	}
}

// syncs measures how long the disk takes to sync a page that was appended to a file, which
// is the least that a commit costs.
func (b *bench) syncs() {
	file, err := os.Create(filepath.Join(b.TempDir(), "page"))
	b.must(err)
	b.Cleanup(func() { file.Close() })
	page := make([]byte, 4096)
	got := alternate(b.rounds, func() sample {
		return b.concurrently(1, func(int) error {
			if _, err := file.Write(page); err != nil {
				return err
			}
			return syscall.Fdatasync(int(file.Fd()))
		})
	})
	b.add(row{what: "Appending a page to a file and syncing it", unit: "µs", got: medianOf(got[0], p50Of)})
}

// commits measures transactions of package db that insert one row, with several writers
// at a time.
func (b *bench) commits() {
	for _, n := range b.clients {
		b.within(func() {
			d := testkit.Open(b.stage, testkit.DatabaseURL(b.stage, "sqlite"))
			got := alternate(b.rounds, func() sample {
				return b.concurrently(n, func(i int) error {
					return d.Write(b.ctx, func(tx *db.Tx) error {
						_, err := db.Exec(b.ctx, tx, oneRow, secret.NewID(), i)
						return err
					})
				})
			}, b.bareCommits())
			b.add(row{what: "SQLite, one row each of " + counted(n, "writer"), unit: "/s",
				got: medianOf(got[0], rateOf), bare: medianOf(got[1], rateOf), ratio: medianRatio(got[0], got[1], rateOf)})
		})
	}
}
