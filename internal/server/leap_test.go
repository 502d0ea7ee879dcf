package server_test

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

// The clock of the only server, or of the database, leaps ahead and back.
func TestALeapDeletesNothing(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP=2d")
			ada := fillTables(t, p)
			mustRun(t, p.WatchClock)
			before := rowCounts(t, p.Portal)
			p.Clock.Set(leap)
			wantNothingDeleted := func(when string) {
				t.Helper()
				mustRun(t, p.Sweep, p.Prune, p.Measure)
				if got := rowCounts(t, p.Portal); got != before {
					t.Errorf("%s: %s; before the leap: %s, want the same", when, got, before)
				}
				if got := wrongCodes(t, p.Portal, ada.ID); got < 4 {
					t.Errorf("%s: the ledger holds %d wrong codes, want at least 4", when, got)
				}
			}
			wantNothingDeleted("before WatchClock has seen the leap")
			mustRun(t, p.WatchClock)
			wantNothingDeleted("after WatchClock has seen the leap")
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
				t.Errorf("fifth wrong code: answer %d, want Allow", got)
			}
			p.Clock.Set(9 * time.Minute)
			mustRun(t, p.WatchClock)
			wantNothingDeleted("nine minutes later")
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("during the leap, earlier wrong codes no longer count: answer %d, want NeedTwoCodes", got)
			}
			p.Clock.Set(-leap)
			mustRun(t, p.WatchClock)
			if got := wrongCodes(t, p.Portal, ada.ID); got != 5 {
				t.Errorf("the ledger holds %d wrong codes, want 5", got)
			}
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.NeedTwoCodes {
				t.Errorf("after the leap, earlier wrong codes no longer count: answer %d, want NeedTwoCodes", got)
			}
			// Entries that were written during the leap leave the window too, once it has passed.
			p.Clock.Move(24*time.Hour + time.Minute)
			if got := tryCode(t, p.Portal, ada.ID); got != throttle.Allow {
				t.Errorf("a day later: answer %d, want Allow", got)
			}
		})
	}
}

// The machine's clock leaps while the process runs. A code that was accepted then would
// claim a time step of the future, and its owner's codes would be refused until that time.
func TestNoCodeIsAcceptedDuringALeapOfARunningProcess(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			start := p.Clock.Now()
			var running atomic.Int64 // nanoseconds, by the monotonic clock
			p.Login.Watch.SetRunning(func() time.Duration { return time.Duration(running.Load()) })
			advance := func(d time.Duration) {
				t.Helper()
				running.Add(int64(d))
				p.Clock.Set(d)
				mustRun(t, p.WatchClock)
			}
			advance(0)
			p.AddAccount(t, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			phone := b.Enroll("phone")
			signIn := func(when string, want bool) {
				t.Helper()
				advance(time.Minute)
				b := p.Browser(t)
				b.SignIn("ada")
				if b.Post("/login/code", "code", phone.Code(0)); b.SignedIn() != want {
					t.Errorf("%s: signed in: %v, want %v: %d %s", when, !want, want, b.Last.Status, b.Last.Body)
				}
				ready := b.Get("/readyz")
				if refused := strings.Contains(ready.Body, "no codes are accepted"); refused == want {
					t.Errorf("%s: /readyz must say that codes are refused: %v, but says %s", when, !want, ready.Body)
				}
			}
			signIn("before any leap", true)
			p.Clock.Set(2 * time.Hour)
			mustRun(t, p.WatchClock)
			signIn("after a leap of two hours", false)
			p.Clock.Set(-2 * time.Hour)
			mustRun(t, p.WatchClock)
			signIn("after the clock was corrected", true)
			if n := strings.Count(events(t, p.Portal), "clock_went_back"); n != 1 {
				t.Errorf("%d events clock_went_back, want one", n)
			}
			p.Clock.Set(15 * time.Minute)
			mustRun(t, p.WatchClock)
			signIn("after a leap of a quarter of an hour", false)
			for range 13 {
				advance(5 * time.Minute)
			}
			signIn("after an hour without another leap", true)
			p.Clock.Set(leap)
			mustRun(t, p.WatchClock)
			signIn("after another leap", false)
			mustRun(t, p.Login.AcceptClock, p.WatchClock)
			signIn("after the operator accepted the clock", true)
			if got := p.Clock.Now().Sub(start); got < leap {
				t.Errorf("the accepted clock is only %v after the start", got)
			}
			// If the clock wasn't checked for a long time, a large difference is no leap.
			running.Add(int64(48 * time.Hour))
			p.Clock.Set(48 * time.Hour)
			mustRun(t, p.WatchClock)
			signIn("after the database was unreachable for two days", true)
		})
	}
}

// When a leap has ended, no row keeps a time in the future: it would be valid for as long
// as the leap was, or would suppress notices of wrong codes for that long.
func TestALeapLeavesNoTimesInTheFuture(t *testing.T) {
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
			mustRun(t, p.WatchClock)
			p.Clock.Set(leap)
			mustRun(t, p.WatchClock)
			if err := p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), ada, portal.Password); err != nil {
				t.Fatal(err)
			}
			bob := p.Browser(t)
			bob.SignIn("bob")
			bob.BeginEnroll()
			err := p.DB.Write(t.Context(), func(tx *db.Tx) error {
				// A browser that signed in before the leap opens a panel.
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
			mustRun(t, p.WatchClock)
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
					t.Errorf("%s with a time in the future: %d, %v; want 0", name, n, err)
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
				t.Errorf("events after five wrong codes: %s, want two wrong_codes_noticed and one password_suspected", got)
			}
		})
	}
}

// A last use that was recorded during a leap is written with the corrected time.
func TestALastUseDuringALeapIsWrittenWithTheCorrectedTime(t *testing.T) {
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	b := p.Browser(t)
	b.SignIn("ada")
	mustRun(t, p.WatchClock)
	p.Clock.Set(time.Hour)
	mustRun(t, p.WatchClock)
	b.Get("/")
	p.Clock.Set(-time.Hour)
	mustRun(t, p.WatchClock, p.Entry.WriteUses)
	var seen db.At
	if err := db.One(t.Context(), p.DB.Reader(), `SELECT MAX(seen_at) FROM sessions`, nil, &seen); err != nil {
		t.Fatal(err)
	}
	if late := seen.Time.Sub(p.Login.Clock()); late > clock.Slack || late <= 0 {
		t.Errorf("the last use is %v after now, want more than 0 and at most clock.Slack", late)
	}
}

func TestABackupDuringALeapIsNamedByTheTrustedTime(t *testing.T) {
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	mustRun(t, p.WatchClock)
	p.Clock.Set(leap)
	mustRun(t, p.WatchClock, p.BackUp)
	names, err := filepath.Glob(filepath.Join(p.Config.BackupDir(), "*.db"))
	if want := testkit.Start.UTC().Format("sallyport-20060102-"); err != nil || len(names) != 1 || !strings.Contains(names[0], want) {
		t.Errorf("backups %v, %v; want one whose name contains %s", names, err, want)
	}
}
