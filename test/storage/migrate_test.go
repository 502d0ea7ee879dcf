package storage

// Migrations. Package internal/db tests that an older program refuses a newer schema, and that
// a failed step undoes all steps.

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// oldEvents is the number of events in an old database. They make it large enough that
	// its copy and its migration take a good part of a start.
	oldEvents = 3000

	// migrationLanes is the number of programs that start at the same time, each on its own
	// files.
	migrationLanes = 2
)

// migrationFiles returns the paths of the product's migrations, in order.
func migrationFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(testkit.Path("internal/db/migrations/*.sql"))
	testkit.Check(t, err)
	if len(files) < 2 {
		t.Fatalf("found %d migrations, want at least 2", len(files))
	}
	return files
}

// makeOld gives an empty database the schema of a version, events, and the account and the password
// of the portal p.
func makeOld(t *testing.T, d *sql.DB, version int, p *portal.Portal) {
	t.Helper()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := d.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	testkit.MakeSchema(t, d, version)
	for _, table := range []string{"accounts", "passwords"} {
		columns := columnsOf(t, d, table)
		row, places := make([]any, len(columns)), make([]string, len(columns))
		into := make([]any, len(columns))
		for i := range columns {
			into[i], places[i] = &row[i], fmt.Sprint("$", i+1)
		}
		names := strings.Join(columns, ", ")
		testkit.Check(t, p.DB.Reader().QueryRowContext(context.Background(), `SELECT `+names+` FROM `+table).Scan(into...))
		exec(`INSERT INTO `+table+` (`+names+`) VALUES (`+strings.Join(places, ", ")+`)`, row...)
	}
	exec(`
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser)
		SELECT 'event' || i, i, 'ada', 'owner', 'signed_in', 'ok', '', 0, '10.1.1.1', 'Chrome on Linux' FROM n`, oldEvents)
}

func columnsOf(t *testing.T, d *sql.DB, table string) []string {
	t.Helper()
	rows, err := d.Query(`SELECT * FROM ` + table + ` WHERE 1 = 0`)
	testkit.Check(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	testkit.Check(t, err)
	return columns
}

// state is the state of a SQLite database file.
type state struct {
	version, rows, events int // rows are those of the table schema
	tables                string
	integrity             string
}

func stateOf(t *testing.T, path string) (s state) {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+path)
	testkit.Check(t, err)
	defer d.Close()
	testkit.Check(t, d.QueryRow(`SELECT MAX(version), COUNT(*), (SELECT COUNT(*) FROM events) FROM schema`).Scan(&s.version, &s.rows, &s.events))
	testkit.Check(t, d.QueryRow(`SELECT GROUP_CONCAT(sql, ' ') FROM (SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name)`).Scan(&s.tables))
	testkit.Check(t, d.QueryRow(`PRAGMA integrity_check`).Scan(&s.integrity))
	return s
}

// TestAttack147KilledMigration kills the program at random times while it starts on an older
// schema. Afterwards the schema is the old or the new one, and the next start succeeds.
func TestAttack147KilledMigration(t *testing.T) {
	t.Parallel()
	rounds, seed := sallyport.Series(t, faultsVariable, killRounds)
	path := sallyport.BuildProgram(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	newest := len(migrationFiles(t))

	// old has a data directory for each older version, to copy from.
	old, before := make([]string, newest), make([]state, newest)
	for version := 1; version < newest; version++ {
		old[version] = t.TempDir()
		file := filepath.Join(old[version], "sallyport.db")
		d, err := sql.Open("sqlite", "file:"+file)
		testkit.Check(t, err)
		makeOld(t, d, version, p)
		testkit.Check(t, d.Close())
		testkit.CopyFile(t, filepath.Join(p.Dir, "keyring"), filepath.Join(old[version], "keyring"))
		before[version] = stateOf(t, file)
	}
	// startOld returns a program, not yet started, on a copy of the directory of a version.
	startOld := func(t *testing.T, version int) *sallyport.Program {
		one := &sallyport.Program{T: t, Path: path, Dir: t.TempDir()}
		for _, name := range []string{"sallyport.db", "keyring"} {
			testkit.CopyFile(t, filepath.Join(old[version], name), filepath.Join(one.Dir, name))
		}
		return one
	}
	// Measure how long a start takes from its backup copy on, and keep the state that it
	// leaves.
	whole := startOld(t, 1)
	server := whole.Start()
	awaitCopy(t, whole.Dir, server)
	begin := time.Now()
	whole.Await(server)
	took := time.Since(begin)
	server.Kill()
	after := stateOf(t, filepath.Join(whole.Dir, "sallyport.db"))
	if after.version != newest || after.events < oldEvents {
		t.Fatalf("start without a kill: version %d and %d events, want version %d and at least %d", after.version, after.events, newest, oldEvents)
	}

	found := map[string]int{}
	var mu sync.Mutex // protects rng and found
	round := func(t *testing.T) {
		mu.Lock()
		version, delay := 1+rng.IntN(newest-1), time.Duration(rng.Int64N(int64(took)))
		mu.Unlock()
		one := startOld(t, version)
		file := filepath.Join(one.Dir, "sallyport.db")
		first := one.Start()
		awaitCopy(t, one.Dir, first)
		select {
		case <-time.After(delay):
			first.Kill()
		case <-first.Ended:
			t.Fatalf("the server ended before it was killed: %v\n%s", first.Err, first.Output())
		}

		got, copies := stateOf(t, file), 0
		switch {
		case got.integrity != "ok" || got.rows != 1 || got.events < oldEvents:
			t.Errorf("killed after %v: integrity %s, %d rows in schema, %d events; want ok, one row and all events", delay, got.integrity, got.rows, got.events)
		case got.version == version && got.tables != before[version].tables, got.version == newest && got.tables != after.tables:
			t.Errorf("killed after %v: version %d with the tables of another version:\n%s", delay, got.version, got.tables)
		case got.version != version && got.version != newest:
			t.Errorf("killed after %v: version %d, which is neither %d nor %d", delay, got.version, version, newest)
		}
		// A file with the name of a backup copy must be complete.
		names, err := filepath.Glob(file + ".before-*")
		testkit.Check(t, err)
		for _, name := range names {
			if whole := stateOf(t, name); whole != before[version] {
				t.Errorf("killed after %v: the backup copy has version %d, integrity %s and %d events, want the state before the start", delay, whole.version, whole.integrity, whole.events)
			}
			copies++
		}
		if got.version == newest && copies == 0 {
			t.Errorf("killed after %v: the schema is migrated, but there is no backup copy", delay)
		}

		one.Serve()
		if a, err := sallyport.NewVisitor(t, one.Base, "10.1.1.1").Post(portal.LeadsTo("/"), "/login", "username", "ada", "password", portal.Password); err != nil {
			t.Errorf("killed after %v: sign-in after the next start: %v\n%s", delay, err, portal.VisibleText(a.Body))
		}
		if got := stateOf(t, file); got.version != newest || got.tables != after.tables {
			t.Errorf("the next start left version %d, want %d with its tables", got.version, newest)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case got.version == newest:
			found["migrated"]++
		case copies > 0:
			found["copied"]++
		default:
			found["unchanged"]++
		}
	}
	var running sync.WaitGroup
	for i := range migrationLanes {
		running.Go(func() {
			for n := i; n < rounds; n += migrationLanes {
				t.Run(fmt.Sprint(n), round)
			}
		})
	}
	running.Wait()
	t.Logf("a start takes %v from its backup copy on; states after the kills: %v", took, found)
}

// awaitCopy waits until the process begins to copy the database, which it does before the
// migration. Until then the process doesn't change the file.
func awaitCopy(t *testing.T, dir string, one *sallyport.Process) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < sallyport.StartTime; {
		names, err := filepath.Glob(filepath.Join(dir, "*before-*"))
		testkit.Check(t, err)
		if len(names) > 0 {
			return
		}
		select {
		case <-one.Ended:
			t.Fatalf("the server ended before it copied the database: %v\n%s", one.Err, one.Output())
		case <-time.After(time.Millisecond / 4):
		}
	}
	t.Fatalf("the server made no backup copy within %v", sallyport.StartTime)
}

// TestAttack147TwoNodesMigrate checks that of two nodes that start on an older schema at the same
// time one migrates, and both serve.
func TestAttack147TwoNodesMigrate(t *testing.T) {
	t.Parallel()
	from := portal.Start(t, "postgres")
	from.AddAccount(t, "ada")
	newest := len(migrationFiles(t))
	for version := 1; version < newest; version++ {
		t.Run(fmt.Sprint("from version ", version), func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, "postgres")
			d, err := sql.Open("pgx", rawURL)
			testkit.Check(t, err)
			defer d.Close()
			makeOld(t, d, version, from)
			dir := t.TempDir()
			testkit.CopyFile(t, filepath.Join(from.Dir, "keyring"), filepath.Join(dir, "keyring"))
			cfg, err := config.Load("", []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_DATABASE=" + rawURL})
			testkit.Check(t, err)

			nodes := make([]*server.Portal, 2)
			got := testkit.Race(len(nodes), func(i int) string {
				var err error
				nodes[i], err = server.Open(context.Background(), cfg, testkit.NewClock().Now, slog.New(slog.DiscardHandler))
				return testkit.Outcome(err)
			})
			if got["ok"] != len(nodes) {
				t.Fatalf("open two nodes at once: %v, want both to succeed", got)
			}
			for i, p := range nodes {
				defer p.Close()
				p.Login.Passwords = testkit.Quick
				if w := signIn(p, "ada"); w.Code != http.StatusSeeOther {
					t.Errorf("sign-in at node %d: %d, want 303", i, w.Code)
				}
			}
			var rows, at, heads int
			testkit.Check(t, d.QueryRow(`SELECT COUNT(*), MAX(version), (SELECT COUNT(*) FROM audit_head) FROM schema`).Scan(&rows, &at, &heads))
			if !slices.Equal([]int{rows, at, heads}, []int{1, newest, 1}) {
				t.Errorf("%d rows in schema with version %d, %d heads of the audit log; want 1 with %d and 1", rows, at, heads, newest)
			}
		})
	}
}
