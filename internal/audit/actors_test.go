package audit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
)

// byAdministrator returns an event that has all three fields of the second form.
func byAdministrator(at time.Time) Event {
	return Event{At: at, AccountID: "ada", Actor: "administrator", Kind: AccountDisabled, Outcome: Done, ActorID: "eve", ClientID: "radio", Reason: "left the company"}
}

// reportOld records a node as version 12 did. That version didn't know the three fields.
const reportOld = `INSERT INTO nodes (id, name, ring_keys, expires_at) VALUES ('old', 'old node', 'key', 9999999999999)`

func TestActorsReadBack(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		want := []Event{byAdministrator(testkit.Start.Add(time.Second)), {At: testkit.Start, AccountID: "ada", Actor: ByOperator, Kind: PasswordSet, Outcome: Done, Reason: "asked by phone"}}
		write(t, d, want[1], want[0])
		if diff := cmp.Diff(want, list(t, d, "ada", Cursor{}, 10), cmpopts.IgnoreFields(Event{}, "ID"), cmpopts.IgnoreUnexported(Event{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		long := Event{At: testkit.Start.Add(time.Minute), AccountID: "ada", Reason: "a\r\n\x1b[31m" + strings.Repeat("ü", 1000)}
		write(t, d, long)
		if got := list(t, d, "ada", Cursor{}, 1)[0].Reason; got != "a[31m"+strings.Repeat("ü", 397) {
			t.Errorf("reason of %d bytes, want it cleaned and cut to 400 characters: %q", len(got), got)
		}
	})
}

// A node of an earlier version would seal the event without the fields, and from then on Verify
// would report the event as changed.
func TestActorsAreLeftOutWhileAnOlderNodeRuns(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		without := byAdministrator(testkit.Start)
		without.ActorID, without.ClientID, without.Reason = "", "", ""
		check := func(when string, want Event) {
			t.Helper()
			write(t, d, byAdministrator(testkit.Start))
			got := list(t, d, "ada", Cursor{}, 1)[0]
			exec(t, d, `DELETE FROM events`)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Event{}, "ID"), cmpopts.IgnoreUnexported(Event{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		since := func() int64 {
			since, err := db.UsableSince(t.Context(), d.Reader())
			testkit.Check(t, err)
			return since
		}
		before := since()
		exec(t, d, reportOld)
		check("beside an older node", without)
		write(t, d, Event{At: testkit.Start, AccountID: "ada", Reason: "\n"}) // becomes empty
		if got := since(); got != before {
			t.Errorf("the database is usable since %d, want %d as before", got, before)
		}
		exec(t, d, `DELETE FROM nodes`, `DELETE FROM events`)
		write(t, d, without)
		if got := since(); got != before {
			t.Errorf("after an event of the first form: usable since %d, want %d as before", got, before)
		}
		exec(t, d, `DELETE FROM events`)
		check("when it has stopped", byAdministrator(testkit.Start))
		if got := since(); got != cluster.Audit2.Version {
			t.Errorf("the database is usable since %d, want %d", got, cluster.Audit2.Version)
		}
		exec(t, d, reportOld)
		check("when it was only frozen", without)
	})
}

// A node of version 12 seals as it always did if it comes back after the second form was first
// used, or if it hasn't reported yet.
func TestVersion12CannotSealTheSecondForm(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ring := t.Context(), secret.NewRing()
		// seal12 does what Seal of version 12 did.
		seal12 := func() error {
			return d.Write(ctx, func(tx *db.Tx) error {
				head, err := readHead(ctx, tx)
				testkit.Check(t, err)
				events, err := unsealedEvents(ctx, tx, Event{}, Batch)
				testkit.Check(t, err)
				for _, e := range events {
					e.ActorID, e.ClientID, e.Reason = "", "", ""
					mac := ring.Signer().Sign(forEvent, link(head, e))
					head = Head{Seq: head.Seq + 1, MAC: mac}
					if _, err := db.Exec(ctx, tx, `UPDATE events SET seq = $2, mac = $3 WHERE id = $1 AND seq IS NULL`, e.ID, head.Seq, head.MAC); err != nil {
						return err
					}
				}
				_, err = db.Exec(ctx, tx, `UPDATE audit_head SET seq = $1, mac = $2`, head.Seq, head.MAC)
				return err
			})
		}
		verify := func(want int64) {
			t.Helper()
			if report, err := Verify(ctx, d.Reader(), ring, Head{}); err != nil || report.Events != want {
				t.Errorf("Verify returns %+v, %v; want %d events", report, err, want)
			}
		}
		add(t, d, testkit.Start, 2)
		testkit.Check(t, seal12())
		verify(2)
		addBoth(t, d, testkit.Start.Add(time.Hour), 4)
		if err := seal12(); err == nil {
			t.Error("version 12 sealed events of the second form")
		}
		verify(2)
		sealAll(t, d, ring)
		verify(6)
		add(t, d, testkit.Start.Add(2*time.Hour), 1)
		testkit.Check(t, seal12())
		verify(7)
	})
}

// Many writers append the first events of the second form at the same time.
func TestFirstActorsAtOnce(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const writers, each = 8, 5
		ring := secret.NewRing()
		outcomes := testkit.Race(writers, func(i int) string {
			for n := range each {
				err := d.Write(context.Background(), func(tx *db.Tx) error {
					return Append(context.Background(), tx, byAdministrator(testkit.Start.Add(time.Duration(i*each+n))))
				})
				if err == nil {
					_, _, err = Seal(context.Background(), d, ring)
				}
				if err != nil {
					return err.Error()
				}
			}
			return "ok"
		})
		if outcomes["ok"] != writers {
			t.Errorf("writers ended with %v, want all ok", outcomes)
		}
		sealAll(t, d, ring)
		if report, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil || report.Events != writers*each {
			t.Errorf("Verify returns %+v, %v; want %d events", report, err, writers*each)
		}
	})
}

// addBoth appends n events, the first at the time start and the others a minute apart. The
// second, fourth and so on have the second form.
func addBoth(t *testing.T, d *db.DB, start time.Time, n int) {
	t.Helper()
	for i := range n {
		at := start.Add(time.Duration(i) * time.Minute)
		if i%2 == 0 {
			add(t, d, at, 1)
		} else {
			write(t, d, byAdministrator(at))
		}
	}
}

func TestLogOfBothFormsVerifies(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		r := newRings(t, d)
		addBoth(t, d, testkit.Start, 6)
		sealAll(t, d, r.copied(t))
		addBoth(t, d, testkit.Start.Add(6*time.Minute), 4) // unsealed while the keys rotate
		r.add(t)
		r.rotate(t)
		ring := r.copied(t)
		addBoth(t, d, testkit.Start.Add(10*time.Minute), 7)
		head := sealAll(t, d, ring)
		verify := func(events, pruned int64) {
			t.Helper()
			report, err := Verify(t.Context(), d.Reader(), ring, head)
			if err != nil || report.Events != events || report.Pruned.Seq != pruned {
				t.Errorf("Verify returns %+v, %v; want %d events, pruned up to %d", report, err, events, pruned)
			}
		}
		verify(18, 0)
		for minutes := 1; minutes <= 4; minutes++ { // the event of the hand-over is as old as the first
			if _, _, err := Prune(t.Context(), d, ring, testkit.Start.Add(time.Duration(minutes)*time.Minute), testkit.Start); err != nil {
				t.Fatal(err)
			}
			verify(18-int64(minutes), int64(minutes))
		}
		if _, n, err := Prune(t.Context(), d, ring, testkit.Start.Add(time.Hour), testkit.Start); err != nil || n != 14 {
			t.Errorf("pruned %d, %v; want 14", n, err)
		}
		if report, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil || report.Events != 0 {
			t.Errorf("when all is pruned Verify returns %+v, %v; want no events", report, err)
		}
	})
}

// changesOfActors returns a map of statements, each of which changes one event of the log in
// [TestVerifyFindsChangedActors], to the place of that event.
func changesOfActors(engine string) map[string]int64 {
	columns := []string{"actor_id", "client_id", "reason"}
	tests := map[string]int64{ // from the statement to the place of the event that it changes
		// Events 1, 3 and 5 have the first form, 2, 4 and 6 the second.
		`UPDATE events SET actor_id = NULL, client_id = NULL, reason = NULL WHERE seq = 2`:                   2,
		`UPDATE events SET actor_id = '', client_id = '', reason = '' WHERE seq = 2`:                         2,
		`UPDATE events SET actor_id = 'eve', client_id = 'radio', reason = 'left the company' WHERE seq = 3`: 3,
		`UPDATE events SET actor_id = '', client_id = '', reason = '' WHERE seq = 3`:                         3,
		`UPDATE events SET actor_id = client_id, client_id = actor_id WHERE seq = 4`:                         4,
		`UPDATE events SET actor_id = 'ever', client_id = 'adio' WHERE seq = 4`:                              4,
		`UPDATE events SET actor_id = 'everadio', client_id = NULL WHERE seq = 4`:                            4,
		`UPDATE events SET actor_id = NULL, reason = NULL WHERE seq = 6`:                                     6,
		`UPDATE events SET authenticator_id = 'eve', actor_id = NULL WHERE seq = 6`:                          6,
		`UPDATE events SET actor_id = authenticator_id, authenticator_id = NULL WHERE seq = 5`:               5,
		`UPDATE events SET authenticator_id = reason, reason = NULL WHERE seq = 2`:                           2,
		`UPDATE events SET authenticator_id = '' WHERE seq = 2`:                                              2,
		`UPDATE events SET authenticator_id = '' WHERE seq = 7`:                                              7,
	}
	if engine == "sqlite" { // which stores values of any type in any column
		for _, column := range append(columns, "authenticator_id") {
			tests[`UPDATE events SET `+column+` = x'' WHERE seq = 1`] = 1
			tests[`UPDATE events SET `+column+` = x'' WHERE seq = 2`] = 2
		}
		for _, column := range []string{"id", "account_id", "kind"} {
			tests[`UPDATE events SET `+column+` = CAST(`+column+` AS BLOB) WHERE seq = 1`] = 1
			tests[`UPDATE events SET `+column+` = CAST(`+column+` AS BLOB) WHERE seq = 2`] = 2
		}
	}
	for _, column := range columns {
		tests[`UPDATE events SET `+column+` = 'x' WHERE seq = 1`] = 1
		tests[`UPDATE events SET `+column+` = '' WHERE seq = 1`] = 1
		tests[`UPDATE events SET `+column+` = ' ' WHERE seq = 1`] = 1
		tests[`UPDATE events SET `+column+` = '' WHERE seq = 5`] = 5
		tests[`UPDATE events SET `+column+` = 'x' WHERE seq = 4`] = 4
		tests[`UPDATE events SET `+column+` = '' WHERE seq = 4`] = 4
		tests[`UPDATE events SET `+column+` = NULL WHERE seq = 4`] = 4
		tests[`UPDATE events SET `+column+` = NULL WHERE seq = 6`] = 6
		// Each of the last two events has only one of the three fields.
		if column != "reason" {
			tests[`UPDATE events SET `+column+` = '' WHERE seq = 7`] = 7
		}
		if column != "client_id" {
			tests[`UPDATE events SET `+column+` = '' WHERE seq = 8`] = 8
		}
	}
	return tests
}

// Verify finds every change of the three columns, even one between an empty text and NULL, which
// read the same (attack 159).
func TestVerifyFindsChangedActors(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		engine := "postgres"
		if d.ServesOne() {
			engine = "sqlite"
		}
		ring := secret.NewRing()
		addBoth(t, d, testkit.Start, 6)
		write(t, d, Event{At: testkit.Start.Add(time.Hour), Actor: ByOperator, Reason: "x"}, Event{At: testkit.Start.Add(2 * time.Hour), Actor: ByOwner, ClientID: "radio"})
		sealAll(t, d, ring)
		events := all(t, d)
		for statement, seq := range changesOfActors(engine) {
			undo := errors.New("undo")
			err := d.Write(t.Context(), func(tx *db.Tx) error {
				// An attacker can make every row meet the table's CHECK constraint.
				_, err := db.Exec(t.Context(), tx, `UPDATE events SET sealed_form = 2`)
				testkit.Check(t, err)
				if n, err := db.Exec(t.Context(), tx, statement); err != nil || n == 0 {
					t.Errorf("%s: changed %d rows, %v; want at least 1", statement, n, err)
				}
				_, err = Verify(t.Context(), tx, ring, Head{})
				var fault *Fault
				if !errors.As(err, &fault) || fault.Kind != Changed || fault.Seq != seq || fault.ID != events[seq-1].ID {
					t.Errorf("%s: %v, want that event %d was changed", statement, err, seq)
				}
				if _, n, err := prune(t.Context(), tx, ring, testkit.Start.Add(24*time.Hour), testkit.Start); err == nil {
					t.Errorf("%s: Prune deletes %d events and signs a checkpoint, want an error", statement, n)
				}
				return undo
			})
			if !errors.Is(err, undo) {
				t.Fatal(err)
			}
		}
		if _, err := Verify(t.Context(), d.Reader(), ring, Head{}); err != nil {
			t.Errorf("all changes were rolled back, but Verify returns %v, want nil", err)
		}
	})
}

// A signature of an event of one form isn't valid for an event of the other, even if the same
// bytes are signed.
func TestFormsCannotBeExchanged(t *testing.T) {
	ring, prev := secret.NewRing(), Head{Seq: 4, MAC: []byte("mac")}
	first := Event{ID: "id", Actor: ByOwner, Kind: SignedIn, Outcome: Done, AuthenticatorID: "phone"}
	second := first
	second.ActorID = "x"
	for _, test := range []struct {
		e       Event
		purpose string
		want    bool
	}{{first, forEvent, true}, {first, forExtended, false}, {second, forExtended, true}, {second, forEvent, false}} {
		test.e.MAC = ring.Signer().Sign(test.purpose, link(prev, test.e))
		if got := follows(ring, prev, test.e); got != test.want {
			t.Errorf("an event with the actor %q, signed as %q: follows is %v, want %v", test.e.ActorID, test.purpose, got, test.want)
		}
	}
}
