package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// rings is the file of a key ring and the database whose log it seals.
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

// copied returns a copy of the present ring.
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

// appending returns a function that appends the event of a rotation, as [HandOver] wants it.
func appending(ctx context.Context, e Event) func(*db.Tx) error {
	return func(tx *db.Tx) error { return Append(ctx, tx, e) }
}

// rotate makes the newest key the one that seals, and drops the others. It returns the head at
// which the new key took over.
func (r rings) rotate(t *testing.T) Head {
	t.Helper()
	keys := r.copied(t).Keys()
	newest := keys[len(keys)-1].ID
	var head Head
	_, err := secret.RotateKeys(t.Context(), r.from, newest, func(ring *secret.Ring) Head {
		var err error
		if head, err = HandOver(t.Context(), r.d, ring, appending(t.Context(), Event{At: testkit.Start, Actor: ByOperator, Kind: KeyRotated, Detail: newest})); err != nil {
			t.Fatal(err)
		}
		return head
	})
	if err == nil {
		_, err = secret.RemoveOldKeys(t.Context(), r.from, newest)
	}
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// thief is an attacker who has copies of old rings and can write to the database.
type thief struct {
	d     *db.DB
	log   []Event // the genuine log, all of it sealed
	rings []*secret.Ring
	ends  []Head // the head at which the keys of each ring were replaced
}

// store replaces all events with those of chain, and the recorded head with the last event of
// chain.
func (f thief) store(ctx context.Context, tx *db.Tx, chain []Event) error {
	for _, table := range []string{"events", "audit_checkpoints"} {
		if _, err := db.Exec(ctx, tx, `DELETE FROM `+table); err != nil {
			return err
		}
	}
	for _, e := range chain {
		_, err := db.Exec(ctx, tx, `
			INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser, authenticator_id, seq, mac)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULLIF($11, ''), $12, $13)`,
			e.ID, db.At{Time: e.At}, e.AccountID, e.Actor, string(e.Kind), e.Outcome, e.Detail, e.Number, e.Address, e.Browser, e.AuthenticatorID, e.Seq, e.MAC)
		if err != nil {
			return err
		}
	}
	last := headOf(chain[len(chain)-1])
	_, err := db.Exec(ctx, tx, `UPDATE audit_head SET seq = $1, mac = $2`, last.Seq, last.MAC)
	return err
}

// forged returns the genuine chain up to the place last and, from there up to the place end, events
// forged with the key of ring: first the log's own events with another address, then new ones.
func (f thief) forged(ring *secret.Ring, last, end int64) []Event {
	chain := append([]Event(nil), f.log[:last]...)
	for seq := last + 1; seq <= end; seq++ {
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

// An attacker with a copy of an old ring and the whole database can't change, add or
// delete an event unnoticed, before or after the rotation. The log has two rotations,
// and the thief has the rings before each.
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
			copy(chain[end.Seq].MAC, end.MAC[:6]) // the id of the new key
			return append(chain, f.log[end.Seq+1:]...), nil
		}, Changed},
		{"an old end is replayed", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			chain := append([]Event(nil), f.log[:end.Seq+1]...)
			replayed := f.log[end.Seq-3]
			replayed.Seq = end.Seq + 2
			replayed.ID = "replayed"
			return append(chain, replayed), nil
		}, Changed},
		{"a checkpoint replaces deleted events before the hand-over", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.log[end.Seq-2:], &checkpoint{Head: headOf(f.log[end.Seq-3]), Events: end.Seq - 2}
		}, Checkpoint},
		{"a checkpoint replaces deleted events after the hand-over", func(f thief, ring *secret.Ring, end Head) ([]Event, *checkpoint) {
			return f.log[end.Seq+1:], &checkpoint{Head: headOf(f.log[end.Seq]), Events: end.Seq + 1}
		}, Checkpoint},
	}
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r, f := newRings(t, d), thief{d: d}
		for range 2 {
			f.rings = append(f.rings, r.copied(t))
			add(t, d, testkit.Start, 6)
			sealAll(t, d, r.copied(t))
			add(t, d, testkit.Start, 2) // unsealed while the keys rotate
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
					// At the second hand-over the first ring gives a fault of another kind,
					// since its key was replaced long before.
					if fault == nil || fault.Kind != attack.want && end.Equal(f.ends[i]) {
						t.Errorf("ring %d: %s: got %v, want a fault of kind %s", i, attack.name, fault, attack.want)
					}
				}
			}
		}
	})
}

// attack replaces the log by chain and, if c isn't nil, a checkpoint that the old ring
// signs. It returns the fault that Verify finds, and undoes the attack.
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
			t.Errorf("Verify returns %v, want a fault", err)
		} else {
			t.Log(fault.Text)
		}
		// The server adds events and seals them under the present key. The fault must
		// still be found.
		for range 10 {
			if err := Append(t.Context(), tx, Event{At: testkit.Start, Actor: ByOwner, Kind: SignedIn}); err != nil {
				return err
			}
		}
		if head, _, err := seal(t.Context(), tx, ring); err != nil || !ring.IsCurrent(head.MAC) {
			t.Errorf("sealing the next events: head %s, %v; want it under the present key", head, err)
		}
		var later *Fault
		if _, err := Verify(t.Context(), tx, ring, Head{}); !errors.As(err, &later) {
			t.Errorf("first %v; after the log continued Verify returns %v, want a fault", fault, err)
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	return fault
}
