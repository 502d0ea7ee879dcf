package throttle

import (
	"bytes"
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rowOf returns the stored entries of key.
func rowOf(t *testing.T, d *db.DB, key Key) []entry {
	t.Helper()
	row, _, err := readRow(context.Background(), d.Reader(), key)
	must(t, err)
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

// Many people behind one address sign in at the same time and none of them is refused.
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
		for range 2 { // a second GiveBack does nothing
			must(t, ledger.GiveBack(ctx, mine[1]))
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
		// A reservation that was never written, and one in another row.
		must(t, ledger.GiveBack(ctx, Reservation{rows: []reservedRow{{key: codeKey, version: 1}}, id: mine[0].id + 1}))
		must(t, ledger.GiveBack(ctx, Reservation{rows: []reservedRow{{key: Key{Account: "bob", Bucket: CodeUnknownDevice}, version: 1}}, id: mine[0].id}))
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
			must(t, err)
			ledger := NewLedger(d, testkit.NewClock().Now)
			for range 5 {
				if got := reserve(ledger, codeKey); got != "allow" {
					t.Fatal(got)
				}
			}
			must(t, d.Close())
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
		must(t, d.Write(ctx, func(tx *db.Tx) error { return RemoveAccount(ctx, tx, "ada") }))
		var ada, bob int
		must(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM ledger WHERE account_id = $1`, []any{"ada"}, &ada))
		must(t, db.One(ctx, d.Reader(), `SELECT COUNT(*) FROM ledger WHERE account_id = $1`, []any{"bob"}, &bob))
		if ada != 0 || bob != len(rules) {
			t.Errorf("rows left: ada %d, bob %d; want 0, %d", ada, bob, len(rules))
		}
	})
}

func TestExpireDeletesOnlyWhatNoRuleReaches(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		for bucket := range rules {
			reserve(ledger, Key{Account: "ada", Bucket: bucket})
		}
		keep := map[Bucket]time.Duration{
			CodeUnknownDevice: 365 * day, CodeKnownDevice: 365 * day, TwoCodes: 365 * day, BackupCode: 5 * time.Second, BackupCodeIssue: time.Hour,
			PasswordUnknownDevice: day, PasswordKnownDevice: 15 * time.Minute, Prefix: time.Hour, WidePrefix: time.Hour, restored: day, Change: day, Recovery: day,
		}
		if len(keep) != len(rules) {
			t.Fatalf("%d buckets, want %d", len(rules), len(keep))
		}
		for _, after := range []time.Duration{5*time.Second - 1e6, 5 * time.Second, 15 * time.Minute, time.Hour, day, 365*day - 1e6, 365 * day} {
			must(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, testkit.Start.Add(after)) }))
			for bucket, within := range keep {
				left := len(rowOf(t, d, Key{Account: "ada", Bucket: bucket})) == 1
				if want := after < within; left != want {
					t.Errorf("%v later: row of %s left: %v, want %v", after, bucket, left, want)
				}
			}
		}
	})
}

func TestExpireKeepsARowThatWasGivenBackLater(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, clock := context.Background(), testkit.NewClock()
		ledger := NewLedger(d, clock.Now)
		first, _, err := ledger.Reserve(ctx, Try{Key: codeKey, Units: 1})
		must(t, err)
		clock.Move(day)
		if got := reserve(ledger, codeKey); got != "allow" {
			t.Fatal(got)
		}
		must(t, ledger.GiveBack(ctx, first))
		must(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, testkit.Start.Add(365*day)) }))
		if n := len(rowOf(t, d, codeKey)); n != 1 {
			t.Errorf("%d entries, want the second try, which still counts", n)
		}
	})
}

func TestCorruptRowsAreDenied(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		reserve(ledger, codeKey)
		for name, times := range map[string][]byte{
			"cut": make([]byte, entryBytes-1), "a byte more": make([]byte, entryBytes+1), "one byte": {0}, "too many": make([]byte, (maxEntries+1)*entryBytes),
		} {
			must(t, d.Write(ctx, func(tx *db.Tx) error {
				_, err := db.Exec(ctx, tx, `UPDATE ledger SET times = $1`, times)
				return err
			}))
			if v, err := ledger.Peek(ctx, Try{Key: codeKey, Units: 1}); err == nil || v.Answer != Refuse {
				t.Errorf("%s: Peek = %+v, %v; want Refuse and an error", name, v, err)
			}
			if r, v, err := ledger.Reserve(ctx, Try{Key: codeKey, Units: 1}); err == nil || v.Answer != Refuse || len(r.rows) != 0 {
				t.Errorf("%s: Reserve = %+v, %+v, %v; want Refuse and an error", name, r, v, err)
			}
			if err := ledger.GiveBack(ctx, Reservation{rows: []reservedRow{{key: codeKey, version: 2}}}); err == nil {
				t.Errorf("%s: GiveBack succeeded", name)
			}
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
		must(t, d.Close())
		check("closed", context.Background())
	})
}

func TestZeroAnswerRefuses(t *testing.T) {
	if (Verdict{}).Answer != Refuse {
		t.Errorf("zero verdict = %v, want Refuse", (Verdict{}).Answer)
	}
}

// hasUnknownMark reports whether an encoded entry has a mark that is neither 0 nor 1.
func hasUnknownMark(b []byte) bool {
	for ; len(b) > 0; b = b[entryBytes:] {
		if b[14] > 1 {
			return true
		}
	}
	return false
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode(tries(time.Hour, 0)))
	f.Add(bytes.Repeat([]byte{0xff}, 3*entryBytes))
	f.Add(bytes.Repeat([]byte{0x80, 0}, 7*entryBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decode(b)
		if err != nil {
			if len(b)%entryBytes == 0 && len(b) <= maxEntries*entryBytes && !hasUnknownMark(b) {
				t.Fatalf("decode refuses %d whole entries: %v", len(b)/entryBytes, err)
			}
			return
		}
		if got := encode(row); !bytes.Equal(got, b) {
			t.Fatalf("encode(decode(b)) = %x, want %x", got, b)
		}
		for bucket, rule := range rules {
			// The row may be one that Reserve never writes, in any order.
			if v := decide(testkit.Start, row, rule, ask(1)); v.RetryAfter < 0 || v.Answer != Wait && v.RetryAfter != 0 {
				t.Fatalf("%s: %+v for row %v", bucket, v, row)
			}
			if got := prune(testkit.Start, row, rule); len(got) >= maxEntries {
				t.Fatalf("prune leaves %d entries, without room for another", len(got))
			}
		}
	})
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

// Any client may request /readyz, which calls Probe.
func TestProbeLeavesTheLedgerAsItWas(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		prefix := Key{Bucket: Prefix, Subject: "192.0.2.0/24"}
		reserve(ledger, prefix)
		reserve(ledger, codeKey)
		must(t, d.Write(ctx, func(tx *db.Tx) error { return MarkRestored(ctx, tx, testkit.Start) }))
		must(t, Probe(ctx, d))
		for _, key := range []Key{prefix, codeKey, {Bucket: restored}} {
			if n := len(rowOf(t, d, key)); n != 1 {
				t.Errorf("%+v has %d entries after Probe, want 1", key, n)
			}
		}
		if _, version, err := readRow(ctx, d.Reader(), Key{Bucket: "probe"}); err != nil || version != 0 {
			t.Errorf("Probe left its own row: version %d, %v", version, err)
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
		must(t, d.Write(ctx, func(tx *db.Tx) error { return MarkOwned(ctx, tx, "ada", "mine") }))
		if got, err := ledger.Suspect(ctx, d.Reader(), "ada", before); err != nil || got.Codes != 2 || got.Notice {
			t.Errorf("after the attempt became a session: Suspect = %+v, %v; want 2 codes and no notice", got, err)
		}
		if got := reserve(ledger, codeKey); got != "two codes" {
			t.Errorf("sixth code: %s; want a refusal, since a success gives nothing back (R6)", got)
		}
	})
}

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
		must(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, clock.Now()) }))
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

// Without the database the last known state stays in force (F1).
func TestInstanceStateStandsWhileTheDatabaseIsUnavailable(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, ledger := context.Background(), NewLedger(d, testkit.NewClock().Now)
		must(t, d.Write(ctx, func(tx *db.Tx) error {
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

func TestClampTimesSkipsUnreadableRows(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		latest := testkit.Start.Add(time.Minute)
		err := d.Write(t.Context(), func(tx *db.Tx) error {
			for _, account := range []string{"a", "b", "c"} {
				times := encode([]entry{{id: 1, at: testkit.Start.Add(time.Hour), units: 1}})
				if account == "b" {
					times = times[1:]
				}
				_, err := db.Exec(t.Context(), tx, `INSERT INTO ledger (account_id, bucket, subject, times, version, changed_at) VALUES ($1, 'code', '', $2, 1, $3)`,
					account, times, db.At{Time: testkit.Start.Add(time.Hour)})
				if err != nil {
					return err
				}
			}
			return ClampTimes(t.Context(), tx, latest)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, account := range []string{"a", "c"} {
			row, _, err := readRow(t.Context(), d.Reader(), Key{Account: account, Bucket: CodeUnknownDevice})
			if err != nil || len(row) != 1 || !row[0].at.Equal(latest) {
				t.Errorf("%s: %+v, %v", account, row, err)
			}
		}
	})
}

// A try that costs nothing would never be refused, so it is an error of the program and the
// caller must not verify anything.
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
			t.Errorf("%d rows were written, %v", rows, err)
		}
	})
}
