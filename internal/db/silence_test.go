package db_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// overWire opens a new PostgreSQL database twice: over a faulty network, and past it.
func overWire(t *testing.T) (over, past *db.DB, wire *testkit.Wire) {
	t.Helper()
	at, err := url.Parse(testkit.DatabaseURL(t, "postgres"))
	testkit.Check(t, err)
	past = testkit.Open(t, at.String())
	wire = testkit.NewWire(t, at.Host)
	at.Host = wire.Address()
	return testkit.Open(t, at.String()), past, wire
}

func rename(d *db.DB) error {
	return d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := db.Exec(context.Background(), tx, `UPDATE groups SET created_at = created_at + 1`)
		return err
	})
}

// wantUnavailable waits for an operation's error, which must be ErrUnavailable.
func wantUnavailable(t *testing.T, ended <-chan error) {
	t.Helper()
	var err error
	testkit.Until(t, "the end", func() bool {
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func versions(d *db.DB) error {
	_, err := db.All(context.Background(), d.Reader(), `SELECT version FROM schema`,
		nil, func(scan db.Scan) (version int64, err error) {
			return version, scan(&version)
		})
	return err
}

// A call to a server that doesn't answer ends in time, and calls succeed again once
// the server answers.
func TestSilenceIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault testkit.Fault
		ask   func(d *db.DB) error
	}{
		"read":    {testkit.Held, func(d *db.DB) error { return d.Ping(context.Background()) }},
		"list":    {testkit.Held, versions},
		"write":   {testkit.Held, rename},
		"commit":  {testkit.Interrupted, rename},
		"answers": {testkit.Forgetful, rename},
		"cut":     {testkit.Cut, rename},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _, wire := overWire(t)
			testkit.Check(t, rename(d))
			wire.SetFault(test.fault)
			ended := make(chan error, 1)
			go func() { ended <- test.ask(d) }()
			wantUnavailable(t, ended)
			wire.SetFault(testkit.Whole)
			testkit.Until(t, "the server", func() bool { return test.ask(d) == nil })
		})
	}
}

// Watch ends if its connection is silent, so that the caller can connect again.
func TestWatchEndsOnASilentConnection(t *testing.T) {
	t.Parallel()
	for _, fault := range []testkit.Fault{testkit.Held, testkit.Cut} {
		d, _, wire := overWire(t)
		ended := make(chan error, 1)
		go func() { ended <- d.Watch(t.Context(), time.Now) }()
		testkit.Until(t, "watching", func() bool { return d.Current(time.Now()) })
		wire.SetListenFault(fault)
		wantUnavailable(t, ended)
		testkit.Check(t, rename(d)) // the other connections work
		wire.SetListenFault(testkit.Whole)
		go d.Watch(t.Context(), time.Now)
		testkit.Until(t, "watching again", func() bool { return d.Current(time.Now()) })
	}
}

// If a node vanishes within a change, other nodes can change the same row soon.
func TestVanishedNodeHoldsNoLock(t *testing.T) {
	t.Parallel()
	d, past, wire := overWire(t)
	mustExec(t, past, `INSERT INTO groups (name, created_at) VALUES ('ops', 1)`)
	wire.SetFault(testkit.Interrupted)
	go rename(d)
	testkit.Until(t, "the lock", func() bool { // on the row of the uncommitted change
		return len(column(t, past, `SELECT mode FROM pg_locks WHERE relation = 'groups'::regclass AND mode = 'RowExclusiveLock'`)) > 0
	})
	testkit.Until(t, "the row", func() bool { return rename(past) == nil })
}

// The wait for a free connection is limited.
func TestNoConnectionLeftIsUnavailable(t *testing.T) {
	t.Parallel()
	d, _, _ := overWire(t)
	release, holding := make(chan struct{}), make(chan error)
	for range db.Conns {
		go func() {
			holding <- d.Write(context.Background(), func(*db.Tx) error {
				holding <- nil
				<-release
				return nil
			})
		}()
	}
	for range db.Conns {
		testkit.Check(t, <-holding)
	}
	asked := make(chan error)
	for _, ask := range []func(d *db.DB) error{func(d *db.DB) error { return d.Ping(context.Background()) }, rename} {
		go func() { asked <- ask(d) }()
	}
	for range 2 {
		if err := <-asked; !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	close(release)
	for range db.Conns {
		<-holding // an error is fine: the transaction may have been idle for too long
	}
	testkit.Check(t, rename(d))
}

// A standby may still show what the primary has ended, so Open refuses it. If the
// URL names several hosts, the connection goes to the primary.
func TestStandbyIsRefused(t *testing.T) {
	t.Parallel()
	primary := testkit.NewPostgres(t)
	testkit.Open(t, primary.URL("postgres"))
	standby := primary.Standby(t)
	if d, err := db.Open(t.Context(), standby.URL("postgres")); err == nil || !strings.Contains(err.Error(), "read only") {
		t.Errorf("opening a standby: got %v, want an error that it is read only", err)
		d.Close()
	}
	both := strings.Replace(primary.URL("postgres"), primary.Address(), standby.Address()+","+primary.Address(), 1)
	d := testkit.Open(t, both)
	testkit.Check(t, rename(d))
	primary.Kill()
	if err := rename(d); !errors.Is(err, db.ErrUnavailable) {
		t.Errorf("without a primary: got %v, want ErrUnavailable", err)
	}
	standby.Promote(t)
	testkit.Until(t, "the new primary", func() bool { return rename(d) == nil })
}
