package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// statisticsDelay is a little longer than an idle connection of PostgreSQL waits before it
	// reports its counts (PGSTAT_IDLE_INTERVAL in PostgreSQL's source).
	statisticsDelay = 11 * time.Second

	// insertedAtOnce is the number of accounts that are copied to PostgreSQL at a time.
	insertedAtOnce = 100_000
)

// growthOnPostgres measures right codes on PostgreSQL with the fewest and the most accounts.
func (b *bench) growthOnPostgres() {
	// Checkpoints happen only when the measurement asks for one.
	g := b.startPostgres("checkpoint_timeout=1d", "max_wal_size=64GB", "autovacuum=off")
	url := testkit.DatabaseURL(b.stage, "postgres")
	t := &population{bench: b, dir: b.TempDir(), settings: []string{"SALLYPORT_DATABASE=" + url}}
	t.open().Close() // creates the tables and a key ring
	ours, err := sql.Open("pgx", url)
	b.must(err)
	b.Cleanup(func() { ours.Close() })
	clock := testkit.NewClock()
	table := detail{title: "Right codes of 64 clients, PostgreSQL", header: []string{"accounts and sessions", "codes/s", "one writer/s", "64 writers/s",
		"WAL kB a code", "WAL kB a code, after a checkpoint", "pages read a code", "pages used a code"}}
	smallest, largest := b.populations[0], b.populations[len(b.populations)-1]
	for _, size := range []int{smallest, largest} {
		t.copyTo(url, size)
		g.run(ours, tidy)
		var c postgresCost
		b.within(func() { c = t.codesOnPostgres(g, ours, clock) })
		table.rows = append(table.rows, []any{size, c.perSecond, c.bare, c.bareTogether, c.kilobytes, c.afterCheckpoint, c.reads, c.uses})
		if size == largest {
			b.add(row{what: fmt.Sprintf("Write-ahead log of a right code with %d accounts, PostgreSQL", size), unit: "kB", got: c.kilobytes, target: atMost(45)})
			b.add(row{what: fmt.Sprintf("Pages that a right code reads with %d accounts, PostgreSQL", size), unit: "pages", got: c.reads, target: atMost(10)})
			codes := fmt.Sprintf("Right codes of 64 clients with %d accounts, PostgreSQL, against ", size)
			b.add(row{what: codes + "one writer of the same rows", unit: "/s", got: c.perSecond, bare: c.bare, ratio: c.ratio})
			b.add(row{what: codes + "64 writers of the same rows", unit: "/s", got: c.perSecond, bare: c.bareTogether, ratio: c.together})
		}
	}
	b.detail(table)
}

// postgresCost is what a right code costs on PostgreSQL.
type postgresCost struct {
	codeCost
	perSecond       float64
	afterCheckpoint float64 // kilobytes of log for a code, in the first round after a checkpoint
	uses            float64 // pages that a code uses, whether or not they are read from a file
}

// codesOnPostgres measures right codes from known browsers. on connects to their database.
func (t *population) codesOnPostgres(g *postgres, on *sql.DB, clock *testkit.Clock) (c postgresCost) {
	if behind := time.Until(clock.Now()); behind < 0 {
		clock.Move(-behind)
	}
	p := t.peopleOf(t.openIdle(clock))
	defer p.portal.Entry.WriteUses(context.WithoutCancel(t.ctx))
	clients := t.clients[len(t.clients)-1]
	var (
		log   = func() float64 { return g.figure(on, `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn`) }
		reads = func() float64 {
			return g.figure(on, `SELECT blks_read FROM pg_stat_database WHERE datname = current_database()`)
		}
		hits = func() float64 {
			return g.figure(on, `SELECT blks_hit FROM pg_stat_database WHERE datname = current_database()`)
		}
		a      = float64(inARound)
		around = func(codes func()) { codes() }
	)
	ours, bare := t.rightCodes(p, clock, clients, func(codes func()) { around(codes) })
	got := alternate(t.codeRounds, ours, bare(1), bare(clients))
	c.perSecond = medianOf(got[0], rateOf)
	c.bare, c.ratio = medianOf(got[1], rateOf), medianRatio(got[0], got[1], rateOf)
	c.bareTogether, c.together = medianOf(got[2], rateOf), medianRatio(got[0], got[2], rateOf)
	around = func(codes func()) {
		time.Sleep(statisticsDelay)
		beforeLog, beforeReads, beforeHits := log(), reads(), hits()
		codes()
		c.kilobytes = (log() - beforeLog) / a / kB
		time.Sleep(statisticsDelay)
		c.reads = (reads() - beforeReads) / a
		c.uses = c.reads + (hits()-beforeHits)/a
	}
	ours()
	around = func(codes func()) {
		g.run(on, `CHECKPOINT`)
		before := log()
		codes()
		c.afterCheckpoint = (log() - before) / a / kB
	}
	ours()
	return c
}

// openIdle opens a portal without the server's jobs, which would be counted: they use pages too,
// and one of them counts all accounts.
func (t *population) openIdle(clock *testkit.Clock) *portal.Portal {
	p, err := server.Open(t.ctx, t.config(), clock.Now, slog.New(slog.DiscardHandler))
	t.must(err)
	t.Cleanup(func() { p.Close() })
	p.Login.Passwords = testkit.Quick
	return &portal.Portal{Portal: p, Clock: clock}
}

// figure returns the number that a query returns.
func (g *postgres) figure(on *sql.DB, query string) (n float64) {
	g.must(on.QueryRowContext(g.ctx, query).Scan(&n))
	return n
}

// copyTo adds accounts until there are size of them, with the statements that fill runs on SQLite.
// It copies the statements' parameters into a table, which is quicker than sending each statement.
func (t *population) copyTo(url string, size int) {
	values := t.values(testkit.Quick)
	conn, err := pgx.Connect(t.ctx, url)
	t.must(err)
	defer conn.Close(t.ctx)
	run := func(statement string) {
		_, err := conn.Exec(t.ctx, statement)
		t.must(err)
	}
	var names, columns, inserts []string
	for n, one := range values(0) {
		insert := accountStatements[n]
		for k := len(one); k > 0; k-- { // replace $10 before $1
			name := fmt.Sprintf("v%d_%d", n, k)
			insert = strings.ReplaceAll(insert, fmt.Sprint("$", k), name)
		}
		for k, value := range one {
			name, kind := fmt.Sprintf("v%d_%d", n, k+1), "TEXT"
			switch value.(type) {
			case []byte:
				kind = "BYTEA"
			case db.At:
				kind = "BIGINT"
			}
			names, columns = append(names, name), append(columns, name+" "+kind)
		}
		insert = strings.Replace(insert, "VALUES (", "SELECT ", 1)
		inserts = append(inserts, strings.TrimSuffix(insert, ")")+" FROM added")
	}
	// The rows refer to each other correctly, so foreign keys needn't be checked.
	run(`SET session_replication_role = replica`)
	run(`CREATE TEMPORARY TABLE added (` + strings.Join(columns, ", ") + `)`)
	for t.size < size {
		first, n := t.size, min(insertedAtOnce, size-t.size)
		_, err := conn.CopyFrom(t.ctx, pgx.Identifier{"added"}, names, pgx.CopyFromSlice(n, func(i int) (row []any, err error) {
			for _, one := range values(first + i) {
				row = append(row, one...)
			}
			return row, nil
		}))
		t.must(err)
		for _, one := range inserts {
			run(one)
		}
		run(`TRUNCATE added`)
		t.size += n
	}
}
