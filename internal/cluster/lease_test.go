package cluster_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestLeaseHasOneHolder(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const life = time.Minute
		now := testkit.Start
		won := testkit.Race(8, func(i int) string {
			held, err := cluster.Lease(context.Background(), d, "work", strconv.Itoa(i), life, now)
			if err != nil {
				return err.Error()
			}
			return strconv.FormatBool(held)
		})
		if won["true"] != 1 || won["false"] != 7 {
			t.Fatalf("eight ask at once: %v, want 1 true and 7 false", won)
		}
		for _, step := range []struct {
			name, holder string
			at           time.Duration
			want         bool
		}{
			{"other work", "b", 0, true},
			{"new work", "a", 0, true},
			{"new work", "b", life - 1, false},
			{"new work", "a", life / 2, true}, // renewed
			{"new work", "b", life, false},
			{"new work", "b", life + life/2, true}, // a's has ended
			{"new work", "a", life + life/2, false},
			{"new work", "a", life, false}, // a's clock is behind
			{"new work", "a", 0, true},     // too far to be one of today's
		} {
			held, err := cluster.Lease(t.Context(), d, step.name, step.holder, life, now.Add(step.at))
			if err != nil || held != step.want {
				t.Errorf("%s asks for %q after %v: %v, %v; want %v", step.holder, step.name, step.at, held, err, step.want)
			}
		}
	})
}

func TestWhoStopsWorkingHoldsNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ask := func(name, holder string) bool {
			t.Helper()
			held, err := cluster.Lease(t.Context(), d, name, holder, time.Minute, testkit.Start)
			if err != nil {
				t.Fatal(err)
			}
			return held
		}
		if !ask("one", "a") || !ask("two", "a") || !ask("three", "b") {
			t.Fatal("a free lease wasn't given")
		}
		if err := cluster.EndLeases(t.Context(), d, "a"); err != nil {
			t.Fatal(err)
		}
		if !ask("one", "c") || !ask("two", "c") {
			t.Error("a node that ended its leases still holds one")
		}
		if ask("three", "c") {
			t.Error("EndLeases ended the lease of another node")
		}
	})
}
