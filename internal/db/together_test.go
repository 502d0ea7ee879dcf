package db_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// together is a change of WriteTogether.
type together = func(tx *db.Tx, mayWait bool) error

func insertsTogether(name string) together {
	return func(tx *db.Tx, _ bool) error { return insert(tx, name) }
}

// togetherResult stores in *into what WriteTogether returned. It stores an error too if
// WriteTogether panicked or ended the goroutine.
func togetherResult(ctx context.Context, d *db.DB, change together, into *error) {
	*into = errNoReturn
	defer func() {
		if p := recover(); p != nil {
			*into = fmt.Errorf("panic: %v", p)
		}
	}()
	*into = d.WriteTogether(ctx, change)
}

// queueTogether starts writers that queue in this order behind another one. run lets them write
// and returns the result of each. Writers without an entry in contexts get the background
// context.
func queueTogether(t *testing.T, d *db.DB, contexts map[int]context.Context, changes ...together) (run func() []error) {
	t.Helper()
	d.NeverLate()
	gate, runs := make(chan struct{}), make(chan struct{})
	go d.WriteTogether(context.Background(), func(*db.Tx, bool) error {
		close(runs)
		<-gate
		return errChange // which ends its batch
	})
	<-runs
	errs := make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		ctx := contexts[i]
		if ctx == nil {
			ctx = context.Background()
		}
		all.Go(func() { togetherResult(ctx, d, change, &errs[i]) })
		testkit.Until(t, "the writer queues", func() bool { return d.Queued() == i+1 })
	}
	return func() []error {
		close(gate)
		all.Wait()
		return errs
	}
}

func openPostgres(t *testing.T) *db.DB {
	t.Helper()
	t.Parallel()
	return testkit.Open(t, testkit.DatabaseURL(t, "postgres"))
}

func TestChangesShareATransaction(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			rawURL := testkit.DatabaseURL(t, engine)
			d, other := testkit.Open(t, rawURL), testkit.Open(t, rawURL)
			var here, there reported
			d.OnChange(func(id string) {
				wantEqual(t, "when a change is reported, readers see", names(t, d.Reader()), "a", "b", "c")
				here.add(id)
			})
			other.OnChange(there.add)
			go other.Watch(t.Context(), time.Now)
			testkit.Until(t, "watching", func() bool { return other.Current(time.Now()) })
			there.reset()
			errs := queueTogether(t, d, nil,
				func(tx *db.Tx, _ bool) error { tx.Changed("alice"); return insert(tx, "a") },
				func(tx *db.Tx, _ bool) error { tx.Changed("bob"); return insert(tx, "b") },
				func(tx *db.Tx, _ bool) error {
					wantEqual(t, "a later change sees", names(t, tx), "a", "b")
					wantEqual(t, "before the commit readers see", names(t, d.Reader()))
					return insert(tx, "c")
				})()
			testkit.Check(t, errors.Join(errs...))
			wantEqual(t, "reported", here.ids, "alice", "bob")
			testkit.Until(t, "the report on another node", func() bool {
				return there.has("alice") && there.has("bob") || engine == "sqlite" && there.has("")
			})
		})
	}
}

func TestFailedChangeLeavesOthersOfItsTransactionAlone(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		running, cancelRunning := context.WithCancel(t.Context())
		queued, cancelQueued := context.WithCancel(t.Context())
		fails := func(name string, how func(tx *db.Tx) error) together {
			return func(tx *db.Tx, _ bool) error {
				testkit.Check(t, insert(tx, name))
				return how(tx)
			}
		}
		run := queueTogether(t, d, map[int]context.Context{4: queued, 5: running},
			insertsTogether("first"),
			fails("error", func(*db.Tx) error { return errChange }),
			fails("panic", func(*db.Tx) error { panic("boom") }),
			fails("goexit", func(*db.Tx) error { runtime.Goexit(); return nil }),
			fails("cancelled in the queue", func(*db.Tx) error { t.Error("a change ran after its context was cancelled"); return nil }),
			fails("cancelled while it runs", func(tx *db.Tx) error {
				cancelRunning()
				_, err := db.Exec(running, tx, `DELETE FROM groups`)
				return err
			}),
			func(tx *db.Tx, _ bool) error { return errors.Join(insert(tx, "half"), insert(tx, "first")) }, // the name is taken
			func(tx *db.Tx, _ bool) error {
				wantEqual(t, "the changes must share a transaction; before its commit readers see", names(t, d.Reader()))
				return insert(tx, "last")
			})
		cancelQueued()
		testkit.Until(t, "the cancelled writer leaves the queue", func() bool { return d.Queued() == 7 })
		errs := run()
		for i, want := range []error{nil, errChange, errors.New("panic: boom"), errNoReturn, context.Canceled, context.Canceled, db.ErrConflict, nil} {
			if got := errs[i]; !errors.Is(got, want) && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("writer %d got %v, want %v", i, got, want)
			}
		}
		wantEqual(t, "afterwards", names(t, d.Reader()), "first", "last")
	})
}

// PostgreSQL refuses all statements after one that failed. A change that hides the failure fails,
// and the others don't.
func TestHiddenFailureUndoesItsChangeAlone(t *testing.T) {
	d := openPostgres(t)
	errs := queueTogether(t, d, nil, insertsTogether("a"),
		func(tx *db.Tx, _ bool) error { insert(tx, "b"); insert(tx, "a"); return nil },
		insertsTogether("c"))()
	if errs[0] != nil || !errors.Is(errs[1], db.ErrUnavailable) || errs[2] != nil {
		t.Errorf("got %v, want ErrUnavailable for the second writer only", errs)
	}
	wantEqual(t, "afterwards", names(t, d.Reader()), "a", "c")
}

// Two nodes change the same rows in opposite orders. Neither waits for the other's lock while it
// has one itself, so there is no deadlock.
func TestTransactionsOfTwoNodesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	rawURL := testkit.DatabaseURL(t, "postgres")
	nodes := []*db.DB{testkit.Open(t, rawURL), testkit.Open(t, rawURL)}
	mustExec(t, nodes[0], `INSERT INTO groups (name, created_at) VALUES ('a', 0), ('b', 0)`)
	var both sync.WaitGroup // until each node has changed its first row
	both.Add(2)
	var once [2]sync.Once
	count := func(node int, name string) together {
		return func(tx *db.Tx, mayWait bool) error {
			lock := `SELECT created_at FROM groups WHERE name = $1 FOR NO KEY UPDATE`
			if !mayWait {
				lock += ` SKIP LOCKED`
			}
			var n int
			err := db.One(context.Background(), tx, lock, []any{name}, &n)
			if errors.Is(err, db.ErrNotFound) {
				return db.ErrWouldWait
			}
			if err == nil {
				_, err = db.Exec(context.Background(), tx, `UPDATE groups SET created_at = created_at + 1 WHERE name = $1`, name)
			}
			once[node].Do(func() { both.Done(); both.Wait() })
			return err
		}
	}
	var all sync.WaitGroup
	var errs [2][]error
	for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		run := queueTogether(t, nodes[i], nil, count(i, order[0]), count(i, order[1]))
		all.Go(func() { errs[i] = run() })
	}
	all.Wait()
	testkit.Check(t, errors.Join(append(errs[0], errs[1]...)...))
	wantEqual(t, "afterwards", column(t, nodes[0], `SELECT created_at FROM groups`), "2", "2")
}

// If the connection is lost before the commit, the transaction has no effect, and each change
// runs again.
func TestLostConnectionBeforeTheCommitLosesNoChange(t *testing.T) {
	d := openPostgres(t)
	cut := false
	errs := queueTogether(t, d, nil, insertsTogether("a"),
		func(tx *db.Tx, _ bool) error {
			if !cut {
				cut = true
				_, err := db.Exec(context.Background(), tx, `SELECT pg_terminate_backend(pg_backend_pid())`)
				return err
			}
			return insert(tx, "b")
		},
		insertsTogether("c"))()
	testkit.Check(t, errors.Join(errs...))
	wantEqual(t, "afterwards", names(t, d.Reader()), "a", "b", "c")
}

// After a commit without an answer no change runs again: it may have been made.
func TestUnansweredCommitIsAnErrorForAll(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(testkit.DatabaseURL(t, "postgres"))
	testkit.Check(t, err)
	direct := testkit.Open(t, at.String())
	wire := testkit.NewWire(t, at.Host)
	at.Host = wire.Address()
	d := testkit.Open(t, at.String())
	var runs atomic.Int64
	counted := func(name string) together {
		return func(tx *db.Tx, _ bool) error { runs.Add(1); return insert(tx, name) }
	}
	run := queueTogether(t, d, nil, counted("a"), counted("b"), func(tx *db.Tx, mayWait bool) error {
		wire.SetFault(testkit.Forgetful)
		return counted("c")(tx, mayWait)
	})
	for i, err := range run() {
		if !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("writer %d got %v, want ErrUnavailable", i, err)
		}
	}
	if runs.Load() != 3 {
		t.Errorf("the changes ran %d times, want once each", runs.Load())
	}
	wantEqual(t, "afterwards", names(t, direct.Reader()), "a", "b", "c")
}

// If a change in a shared transaction finds a locked row, it leaves the transaction and waits in
// one of its own.
func TestChangeThatWaitsForALockLeavesItsTransaction(t *testing.T) {
	d := openPostgres(t)
	mustExec(t, d, `INSERT INTO groups (name, created_at) VALUES ('locked', 0)`)
	update := `UPDATE groups SET created_at = created_at + 1 WHERE name = 'locked'`
	var aloneNow atomic.Bool
	run := queueTogether(t, d, nil, insertsTogether("a"), func(tx *db.Tx, mayWait bool) error {
		aloneNow.Store(mayWait)
		_, err := db.Exec(context.Background(), tx, update)
		return err
	}, insertsTogether("b"))
	result := make(chan []error, 1)
	testkit.Check(t, d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := db.Exec(context.Background(), tx, update)
		go func() { result <- run() }()
		testkit.Until(t, "the others commit", func() bool { return len(names(t, d.Reader())) == 3 })
		testkit.Until(t, "the change waits alone", aloneNow.Load)
		return err
	}))
	testkit.Check(t, errors.Join(<-result...))
	wantEqual(t, "afterwards", column(t, d, `SELECT created_at FROM groups WHERE name = 'locked'`), "2")
}

// A slow change doesn't delay the changes behind it.
func TestSlowChangeDoesNotHoldUpOthers(t *testing.T) {
	d := openPostgres(t)
	gate, runs := make(chan struct{}), make(chan struct{})
	var slow error
	var all sync.WaitGroup
	all.Go(func() {
		togetherResult(context.Background(), d, func(tx *db.Tx, _ bool) error {
			close(runs)
			<-gate
			return insert(tx, "slow")
		}, &slow)
	})
	<-runs
	for i := range 3 {
		testkit.Check(t, d.WriteTogether(context.Background(), insertsTogether(fmt.Sprint("quick", i))))
	}
	wantEqual(t, "meanwhile", names(t, d.Reader()), "quick0", "quick1", "quick2")
	close(gate)
	all.Wait()
	testkit.Check(t, slow)
	testkit.Check(t, d.WriteTogether(context.Background(), insertsTogether("then")))
	wantEqual(t, "afterwards", names(t, d.Reader()), "quick0", "quick1", "quick2", "slow", "then")
}

// The changes beyond the limit share the next transaction. A change that shares none costs as many
// statements as with Write, and a shared change fewer.
func TestSharedTransactionsAreLimitedAndCheap(t *testing.T) {
	t.Parallel()
	rawURL := testkit.DatabaseURL(t, "postgres")
	var statements atomic.Int64
	testkit.Open(t, rawURL) // migrates
	d, err := db.OpenCounted(rawURL, &statements)
	testkit.Check(t, err)
	defer d.Close()
	change := func(tx *db.Tx, name string) error {
		tx.Changed(name)
		_, err := db.Exec(context.Background(), tx, `INSERT INTO groups (name, created_at) VALUES ($1, CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT))`, name)
		return err
	}
	count := func(what string, want int64, write func() error) {
		t.Helper()
		statements.Store(0)
		testkit.Check(t, write())
		if got := statements.Load(); got != want {
			t.Errorf("%s: %d statements, want %d", what, got, want)
		}
	}
	count("Write", 4, func() error {
		return d.Write(context.Background(), func(tx *db.Tx) error { return change(tx, "write") })
	})
	count("WriteTogether", 4, func() error {
		return d.WriteTogether(context.Background(), func(tx *db.Tx, _ bool) error { return change(tx, "alone") })
	})
	var many []together
	for i := range 2*db.PostgresBatch + 1 {
		many = append(many, func(tx *db.Tx, _ bool) error { return change(tx, fmt.Sprintf("shared%d", i)) })
	}
	run := queueTogether(t, d, nil, many...)
	count("65 changes", 2*(3+1+3*(db.PostgresBatch-1))+4+1, func() error { return errors.Join(run()...) })
	sizes := column(t, d, `SELECT COUNT(*) FROM groups WHERE name LIKE 'shared%' GROUP BY created_at ORDER BY created_at`)
	wantEqual(t, "the sizes of the transactions", sizes, fmt.Sprint(db.PostgresBatch), fmt.Sprint(db.PostgresBatch), "1")
}

// Changes of many writers on two nodes, some of which fail, panic or are cancelled: exactly those
// that succeed are stored.
func TestManySharedChangesLoseNothing(t *testing.T) {
	t.Parallel()
	rawURL := testkit.DatabaseURL(t, "postgres")
	nodes := []*db.DB{testkit.Open(t, rawURL), testkit.Open(t, rawURL)}
	const writers, rounds = 64, 4
	errs := make([][rounds]error, writers)
	testkit.Race(writers, func(i int) string {
		for round := range rounds {
			ctx, cancel := context.WithCancel(context.Background())
			if i%8 == 1 {
				time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
			}
			togetherResult(ctx, nodes[i/8%2], func(tx *db.Tx, _ bool) error {
				tx.Changed(fmt.Sprint(i))
				_, err := db.Exec(ctx, tx, `INSERT INTO groups (name, created_at) VALUES ($1, 1)`, fmt.Sprint(i, "-", round))
				switch i % 8 {
				case 2:
					return errors.Join(err, errChange)
				case 3:
					panic("boom")
				case 4:
					_, err = db.Exec(ctx, tx, `SELECT 1 / 0`)
				}
				return err
			}, &errs[i][round])
			cancel()
		}
		return ""
	})
	stored := names(t, nodes[0].Reader())
	for i, all := range errs {
		for round, err := range all {
			name := fmt.Sprint(i, "-", round)
			switch is := slices.Contains(stored, name); {
			case i%8 == 1: // a context may have ended while a transaction of its own committed
				if err == nil && !is {
					t.Errorf("writer %s succeeded, but nothing is stored", name)
				}
			case i%8 < 2 || i%8 > 4:
				if err != nil || !is {
					t.Errorf("writer %s got %v, and its change is stored: %v; want success and true", name, err, is)
				}
			case err == nil || is || i%8 == 4 && !strings.Contains(err.Error(), "22012"):
				t.Errorf("writer %s got %v, and its change is stored: %v; want an error and false", name, err, is)
			}
		}
	}
}
