package throttle

import (
	"context"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestMeasureCountsAllAccountsForAllNodes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, clock := context.Background(), testkit.NewClock()
		ledger, node := NewLedger(d, clock.Now), NewLedger(d, clock.Now)
		for i := range 30 {
			if hot, err := ledger.Measure(ctx, 100); err != nil || hot {
				t.Fatalf("after %d wrong codes: hot %v, %v; want false", i, hot, err)
			}
			reserve(ledger, Key{Account: string(rune('a' + i)), Bucket: CodeUnknownDevice})
		}
		if hot, err := ledger.Measure(ctx, 100); err != nil || !hot {
			t.Fatalf("after 30 wrong codes: hot %v, %v; want true", hot, err)
		}
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, clock.Now()) }))
		if hot, err := node.Refresh(ctx); err != nil || !hot || !node.IsHot() {
			t.Errorf("Refresh on another node: hot %v, %v; want true", hot, err)
		}
		for name, ledger := range map[string]*Ledger{"the one that measured": ledger, "another": node} {
			if got := reserve(ledger, Key{Account: "zoe", Bucket: CodeUnknownDevice}); got != "two codes" {
				t.Errorf("on node %q, code of another account: %s, want two codes", name, got)
			}
		}
		clock.Move(day)
		if hot, err := node.Measure(ctx, 100); err != nil || hot {
			t.Errorf("a day later: hot %v, %v; want false", hot, err)
		}
		if hot, err := ledger.Refresh(ctx); err != nil || hot || ledger.IsHot() {
			t.Errorf("a day later, Refresh on the first node: hot %v, %v; want false", hot, err)
		}
	})
}

// While the database is down, the last known state stays in force (F1).
func TestInstanceStateStandsWhileTheDatabaseIsUnavailable(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
			_, err := writeRow(ctx, tx, instanceKey, []entry{{at: testkit.Start, units: 1}}, 0, testkit.Start)
			return err
		}))
		if hot, err := ledger.Refresh(ctx); err != nil || !hot {
			t.Fatalf("hot %v, %v; want true", hot, err)
		}
		d.Close()
		if hot, err := ledger.Refresh(ctx); err == nil || !hot || !ledger.IsHot() {
			t.Errorf("closed database: hot %v, %v; want true and an error", hot, err)
		}
	})
}
