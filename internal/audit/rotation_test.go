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

// [HandOver] signs the last checkpoint again with the new key, so that a checkpoint signed with
// an old key can't replace it. Retention then continues.
func TestCheckpointsAreHandedOver(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		old := r.copied(t)
		prune := func(ring *secret.Ring, minutes, want int) {
			t.Helper()
			_, n, err := Prune(t.Context(), d, ring, testkit.Start.Add(time.Duration(minutes)*time.Minute), testkit.Start)
			if err != nil || n != want {
				t.Fatalf("pruned %d, %v; want %d", n, err, want)
			}
		}
		add(t, d, testkit.Start, 12)
		sealAll(t, d, old)
		prune(old, 2, 2)
		prune(old, 5, 3)
		r.add(t)
		behind := r.copied(t) // the ring of a node that misses the rotation
		r.rotate(t)
		ring := r.copied(t)
		verify := func(pruned int64) {
			t.Helper()
			report, err := Verify(t.Context(), d.Reader(), ring, Head{})
			if err != nil || report.Pruned.Seq != pruned {
				t.Errorf("Verify returns %+v, %v; want all pruned up to %d", report, err, pruned)
			}
		}
		verify(5)
		prune(behind, 7, 2)
		verify(7)
		prune(ring, 9, 2)
		verify(9)
		prune(ring, 100, 4) // including the event of the hand-over
		verify(13)
	})
}

// Nodes with the spare key go on sealing while the keys rotate several times. The chain
// never forks, and Verify finds no fault in genuine events.
func TestRotationsBesideSealers(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const rotations, sealers = 3, 3
		r := newRings(t, d)
		for range rotations {
			r.add(t)
			copies := r.copied(t)
			stop := make(chan struct{})
			done := make(chan map[string]int, 1)
			go func() {
				done <- testkit.Race(sealers, func(int) string {
					for {
						select {
						case <-stop:
							return "ok"
						default:
						}
						err := d.Write(context.Background(), func(tx *db.Tx) error {
							return Append(context.Background(), tx, Event{At: testkit.Start, Actor: ByOwner, Kind: SignedIn})
						})
						if err == nil {
							_, _, err = Seal(context.Background(), d, copies)
						}
						if err != nil {
							return err.Error()
						}
					}
				})
			}()
			r.rotate(t)
			add(t, d, testkit.Start, 1)
			sealAll(t, d, copies)
			close(stop)
			if outcomes := <-done; outcomes["ok"] != sealers {
				t.Fatalf("sealers ended with %v, want all ok", outcomes)
			}
			sealAll(t, d, copies)
		}
		ring := r.copied(t)
		if len(ring.Handovers()) != rotations {
			t.Errorf("%d hand-overs, want %d", len(ring.Handovers()), rotations)
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Error(err)
		}
	})
}

// If a rotation is killed after the log continued under the new key, but before the ring
// recorded the place, the next rotation hands the log over once more.
func TestInterruptedHandOverIsRepeated(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		add(t, d, testkit.Start, 1)
		sealAll(t, d, r.copied(t))
		r.add(t)
		var lost Head
		_, err := secret.RotateKeys(t.Context(), r.from, r.copied(t).Keys()[1].ID, func(ring *secret.Ring) Head {
			var err error
			if lost, err = HandOver(t.Context(), d, ring, appending(t.Context(), Event{At: testkit.Start, Actor: ByOperator, Kind: KeyRotated})); err != nil {
				t.Fatal(err)
			}
			return Head{}
		})
		if err != nil {
			t.Fatal(err)
		}
		add(t, d, testkit.Start, 1)
		sealAll(t, d, r.copied(t))
		kept := r.rotate(t)
		if kept.Seq <= lost.Seq {
			t.Errorf("the log was handed over at %d, then at %d; want a later place", lost.Seq, kept.Seq)
		}
		if report, err := Verify(t.Context(), d.Reader(), r.copied(t), lost); err != nil || report.Events != 4 {
			t.Errorf("Verify returns %+v, %v; want 4 events", report, err)
		}
	})
}

// A node without the new key doesn't seal, and its error says what to do.
func TestNodeWithoutTheNewKeySealsNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		old := r.copied(t)
		r.add(t)
		head := r.rotate(t)
		add(t, d, testkit.Start, 1)
		for what, err := range map[string]error{
			"CanSeal": CanSeal(t.Context(), d.Reader(), old),
			"Seal":    func() error { _, _, err := Seal(t.Context(), d, old); return err }(),
		} {
			if !errors.Is(err, secret.ErrUnknownKey) || !strings.Contains(err.Error(), "copy the newest key ring to this node") {
				t.Errorf("%s: got %v, want ErrUnknownKey and what to do", what, err)
			}
		}
		if err := CanSeal(t.Context(), d.Reader(), r.copied(t)); err != nil {
			t.Error(err)
		}
		if report, err := Verify(t.Context(), d.Reader(), r.copied(t), head); err != nil || !report.Head.Equal(head) {
			t.Errorf("Verify returns %+v, %v; want the head %v", report, err, head)
		}
	})
}
