package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

const leap = 400 * 24 * time.Hour

// kept counts what a sweep may delete, and events.
func kept(t *testing.T, p *server.Portal) string {
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

// wrongCodes returns how many wrong codes the account's row holds.
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

func do(t *testing.T, jobs ...func(context.Context) error) {
	t.Helper()
	for _, job := range jobs {
		if err := job(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// node opens another node on p's database, whose own clock is ahead of the reference.
func node(t *testing.T, p *portal.Portal, ahead time.Duration) *server.Portal {
	t.Helper()
	return openNode(t, p, func() time.Time { return p.Clock.Now().Add(ahead) })
}

// openNode opens another node on p's database, which has a clock of its own.
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

// attempts counts the sign-ins that have expired.
func attempts(t *testing.T, p *server.Portal) (n int) {
	t.Helper()
	err := db.One(t.Context(), p.DB.Reader(), `SELECT COUNT(*) FROM attempts WHERE expires_at <= $1`, []any{db.At{Time: p.Login.Clock()}}, &n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fill leaves something of everything that is swept and pruned, and four wrong codes.
func fill(t *testing.T, p *portal.Portal) account.Account {
	t.Helper()
	ada := p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	b.Enroll("phone")
	if _, err := p.Login.Unlock(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	p.Browser(t).Post("/login", "username", "ada", "password", portal.Password)
	do(t, p.Seal)
	for range 4 {
		if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
			t.Fatalf("answer %d", got)
		}
	}
	return ada
}

func TestAClockAheadDeletesNothing(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP=2d")
			ada := fill(t, p)
			before := kept(t, p.Portal)
			for _, ahead := range []time.Duration{leap, -leap, time.Minute} {
				b := node(t, p, ahead)
				do(t, b.WatchClock, b.Sweep, b.Prune, b.Measure)
				if got := kept(t, p.Portal); got != before {
					t.Errorf("%v ahead: %s left of %s", ahead, got, before)
				}
			}
			if got := tryCode(t, node(t, p, 0), ada.ID); got != throttle.Allow {
				t.Errorf("fifth wrong code: answer %d", got)
			}
			b := node(t, p, leap)
			do(t, b.WatchClock)
			if got := tryCode(t, b, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("a node that is ahead gives tries back: answer %d", got)
			}
			if got := wrongCodes(t, p.Portal, ada.ID); got != 5 {
				t.Errorf("of five wrong codes %d are left", got)
			}
			if _, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// The clock of the only server, or of the database, leaps.
func TestALeapDeletesNothing(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP=2d")
			ada := fill(t, p)
			do(t, p.WatchClock)
			before := kept(t, p.Portal)
			p.Clock.Set(leap)
			tries := func(when string) {
				t.Helper()
				do(t, p.Sweep, p.Prune, p.Measure)
				if got := kept(t, p.Portal); got != before {
					t.Errorf("%s: %s left of %s", when, got, before)
				}
				if got := wrongCodes(t, p.Portal, ada.ID); got < 4 {
					t.Errorf("%s: of the wrong codes %d are left", when, got)
				}
			}
			tries("before anything looks at the clock")
			do(t, p.WatchClock)
			tries("after a look")
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
				t.Errorf("fifth wrong code: answer %d", got)
			}
			p.Clock.Set(9 * time.Minute)
			do(t, p.WatchClock)
			tries("nine minutes later")
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("the leap gives tries back: answer %d", got)
			}
			p.Clock.Set(-leap)
			do(t, p.WatchClock)
			if got := wrongCodes(t, p.Portal, ada.ID); got != 5 {
				t.Errorf("of five wrong codes %d are left", got)
			}
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("the leap gives tries back once it is over: answer %d", got)
			}
			// Nothing of the leap holds the window open: it slides as always.
			p.Clock.Move(24*time.Hour + time.Minute)
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
				t.Errorf("a day later: answer %d", got)
			}
		})
	}
}

// A server that was off for longer than the mark moves at once is in a leap until an
// hour has passed. Its owners sign in meanwhile, and then what expired is swept.
func TestAServerThatWasOffTakesCodesAndSweepsAnHourLater(t *testing.T) {
	for _, engine := range testkit.Engines {
		for _, off := range []time.Duration{11 * time.Minute, 12 * time.Hour, 21 * 24 * time.Hour} {
			t.Run(fmt.Sprint(engine, " ", off), func(t *testing.T) {
				t.Parallel()
				dir, clock := t.TempDir(), testkit.NewClock()
				var settings []string
				if url := testkit.DatabaseURL(t, engine); engine == "postgres" {
					settings = []string{"SALLYPORT_DATABASE=" + url}
				}
				p := portal.StartIn(t, dir, clock, settings...)
				p.AddAccount(t, "ada")
				b := p.Browser(t)
				b.SignIn("ada")
				phone := b.Enroll("phone")
				p.Browser(t).SignIn("ada") // and doesn't end it
				do(t, p.WatchClock)
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
				do(t, p.Sweep)
				if n := attempts(t, p.Portal); n == 0 {
					t.Error("swept before the time is certain")
				}
				for range 13 { // the hour
					clock.Set(5 * time.Minute)
					do(t, p.WatchClock)
				}
				signIn(phone.Code(0), true)
				do(t, p.Sweep)
				if n := attempts(t, p.Portal); n != 0 {
					t.Errorf("%d sign-ins that expired long ago are kept", n)
				}
				if _, trusted, err := p.Login.Mark.Trusted(t.Context(), clock.Now); err != nil || !trusted {
					t.Errorf("the time is trusted: %v, %v", trusted, err)
				}
			})
		}
	}
}

// Where the clock of the machine leaps while the process runs, a code of the
// present would use up the steps of the leap.
func TestNoCodeIsTakenWhileTheClockLeapsInARunningProcess(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			began := p.Clock.Now()
			var running atomic.Int64 // nanoseconds, by a clock that can't be set
			p.Login.Watch.SetRunning(func() time.Duration { return time.Duration(running.Load()) })
			pass := func(d time.Duration) {
				t.Helper()
				running.Add(int64(d))
				p.Clock.Set(d)
				do(t, p.WatchClock)
			}
			pass(0)
			p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			signIn := func(when string, want bool) {
				t.Helper()
				pass(time.Minute)
				b := p.Browser(t)
				b.SignIn("ada")
				if b.Post("/login/code", "code", phone.Code(0)); b.SignedIn() != want {
					t.Errorf("%s: signed in: %v, want %v: %d %s", when, !want, want, b.Last.Status, b.Last.Body)
				}
				ready := b.Get("/readyz")
				if refused := strings.Contains(ready.Body, "no codes are accepted"); refused == want {
					t.Errorf("%s: /readyz: %s", when, ready.Body)
				}
			}
			signIn("before", true)
			p.Clock.Set(2 * time.Hour)
			do(t, p.WatchClock)
			signIn("after a leap of two hours", false)
			p.Clock.Set(-2 * time.Hour)
			do(t, p.WatchClock)
			signIn("set right", true)
			if n := strings.Count(events(t, p.Portal), "clock_went_back"); n != 1 {
				t.Errorf("%d events of the clock, want one", n)
			}
			p.Clock.Set(15 * time.Minute)
			do(t, p.WatchClock)
			signIn("after a leap of a quarter of an hour", false)
			for range 13 {
				pass(5 * time.Minute)
			}
			signIn("after an even hour", true)
			p.Clock.Set(leap)
			do(t, p.WatchClock)
			signIn("after another leap", false)
			do(t, p.Login.AcceptClock, p.WatchClock)
			signIn("accepted", true)
			if got := p.Clock.Now().Sub(began); got < leap {
				t.Errorf("it is %v later", got)
			}
			// A long time without a look at the clock is no leap.
			running.Add(int64(48 * time.Hour))
			p.Clock.Set(48 * time.Hour)
			do(t, p.WatchClock)
			signIn("after the database was away for two days", true)
		})
	}
}

// The operator accepts a time that was thought to be past: by then hours of the leap
// were believed.
func TestAcceptingTheClockLetsOwnersIn(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			p.Clock.Move(leap) // believed
			held := p.Browser(t)
			held.SignIn("ada")
			if held.Post("/login/code", "code", phone.Code(0)); !held.SignedIn() {
				t.Fatal("not signed in")
			}
			link, err := p.Login.Unlock(t.Context(), ada)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				tryCode(t, p.Portal, ada.ID)
			}
			p.Clock.Set(-leap)
			do(t, p.WatchClock)
			other := p.Browser(t)
			other.SignIn("ada")
			if other.Post("/login/code", "code", phone.Code(0)); other.SignedIn() {
				t.Error("a code is taken behind the mark")
			}
			do(t, p.Login.AcceptClock, p.WatchClock)
			if held.SignedIn() {
				t.Error("a session of the leap lives for as long as the leap was")
			}
			if _, err := p.Login.Open(t.Context(), link.Reveal()); err == nil {
				t.Error("a link of the leap works for as long as the leap was")
			}
			p.Clock.Move(24*time.Hour + 2*time.Minute)
			other = p.Browser(t)
			other.SignIn("ada")
			if other.Post("/login/code", "code", phone.Code(0)); !other.SignedIn() {
				t.Errorf("a code after the clock was accepted: %d %s", other.Last.Status, other.Last.Body)
			}
			if got := events(t, p.Portal); !strings.Contains(got, "clock_accepted 1") {
				t.Errorf("events: %s", got)
			}
		})
	}
}

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
			do(t, p.Seal) // and holds the lease
			p.AddAccount(t, "bob")
			for _, ahead := range []time.Duration{20 * time.Second, leap, -leap} {
				b := node(t, p, ahead)
				do(t, b.WatchClock, b.Seal)
			}
			if oldest, err := audit.Waiting(t.Context(), p.DB.Reader()); err != nil || oldest.IsZero() {
				t.Errorf("another node sealed: %v", err)
			}
		})
	}
}

// A machine starts with a wrong date, and a phone has it too. Once the date is right
// the owner's next code is taken, and the one of then isn't taken a second time. The
// machine may have been off for weeks before: then the right date is past the mark, too.
func TestACodeOfAStartWithAWrongDateLocksNobodyOut(t *testing.T) {
	for _, engine := range testkit.Engines {
		for _, test := range []struct{ off, ahead time.Duration }{
			{0, 2 * time.Hour}, {0, leap}, {21 * 24 * time.Hour, 2 * time.Hour}, {21 * 24 * time.Hour, leap},
		} {
			ahead := test.ahead
			t.Run(fmt.Sprint(engine, " ", test), func(t *testing.T) {
				t.Parallel()
				dir, clock := t.TempDir(), testkit.NewClock()
				var settings []string
				if url := testkit.DatabaseURL(t, engine); engine == "postgres" {
					settings = []string{"SALLYPORT_DATABASE=" + url}
				}
				p := portal.StartIn(t, dir, clock, settings...)
				p.AddAccount(t, "ada")
				b := p.Browser(t)
				b.SignIn("ada")
				phone := b.Enroll("phone")
				do(t, p.WatchClock)
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
				do(t, p.WatchClock)
				code := phone.Code(0)
				held := signIn(code)
				if !held.SignedIn() {
					t.Fatalf("in the leap: %d", held.Last.Status)
				}
				clock.Set(time.Minute - ahead)
				do(t, p.WatchClock, p.WatchClock)
				if b := signIn(phone.Code(0)); !b.SignedIn() {
					t.Errorf("the first code once the date is right: %d %s", b.Last.Status, b.Last.Body)
				}
				if held.SignedIn() {
					t.Error("a session that began in the future lives")
				}
				if got := events(t, p.Portal); strings.Count(got, "clock_went_back") != 1 {
					t.Errorf("events: %s", got)
				}
				clock.Move(ahead - time.Minute)
				if signIn(code).SignedIn() {
					t.Error("the code of the leap opens a second door when its time has come")
				}
				clock.Move(time.Minute)
				if !signIn(phone.Code(0)).SignedIn() {
					t.Error("the code after it isn't taken")
				}
			})
		}
	}
}

// A machine that runs for half an hour a day is in a leap each time. What it counted
// slides out of its windows by the time that it ran.
func TestBudgetsComeBackToAServerThatNeverRunsForAnHour(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			do(t, p.WatchClock)
			for range 5 {
				tryCode(t, p.Portal, ada.ID)
			}
			for day := range 60 {
				p.Clock.Set(24 * time.Hour)
				do(t, p.WatchClock)
				want := throttle.NeedTwoCodes
				if time.Duration(day)*30*time.Minute >= 24*time.Hour {
					want = throttle.Allow
				}
				// The server's own look at the clock may come between two of the test's.
				near := (time.Duration(day)*30*time.Minute - 24*time.Hour).Abs() <= 2*time.Hour
				if v, err := p.Login.Ledger.Look(t.Context(), throttle.Try{Key: throttle.Key{Account: ada.ID, Bucket: throttle.CodeUnknownDevice}, Units: 1}); err != nil || v.Answer != want && !near {
					t.Fatalf("day %d: answer %d, %v; want %d", day, v.Answer, err, want)
				}
				for range 3 {
					p.Clock.Set(10 * time.Minute)
					do(t, p.WatchClock)
				}
			}
		})
	}
}

// What a leap leaves in the future neither lives for as long as the leap was nor hides
// wrong codes from the owner.
func TestALeapLeavesNothingOfTheFuture(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			ada := p.AddAccount(t, "ada")
			p.AddAccount(t, "bob")
			eve := p.AddAccount(t, "eve")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			p.Browser(t).SignIn("eve")
			do(t, p.WatchClock)
			p.Clock.Set(leap)
			do(t, p.WatchClock)
			if err := p.Login.SetPassword(t.Context(), ada, portal.Password); err != nil {
				t.Fatal(err)
			}
			bob := p.Browser(t)
			bob.SignIn("bob")
			bob.BeginEnroll()
			err := p.DB.Write(t.Context(), func(tx *db.Tx) error {
				// A browser that is signed in from before goes to a panel.
				_, err := db.Exec(t.Context(), tx, `
					INSERT INTO handoffs (token_hash, session_id, panel, state_hash, return_url, expires_at)
					SELECT $1, MIN(id), '', $1, '', $2 FROM sessions WHERE account_id = $3`,
					[]byte("token"), db.At{Time: p.Login.Clock().Add(time.Minute)}, eve.ID)
				if err != nil {
					return err
				}
				return audit.Append(t.Context(), tx, audit.Event{At: p.Login.Clock(), AccountID: ada.ID, Actor: audit.ByServer, Kind: audit.WrongCodesNoticed})
			})
			if err != nil {
				t.Fatal(err)
			}
			p.Clock.Set(-leap)
			do(t, p.WatchClock)
			latest := p.Login.Clock().Add(clock.Slack)
			for name, query := range map[string]string{
				"passwords":  `SELECT COUNT(*) FROM passwords WHERE changed_at > $1`,
				"enrolments": `SELECT COUNT(*) FROM authenticators WHERE created_at > $1`,
				"handoffs":   `SELECT COUNT(*) FROM handoffs WHERE expires_at > $1`,
				"sessions":   `SELECT COUNT(*) FROM sessions WHERE created_at > $1 OR seen_at > $1`,
				"attempts":   `SELECT COUNT(*) FROM attempts WHERE created_at > $1`,
			} {
				var n int
				if err := db.One(t.Context(), p.DB.Reader(), query, []any{db.At{Time: latest}}, &n); err != nil || n != 0 {
					t.Errorf("%s of the future: %d, %v", name, n, err)
				}
			}
			p.Clock.Move(2 * time.Minute)
			thief := p.Browser(t)
			thief.SignIn("ada")
			for range 5 {
				thief.Post("/login/code", "code", phone.Code(12*time.Hour))
			}
			got := events(t, p.Portal)
			if strings.Count(got, "wrong_codes_noticed") != 2 || strings.Count(got, "password_suspected") != 1 {
				t.Errorf("events after five wrong codes: %s", got)
			}
		})
	}
}

func TestALastUseOfALeapIsWrittenAsOfNow(t *testing.T) {
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	do(t, p.WatchClock)
	p.Clock.Set(time.Hour)
	do(t, p.WatchClock)
	b.Get("/")
	p.Clock.Set(-time.Hour)
	do(t, p.WatchClock, p.Login.WriteUses)
	var seen db.At
	if err := db.One(t.Context(), p.DB.Reader(), `SELECT MAX(seen_at) FROM sessions`, nil, &seen); err != nil {
		t.Fatal(err)
	}
	if late := seen.Time.Sub(p.Login.Clock()); late > clock.Slack || late <= 0 {
		t.Errorf("last use %v after now", late)
	}
}

func TestABackupOfALeapHasNoNameOfTheFuture(t *testing.T) {
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	do(t, p.WatchClock)
	p.Clock.Set(leap)
	do(t, p.WatchClock, p.BackUp)
	names, err := filepath.Glob(filepath.Join(p.Config.BackupDir(), "*.db"))
	if want := testkit.Start.UTC().Format("sallyport-20060102-"); err != nil || len(names) != 1 || !strings.Contains(names[0], want) {
		t.Errorf("backups %v, %v; want one of %s", names, err, want)
	}
}
