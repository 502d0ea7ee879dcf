package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

const leap = 400 * 24 * time.Hour

// rowCounts returns the number of rows in each table that a sweep or a prune deletes from.
func rowCounts(t *testing.T, p *server.Portal) string {
	t.Helper()
	var counts []string
	for _, table := range []string{"sessions", "devices", "tickets", "passes", "attempts", "authenticators", "events"} {
		var n int
		if err := db.One(t.Context(), p.DB.Reader(), `SELECT COUNT(*) FROM `+table, nil, &n); err != nil {
			t.Fatal(err)
		}
		counts = append(counts, fmt.Sprint(table, " ", n))
	}
	return strings.Join(counts, ", ")
}

// wrongCodes returns how many wrong codes of the account the ledger holds.
func wrongCodes(t *testing.T, p *server.Portal, accountID string) int {
	t.Helper()
	var bytes int
	err := db.One(t.Context(), p.DB.Reader(), `SELECT COALESCE(SUM(LENGTH(times)), 0) FROM ledger WHERE account_id = $1 AND bucket = 'code'`, []any{accountID}, &bytes)
	if err != nil {
		t.Fatal(err)
	}
	return bytes / entryBytes
}

// entryBytes is the size of one try in a row of the ledger.
const entryBytes = 23

// mustRun runs the jobs in order.
func mustRun(t *testing.T, jobs ...func(context.Context) error) {
	t.Helper()
	for _, job := range jobs {
		if err := job(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// openNodeAhead opens another node on p's database. Its clock is ahead of the reference
// clock, or behind it if ahead is negative.
func openNodeAhead(t *testing.T, p *portal.Portal, ahead time.Duration) *server.Portal {
	t.Helper()
	return openNode(t, p, func() time.Time { return p.Clock.Now().Add(ahead) })
}

// openNode opens another node on p's database, with this clock.
func openNode(t *testing.T, p *portal.Portal, own func() time.Time) *server.Portal {
	t.Helper()
	b, err := server.Open(t.Context(), p.Config, own, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.Login.Mark.Reference = func(context.Context) (time.Time, error) { return p.Clock.Now(), nil }
	return b
}

func tryCode(t *testing.T, p *server.Portal, accountID string) throttle.Answer {
	t.Helper()
	_, v, err := p.Login.Ledger.Reserve(t.Context(), throttle.Try{Key: throttle.Key{Account: accountID, Bucket: throttle.CodeUnknownDevice}, Units: 1})
	if err != nil {
		t.Fatal(err)
	}
	return v.Answer
}

// expiredAttempts returns how many attempts have expired and are still stored.
func expiredAttempts(t *testing.T, p *server.Portal) (n int) {
	t.Helper()
	err := db.One(t.Context(), p.DB.Reader(), `SELECT COUNT(*) FROM attempts WHERE expires_at <= $1`, []any{db.At{Time: p.Login.Clock()}}, &n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fillTables creates at least one row of each kind that is swept or pruned, and four wrong
// codes. It returns the account.
func fillTables(t *testing.T, p *portal.Portal) account.Account {
	t.Helper()
	ada := p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	b.Enroll("phone")
	if _, err := p.Manage.Links.LetIn(t.Context(), manage.CommandLine(), ada); err != nil {
		t.Fatal(err)
	}
	p.Browser(t).Post("/login", "username", "ada", "password", portal.Password)
	mustRun(t, p.Seal)
	for range 4 {
		if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
			t.Fatalf("one of the first four wrong codes: answer %d, want Allow", got)
		}
	}
	return ada
}

func TestAClockAheadDeletesNothing(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP=2d")
			ada := fillTables(t, p)
			before := rowCounts(t, p.Portal)
			for _, ahead := range []time.Duration{leap, -leap, time.Minute} {
				b := openNodeAhead(t, p, ahead)
				mustRun(t, b.WatchClock, b.Sweep, b.Prune, b.Measure)
				if got := rowCounts(t, p.Portal); got != before {
					t.Errorf("after the jobs of a node %v ahead: %s; before: %s, want the same", ahead, got, before)
				}
			}
			if got := tryCode(t, openNodeAhead(t, p, 0), ada.ID); got != throttle.Allow {
				t.Errorf("fifth wrong code: answer %d, want Allow", got)
			}
			b := openNodeAhead(t, p, leap)
			mustRun(t, b.WatchClock)
			if got := tryCode(t, b, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("at a node whose clock is ahead, earlier wrong codes no longer count: answer %d, want NeedTwoCodes", got)
			}
			if got := wrongCodes(t, p.Portal, ada.ID); got != 5 {
				t.Errorf("the ledger holds %d wrong codes, want 5", got)
			}
			if _, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// ownDatabase returns the setting of a new PostgreSQL database, and no setting for SQLite. A portal
// that is started again with the setting has the same database.
func ownDatabase(t *testing.T, engine string) []string {
	if url := testkit.DatabaseURL(t, engine); engine == "postgres" {
		return []string{"SALLYPORT_DATABASE=" + url}
	}
	return nil
}

// If a server was off for longer than the high-water mark is allowed to move at once, it treats
// the present time as a leap for an hour. Owners can sign in during that hour; expired rows are
// swept after it.
func TestAServerThatWasOffTakesCodesAndSweepsAnHourLater(t *testing.T) {
	for _, engine := range testkit.Engines {
		for _, off := range []time.Duration{11 * time.Minute, 12 * time.Hour, 21 * 24 * time.Hour} {
			t.Run(fmt.Sprint(engine, " ", off), func(t *testing.T) {
				t.Parallel()
				dir, clock, settings := t.TempDir(), testkit.NewClock(), ownDatabase(t, engine)
				p := portal.StartIn(t, dir, clock, settings...)
				p.AddAccount(t, "ada")
				b := p.Browser(t)
				b.SignIn("ada")
				phone := b.Enroll("phone")
				p.Browser(t).SignIn("ada") // an attempt that isn't finished, and expires
				mustRun(t, p.WatchClock)
				p.Stop()

				clock.Set(off)
				p = portal.StartIn(t, dir, clock, settings...)
				signIn := func(code string, want bool) {
					t.Helper()
					b := p.Browser(t)
					b.SignIn("ada")
					if b.Post("/login/code", "code", code); b.SignedIn() != want {
						t.Errorf("signed in: %v, want %v: %d %s", !want, want, b.Last.Status, b.Last.Body)
					}
				}
				first := phone.Code(0)
				signIn(first, true)
				signIn(first, false)
				mustRun(t, p.Sweep)
				if n := expiredAttempts(t, p.Portal); n == 0 {
					t.Error("expired attempts were swept although the time isn't trusted")
				}
				for range 13 { // a little more than an hour
					clock.Set(5 * time.Minute)
					mustRun(t, p.WatchClock)
				}
				signIn(phone.Code(0), true)
				mustRun(t, p.Sweep)
				if n := expiredAttempts(t, p.Portal); n != 0 {
					t.Errorf("%d expired attempts weren't swept", n)
				}
				if _, trusted, err := p.Login.Mark.Trusted(t.Context(), clock.Now); err != nil || !trusted {
					t.Errorf("after an hour, the time is trusted: %v, %v; want true", trusted, err)
				}
			})
		}
	}
}

// A leap was trusted, and then the clock was corrected: it is behind the high-water mark.
// The operator accepts the corrected clock.
func TestOwnersSignInAfterTheClockWasAccepted(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			p.Clock.Move(leap) // as if the time had really passed
			duringLeap := p.Browser(t)
			duringLeap.SignIn("ada")
			if duringLeap.Post("/login/code", "code", phone.Code(0)); !duringLeap.SignedIn() {
				t.Fatal("not signed in")
			}
			link, err := p.Manage.Links.LetIn(t.Context(), manage.CommandLine(), ada)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				tryCode(t, p.Portal, ada.ID)
			}
			p.Clock.Set(-leap)
			mustRun(t, p.WatchClock)
			other := p.Browser(t)
			other.SignIn("ada")
			if other.Post("/login/code", "code", phone.Code(0)); other.SignedIn() {
				t.Error("a code was accepted while the clock is behind the high-water mark")
			}
			mustRun(t, p.Login.AcceptClock, p.WatchClock)
			if duringLeap.SignedIn() {
				t.Error("a session that began during the leap is still valid")
			}
			if _, err := p.Manage.Links.Open(t.Context(), link.Reveal()); err == nil {
				t.Error("a link that was issued during the leap still works")
			}
			p.Clock.Move(24*time.Hour + 2*time.Minute)
			other = p.Browser(t)
			other.SignIn("ada")
			if other.Post("/login/code", "code", phone.Code(0)); !other.SignedIn() {
				t.Errorf("a code after the clock was accepted doesn't sign in: %d %s", other.Last.Status, other.Last.Body)
			}
			if got := events(t, p.Portal); !strings.Contains(got, "clock_accepted 1") {
				t.Errorf("the events lack clock_accepted 1:\n%s", got)
			}
		})
	}
}

// events returns the kind and the number of the newest audit events, one event on each line.
func events(t *testing.T, p *server.Portal) string {
	t.Helper()
	all, err := audit.Newest(t.Context(), p.DB.Reader(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range all {
		fmt.Fprintln(&text, e.Kind, e.Number)
	}
	return text.String()
}

func TestAClockAheadTakesNoLease(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			p.AddAccount(t, "ada")
			mustRun(t, p.Seal) // p holds the lease from now on
			p.AddAccount(t, "bob")
			for _, ahead := range []time.Duration{20 * time.Second, leap, -leap} {
				b := openNodeAhead(t, p, ahead)
				mustRun(t, b.WatchClock, b.Seal)
			}
			if oldest, err := audit.Waiting(t.Context(), p.DB.Reader()); err != nil || oldest.IsZero() {
				t.Errorf("a node without the lease sealed the event, or the error %v; want neither", err)
			}
		})
	}
}

// A machine starts with a wrong date, and a phone has the same wrong date. After the date
// is corrected, the owner's next code is accepted, and the code that was used with the
// wrong date isn't accepted a second time. If the machine was off for weeks before, even
// the right date is after the high-water mark.
func TestACodeOfAStartWithAWrongDateLocksNobodyOut(t *testing.T) {
	for _, engine := range testkit.Engines {
		for _, test := range []struct{ off, ahead time.Duration }{
			{0, 2 * time.Hour}, {0, leap}, {21 * 24 * time.Hour, 2 * time.Hour}, {21 * 24 * time.Hour, leap},
		} {
			ahead := test.ahead
			t.Run(fmt.Sprint(engine, " ", test), func(t *testing.T) {
				t.Parallel()
				dir, clock, settings := t.TempDir(), testkit.NewClock(), ownDatabase(t, engine)
				p := portal.StartIn(t, dir, clock, settings...)
				p.AddAccount(t, "ada")
				b := p.Browser(t)
				b.SignIn("ada")
				phone := b.Enroll("phone")
				mustRun(t, p.WatchClock)
				p.Stop()
				signIn := func(code string) *portal.Browser {
					t.Helper()
					b := p.Browser(t)
					b.SignIn("ada")
					b.Post("/login/code", "code", code)
					return b
				}

				clock.Set(test.off + ahead)
				p = portal.StartIn(t, dir, clock, settings...)
				mustRun(t, p.WatchClock)
				code := phone.Code(0)
				withWrongDate := signIn(code)
				if !withWrongDate.SignedIn() {
					t.Fatalf("not signed in with the wrong date: %d", withWrongDate.Last.Status)
				}
				clock.Set(time.Minute - ahead)
				mustRun(t, p.WatchClock, p.WatchClock)
				if b := signIn(phone.Code(0)); !b.SignedIn() {
					t.Errorf("the first code with the right date doesn't sign in: %d %s", b.Last.Status, b.Last.Body)
				}
				if withWrongDate.SignedIn() {
					t.Error("a session that began in the future is still valid")
				}
				if got := events(t, p.Portal); strings.Count(got, "clock_went_back") != 1 {
					t.Errorf("want one event clock_went_back, but the events are\n%s", got)
				}
				clock.Move(ahead - time.Minute)
				if signIn(code).SignedIn() {
					t.Error("the code that was used with the wrong date was accepted again at its own time")
				}
				clock.Move(time.Minute)
				if !signIn(phone.Code(0)).SignedIn() {
					t.Error("the code after it wasn't accepted")
				}
			})
		}
	}
}

// A machine that runs for half an hour a day treats each start as a leap, and an hour
// never passes. The windows of its ledger then slide by the time that it has run.
func TestBudgetsRecoverOnAServerThatNeverRunsForAnHour(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			mustRun(t, p.WatchClock)
			for range 5 {
				tryCode(t, p.Portal, ada.ID)
			}
			for day := range 60 {
				p.Clock.Set(24 * time.Hour)
				mustRun(t, p.WatchClock)
				want := throttle.NeedTwoCodes
				if time.Duration(day)*30*time.Minute >= 24*time.Hour {
					want = throttle.Allow
				}
				// The server's own job checks the clock too, so the exact day may differ.
				mayDiffer := (time.Duration(day)*30*time.Minute - 24*time.Hour).Abs() <= 2*time.Hour
				if v, err := p.Login.Ledger.Peek(t.Context(), throttle.Try{Key: throttle.Key{Account: ada.ID, Bucket: throttle.CodeUnknownDevice}, Units: 1}); err != nil || v.Answer != want && !mayDiffer {
					t.Fatalf("day %d: answer %d, %v; want %d", day, v.Answer, err, want)
				}
				for range 3 {
					p.Clock.Set(10 * time.Minute)
					mustRun(t, p.WatchClock)
				}
			}
		})
	}
}
