package maintenance

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// note appends n events and seals them with the ring, as a server with this ring does.
func note(t *testing.T, d *db.DB, ring *secret.Ring, n int) audit.Head {
	t.Helper()
	for range n {
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			return audit.Append(t.Context(), tx, audit.Event{At: testkit.Start, Actor: audit.ByOwner, Kind: audit.SignedIn})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	head, _, err := audit.Seal(t.Context(), d, ring)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// An attacker has a copy of the key ring and write access to the database. After "key add" and
// "key rotate --drop" they can't replace the end of the log by a forged one.
func TestStolenRingSealsNothingAfterItsKeysWereDropped(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			keys, _ := keysOf(t, engine, 1)
			before := note(t, keys.DB, keys.Ring, 3)
			stolen, err := keys.From.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Add(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Rotate(ctx); err != nil {
				t.Fatal(err)
			}
			if n, err := keys.RemoveOldKeys(ctx); err != nil || n != 1 {
				t.Fatalf("dropped %d keys, %v; want 1", n, err)
			}
			after := note(t, keys.DB, keys.Ring, 2)
			ring, err := keys.From.Read(ctx) // as "audit verify" does
			if err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Verify(ctx, keys.DB.Reader(), ring, after); err != nil {
				t.Fatalf("verify: %v, want nil", err)
			}
			err = keys.DB.Write(ctx, func(tx *db.Tx) error {
				_, err := db.Exec(ctx, tx, `DELETE FROM events WHERE seq > $1 OR seq IS NULL`, before.Seq)
				if err == nil {
					_, err = db.Exec(ctx, tx, `UPDATE audit_head SET seq = $1, mac = $2`, before.Seq, before.MAC)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			note(t, keys.DB, stolen, 10)
			_, err = audit.Verify(ctx, keys.DB.Reader(), ring, audit.Head{})
			if fault := (*audit.Fault)(nil); !errors.As(err, &fault) || fault.Seq <= before.Seq {
				t.Errorf("forged from event %d on: %v, want a fault after the genuine events", before.Seq+1, err)
			}
		})
	}
}

// A node with an old ring and a node with the newest ring seal one chain.
func TestNodesWithDifferentRingsSealOneChain(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			keys, _ := keysOf(t, engine, 1)
			if _, err := keys.Add(ctx); err != nil {
				t.Fatal(err)
			}
			other, err := keys.From.Read(ctx) // copied before the rotation
			if err != nil {
				t.Fatal(err)
			}
			sealing, stop := make(chan error, 1), make(chan struct{})
			go func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						sealing <- nil
						return
					default:
					}
					err := keys.DB.Write(ctx, func(tx *db.Tx) error {
						return audit.Append(ctx, tx, audit.Event{At: testkit.Start.Add(time.Duration(i)), Actor: audit.ByOwner, Kind: audit.SignedIn})
					})
					if err == nil {
						_, _, err = audit.Seal(ctx, keys.DB, other)
					}
					if err != nil {
						sealing <- err
						return
					}
				}
			}()
			if _, err := keys.Rotate(ctx); err != nil {
				t.Fatal(err)
			}
			if n, err := keys.RemoveOldKeys(ctx); err != nil || n != 1 {
				t.Fatalf("dropped %d keys, %v; want 1", n, err)
			}
			note(t, keys.DB, keys.Ring, 1)
			note(t, keys.DB, other, 1)
			close(stop)
			if err := <-sealing; err != nil {
				t.Fatal(err)
			}
			if report, err := audit.Verify(ctx, keys.DB.Reader(), keys.Ring, audit.Head{}); err != nil {
				t.Errorf("verify: %+v, %v; want nil", report, err)
			}
		})
	}
}
