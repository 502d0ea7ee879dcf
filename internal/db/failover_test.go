package db_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// A failover ends every connection while it is in use. An administrator can do that too.
func TestReadsSurviveTheEndOfEveryConnection(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := testkit.DatabaseURL(t, "postgres")
	d, admin := testkit.Open(t, url), testkit.Open(t, url)
	testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ('ops', 0)`)
		return err
	}))
	var (
		stop    atomic.Bool
		busy    sync.WaitGroup
		reads   [8]atomic.Int64
		changes atomic.Int64
	)
	const ends = 30
	for i := range reads {
		busy.Go(func() {
			for !stop.Load() {
				if i%2 == 0 {
					if err := d.Ping(ctx); err != nil {
						t.Errorf("read: %v, want no error", err)
						return
					}
				} else if _, err := db.All(ctx, d.Reader(), `SELECT name FROM groups`,
					nil, func(scan db.Scan) (name string, err error) { return name, scan(&name) }); err != nil {
					t.Errorf("list: %v", err)
					return
				}
				reads[i].Add(1)
			}
		})
	}
	// A write either fails or is made once.
	busy.Go(func() {
		for !stop.Load() {
			if rename(d) == nil {
				changes.Add(1)
			}
		}
	})
	for range ends {
		terminate(t, admin)
		// Wait until each reader has a live connection, so that no retry of a read
		// meets the next end.
		for i := range reads {
			before := reads[i].Load()
			testkit.Until(t, "reads", func() bool { return reads[i].Load() > before+1 || t.Failed() })
		}
	}
	stop.Store(true)
	busy.Wait()
	var created int64
	testkit.Check(t, db.One(ctx, admin.Reader(), `SELECT created_at FROM groups`, nil, &created))
	// Each time that the connections ended, at most one commit may have lost its answer.
	if done := changes.Load(); created < done || created > done+ends {
		t.Errorf("%d changes were confirmed, but %d were made", done, created)
	}
}

// Write retries if it couldn't begin the transaction, but never runs a change twice.
func TestWritesBeginOnALiveConnection(t *testing.T) {
	t.Parallel()
	url := testkit.DatabaseURL(t, "postgres")
	d, admin := testkit.Open(t, url), testkit.Open(t, url)
	for i := range 10 {
		testkit.Race(8, func(int) string { return testkit.Outcome(d.Ping(context.Background())) })
		terminate(t, admin)
		if err := rename(d); err != nil {
			t.Errorf("write %d after every connection ended: %v, want no error", i, err)
		}
	}
	runs := 0
	err := d.Write(context.Background(), func(tx *db.Tx) error {
		runs++
		terminate(t, admin)
		_, err := db.Exec(context.Background(), tx, `UPDATE groups SET created_at = 1`)
		return err
	})
	if err == nil || runs != 1 {
		t.Errorf("an interrupted change ran %d times, %v; want once, and an error", runs, err)
	}
}

// terminate ends every connection to admin's database except admin's own, and
// waits until they have ended.
func terminate(t *testing.T, admin *db.DB) {
	t.Helper()
	pids := column(t, admin, `
		SELECT CAST(pid AS TEXT) FROM pg_stat_activity
		WHERE CASE WHEN datname = current_database() AND pid <> pg_backend_pid() THEN pg_terminate_backend(pid) ELSE FALSE END`)
	testkit.Until(t, "the end of all connections", func() bool {
		return !slices.ContainsFunc(column(t, admin, `SELECT CAST(pid AS TEXT) FROM pg_stat_activity`), func(pid string) bool { return slices.Contains(pids, pid) })
	})
}

// The error tells the operator which server failed and why. It leaves out the rest of the URL,
// since any part of a mistyped URL may be the password.
func TestConnectErrorsNameTheServerAlone(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(testkit.DatabaseURL(t, "postgres"))
	testkit.Check(t, err)
	gone := *at
	gone.Path, gone.User = "/secretdatabase", url.UserPassword("secretuser", "secretword")
	noDatabase := *at
	noDatabase.Path = "/secretdatabase"
	port, err := testkit.FreePort()
	testkit.Check(t, err)
	for text, want := range map[string]string{
		"postgres://secretuser:secretword@127.0.0.1:" + port + "/secretdatabase":   "connect to 127.0.0.1:" + port + ": connect: connection refused",
		"postgres://secretuser:secretword@no-such-host.invalid/secretdatabase":     "connect to no-such-host.invalid:5432: ",
		"postgres://secretuser:secretword@127.0.0.1:" + port + ",127.0.0.2:1/secr": "connect to 127.0.0.1:" + port + ", 127.0.0.2:1: connect: connection refused",
		gone.String():       "connect to " + at.Host + ": ",
		noDatabase.String(): "connect to " + at.Host + ": there is no such database (SQLSTATE 3D000)",
	} {
		_, direct := db.OpenPooled(context.Background(), at.String(), text)
		if direct != nil && strings.Contains(direct.Error(), "secr") {
			t.Errorf("database_direct: %v", direct)
		}
		_, err := db.Open(context.Background(), text)
		if err == nil || !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secr") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
