package audit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

func TestPruningLeavesASignedCheckpoint(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, 20) // a minute apart
		head := sealAll(t, d, ring)
		add(t, d, testkit.Start, 1) // old, but unsealed, so it stays
		prune := func(minutes, want int) {
			t.Helper()
			_, n, err := Prune(t.Context(), d, ring, testkit.Start.Add(time.Duration(minutes)*time.Minute), testkit.Start)
			if err != nil || n != want {
				t.Fatalf("pruned %d, %v; want %d", n, err, want)
			}
		}
		prune(0, 0)
		prune(5, 5)
		prune(5, 0)
		prune(8, 3)
		report, err := Verify(t.Context(), d.Reader(), ring, head)
		if err != nil || report.Events != 12 || report.Pruned.Seq != 8 {
			t.Errorf("Verify returns %+v, %v; want 12 events, pruned up to 8", report, err)
		}
		if n := len(all(t, d)); n != 13 {
			t.Errorf("%d events are left, want 13", n)
		}
		sealAll(t, d, ring)
		prune(60, 13)
		if report, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil || report.Events != 0 || report.Pruned.Seq != 21 {
			t.Errorf("when all is pruned Verify returns %+v, %v; want no events, and a checkpoint at 21", report, err)
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, report.Pruned); err != nil {
			t.Errorf("with the head of an old checkpoint Verify returns %v, want nil", err)
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, head); err == nil || !strings.Contains(err.Error(), "older than audit.keep") {
			t.Errorf("with a pruned head Verify returns %v, want \"older than audit.keep\"", err)
		}
		add(t, d, testkit.Start, 2)
		sealAll(t, d, ring)
		if report, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil || report.Events != 2 {
			t.Errorf("with new events after it Verify returns %+v, %v; want 2 events", report, err)
		}
	})
}

func TestVerifyRunsBesideAServerThatSealsAndPrunes(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const rounds = 40
		ring := secret.NewRing()
		running := make(chan struct{})
		go func() {
			defer close(running)
			for i := range rounds {
				from := testkit.Start.Add(time.Duration(i) * time.Hour)
				add(t, d, from, 60)
				if _, _, err := Seal(context.Background(), d, ring); err != nil {
					t.Error(err)
				}
				if _, _, err := Prune(context.Background(), d, ring, from.Add(-time.Hour), from); err != nil {
					t.Error(err)
				}
			}
		}()
		for runs := 0; ; runs++ {
			if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
				t.Error(err)
			}
			select {
			case <-running:
				t.Log(runs, "runs of Verify")
				return
			default:
			}
		}
	})
}

func TestCheckpointsCannotBeForged(t *testing.T) {
	tests := []struct {
		name, statement string
		kind            FaultKind
		seq             int64
	}{
		{"moved on", `UPDATE audit_checkpoints SET seq = 9, head = (SELECT mac FROM events WHERE seq = 9) WHERE seq = 8`, Checkpoint, 9},
		{"count changed", `UPDATE audit_checkpoints SET events = 0 WHERE seq = 5`, Checkpoint, 5},
		{"time changed", `UPDATE audit_checkpoints SET made_at = 0 WHERE seq = 8`, Checkpoint, 8},
		{"first deleted", `DELETE FROM audit_checkpoints WHERE seq = 5`, Checkpoint, 8},
		{"last deleted", `DELETE FROM audit_checkpoints WHERE seq = 8`, Deleted, 6},
		{"all deleted", `DELETE FROM audit_checkpoints`, Deleted, 1},
		{"next event deleted", `DELETE FROM events WHERE seq = 9`, Deleted, 9},
	}
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, 12)
		sealAll(t, d, ring)
		for _, minutes := range []time.Duration{5, 8} {
			if _, _, err := Prune(t.Context(), d, ring, testkit.Start.Add(minutes*time.Minute), testkit.Start); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range tests {
			undo := errors.New("undo")
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				if _, err := db.Exec(t.Context(), tx, test.statement); err != nil {
					return err
				}
				_, err := Verify(t.Context(), tx, ring, Head{})
				if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Kind != test.kind || fault.Seq != test.seq {
					t.Errorf("%s: got %v, want %s at %d", test.name, err, test.kind, test.seq)
				}
				// Prune must not remove the evidence. It checks only the last checkpoint,
				// so it is allowed to continue if an earlier one was changed.
				if _, _, err := prune(t.Context(), tx, ring, testkit.Start.Add(time.Hour), testkit.Start); (err == nil) != (test.name == "count changed") {
					t.Errorf("%s: prune returns %v, want an error unless the test is \"count changed\"", test.name, err)
				}
				_, err = Verify(t.Context(), tx, ring, Head{})
				if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Kind != test.kind || fault.Seq != test.seq {
					t.Errorf("%s, after prune: got %v, want %s at %d", test.name, err, test.kind, test.seq)
				}
				return undo
			})
			if !errors.Is(err, undo) {
				t.Fatal(err)
			}
		}
	})
}

// Otherwise an attacker with the database could backdate an event, and Prune would
// delete it and sign a checkpoint over it.
func TestPruningSignsNothingThatWasChanged(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, 3)
		sealAll(t, d, ring)
		exec(t, d, `UPDATE events SET at = 0 WHERE seq = 1`)
		if _, n, err := Prune(t.Context(), d, ring, testkit.Start.Add(-time.Hour), testkit.Start); err == nil || n != 0 {
			t.Errorf("pruned %d, %v; want none and an error", n, err)
		}
		if n := len(all(t, d)); n != 3 {
			t.Errorf("%d events are left, want 3", n)
		}
	})
}
