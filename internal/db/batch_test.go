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
	errMine  = errors.New("mine")
	errNever = errors.New("did not return")
)

// insert adds a group, whose names tell in these tests what is there.
func insert(tx *db.Tx, name string) error {
	_, err := db.Exec(context.Background(), tx, `INSERT INTO groups (name, created_at) VALUES ($1, 1)`, name)
	return err
}

func inserts(name string) func(tx *db.Tx) error {
	return func(tx *db.Tx) error { return insert(tx, name) }
}

// names are those of the groups that q sees.
func names(t *testing.T, q db.Querier) []string {
	t.Helper()
	all, err := db.All(context.Background(), q, func(scan db.Scan) (s string, err error) { return s, scan(&s) }, `SELECT name FROM groups ORDER BY name`)
	must(t, err)
	return all
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// answer is what Write returned, or that it panicked or ended the goroutine.
func answer(ctx context.Context, d *db.DB, change func(tx *db.Tx) error, into *error) {
	*into = errNever
	defer func() {
		if p := recover(); p != nil {
			*into = fmt.Errorf("panic: %v", p)
		}
	}()
	*into = d.Write(ctx, change)
}

// inBubble runs a test on SQLite in which time passes only when all wait.
func inBubble(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, testkit.Open(t, testkit.DatabaseURL(t, "sqlite"))) })
}

// queue has writers wait in this order, while another has the turn, until it
// is opened; then it returns what they were told. Those of contexts that are
// missing have one that doesn't end.
func queue(d *db.DB, contexts map[int]context.Context, changes ...func(tx *db.Tx) error) (open func() []error) {
	gate := make(chan struct{})
	go d.Write(context.Background(), func(*db.Tx) error { <-gate; return errMine }) // its batch ends with it
	synctest.Wait()
	told := make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		ctx := contexts[i]
		if ctx == nil {
			ctx = context.Background()
		}
		all.Go(func() { answer(ctx, d, change, &told[i]) })
		synctest.Wait()
	}
	return func() []error {
		close(gate)
		all.Wait()
		return told
	}
}

func TestWritersShareACommit(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		var h heard
		d.OnChange(func(id string) {
			same(t, "whoever hears of a change sees", names(t, d.Reader()), "a", "b", "c")
			h.hear(id)
		})
		told := queue(d, nil,
			func(tx *db.Tx) error { tx.Changed("alice"); return insert(tx, "a") },
			func(tx *db.Tx) error { tx.Changed("bob"); return insert(tx, "b") },
			func(tx *db.Tx) error {
				same(t, "a later change sees", names(t, tx), "a", "b")
				same(t, "others see before the commit", names(t, d.Reader()))
				return insert(tx, "c")
			})()
		for i, err := range told {
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		}
		same(t, "afterwards", names(t, d.Reader()), "a", "b", "c")
		same(t, "heard", h.ids, "alice", "bob")
	})
}

func TestOneOfABatchHarmsNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		var h heard
		d.OnChange(h.hear)
		ending, end := context.WithCancel(context.Background())
		waiting, giveUp := context.WithCancel(context.Background())
		fails := func(name string, how func() error) func(tx *db.Tx) error {
			return func(tx *db.Tx) error {
				tx.Changed(name)
				must(t, insert(tx, name))
				return how()
			}
		}
		open := queue(d, map[int]context.Context{4: waiting, 5: ending},
			inserts("first"),
			fails("error", func() error { return errMine }),
			fails("panic", func() error { panic("boom") }),
			fails("goexit", func() error { runtime.Goexit(); return nil }),
			fails("gave up waiting", func() error { t.Error("ran, though its caller gave up"); return nil }),
			fails("ended within", func() error { end(); return nil }),
			func(tx *db.Tx) error { return errors.Join(insert(tx, "half"), insert(tx, "first")) }, // the name is taken
			func(tx *db.Tx) error {
				same(t, "they shared no commit; others see", names(t, d.Reader()))
				return insert(tx, "last")
			})
		giveUp()
		told := open()
		for i, want := range []error{nil, errMine, errors.New("panic: boom"), errNever, db.ErrUnavailable, nil, db.ErrConflict, nil} {
			if got := told[i]; !errors.Is(got, want) && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("writer %d was told %v, want %v", i, got, want)
			}
		}
		same(t, "afterwards", names(t, d.Reader()), "ended within", "first", "last")
		same(t, "heard", h.ids, "ended within")
	})
}

func TestFirstOfABatchThatFailsHarmsNoOther(t *testing.T) {
	for name, how := range map[string]func() error{
		"error": func() error { return errMine }, "panic": func() error { panic("boom") }, "goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, d *db.DB) {
				told := queue(d, nil, func(tx *db.Tx) error { must(t, insert(tx, "first")); return how() }, inserts("second"), inserts("third"))()
				if told[0] == nil || told[1] != nil || told[2] != nil {
					t.Errorf("told %v", told)
				}
				same(t, "afterwards", names(t, d.Reader()), "second", "third")
			})
		})
	}
}

func TestABatchThatCannotUndoIsNotCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		told := queue(d, nil, inserts("a"), func(tx *db.Tx) error {
			_, err := db.Exec(context.Background(), tx, `RELEASE change`)
			return errors.Join(err, insert(tx, "b"), errMine)
		})()
		for i, err := range told {
			if !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("writer %d was told %v", i, err)
			}
		}
		same(t, "afterwards", names(t, d.Reader()))
		must(t, d.Write(context.Background(), inserts("c")))
	})
}

func TestWhoGivesUpWaitingIsToldAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		gate := make(chan struct{})
		var first, second error
		go answer(context.Background(), d, func(tx *db.Tx) error { <-gate; return insert(tx, "a") }, &first)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		answer(ctx, d, inserts("b"), &second)
		if !errors.Is(second, db.ErrUnavailable) || !errors.Is(second, context.DeadlineExceeded) {
			t.Errorf("gave up: told %v", second)
		}
		close(gate)
		synctest.Wait()
		must(t, first)
		must(t, d.Write(context.Background(), inserts("c")))
		same(t, "afterwards", names(t, d.Reader()), "a", "c")
	})
}

func TestWhoGivesUpAsItsTurnComesHandsItOn(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		for round := range 100 {
			ctx, cancel := context.WithCancel(context.Background())
			told := queue(d, map[int]context.Context{1: ctx},
				func(tx *db.Tx) error { cancel(); return insert(tx, fmt.Sprint("a", round)) },
				func(*db.Tx) error { t.Error("ran, though its caller gave up"); return nil },
				inserts(fmt.Sprint("b", round)))()
			if told[0] != nil || !errors.Is(told[1], db.ErrUnavailable) || told[2] != nil {
				t.Fatalf("told %v", told)
			}
		}
		if got := len(names(t, d.Reader())); got != 200 {
			t.Errorf("%d groups, want 200", got)
		}
	})
}

func TestABatchHasBounds(t *testing.T) {
	inBubble(t, func(t *testing.T, d *db.DB) {
		slow := func(tx *db.Tx) error { time.Sleep(db.BatchTime); return insert(tx, "slow") }
		told := queue(d, nil, inserts("a"), slow, func(tx *db.Tx) error {
			same(t, "after a slow change others see", names(t, d.Reader()), "a", "slow")
			return insert(tx, "b")
		})()
		if err := errors.Join(told...); err != nil {
			t.Error(err)
		}
		var many []func(tx *db.Tx) error
		for i := range db.BatchSize {
			many = append(many, inserts(fmt.Sprint("many", i)))
		}
		many = append(many, func(tx *db.Tx) error {
			if got := len(names(t, d.Reader())); got != 3+db.BatchSize {
				t.Errorf("after a full batch others see %d groups, want %d", got, 3+db.BatchSize)
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
		told := make([][rounds]error, writers)
		testkit.Race(writers, func(i int) string {
			for round := range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				if i%8 == 1 {
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
				}
				answer(ctx, d, func(tx *db.Tx) error {
					if _, err := db.Exec(ctx, tx, `UPDATE groups SET created_at = created_at + 1 WHERE name = 'counter'`); err != nil {
						return err
					}
					if err := insert(tx, fmt.Sprint(i, "-", round)); err != nil {
						return err
					}
					switch i % 8 {
					case 2:
						return errMine
					case 3:
						panic("boom")
					}
					return nil
				}, &told[i][round])
				cancel()
			}
			return ""
		})
		want := []string{"counter"}
		there := column(t, d, `SELECT name FROM groups`)
		for i, all := range told {
			for round, err := range all {
				name := fmt.Sprint(i, "-", round)
				switch {
				case err == nil:
					want = append(want, name)
				case i%8 == 1 && errors.Is(err, db.ErrUnavailable):
					// The caller left while PostgreSQL committed, perhaps: both changes are there
					// or neither.
					if slices.Contains(there, name) {
						want = append(want, name)
					}
				case i%8 == 2 && err == errMine, i%8 == 3 && err.Error() == "panic: boom":
				default:
					t.Errorf("writer %d was told %v", i, err)
				}
			}
		}
		slices.Sort(want)
		same(t, "groups", column(t, d, `SELECT name FROM groups ORDER BY name`), want...)
		same(t, "counter", column(t, d, `SELECT created_at FROM groups WHERE name = 'counter'`), fmt.Sprint(len(want)-1))
		if len(want) <= writers/2*rounds {
			t.Errorf("%d of %d were told that it was done", len(want)-1, writers*rounds)
		}
	})
}
