package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

func write(t *testing.T, d *db.DB, events ...Event) {
	t.Helper()
	ctx := context.Background()
	err := d.Write(ctx, func(tx *db.Tx) error {
		for _, e := range events {
			if err := Append(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, d *db.DB, accountID string, before Cursor, n int) []Event {
	t.Helper()
	events, err := List(context.Background(), d.Reader(), accountID, before, n)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestEventsReadBack(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		want := []Event{
			{At: testkit.Start.Add(time.Second), AccountID: "ada", Actor: ByOperator, Kind: PasswordSet, Outcome: Done},
			{At: testkit.Start, AccountID: "ada", Actor: ByOwner, Kind: BackupCodeUsed, Outcome: Refused, Detail: "Ada's phone <b>", Number: 9, Address: "192.0.2.1", Browser: "Chrome"},
		}
		write(t, d, want[1], Event{AccountID: "eve", At: testkit.Start})
		unset := want[0]
		unset.Outcome = "" // means done
		write(t, d, unset)
		if diff := cmp.Diff(want, list(t, d, "ada", Cursor{}, 10), cmpopts.IgnoreFields(Event{}, "ID"), cmpopts.IgnoreUnexported(Event{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := list(t, d, "nobody", Cursor{}, 10); len(got) != 0 {
			t.Errorf("an unknown account has the events %v, want none", got)
		}
	})
}

func TestPagesAreNewestFirstWithoutGapOrRepeat(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		const n = 53
		var events []Event
		for i := range n {
			// Several events have the same millisecond, so that a page ends between them.
			events = append(events, Event{At: testkit.Start.Add(time.Duration(i/4) * time.Millisecond), AccountID: "ada", Number: i})
		}
		write(t, d, events...)
		for _, size := range []int{1, 3, 4, 10, n, n + 1} {
			var (
				got   []Event
				after Cursor
			)
			for pages := 0; ; pages++ {
				page := list(t, d, "ada", after, size)
				if len(page) == 0 {
					break
				}
				if len(page) > size || pages > n {
					t.Fatalf("pages of %d: %d events, page %d", size, len(page), pages)
				}
				got = append(got, page...)
				last := page[len(page)-1]
				after = Cursor{At: last.At, ID: last.ID}
				if pages == 0 { // a new event must not shift the following pages
					write(t, d, Event{At: testkit.Start.Add(time.Hour), AccountID: "ada", Number: -1})
				}
			}
			seen := map[int]int{}
			for i, e := range got {
				seen[e.Number]++
				if i > 0 && e.At.After(got[i-1].At) {
					t.Fatalf("pages of %d: event %d is newer than the one before, want the newest first", size, i)
				}
			}
			for i := range n {
				if seen[i] != 1 {
					t.Fatalf("pages of %d: event %d is listed %d times, want once", size, i, seen[i])
				}
			}
		}
	})
}

func TestEventIsStoredOnlyWithTheChangeItReports(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, rollback := context.Background(), errors.New("rollback")
		err := d.Write(ctx, func(tx *db.Tx) error {
			if err := Append(ctx, tx, Event{At: testkit.Start, AccountID: "ada"}); err != nil {
				return err
			}
			return rollback
		})
		if got := list(t, d, "ada", Cursor{}, 10); !errors.Is(err, rollback) || len(got) != 0 {
			t.Errorf("after a rollback: %v, %d events; want the rollback and none", err, len(got))
		}
	})
}

// Text that a client wrote can't forge a line of a log or fill the table (attack 158).
func TestTextOfClientsIsCleanedAndCut(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		write(t, d, Event{At: testkit.Start, AccountID: "ada", Detail: strings.Repeat("ü", 1000) + "\n", Browser: "Mozilla\r\n{\"x\":1}\x1b[31m\u2028" + strings.Repeat("x", 1<<20)})
		got := list(t, d, "ada", Cursor{}, 1)[0]
		if got.Detail != strings.Repeat("ü", 100) {
			t.Errorf("detail of %d bytes, want 200: %q", len(got.Detail), got.Detail)
		}
		if len(got.Browser) != 300 || !strings.HasPrefix(got.Browser, `Mozilla{"x":1}[31mx`) {
			t.Errorf("browser of %d bytes, want 300: %q", len(got.Browser), got.Browser)
		}
	})
}

func TestClean(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"Chrome on Linux", 100, "Chrome on Linux"},
		{"Chrome", 6, "Chrome"},
		{"Chrome", 5, "Chrom"},
		{"Chrome", 0, ""},
		{"a\r\nb\tc\x00d\x1be\x7ff", 100, "abcdef"},
		{"a\u2028b\u2029c\u0085d", 100, "abcd"},
		{"a\u202eb\u200bc\ufeffd\u200e", 100, "abcd"},
		{"a\xffb\xc3", 100, "ab"},
		{"ü", 1, ""},
		{"xü", 2, "x"},
		{"🔐", 3, ""},
		{"🔐🔐", 7, "🔐"},
		{"🔐🔐", 8, "🔐🔐"},
		{strings.Repeat("\n", 1<<20) + "x", 100, "x"},
	} {
		if got := Clean(test.in, test.limit); got != test.want {
			t.Errorf("Clean(%.20q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("Mozilla/5.0 \r\n\x1b[31m\u2028", 10)
	f.Add("🔐\xff\xf0\x9f", 3)
	f.Fuzz(func(t *testing.T, in string, limit int) {
		limit = limit & 0xffff
		got := Clean(in, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("Clean(%q, %d) = %q, %d bytes; want valid UTF-8 within the limit", in, limit, got, len(got))
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("Clean(%q, %d) = %q, want printable characters only", in, limit, got)
			}
		}
		if second := Clean(got, limit); second != got {
			t.Fatalf("Clean(%q) = %q, want it unchanged", got, second)
		}
	})
}

func TestAlarmingEventsAreFailures(t *testing.T) {
	var got []string
	for _, k := range []Kind{SignedIn, SignInFailed, CodeFailed, CodeReused, Reauthenticated, SignedOut, BackupCodeUsed, BackupCodeFailed, PasswordChanged, TwoFactorReset, "unknown"} {
		if k.IsAlarming() {
			got = append(got, string(k))
		}
	}
	if want := "[sign_in_failed code_failed code_reused backup_code_failed]"; fmt.Sprint(got) != want {
		t.Errorf("alarming kinds: %v, want %s", got, want)
	}
}
