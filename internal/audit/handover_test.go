package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// rings is a key ring's file, whose keys are rotated beside a log.
type rings struct {
	d    *db.DB
	from secret.Source
}

func newRings(t *testing.T, d *db.DB) rings {
	t.Helper()
	from := secret.Source{Path: filepath.Join(t.TempDir(), "keyring")}
	if _, err := secret.CreateRing(from.Path); err != nil {
		t.Fatal(err)
	}
	return rings{d, from}
}

// copied returns a copy of the ring as it is now.
func (r rings) copied(t *testing.T) *secret.Ring {
	t.Helper()
	ring, err := r.from.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// add adds a spare key.
func (r rings) add(t *testing.T) {
	t.Helper()
	if _, err := secret.AddKey(t.Context(), r.from); err != nil {
		t.Fatal(err)
	}
}

// rotate lets the newest key seal and drops the others. It returns the place
// where the log was handed over.
func (r rings) rotate(t *testing.T) Head {
	t.Helper()
	keys := r.copied(t).Keys()
	newest := keys[len(keys)-1].ID
	var head Head
	_, err := secret.RotateKeys(t.Context(), r.from, newest, func(ring *secret.Ring) Head {
		var err error
		if head, err = HandOver(t.Context(), r.d, ring, Event{At: testkit.Start, Actor: ByOperator, Kind: KeyRotated, Detail: newest}); err != nil {
			t.Fatal(err)
		}
		return head
	})
	if err == nil {
		_, err = secret.DropOldKeys(t.Context(), r.from, newest)
	}
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// thief has copies of old rings and may write to the database.
type thief struct {
	d     *db.DB
	log   []Event // as it was when all were sealed
	rings []*secret.Ring
	ends  []Head // where the keys of each ring were replaced
}

// store replaces the whole chain by these events and the record of the head by
// that of the last.
func (f thief) store(ctx context.Context, tx *db.Tx, chain []Event) error {
	for _, table := range []string{"events", "audit_checkpoints"} {
		if _, err := db.Exec(ctx, tx, `DELETE FROM `+table); err != nil {
			return err
		}
	}
	for _, e := range chain {
		_, err := db.Exec(ctx, tx, `
			INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser, authenticator_id, seq, mac)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			e.ID, db.At{Time: e.At}, e.AccountID, e.Actor, string(e.Kind), e.Outcome, e.Detail, e.Number, e.Address, e.Browser, e.AuthenticatorID, e.Seq, e.MAC)
		if err != nil {
			return err
		}
	}
	last := headOf(chain[len(chain)-1])
	_, err := db.Exec(ctx, tx, `UPDATE audit_head SET seq = $1, mac = $2`, last.Seq, last.MAC)
	return err
}

// forged returns the chain up to before, and events that ring's key seals on
// from there: those of the log with another address, and more.
func (f thief) forged(ring *secret.Ring, before, until int64) []Event {
	chain := append([]Event(nil), f.log[:before]...)
	for seq := before + 1; seq <= until; seq++ {
		e := Event{ID: fmt.Sprint("forged", seq), At: testkit.Start, Actor: ByOwner, Kind: SignedIn, Outcome: Done}
		if seq <= int64(len(f.log)) {
			e = f.log[seq-1]
		}
		e.Seq, e.Address = seq, "203.0.113.9"
		e.MAC = ring.Signer().Sign(forEvent, link(prevOf(chain), e))
		chain = append(chain, e)
	}
	return chain
}

func prevOf(chain []Event) Head {
	if len(chain) == 0 {
		return Head{}
	}
	return headOf(chain[len(chain)-1])
}

// A copy of an old ring and the whole database don't change, add or delete an
// event from before or after the rotation unnoticed. The log has two of them,
// and the thief the rings of before each.
func TestOldRingsForgeNothing(t *testing.T) {
	attacks := []struct {
		name string
		do   func(f thief, ring *secret.Ring, end Head) (chain []Event, checkpoint *checkpoint)
		want FaultKind
	}{
		{"an event after the hand-over is changed", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return append(f.forged(ring, end.Seq, end.Seq+1), f.log[end.Seq+1:]...), nil
		}, Changed},
		{"the end after the hand-over is replaced", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.forged(ring, end.Seq, int64(len(f.log))+5), nil
		}, Changed},
		{"events are added at the end", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.forged(ring, int64(len(f.log)), int64(len(f.log))+1), nil
		}, Changed},
		{"the log is cut back to before the hand-over and goes on", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.forged(ring, end.Seq-3, int64(len(f.log))+5), nil
		}, Changed},
		{"the log is cut back to before the hand-over", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.log[:end.Seq-1], nil
		}, Cut},
		{"the log is rewritten, and ends before the hand-over", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.forged(ring, end.Seq-4, end.Seq-1), nil
		}, Cut},
		{"the log is rewritten from the start up to the hand-over", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return append(f.forged(ring, 0, end.Seq-1), f.log[end.Seq-1:]...), nil
		}, Changed},
		{"an event before the hand-over is deleted", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			chain := f.forged(ring, end.Seq-4, end.Seq-1)
			for i, e := range f.log[end.Seq:] {
				e.Seq = end.Seq + int64(i)
				chain = append(chain, e)
			}
			return chain, nil
		}, Changed},
		{"the hand-over is moved to a later event", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return append(f.forged(ring, end.Seq-1, end.Seq), f.log[end.Seq:]...), nil
		}, Changed},
		{"generations are swapped", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			chain := f.forged(ring, end.Seq, end.Seq+1)
			copy(chain[end.Seq].MAC, end.MAC[:6]) // says that the new key made it
			return append(chain, f.log[end.Seq+1:]...), nil
		}, Changed},
		{"an old end is replayed", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			chain := append([]Event(nil), f.log[:end.Seq+1]...)
			again := f.log[end.Seq-3]
			again.Seq = end.Seq + 2
			again.ID = "replayed"
			return append(chain, again), nil
		}, Changed},
		{"a checkpoint stands for deleted events of before", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.log[end.Seq-2:], &checkpoint{Head: headOf(f.log[end.Seq-3]), Events: end.Seq - 2}
		}, Checkpoint},
		{"a checkpoint stands for deleted events of after", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.log[end.Seq+1:], &checkpoint{Head: headOf(f.log[end.Seq]), Events: end.Seq + 1}
		}, Checkpoint},
	}
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r, f := newRings(t, d), thief{d: d}
		for range 2 {
			f.rings = append(f.rings, r.copied(t))
			add(t, d, testkit.Start, 6)
			sealAll(t, d, r.copied(t))
			add(t, d, testkit.Start, 2) // wait while the keys rotate
			r.add(t)
			f.ends = append(f.ends, r.rotate(t))
		}
		ring := r.copied(t)
		add(t, d, testkit.Start, 6)
		sealAll(t, d, ring)
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Fatal(err)
		}
		f.log = all(t, d)
		for i, old := range f.rings {
			for _, end := range f.ends[i:] {
				for _, attack := range attacks {
					chain, checkpoint := attack.do(f, old, end)
					fault := f.attack(t, ring, old, chain, checkpoint)
					// The first ring was replaced long before the second hand-over.
					if fault == nil || fault.Kind != attack.want && end.Equal(f.ends[i]) {
						t.Errorf("ring %d: %s: %v, want a fault of kind %s", i, attack.name, fault, attack.want)
					}
				}
			}
		}
	})
}

// attack puts the chain, and a checkpoint that the old ring signs, in place of
// what is there, returns what verify says, and undoes it.
func (f thief) attack(t *testing.T, ring, old *secret.Ring, chain []Event, c *checkpoint) (fault *Fault) {
	t.Helper()
	undo := errors.New("undo")
	err := f.d.Write(t.Context(), func(tx *db.Tx) error {
		if err := f.store(t.Context(), tx, chain); err != nil {
			return err
		}
		if c != nil {
			c.MadeAt = testkit.Start
			c.MAC = old.Signer().Sign(forCheckpoint, c.link(checkpoint{}))
			_, err := db.Exec(t.Context(), tx, `INSERT INTO audit_checkpoints (seq, head, events, made_at, mac) VALUES ($1, $2, $3, $4, $5)`,
				c.Head.Seq, c.Head.MAC, c.Events, db.At{Time: c.MadeAt}, c.MAC)
			if err != nil {
				return err
			}
		}
		if _, err := Verify(t.Context(), tx, ring, Head{}); !errors.As(err, &fault) {
			t.Errorf("verify: %v", err)
		} else {
			t.Log(fault.Text)
		}
		// A server goes on, and not under the old key. That hides nothing.
		for range 10 {
			if err := Append(t.Context(), tx, Event{At: testkit.Start, Actor: ByOwner, Kind: SignedIn}); err != nil {
				return err
			}
		}
		if head, _, err := seal(t.Context(), tx, ring); err != nil || !ring.IsCurrent(head.MAC) {
			t.Errorf("the next events are sealed up to %s, %v", head, err)
		}
		var later *Fault
		if _, err := Verify(t.Context(), tx, ring, Head{}); !errors.As(err, &later) {
			t.Errorf("%v; when the log has gone on: %v", fault, err)
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	return fault
}

// The last checkpoint passes to the new key, so that it can't be deleted or
// replaced, and retention goes on.
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
		behind := r.copied(t) // a node that never gets the newest
		r.rotate(t)
		ring := r.copied(t)
		verify := func(pruned int64) {
			t.Helper()
			report, err := Verify(t.Context(), d.Reader(), ring, Head{})
			if err != nil || report.Pruned.Seq != pruned {
				t.Errorf("verify: %+v, %v; want all pruned up to %d", report, err, pruned)
			}
		}
		verify(5)
		prune(behind, 7, 2)
		verify(7)
		prune(ring, 9, 2)
		verify(9)
		prune(ring, 100, 4) // the hand-over too
		verify(13)
	})
}

// Nodes that have the spare key, and follow, seal while keys rotate again and
// again: the chain never forks, nor is an honest event taken for a forged one.
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
			if given := <-done; given["ok"] != sealers {
				t.Fatalf("sealers ended with %v", given)
			}
			sealAll(t, d, copies)
		}
		ring := r.copied(t)
		if len(ring.Handovers()) != rotations {
			t.Errorf("%d hand-overs", len(ring.Handovers()))
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Error(err)
		}
	})
}

// A rotation that was killed after the log went on under the new key, before
// the ring kept the place, is done again.
func TestHandOverIsDoneAgain(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		add(t, d, testkit.Start, 1)
		sealAll(t, d, r.copied(t))
		r.add(t)
		var lost Head
		_, err := secret.RotateKeys(t.Context(), r.from, r.copied(t).Keys()[1].ID, func(ring *secret.Ring) Head {
			var err error
			if lost, err = HandOver(t.Context(), d, ring, Event{At: testkit.Start, Actor: ByOperator, Kind: KeyRotated}); err != nil {
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
			t.Errorf("handed over at %d, then at %d", lost.Seq, kept.Seq)
		}
		if report, err := Verify(t.Context(), d.Reader(), r.copied(t), lost); err != nil || report.Events != 4 {
			t.Errorf("verify: %+v, %v", report, err)
		}
	})
}

// A node that never got the new key says so, and leaves the chain alone.
func TestNodeWithoutTheNewKeySealsNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		old := r.copied(t)
		r.add(t)
		head := r.rotate(t)
		add(t, d, testkit.Start, 1)
		for what, err := range map[string]error{
			"look": CanSeal(t.Context(), d.Reader(), old),
			"seal": func() error { _, _, err := Seal(t.Context(), d, old); return err }(),
		} {
			if !errors.Is(err, secret.ErrUnknownKey) || !strings.Contains(err.Error(), "copy the newest key ring to this node") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := CanSeal(t.Context(), d.Reader(), r.copied(t)); err != nil {
			t.Error(err)
		}
		if report, err := Verify(t.Context(), d.Reader(), r.copied(t), head); err != nil || !report.Head.Equal(head) {
			t.Errorf("verify: %+v, %v", report, err)
		}
	})
}
