package main

import (
	"database/sql"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// oneRow is an event, as a code writes one.
const oneRow = `INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
	VALUES ($1, $2, '', 'owner', 'signed_in', 'ok', 'password_totp', 0, '127.0.0.1', 'bench')`

// bareCommits is a side that commits row after row of a SQLite file through one
// prepared statement, as durably as we do, with nothing in between.
func (b *bench) bareCommits() side {
	path := filepath.Join(b.TempDir(), "sallyport.db")
	testkit.Open(b.stage, "sqlite:"+path).Close() // the same tables
	lite, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	b.must(err)
	lite.SetMaxOpenConns(1)
	b.Cleanup(func() { lite.Close() })
	insert, err := lite.Prepare(oneRow)
	b.must(err)
	return func() sample {
		return b.together(1, func(i int) error {
			_, err := insert.Exec(secret.NewID(), i)
			return err
		})
	}
}

// commits measures changes of one row, of several writers at a time, through
// our own transactions.
func (b *bench) commits() {
	for _, n := range b.clients {
		b.within(func() {
			d := testkit.Open(b.stage, testkit.DatabaseURL(b.stage, "sqlite"))
			got := alternate(b.rounds, func() sample {
				return b.together(n, func(i int) error {
					return d.Write(b.ctx, func(tx *db.Tx) error {
						_, err := db.Exec(b.ctx, tx, oneRow, secret.NewID(), i)
						return err
					})
				})
			}, b.bareCommits())
			b.add(row{what: "SQLite, one row each of " + some(n, "writer"), unit: "/s",
				got: middle(got[0], rateOf), bare: middle(got[1], rateOf), ratio: paired(got[0], got[1], rateOf)})
		})
	}
}
