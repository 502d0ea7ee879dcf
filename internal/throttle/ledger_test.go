package throttle

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

var codeKey = Key{Account: "ada", Bucket: CodeUnknownDevice}

// reserve reserves one try of one unit and returns the outcome as text.
func reserve(l *Ledger, key Key) string {
	_, v, err := l.Reserve(context.Background(), Try{Key: key, Units: 1})
	if err != nil {
		return err.Error()
	}
	return map[Answer]string{Refuse: "refuse", Allow: "allow", Wait: "wait", NeedTwoCodes: "two codes"}[v.Answer]
}

// rowOf returns the stored entries of key.
func rowOf(t *testing.T, d *db.DB, key Key) []entry {
	t.Helper()
	row, _, err := readRow(context.Background(), d.Reader(), key)
	testkit.Check(t, err)
	return row
}

func TestRacedTriesStayWithinTheLimit(t *testing.T) {
	// Attack 2.
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		clock := testkit.NewClock()
		ledger := NewLedger(d, clock.Now)
		got := testkit.Race(64, func(int) string { return reserve(ledger, codeKey) })
		allowed, refused := got["allow"], got["two codes"]+got[ErrBusy.Error()]
		if allowed > 5 || allowed < 1 || allowed+refused != 64 {
			t.Errorf("64 concurrent tries = %v, want at most 5 allowed and no other error", got)
		}
		if n := len(rowOf(t, d, codeKey)); n != allowed {
			t.Errorf("%d tries stored, want the %d that were allowed", n, allowed)
		}
		// Further tries one by one fill the limit to exactly five.
		for range 10 {
			if reserve(ledger, codeKey) == "allow" {
				allowed++
			}
		}
		if n := len(rowOf(t, d, codeKey)); allowed != 5 || n != 5 {
			t.Errorf("%d allowed, %d stored, want 5", allowed, n)
		}
		clock.Move(day)
		if got := reserve(ledger, codeKey); got != "allow" {
			t.Errorf("a day later: %s, want allow", got)
		}
	})
}

// Many people behind one address sign in at the same time without a refusal.
func TestConcurrentTriesOfANetworkAreNotContended(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ledger := NewLedger(d, testkit.NewClock().Now)
		got := testkit.Race(32, func(i int) (said string) {
			for range 8 {
				r, v, err := ledger.Reserve(context.Background(),
					Try{Key: Key{fmt.Sprint("ada", i), CodeUnknownDevice, ""}, Units: 1}, Try{Key: Key{"", Prefix, "192.0.2.0/24"}, Units: 1})
				if err == nil && v.Answer == Allow {
					err = d.Write(context.Background(), func(tx *db.Tx) error { return GiveBack(context.Background(), tx, r) })
				}
				if err != nil {
					return err.Error()
				}
			}
			return "allow"
		})
		if got[ErrBusy.Error()] > 0 || got["allow"] == 0 {
			t.Errorf("32 concurrent tries from one network = %v, want allow and never ErrBusy", got)
		}
	})
}

func TestKeysDoNotShareABudget(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ledger := NewLedger(d, testkit.NewClock().Now)
		for range 6 {
			reserve(ledger, codeKey)
		}
		for _, key := range []Key{{"bob", CodeUnknownDevice, ""}, {"ada", TwoCodes, ""}, {"ada", CodeUnknownDevice, "device"}, {"", CodeUnknownDevice, ""}} {
			if got := reserve(ledger, key); got != "allow" {
				t.Errorf("%+v after ada's budget was used up: %s, want allow", key, got)
			}
		}
		if got := reserve(ledger, codeKey); got != "two codes" {
			t.Errorf("ada's used-up budget: %s, want two codes", got)
		}
	})
}

func TestPeekChangesNothing(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		for range 10 {
			if v, err := ledger.Peek(ctx, Try{Key: codeKey, Units: 5}); err != nil || v.Answer != Allow {
				t.Fatalf("Peek = %+v, %v; want Allow", v, err)
			}
		}
		if v, err := ledger.Peek(ctx, Try{Key: codeKey, Units: 6}); err != nil || v.Answer != NeedTwoCodes {
			t.Errorf("Peek for 6 units = %+v, %v; want NeedTwoCodes", v, err)
		}
		if row := rowOf(t, d, codeKey); len(row) != 0 {
			t.Errorf("%d entries after Peek, want none", len(row))
		}
	})
}

func TestGiveBackTakesOutOnlyItsOwnTry(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, clock := context.Background(), testkit.NewClock()
		ledger := NewLedger(d, clock.Now)
		var mine []Reservation
		for range 4 {
			r, v, err := ledger.Reserve(ctx, Try{Key: codeKey, Units: 1})
			if err != nil || v.Answer != Allow {
				t.Fatalf("Reserve = %+v, %v; want Allow", v, err)
			}
			mine = append(mine, r)
			clock.Move(time.Minute)
		}
		for range 2 { // a second GiveBack has no effect
			testkit.Check(t, ledger.GiveBack(ctx, mine[1]))
			row := rowOf(t, d, codeKey)
			if len(row) != 3 || row[0].id != mine[0].id || row[1].id != mine[2].id || row[2].id != mine[3].id {
				t.Fatalf("row = %+v, want the other entries unchanged (R6)", row)
			}
			for i, minutes := range []time.Duration{0, 2, 3} {
				if want := testkit.Start.Add(minutes * time.Minute); !row[i].at.Equal(want) || row[i].units != 1 {
					t.Errorf("entry %d = %+v, want that of %v", i, row[i], want)
				}
			}
		}
		// GiveBack ignores a reservation that was never written, and one in another row.
		testkit.Check(t, ledger.GiveBack(ctx, Reservation{rows: []reservedRow{{key: codeKey, version: 1}}, id: mine[0].id + 1}))
		testkit.Check(t, ledger.GiveBack(ctx, Reservation{rows: []reservedRow{{key: Key{Account: "bob", Bucket: CodeUnknownDevice}, version: 1}}, id: mine[0].id}))
		if n := len(rowOf(t, d, codeKey)); n != 3 {
			t.Errorf("%d entries, want 3", n)
		}
		// A rollback undoes GiveBack.
		rollback := errors.New("no")
		err := d.Write(ctx, func(tx *db.Tx) error {
			if err := GiveBack(ctx, tx, mine[0]); err != nil {
				return err
			}
			return rollback
		})
		if n := len(rowOf(t, d, codeKey)); !errors.Is(err, rollback) || n != 3 {
			t.Errorf("GiveBack rolled back: %v, %d entries, want 3", err, n)
		}
		got := testkit.Race(3, func(i int) string {
			return testkit.Outcome(ledger.GiveBack(ctx, []Reservation{mine[0], mine[2], mine[3]}[i]))
		})
		if n := len(rowOf(t, d, codeKey)); got["ok"] != 3 || n != 0 {
			t.Errorf("concurrent GiveBack = %v, %d entries left; want three ok, and none left", got, n)
		}
	})
}

func TestRefusedTryHasNoReservationAndLeavesNoTrace(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, clock := context.Background(), testkit.NewClock()
		ledger, key := NewLedger(d, clock.Now), Key{Account: "ada", Bucket: BackupCodeIssue}
		for range 3 {
			reserve(ledger, key)
		}
		clock.Move(10 * time.Minute)
		_, v, err := ledger.Reserve(ctx, Try{Key: key, Units: 1})
		if err != nil || v != (Verdict{Wait, BackupCodeIssue, 50 * time.Minute}) {
			t.Errorf("Reserve = %+v, %v; want Wait for 50 minutes", v, err)
		}
		if n := len(rowOf(t, d, key)); n != 3 {
			t.Errorf("%d entries, want 3: a refusal must not make the wait longer", n)
		}
	})
}

func TestBudgetSurvivesARestart(t *testing.T) {
	// Attack 6.
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, rawURL := context.Background(), testkit.DatabaseURL(t, engine)
			d, err := db.Open(ctx, rawURL)
			testkit.Check(t, err)
			ledger := NewLedger(d, testkit.NewClock().Now)
			for range 5 {
				if got := reserve(ledger, codeKey); got != "allow" {
					t.Fatal(got)
				}
			}
			testkit.Check(t, d.Close())
			ledger = NewLedger(testkit.Open(t, rawURL), testkit.NewClock().Now)
			if got := reserve(ledger, codeKey); got != "two codes" {
				t.Errorf("after a restart (R4): %s, want two codes", got)
			}
		})
	}
}

func TestRemoveAccountDeletesOneAccount(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		for _, who := range []string{"ada", "bob"} {
			for bucket := range rules {
				reserve(ledger, Key{Account: who, Bucket: bucket, Subject: "10.0.0.0/24"})
			}
		}
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return RemoveAccount(ctx, tx, "ada") }))
		var ada, bob int
		testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM ledger WHERE account_id = $1`, []any{"ada"}, &ada))
		testkit.Check(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM ledger WHERE account_id = $1`, []any{"bob"}, &bob))
		if ada != 0 || bob != len(rules) {
			t.Errorf("rows left: ada %d, bob %d; want 0, %d", ada, bob, len(rules))
		}
	})
}

func TestNoLedgerNoVerification(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ledger := NewLedger(d, testkit.NewClock().Now)
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		check := func(name string, ctx context.Context) {
			if v, err := ledger.Peek(ctx, Try{Key: codeKey, Units: 1}); !errors.Is(err, db.ErrUnavailable) || v.Answer != Refuse {
				t.Errorf("%s (F2): Peek = %+v, %v; want Refuse and ErrUnavailable", name, v, err)
			}
			if r, v, err := ledger.Reserve(ctx, Try{Key: codeKey, Units: 1}); !errors.Is(err, db.ErrUnavailable) || v.Answer != Refuse || len(r.rows) != 0 {
				t.Errorf("%s (F2): Reserve = %+v, %v; want Refuse and ErrUnavailable", name, v, err)
			}
		}
		check("cancelled", cancelled)
		testkit.Check(t, d.Close())
		check("closed", context.Background())
	})
}

func TestZeroAnswerRefuses(t *testing.T) {
	if (Verdict{}).Answer != Refuse {
		t.Errorf("zero verdict = %v, want Refuse", (Verdict{}).Answer)
	}
}

func TestSeveralTriesAreReservedTogetherOrNotAtAll(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		prefix := Key{Bucket: Prefix, Subject: "192.0.2.0/24"}
		both := []Try{{Key: prefix, Units: 1, Tag: "ada"}, {Key: codeKey, Units: 1}}
		for range 5 {
			if _, v, err := ledger.Reserve(ctx, both...); err != nil || v.Answer != Allow {
				t.Fatalf("Reserve = %+v, %v; want Allow", v, err)
			}
		}
		r, v, err := ledger.Reserve(ctx, both...)
		if err != nil || v.Answer != NeedTwoCodes || v.Bucket != CodeUnknownDevice || len(r.rows) != 0 {
			t.Fatalf("sixth try: %+v, %+v, %v; want NeedTwoCodes and no reservation", r, v, err)
		}
		if n := len(rowOf(t, d, prefix)); n != 5 {
			t.Errorf("the prefix has %d entries after a refused try, want 5", n)
		}
	})
}

// Probe must not change the ledger, since any client can make the server call it with a request to
// /readyz.
func TestProbeLeavesTheLedgerAsItWas(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		prefix := Key{Bucket: Prefix, Subject: "192.0.2.0/24"}
		reserve(ledger, prefix)
		reserve(ledger, codeKey)
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return MarkRestored(ctx, tx, testkit.Start) }))
		testkit.Check(t, Probe(ctx, d))
		for _, key := range []Key{prefix, codeKey, {Bucket: restored}} {
			if n := len(rowOf(t, d, key)); n != 1 {
				t.Errorf("%+v has %d entries after Probe, want 1", key, n)
			}
		}
		if _, version, err := readRow(ctx, d.Reader(), Key{Bucket: "probe"}); err != nil || version != 0 {
			t.Errorf("Probe left its own row: version %d, %v; want version 0", version, err)
		}
	})
}

func TestOwnedTriesStayCountedAndRaiseNoSuspicion(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, clock := context.Background(), testkit.NewClock()
		ledger := NewLedger(d, clock.Now)
		for _, attempt := range []string{"mine", "mine", "other", "other", "mine"} {
			if _, v, err := ledger.Reserve(ctx, Try{Key: codeKey, Units: 1, Tag: attempt}); err != nil || v.Answer != Allow {
				t.Fatalf("Reserve = %+v, %v; want Allow", v, err)
			}
		}
		before := testkit.Start.Add(-day)
		if got, err := ledger.Suspect(ctx, d.Reader(), "ada", before); err != nil || got.Codes != 5 || !got.Suspect {
			t.Errorf("Suspect = %+v, %v; want 5 codes and a suspect password", got, err)
		}
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return MarkOwned(ctx, tx, "ada", "mine") }))
		if got, err := ledger.Suspect(ctx, d.Reader(), "ada", before); err != nil || got.Codes != 2 || got.Notice {
			t.Errorf("after the attempt became a session: Suspect = %+v, %v; want 2 codes and no notice", got, err)
		}
		if got := reserve(ledger, codeKey); got != "two codes" {
			t.Errorf("sixth code: %s; want a refusal, since a success gives nothing back (R6)", got)
		}
	})
}

// A try that costs no units would never be refused, so it is an error of the program, and the
// caller must not verify the credential.
func TestATryForNothingIsAnError(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ledger, ctx := NewLedger(d, testkit.NewClock().Now), t.Context()
		for bucket := range rules {
			for _, units := range []int{0, -1, -1 << 16} {
				free := Try{Key: Key{Account: "ada", Bucket: bucket}, Units: units}
				if v, err := ledger.Peek(ctx, free); !errors.Is(err, errNoUnits) || v.Answer == Allow {
					t.Errorf("%s, %d units: Peek = %v, %v; want an error", bucket, units, v, err)
				}
				for _, tries := range [][]Try{{free}, {{Key: codeKey, Units: 1}, free}} {
					r, v, err := ledger.Reserve(ctx, tries...)
					if !errors.Is(err, errNoUnits) || v.Answer == Allow || len(r.rows) > 0 {
						t.Errorf("%s, %d units: Reserve = %v, %v; want an error", bucket, units, v, err)
					}
				}
				err := d.Write(ctx, func(tx *db.Tx) error {
					_, err := ledger.Spend(ctx, tx, free)
					return err
				})
				if !errors.Is(err, errNoUnits) {
					t.Errorf("%s, %d units: Spend: %v, want an error", bucket, units, err)
				}
			}
		}
		var rows int
		if err := db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM ledger`, nil, &rows); err != nil || rows != 0 {
			t.Errorf("%d rows were written, %v; want none", rows, err)
		}
	})
}
