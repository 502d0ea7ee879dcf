package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Three nodes run the same job again and again. Each time one of them does the work, even after
// the node that did it before has died.
func TestOneNodeWorksForAll(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const pause = time.Minute
		clock := testkit.NewClock()
		var nodes []*cluster.Cluster
		for i := range 3 {
			nodes = append(nodes, &cluster.Cluster{
				DB: d, Self: fmt.Sprint("node ", i), Log: slog.New(slog.DiscardHandler),
				Reference: func(context.Context) (time.Time, error) { return clock.Now(), nil },
			})
		}
		done := make([]atomic.Int32, len(nodes))
		workers := func(alive func(i int) bool) (worked int) {
			t.Helper()
			before := 0
			for i := range done {
				before += int(done[i].Load())
			}
			testkit.Race(len(nodes), func(i int) string {
				if !alive(i) {
					return ""
				}
				err := nodes[i].Alone(context.Background(), "work", pause, func(context.Context) error {
					done[i].Add(1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				return ""
			})
			after := 0
			for i := range done {
				after += int(done[i].Load())
			}
			return after - before
		}
		all := func(int) bool { return true }
		for range 20 {
			if n := workers(all); n != 1 {
				t.Fatalf("%d nodes did the work, want one", n)
			}
			clock.Move(pause)
		}
		dead := -1
		for i := range done {
			switch n := done[i].Load(); {
			case n == 20:
				dead = i
			case n != 0:
				t.Fatalf("the work went from node to node: node %d did it %d times, want 0 or 20", i, n)
			}
		}
		// The dead node ran the job a pause ago, so its lease ends after two more pauses.
		others := func(i int) bool { return i != dead }
		for _, want := range []int{0, 0, 1, 1} {
			if n := workers(others); n != want {
				t.Fatalf("%d nodes did the work of the dead one, want %d", n, want)
			}
			clock.Move(pause)
		}
		if workers(all) != 1 || done[dead].Load() != 20 {
			t.Error("the node that was dead took the work back")
		}
		// A node that stops in order ends its leases.
		for i, node := range nodes {
			if i != dead {
				if err := node.Leave(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if workers(func(i int) bool { return i == dead }) != 1 {
			t.Error("a node that stopped keeps the others waiting")
		}
	})
}

func TestJobsRunUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs strings.Builder
		c := &cluster.Cluster{Log: slog.New(slog.NewTextHandler(&logs, nil))}
		runs := map[string]*atomic.Int32{"minutely": {}, "faulty": {}, "early": {}, "late": {}}
		count := func(name string, err error) func(context.Context) error {
			return func(context.Context) error { runs[name].Add(1); return err }
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		c.Run(ctx, []cluster.Job{
			{Name: "minutely", Every: time.Minute, Run: count("minutely", nil)},
			{Name: "faulty", Every: 4 * time.Minute, Run: count("faulty", errors.New("no luck"))},
			{Name: "early", Every: time.Hour, AtStart: true, Run: count("early", nil)},
			{Name: "late", Every: time.Hour, Run: count("late", nil)},
		})
		for name, want := range map[string]int32{"minutely": 10, "faulty": 2, "early": 1, "late": 0} {
			if got := runs[name].Load(); got != want {
				t.Errorf("%s ran %d times, want %d", name, got, want)
			}
		}
		if n := strings.Count(logs.String(), `job=faulty reason="no luck"`); n != 2 || strings.Count(logs.String(), "\n") != 2 {
			t.Errorf("the log has %d lines of the faulty job, want 2 and no other:\n%s", n, logs.String())
		}
	})
}
