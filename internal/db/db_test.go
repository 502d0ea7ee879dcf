package db_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// column returns the only column of every row.
func column(t *testing.T, d *db.DB, query string, args ...any) []string {
	t.Helper()
	all, err := db.All(context.Background(), d.Reader(), query,
		args, func(scan db.Scan) (s string, err error) { return s, scan(&s) })
	testkit.Check(t, err)
	return all
}

// exec runs a statement in a transaction of its own.
func exec(d *db.DB, query string, args ...any) (n int64, err error) {
	ctx := context.Background()
	err = d.Write(ctx, func(tx *db.Tx) error {
		n, err = db.Exec(ctx, tx, query, args...)
		return err
	})
	return n, err
}

func mustExec(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	_, err := exec(d, query, args...)
	testkit.Check(t, err)
}

func TestErrorsAreTranslated(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		var s string
		if err := db.One(ctx, d.Reader(), `SELECT name FROM groups`, nil, &s); err != db.ErrNotFound {
			t.Errorf("without a row: got %v, want ErrNotFound", err)
		}
		mustExec(t, d, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
		if _, err := exec(d, `INSERT INTO groups (name, created_at) VALUES ('ops', 2)`); !errors.Is(err, db.ErrConflict) {
			t.Errorf("for a taken primary key: got %v, want ErrConflict", err)
		}
		account := func(id, name string) error {
			_, err := exec(d, `
				INSERT INTO accounts (id, name, display_name, locale, role, security_stamp, enroll_locked, created_at)
				VALUES ($1, $2, '', '', 'member', '', $3, 1)`, id, name, false)
			return err
		}
		testkit.Check(t, account("1", "ada"))
		if err := account("2", "ada"); !errors.Is(err, db.ErrConflict) {
			t.Errorf("for a taken unique value: got %v, want ErrConflict", err)
		}
		// Every other error is ErrUnavailable.
		for _, query := range []string{
			`nonsense`, `SELECT nonsense FROM groups`, `INSERT INTO groups (name) VALUES ('x')`,
			`INSERT INTO members (group_name, account_id) VALUES ('none', 'none')`,
		} {
			if _, err := exec(d, query); !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrConflict) || errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s: %v, want ErrUnavailable", query, err)
			}
		}
		if n, err := exec(d, `UPDATE groups SET created_at = 3 WHERE name = 'none'`); n != 0 || err != nil {
			t.Errorf("changed %d rows, %v; want 0", n, err)
		}
		if n, err := exec(d, `UPDATE groups SET created_at = 3`); n != 1 || err != nil {
			t.Errorf("changed %d rows, %v; want 1", n, err)
		}
	})
}

// Callers refuse a request on ErrUnavailable, so every way to fail must return it
// (F1).
func TestCallsThatCannotReachTheDatabaseAreErrUnavailable(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		check := func(name string, ctx context.Context) {
			t.Helper()
			var one int
			_, all := db.All(ctx, d.Reader(), `SELECT 1`, nil, func(scan db.Scan) (i int, err error) { return i, scan(&i) })
			for what, err := range map[string]error{
				"One": db.One(ctx, d.Reader(), `SELECT 1`, nil, &one), "All": all, "Ping": d.Ping(ctx),
				"Write": d.Write(ctx, func(*db.Tx) error { return nil }),
			} {
				if !errors.Is(err, db.ErrUnavailable) {
					t.Errorf("%s, %s: got %v, want ErrUnavailable", name, what, err)
				}
			}
		}
		testkit.Check(t, d.Ping(context.Background()))
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		check("cancelled", cancelled)
		late, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
		defer cancel()
		check("too late", late)
		testkit.Check(t, d.Ping(context.Background()))
		testkit.Check(t, d.Close())
		check("closed", context.Background())
	})
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, errWanted := context.Background(), errors.New("error of the change")
		insert := func(tx *db.Tx, name string) {
			t.Helper()
			_, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ($1, 1)`, name)
			testkit.Check(t, err)
		}
		if err := d.Write(ctx, func(tx *db.Tx) error { insert(tx, "a"); insert(tx, "b"); return errWanted }); err != errWanted {
			t.Errorf("got %v, want the change's error as it is", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("Write didn't pass the panic on to its caller")
				}
			}()
			d.Write(ctx, func(tx *db.Tx) error { insert(tx, "c"); panic("boom") })
		}()
		if got := column(t, d, `SELECT name FROM groups`); len(got) != 0 {
			t.Errorf("failed transactions left %v, want nothing", got)
		}
		// If the context ends before the commit, the error says what happened.
		cancelled, cancel := context.WithCancel(ctx)
		err := d.Write(cancelled, func(tx *db.Tx) error { insert(tx, "d"); insert(tx, "d2"); cancel(); return nil })
		switch got := column(t, d, `SELECT name FROM groups`); {
		case err == nil && len(got) == 2:
		case errors.Is(err, db.ErrUnavailable) && len(got) == 0:
		default:
			t.Errorf("cancelled before the commit: got %v, but the groups are %v; want nil and both, or ErrUnavailable and none", err, got)
		}
		mustExec(t, d, `DELETE FROM groups`)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			insert(tx, "e")
			var n int
			testkit.Check(t, db.One(ctx, tx, `SELECT COUNT(*) FROM groups`, nil, &n))
			if n != 1 {
				t.Errorf("a transaction sees %d of its own rows, want 1", n)
			}
			testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM groups`, nil, &n))
			if n != 0 {
				t.Errorf("readers see %d rows before the commit, want none", n)
			}
			return nil
		}))
		if got := column(t, d, `SELECT name FROM groups`); !slices.Equal(got, []string{"e"}) {
			t.Errorf("groups = %v, want e", got)
		}
	})
}

func TestWritersQueueWithoutLoss(t *testing.T) {
	// Two handles, as a server and a command that runs beside it have.
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, engine)
			handles := []*db.DB{testkit.Open(t, rawURL), testkit.Open(t, rawURL)}
			mustExec(t, handles[0], `INSERT INTO groups (name, created_at) VALUES ('ops', 0)`)
			got := testkit.Race(32, func(i int) string {
				_, err := exec(handles[i%2], `UPDATE groups SET created_at = created_at + 1`)
				return testkit.Outcome(err)
			})
			var n int
			testkit.Check(t, db.One(context.Background(), handles[1].Reader(), `SELECT created_at FROM groups`, nil, &n))
			if got["ok"] != 32 || n != 32 {
				t.Errorf("outcomes of 32 writers: %v; %d changes are stored; want 32 ok and 32", got, n)
			}
		})
	}
}

func TestReaderOfSQLiteCannotWrite(t *testing.T) {
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	rows, err := d.Reader().QueryContext(context.Background(), `INSERT INTO groups (name, created_at) VALUES ('ops', 1) RETURNING name`)
	if err == nil {
		rows.Next()
		err = rows.Err()
		rows.Close()
	}
	if err == nil || len(column(t, d, `SELECT name FROM groups`)) != 0 {
		t.Errorf("the reading pool could write: %v, want an error", err)
	}
}

// These settings make a commit durable (F11).
func TestSQLiteSurvivesAPowerCut(t *testing.T) {
	d := testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))
	ctx := context.Background()
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000", "query_only": "0", "temp_store": "2"} {
			var got string
			testkit.Check(t, db.One(ctx, tx, `PRAGMA `+pragma, nil, &got))
			if got != want {
				t.Errorf("%s = %s, want %s", pragma, got, want)
			}
		}
		return nil
	}))
}

// Other users of the machine can't read the database's files (attack 160).
func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data? #%20dir") // a path that must be escaped in a URL
	d := testkit.Open(t, "sqlite:"+filepath.Join(dir, "sallyport.db"))
	unlock, err := d.LockServer()
	testkit.Check(t, err)
	defer unlock()
	mustExec(t, d, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
	found := map[string]fs.FileMode{}
	testkit.Check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found[name] = info.Mode().Perm()
		return err
	}))
	want := map[string]fs.FileMode{".": 0o700, "sallyport.db": 0o600, "sallyport.db-wal": 0o600, "sallyport.db-shm": 0o600, "sallyport.db.lock": 0o600}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

// Only one server may run on an SQLite file (F14).
func TestSecondServerIsRefused(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, engine)
			one, two := testkit.Open(t, rawURL), testkit.Open(t, rawURL)
			unlock, err := one.LockServer()
			testkit.Check(t, err)
			second, err := two.LockServer()
			if engine == "postgres" { // any number of nodes may serve
				testkit.Check(t, err)
				second()
				unlock()
				return
			}
			if !errors.Is(err, db.ErrServed) || second != nil {
				t.Errorf("a second server got %v, want ErrServed", err)
			}
			mustExec(t, two, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`) // as a command does
			unlock()
			second, err = two.LockServer()
			testkit.Check(t, err)
			if _, err := one.LockServer(); !errors.Is(err, db.ErrServed) {
				t.Errorf("the first server got %v, want ErrServed", err)
			}
			second()
		})
	}
}

func TestOpenSaysWhatIsWrongWithoutThePassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	testkit.Check(t, os.WriteFile(file, []byte("not a database, and longer than a header of one would be: "+strings.Repeat("x", 1000)), 0o600))
	for _, rawURL := range []string{
		"postgres://ada:canary@host:notaport/db", "canary", "postgres://ada:canary@127.0.0.1:1/db", "mysql://ada:canary@host/db",
		"sqlite:" + file, "sqlite:" + file + "/below/a/file",
	} {
		d, err := db.Open(context.Background(), rawURL)
		if err == nil {
			d.Close()
			t.Errorf("%s opened, want an error", rawURL)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestTimesReadBack(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		mustExec(t, d, `INSERT INTO tickets (token_hash, kind, created_at, expires_at) VALUES ($1, '', 0, 0)`, []byte{1})
		for _, at := range []time.Time{
			testkit.Start, testkit.Start.Add(time.Millisecond), time.Unix(0, 0), time.Unix(-1, 0), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), testkit.Start.In(time.FixedZone("east", 3600)),
			{},
		} {
			mustExec(t, d, `UPDATE tickets SET used_at = $1`, db.At{Time: at})
			var got db.At
			testkit.Check(t, db.One(ctx, d.Reader(), `SELECT used_at FROM tickets`, nil, &got))
			if !got.Equal(at) || got.Location() != time.UTC || got.IsZero() != at.IsZero() {
				t.Errorf("%v reads back as %v, want the same time in UTC", at, got)
			}
		}
		mustExec(t, d, `UPDATE tickets SET used_at = $1`, db.At{Time: testkit.Start.Add(999_999 * time.Nanosecond)})
		var got db.At
		testkit.Check(t, db.One(ctx, d.Reader(), `SELECT used_at FROM tickets`, nil, &got))
		if !got.Equal(testkit.Start) {
			t.Errorf("a fraction of a millisecond isn't cut off: %v", got)
		}
	})
	for _, src := range []any{"2026-01-01", 1.5, []byte("1"), true, time.Now()} {
		at := db.At{Time: testkit.Start}
		if err := at.Scan(src); err == nil {
			t.Errorf("Scan reads a %T as %v, want an error", src, at)
		}
	}
}

func TestReadersAndAWriterDoNotStopEachOther(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		var readers sync.WaitGroup
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			// While a transaction is open, more readers read than SQLite has
			// reading connections.
			for range 16 {
				readers.Go(func() {
					var n int
					if err := db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM groups`, nil, &n); err != nil || n != 0 {
						t.Errorf("a reader beside a writer counts %d groups, %v; want 0", n, err)
					}
				})
			}
			_, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
			readers.Wait()
			return err
		}))
	})
}
