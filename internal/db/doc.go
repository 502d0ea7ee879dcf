// Package db opens the database, SQLite or PostgreSQL, migrates its schema and
// runs transactions. It owns the table schema; each other table belongs
// to one package above.
//
// Both engines run the same SQL text: parameters $1, $2, …; the types TEXT,
// BIGINT, BOOLEAN and BYTEA; times as Unix milliseconds ([At]).
//
// [DB.Write] is the way to change rows. It runs a function in a transaction and returns nil only
// after a durable commit. SQLite has one writer, so writers queue in Go and share commits
// (batch.go). PostgreSQL runs them concurrently, except that transactions with NOTIFY commit one
// after the other. Frequent changes with NOTIFY, such as sign-outs, use [DB.WriteTogether], which
// lets them share transactions on PostgreSQL too. A SELECT that ends with FOR NO KEY UPDATE locks
// its rows on PostgreSQL: no other transaction can change them until this one ends. With SKIP
// LOCKED after it, the SELECT skips rows that another transaction has locked, so that a
// transaction that changes many rows, in any order, never waits and can't deadlock. SQLite needs
// neither, and the package removes both from its queries.
//
// The operations that differ between the engines are in sqlite.go, postgres.go and
// postgres_write.go, behind one interface (engine.go). No caller asks which engine it has.
//
// No call waits without a limit. A database that doesn't answer in time gives
// [ErrUnavailable], and callers then refuse the request (F1).
//
// Callers may cache rows. A transaction names what it changes with [Tx.Changed];
// [DB.Watch] receives the changes of other processes, by LISTEN on PostgreSQL and
// by polling on SQLite; [DB.Current] says whether the cache may be used
// (changes.go).
//
// [Open] migrates forward, in one transaction and after a copy of an SQLite file
// (migrate.go, copy.go). It refuses a schema that only a newer binary can use.
package db
