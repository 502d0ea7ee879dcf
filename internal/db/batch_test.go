package db_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

var (
	errChange   = errors.New("error of the change")
	errNoReturn = errors.New("did not return")
)

// insert adds a group. The names of the groups show which changes are visible.
func insert(tx *db.Tx, name string) error {
	_, err := db.Exec(context.Background(), tx, `INSERT INTO groups (name, created_at) VALUES ($1, 1)`, name)
	return err
}

func inserts(name string) func(tx *db.Tx) error {
	return func(tx *db.Tx) error { return insert(tx, name) }
}

// names returns the names of the groups that q reads, sorted.
func names(t *testing.T, q db.Querier) []string {
	t.Helper()
	all, err := db.All(context.Background(), q, `SELECT name FROM groups ORDER BY name`,
		nil, func(scan db.Scan) (s string, err error) { return s, scan(&s) })
	testkit.Check(t, err)
	return all
}

func wantEqual(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// writeResult stores in *into what Write returned. It stores an error too if Write
// panicked or ended the goroutine.
func writeResult(ctx context.Context, d *db.DB, change func(tx *db.Tx) error, into *error) {
	*into = errNoReturn
	defer func() {
		if p := recover(); p != nil {
			*into = fmt.Errorf("panic: %v", p)
		}
	}()
	*into = d.Write(ctx, change)
}

// inBubble runs a test on SQLite in which time passes only while every goroutine
// waits.
func inBubble(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))) })
}

// queue starts writers that queue in this order behind another one. run lets them
// write and returns the result of each. Writers without an entry in contexts get
// the background context.
func queue(d *db.DB, contexts map[int]context.Context, changes ...func(tx *db.Tx) error) (run func() []error) {
	gate := make(chan struct{})
	go d.Write(context.Background(), func(*db.Tx) error { <-gate; return errChange }) // the error ends its batch
	synctest.Wait()
	errs := make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		ctx := contexts[i]
		if ctx == nil {
			ctx = context.Background()
		}
		all.Go(func() { writeResult(ctx, d, change, &errs[i]) })
		synctest.Wait()
	}
	return func() []error {
		close(gate)
		all.Wait()
		return errs
	}
}

func TestWritersShareACommit(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		var h reported
		d.OnChange(func(id string) {
			wantEqual(t, "when a change is reported, readers see", names(t, d.Reader()), "a", "b", "c")
			h.add(id)
		})
		errs := queue(d, nil,
			func(tx *db.Tx) error { tx.Changed("alice"); return insert(tx, "a") },
			func(tx *db.Tx) error { tx.Changed("bob"); return insert(tx, "b") },
			func(tx *db.Tx) error {
				wantEqual(t, "a later change sees", names(t, tx), "a", "b")
				wantEqual(t, "before the commit readers see", names(t, d.Reader()))
				return insert(tx, "c")
			})()
		for i, err := range errs {
			if err != nil {
				t.Errorf("writer %d: %v, want no error", i, err)
			}
		}
		wantEqual(t, "afterwards", names(t, d.Reader()), "a", "b", "c")
		wantEqual(t, "reported", h.ids, "alice", "bob")
	})
}

func TestFailedChangeLeavesTheRestOfABatchAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		var h reported
		d.OnChange(h.add)
		running, cancelRunning := context.WithCancel(context.Background())
		queued, cancelQueued := context.WithCancel(context.Background())
		fails := func(name string, how func() error) func(tx *db.Tx) error {
			return func(tx *db.Tx) error {
				tx.Changed(name)
				testkit.Check(t, insert(tx, name))
				return how()
			}
		}
		run := queue(d, map[int]context.Context{4: queued, 5: running},
			inserts("first"),
			fails("error", func() error { return errChange }),
			fails("panic", func() error { panic("boom") }),
			fails("goexit", func() error { runtime.Goexit(); return nil }),
			fails("cancelled in the queue", func() error { t.Error("a change ran after its context was cancelled"); return nil }),
			fails("cancelled while it runs", func() error { cancelRunning(); return nil }),
			func(tx *db.Tx) error { return errors.Join(insert(tx, "half"), insert(tx, "first")) }, // the name is taken
			func(tx *db.Tx) error {
				wantEqual(t, "the changes must share a commit; before it readers see", names(t, d.Reader()))
				return insert(tx, "last")
			})
		cancelQueued()
		errs := run()
		for i, want := range []error{nil, errChange, errors.New("panic: boom"), errNoReturn, db.ErrUnavailable, nil, db.ErrConflict, nil} {
			if got := errs[i]; !errors.Is(got, want) && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("writer %d got %v, want %v", i, got, want)
			}
		}
		wantEqual(t, "afterwards", names(t, d.Reader()), "cancelled while it runs", "first", "last")
		wantEqual(t, "reported", h.ids, "cancelled while it runs")
	})
}

func TestFailedFirstChangeLeavesTheRestOfABatchAlone(t *testing.T) {
	for name, how := range map[string]func() error{
		"error": func() error { return errChange }, "panic": func() error { panic("boom") }, "goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, d *db.DB) {
				errs := queue(d, nil, func(tx *db.Tx) error { testkit.Check(t, insert(tx, "first")); return how() }, inserts("second"), inserts("third"))()
				if errs[0] == nil || errs[1] != nil || errs[2] != nil {
					t.Errorf("got %v, want an error for the first writer only", errs)
				}
				wantEqual(t, "afterwards", names(t, d.Reader()), "second", "third")
			})
		})
	}
}

func TestBatchThatCannotUndoAChangeIsNotCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		errs := queue(d, nil, inserts("a"), func(tx *db.Tx) error {
			_, err := db.Exec(context.Background(), tx, `RELEASE change`)
			return errors.Join(err, insert(tx, "b"), errChange)
		})()
		for i, err := range errs {
			if !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("writer %d got %v, want ErrUnavailable", i, err)
			}
		}
		wantEqual(t, "afterwards", names(t, d.Reader()))
		testkit.Check(t, d.Write(context.Background(), inserts("c")))
	})
}

func TestCancelledWriterLeavesTheQueueAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		gate := make(chan struct{})
		var first, second error
		go writeResult(context.Background(), d, func(tx *db.Tx) error { <-gate; return insert(tx, "a") }, &first)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		writeResult(ctx, d, inserts("b"), &second)
		if !errors.Is(second, db.ErrUnavailable) || !errors.Is(second, context.DeadlineExceeded) {
			t.Errorf("after its deadline a queued writer got %v, want ErrUnavailable and DeadlineExceeded", second)
		}
		close(gate)
		synctest.Wait()
		testkit.Check(t, first)
		testkit.Check(t, d.Write(context.Background(), inserts("c")))
		wantEqual(t, "afterwards", names(t, d.Reader()), "a", "c")
	})
}

func TestWriterCancelledAsItGetsTheLockHandsItOver(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		for round := range 100 {
			ctx, cancel := context.WithCancel(context.Background())
			errs := queue(d, map[int]context.Context{1: ctx},
				func(tx *db.Tx) error { cancel(); return insert(tx, fmt.Sprint("a", round)) },
				func(*db.Tx) error { t.Error("a change ran after its context was cancelled"); return nil },
				inserts(fmt.Sprint("b", round)))()
			if errs[0] != nil || !errors.Is(errs[1], db.ErrUnavailable) || errs[2] != nil {
				t.Fatalf("got %v, want ErrUnavailable for the second writer only", errs)
			}
		}
		if got := len(names(t, d.Reader())); got != 200 {
			t.Errorf("%d groups, want 200", got)
		}
	})
}

func TestBatchIsLimitedInTimeAndSize(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		slow := func(tx *db.Tx) error { time.Sleep(db.BatchTime); return insert(tx, "slow") }
		errs := queue(d, nil, inserts("a"), slow, func(tx *db.Tx) error {
			wantEqual(t, "after a slow change readers see", names(t, d.Reader()), "a", "slow")
			return insert(tx, "b")
		})()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		var many []func(tx *db.Tx) error
		for i := range db.BatchSize {
			many = append(many, inserts(fmt.Sprint("many", i)))
		}
		many = append(many, func(tx *db.Tx) error {
			if got := len(names(t, d.Reader())); got != 3+db.BatchSize {
				t.Errorf("after a full batch readers see %d groups, want %d", got, 3+db.BatchSize)
			}
			return nil
		})
		if err := errors.Join(queue(d, nil, many...)()...); err != nil {
			t.Error(err)
		}
	})
}

func TestManyWritersLoseNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		mustExec(t, d, `INSERT INTO groups (name, created_at) VALUES ('counter', 0)`)
		const writers, rounds = 64, 4
		errs := make([][rounds]error, writers)
		testkit.Race(writers, func(i int) string {
			for round := range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				if i%8 == 1 {
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
				}
				writeResult(ctx, d, func(tx *db.Tx) error {
					if _, err := db.Exec(ctx, tx, `UPDATE groups SET created_at = created_at + 1 WHERE name = 'counter'`); err != nil {
						return err
					}
					if err := insert(tx, fmt.Sprint(i, "-", round)); err != nil {
						return err
					}
					switch i % 8 {
					case 2:
						return errChange
					case 3:
						panic("boom")
					}
					return nil
				}, &errs[i][round])
				cancel()
			}
			return ""
		})
		want := []string{"counter"}
		stored := column(t, d, `SELECT name FROM groups`)
		for i, all := range errs {
			for round, err := range all {
				name := fmt.Sprint(i, "-", round)
				switch {
				case err == nil:
					want = append(want, name)
				case i%8 == 1 && errors.Is(err, db.ErrUnavailable):
					// The context may have ended while PostgreSQL committed. Either both
					// changes are stored or neither.
					if slices.Contains(stored, name) {
						want = append(want, name)
					}
				case i%8 == 2 && err == errChange, i%8 == 3 && err.Error() == "panic: boom":
				default:
					t.Errorf("writer %d got %v", i, err)
				}
			}
		}
		slices.Sort(want)
		wantEqual(t, "groups", column(t, d, `SELECT name FROM groups ORDER BY name`), want...)
		wantEqual(t, "counter", column(t, d, `SELECT created_at FROM groups WHERE name = 'counter'`), fmt.Sprint(len(want)-1))
		if len(want) <= writers/2*rounds {
			t.Errorf("%d of %d writes succeeded, want more than half", len(want)-1, writers*rounds)
		}
	})
}
