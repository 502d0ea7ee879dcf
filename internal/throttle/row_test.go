package throttle

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

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
			testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, testkit.Start.Add(after)) }))
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
		testkit.Check(t, err)
		clock.Move(day)
		if got := reserve(ledger, codeKey); got != "allow" {
			t.Fatal(got)
		}
		testkit.Check(t, ledger.GiveBack(ctx, first))
		testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error { return Expire(ctx, tx, testkit.Start.Add(365*day)) }))
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
			testkit.Check(t, d.Write(ctx, func(tx *db.Tx) error {
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
				t.Errorf("%s: GiveBack succeeded, want an error", name)
			}
		}
	})
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
				t.Fatalf("decode refuses %d whole entries: %v, want no error", len(b)/entryBytes, err)
			}
			return
		}
		if got := encode(row); !bytes.Equal(got, b) {
			t.Fatalf("encode(decode(b)) = %x, want %x", got, b)
		}
		for bucket, rule := range rules {
			// The row may be one that Reserve never writes, with its entries in any order.
			if v := decide(testkit.Start, row, rule, ask(1)); v.RetryAfter < 0 || v.Answer != Wait && v.RetryAfter != 0 {
				t.Fatalf("%s: decide = %+v for row %v, want RetryAfter 0 unless the answer is Wait, and never less", bucket, v, row)
			}
			if got := prune(testkit.Start, row, rule); len(got) >= maxEntries {
				t.Fatalf("prune leaves %d entries, want at most %d, so that another fits", len(got), maxEntries-1)
			}
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
				t.Errorf("%s: row %+v, %v; want one entry at %v", account, row, err, latest)
			}
		}
	})
}
