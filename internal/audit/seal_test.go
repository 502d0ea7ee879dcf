package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// add appends n events, the first at the time start and the others a minute apart.
func add(t *testing.T, d *db.DB, start time.Time, n int) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for i := range n {
			e := Event{At: start.Add(time.Duration(i) * time.Minute), AccountID: "a", Actor: ByOwner, Kind: SignedIn, Number: i, Address: "192.0.2.1", AuthenticatorID: "phone"}
			if err := Append(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sealAll seals all events and returns the head.
func sealAll(t *testing.T, d *db.DB, ring *secret.Ring) Head {
	t.Helper()
	for {
		head, n, err := Seal(t.Context(), d, ring)
		if err != nil {
			t.Fatal(err)
		}
		if n < Batch {
			return head
		}
	}
}

// exec runs statements as an attacker with the database but without a key.
func exec(t *testing.T, d *db.DB, statements ...string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		for _, s := range statements {
			if _, err := db.Exec(t.Context(), tx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, d *db.DB) []Event {
	t.Helper()
	var events []Event
	err := Each(t.Context(), d.Reader(), time.Time{}, func(e Event) error {
		events = append(events, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestSealedLogVerifies(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		if report, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil || report.Events != 0 {
			t.Fatalf("empty log: Verify returns %+v, %v; want no events", report, err)
		}
		add(t, d, testkit.Start, 2*Batch+5)
		if oldest, err := Waiting(t.Context(), d.Reader()); err != nil || oldest.IsZero() {
			t.Errorf("the oldest unsealed event is from %v, %v; want a time", oldest, err)
		}
		head := sealAll(t, d, ring)
		if oldest, err := Waiting(t.Context(), d.Reader()); err != nil || !oldest.IsZero() {
			t.Errorf("with all sealed, the oldest unsealed event is from %v, %v; want none", oldest, err)
		}
		// This event is older than some that were sealed before it.
		add(t, d, testkit.Start.Add(-time.Hour), 1)
		last := sealAll(t, d, ring)
		add(t, d, testkit.Start, 1) // unsealed, which is no fault
		for _, want := range []Head{{}, head, last} {
			report, err := Verify(t.Context(), d.Reader(), ring, want)
			if err != nil || report.Events != 2*Batch+6 || !report.Head.Equal(last) {
				t.Errorf("with the head %s Verify returns %+v, %v; want %d events and the head %s", want, report, err, 2*Batch+6, last)
			}
		}
		events := all(t, d)
		if len(events) != 2*Batch+7 {
			t.Fatalf("%d events, want %d", len(events), 2*Batch+7)
		}
		for i, e := range events[:2*Batch+6] {
			if e.Seq != int64(i)+1 {
				t.Fatalf("event %d has the number %d, want %d", i, e.Seq, i+1)
			}
		}
		if e := events[2*Batch+6]; e.Seq != 0 || e.MAC != nil || e.AuthenticatorID != "phone" {
			t.Errorf("the unsealed event reads back as %+v; want no number and no MAC, and the authenticator phone", e)
		}
	})
}

// Verify finds every change to a row and names the row (attack 159).
func TestVerifyNamesWhatWasDone(t *testing.T) {
	const n = 9
	// An attacker with full access to the database can drop the unique index.
	const noIndex = `DROP INDEX events_seq`
	insert := func(id string, seq int) string {
		return fmt.Sprintf(`INSERT INTO events (id, at, account_id, actor, kind, outcome, detail, number, address, browser, seq, mac)
			SELECT '%s', at, account_id, actor, kind, outcome, detail, number, address, browser, %d, mac FROM events WHERE seq = 3`, id, seq)
	}
	tests := []struct {
		name       string
		statements []string
		kind       FaultKind
		seq        int64
		event      int // the event whose id the fault names; 0 for a forged event or no id
	}{
		{"text changed", []string{`UPDATE events SET address = '203.0.113.9' WHERE seq = 5`}, Changed, 5, 5},
		{"time changed", []string{`UPDATE events SET at = at - 1 WHERE seq = 5`}, Changed, 5, 5},
		{"account changed", []string{`UPDATE events SET account_id = 'b' WHERE seq = 1`}, Changed, 1, 1},
		{"text pushed over a boundary", []string{`UPDATE events SET detail = 'x', outcome = 'done' WHERE seq = 4`}, Changed, 4, 4},
		{"MAC changed", []string{`UPDATE events SET mac = (SELECT mac FROM events WHERE seq = 3) WHERE seq = 5`}, Changed, 5, 5},
		{"last changed", []string{`UPDATE events SET outcome = 'refused' WHERE seq = 9`}, Changed, 9, 9},
		{"first and last changed", []string{`UPDATE events SET number = 77 WHERE seq = 1 OR seq = 9`}, Changed, 1, 1},
		{"one deleted", []string{`DELETE FROM events WHERE seq = 5`}, Deleted, 5, 0},
		{"several deleted", []string{`DELETE FROM events WHERE seq > 3 AND seq < 8`}, Deleted, 4, 0},
		{"first deleted", []string{`DELETE FROM events WHERE seq = 1`}, Deleted, 1, 0},
		{"deleted and renumbered", []string{noIndex, `DELETE FROM events WHERE seq = 5`, `UPDATE events SET seq = seq - 1 WHERE seq > 5`}, Deleted, 5, 0},
		{"several deleted and renumbered", []string{noIndex, `DELETE FROM events WHERE seq > 2 AND seq < 6`, `UPDATE events SET seq = seq - 3 WHERE seq > 5`}, Deleted, 3, 0},
		{"last but one deleted and renumbered", []string{`DELETE FROM events WHERE seq = 8`, `UPDATE events SET seq = 8 WHERE seq = 9`}, Deleted, 8, 0},
		{"inserted at the end", []string{insert("zz", 10)}, Inserted, 10, 0},
		{"inserted far behind the end", []string{insert("zz", 99)}, Inserted, 99, 0},
		{"inserted at a place that is taken", []string{noIndex, insert("zzzzzzzzzzzzzzzzzzzzzzzz", 5)}, Inserted, 5, 0},
		{"inserted before the one at that place", []string{noIndex, insert("", 5)}, Inserted, 5, 0},
		{"inserted before the first", []string{insert("zz", 0)}, Inserted, 0, 0},
		{"inserted and renumbered", []string{noIndex, `UPDATE events SET seq = seq + 1 WHERE seq > 4`, insert("zz", 5)}, Inserted, 5, 0},
		{"two swapped", []string{noIndex, `UPDATE events SET seq = 13 - seq WHERE seq = 5 OR seq = 8`}, Moved, 8, 8},
		{"neighbours swapped", []string{noIndex, `UPDATE events SET seq = 11 - seq WHERE seq = 5 OR seq = 6`}, Moved, 6, 6},
		{"first and last swapped", []string{noIndex, `UPDATE events SET seq = 10 - seq WHERE seq = 1 OR seq = 9`}, Moved, 9, 9},
		{"moved behind the end", []string{`UPDATE events SET seq = 10 WHERE seq = 5`}, Moved, 5, 5},
		{"last moved", []string{`UPDATE events SET seq = 12 WHERE seq = 9`}, Moved, 9, 9},
		{"moved later, the rest closed up", []string{noIndex, `UPDATE events SET seq = CASE WHEN seq = 3 THEN 7 ELSE seq - 1 END WHERE seq >= 3 AND seq <= 7`}, Moved, 3, 3},
		{"moved earlier, the rest made room", []string{noIndex, `UPDATE events SET seq = CASE WHEN seq = 7 THEN 3 ELSE seq + 1 END WHERE seq >= 3 AND seq <= 7`}, Moved, 7, 7},
		{"moved to a place that is taken", []string{noIndex, `UPDATE events SET seq = 3 WHERE seq = 7`}, Moved, 7, 7},
		{"unsealed to be sealed anew", []string{`UPDATE events SET seq = NULL, mac = NULL WHERE seq = 4`}, Deleted, 4, 0},
		{"end cut off", []string{`DELETE FROM events WHERE seq > 6`}, Cut, 7, 0},
		{"all deleted", []string{`DELETE FROM events`}, Cut, 1, 0},
		{"record of the head set back", []string{`UPDATE audit_head SET seq = 4, mac = (SELECT mac FROM events WHERE seq = 4)`}, BadHead, 9, 0},
		{"record of the head deleted", []string{`DELETE FROM audit_head`}, BadHead, 9, 0},
		{"event changed and record of the head deleted", []string{`UPDATE events SET number = 77 WHERE seq = 9`, `DELETE FROM audit_head`}, Changed, 9, 9},
	}
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, n)
		sealAll(t, d, ring)
		events := all(t, d)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				// The error rolls the change back.
				undo := errors.New("undo")
				err := d.Write(t.Context(), func(tx *db.Tx) error {
					for _, s := range test.statements {
						if _, err := db.Exec(t.Context(), tx, s); err != nil {
							return fmt.Errorf("%s: %w", s, err)
						}
					}
					_, err := Verify(t.Context(), tx, ring, Head{})
					var fault *Fault
					if !errors.As(err, &fault) {
						t.Errorf("Verify returns %v, want a fault", err)
						return undo
					}
					t.Log(fault.Text)
					if fault.Kind != test.kind || fault.Seq != test.seq {
						t.Errorf("got %s at %d, want %s at %d", fault.Kind, fault.Seq, test.kind, test.seq)
					}
					if test.event > 0 && fault.ID != events[test.event-1].ID {
						t.Errorf("the fault names %q, want the id of event %d", fault.ID, test.event)
					}
					return undo
				})
				if !errors.Is(err, undo) {
					t.Fatal(err)
				}
			})
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Errorf("all changes were rolled back, but Verify returns %v, want nil", err)
		}
	})
}

// If the end of the events is cut off and the record of the head is changed to match, only a head
// from the server's log shows that.
func TestHeadFromTheLogFindsACutEnd(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, 5)
		early := sealAll(t, d, ring)
		add(t, d, testkit.Start, 5)
		late := sealAll(t, d, ring)
		exec(t, d, `DELETE FROM events WHERE seq > 7`, `UPDATE audit_head SET seq = 7, mac = (SELECT mac FROM events WHERE seq = 7)`)
		if _, err := Verify(t.Context(), d.Reader(), ring, early); err != nil {
			t.Errorf("with a head before the cut Verify returns %v, want nil", err)
		}
		check := func(what string) {
			t.Helper()
			_, err := Verify(t.Context(), d.Reader(), ring, late)
			if fault := (*Fault)(nil); !errors.As(err, &fault) || fault.Kind != Cut || !strings.Contains(fault.Text, "event 10") {
				t.Errorf("%s: got %v, want a cut that names event 10", what, err)
			}
		}
		check("cut")
		// The log grows past the length that it had.
		add(t, d, testkit.Start, 8)
		sealAll(t, d, ring)
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Errorf("without a head from the log Verify returns %v, want nil", err)
		}
		check("cut and continued")
	})
}

func TestOtherRingVerifiesNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		add(t, d, testkit.Start, 2)
		sealAll(t, d, secret.NewRing())
		_, err := Verify(t.Context(), d.Reader(), secret.NewRing(), Head{})
		if err == nil || !strings.Contains(err.Error(), "not in the key ring") {
			t.Errorf("Verify returns %v, want that the key isn't in the ring", err)
		}
	})
}

// Even if several nodes seal at the same time, no number is given twice. A lease alone
// doesn't ensure that.
func TestNoNumberIsGivenTwice(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const events, sealers = 3*Batch + 7, 6
		ring := secret.NewRing()
		add(t, d, testkit.Start, events)
		outcomes := testkit.Race(sealers, func(int) string {
			for {
				oldest, err := Waiting(context.Background(), d.Reader())
				if err != nil || oldest.IsZero() {
					return testkit.Outcome(err)
				}
				if _, _, err := Seal(context.Background(), d, ring); err != nil {
					return testkit.Outcome(err)
				}
			}
		})
		if outcomes["ok"] != sealers {
			t.Errorf("sealers ended with %v, want all ok", outcomes)
		}
		report, err := Verify(t.Context(), d.Reader(), ring, Head{})
		if err != nil || report.Events != events {
			t.Errorf("Verify returns %+v, %v; want %d events", report, err, events)
		}
	})
}

// A sealer that is killed before its commit has no effect.
func TestKilledSealerLeavesNothingHalfDone(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ring := secret.NewRing()
		add(t, d, testkit.Start, 5)
		before := sealAll(t, d, ring)
		add(t, d, testkit.Start, 5)
		killed := errors.New("killed")
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			if _, n, err := seal(t.Context(), tx, ring); err != nil || n != 5 {
				return fmt.Errorf("sealed %d: %w", n, err)
			}
			return killed
		})
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		if report, err := Verify(t.Context(), d.Reader(), ring, before); err != nil || report.Events != 5 {
			t.Errorf("after the kill Verify returns %+v, %v; want 5 events", report, err)
		}
		sealAll(t, d, ring)
		if report, err := Verify(t.Context(), d.Reader(), ring, before); err != nil || report.Events != 10 {
			t.Errorf("after the next sealer Verify returns %+v, %v; want 10 events", report, err)
		}
	})
}
