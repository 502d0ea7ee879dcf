package server_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAnHourWithAWrongClock: on PostgreSQL one node of three, on SQLite the only server,
// has a clock that is 400 days ahead for half an hour and then 400 days behind for half an
// hour. During that hour each node receives a wrong password and a wrong code for each of
// ten accounts. No row is lost that hasn't expired by the true clock.
func TestAnHourWithAWrongClock(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, "SALLYPORT_AUDIT_KEEP=1d")
			var running, ahead atomic.Int64 // nanoseconds: how long each machine has run; the wrong clock's offset
			isRunning := func() time.Duration { return time.Duration(running.Load()) }
			p.Login.Watch.SetRunning(isRunning)
			nodes := []*portal.Portal{p}
			setAhead := func(d time.Duration) { p.Clock.Set(d - time.Duration(ahead.Swap(int64(d)))) }
			now := func() time.Time { return p.Clock.Now().Add(-time.Duration(ahead.Load())) }
			if engine == "postgres" {
				setAhead = func(d time.Duration) { ahead.Store(int64(d)) }
				now = p.Clock.Now
				nodes = append(nodes, serveNode(t, p, p.Clock.Now, isRunning), serveNode(t, p, func() time.Time {
					return p.Clock.Now().Add(time.Duration(ahead.Load()))
				}, isRunning))
			}

			var names []string
			phones := map[string]*portal.Phone{}
			for i := range 10 {
				name := fmt.Sprintf("owner%d", i)
				owner := p.AddAccount(t, name)
				b := p.Browser(t)
				b.SignIn(name)
				names, phones[name] = append(names, name), b.Enroll("phone")
				p.Clock.Move(-30 * time.Second) // Enroll waits for the next code
				if _, err := p.Manage.Links.LetIn(t.Context(), manage.CommandLine(), owner); err != nil {
					t.Fatal(err)
				}
			}
			minute := func() {
				t.Helper()
				running.Add(int64(time.Minute))
				p.Clock.Set(time.Minute)
				for _, n := range nodes {
					mustRun(t, n.WatchClock, n.Entry.WriteUses, n.Seal, n.Sweep, n.Prune, n.Measure, n.Report)
				}
			}
			minute()
			rows, tries := expiryTimes(t, p), wrongTries(t, p)
			for i := range 60 {
				switch i {
				case 0:
					setAhead(leap)
				case 30:
					setAhead(-leap)
				}
				minute()
				if i%6 == 3 {
					name := names[i/6]
					for _, n := range nodes {
						b := n.Browser(t)
						b.Post("/login", "username", name, "password", "not the password")
						b.SignIn(name)
						b.Post("/login/code", "code", "000000")
					}
				}
				after := expiryTimes(t, p)
				for row, expires := range rows {
					ofLeap := expires != never && expires.Sub(now()) > leap/2 // an attempt that began by the wrong clock
					if _, kept := after[row]; !kept && !ofLeap && expires.After(now()) {
						t.Errorf("minute %d: %s was deleted %v before it expires", i, row, expires.Sub(now()))
					}
				}
				more := wrongTries(t, p)
				for row, n := range tries {
					if more[row] < n {
						t.Errorf("minute %d: ledger row %s holds %d tries, but held %d a minute before", i, row, more[row], n)
					}
				}
				rows, tries = after, more
			}
			setAhead(0)
			for range 2 {
				minute()
			}
			if len(tries) < len(names) {
				t.Errorf("the ledger has %d rows, want at least %d", len(tries), len(names))
			}
			for i, name := range names {
				b := nodes[i%len(nodes)].Browser(t)
				b.SignIn(name)
				if b.Post("/login/code", "code", phones[name].Code(0)); !b.SignedIn() {
					t.Errorf("%s can't sign in: %d %s", name, b.Last.Status, b.Last.Body)
				}
			}
			mustRun(t, p.Seal)
			if _, err := audit.Verify(t.Context(), p.DB.Reader(), p.Login.Ring, audit.Head{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// serveNode starts another node on p's database, with this clock.
func serveNode(t *testing.T, p *portal.Portal, own func() time.Time, running func() time.Duration) *portal.Portal {
	t.Helper()
	b := openNode(t, p, own)
	b.Login.Watch.SetRunning(running)
	b.Login.Passwords = testkit.Quick
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &portal.Portal{Portal: b, Clock: p.Clock, Base: p.Base, At: listener.Addr().String()}
}

// never is the expiry time of rows that no sweep deletes.
var never = time.Unix(1<<40, 0)

// expiryTimes returns when each row expires; a sweep must keep it until then.
func expiryTimes(t *testing.T, p *portal.Portal) map[string]time.Time {
	t.Helper()
	rows := map[string]time.Time{}
	for table, columns := range map[string]string{
		"sessions": "token_hash, expires_at", "attempts": "token_hash, expires_at", "passes": "token_hash, expires_at",
		"tickets": "token_hash, expires_at", "devices": "token_hash, 0", "events": "id, 0", "authenticators": "id, 0",
	} {
		_, err := db.All(t.Context(), p.DB.Reader(), `SELECT `+columns+` FROM `+table,
			nil, func(scan db.Scan) (bool, error) {
				var key []byte
				var until db.At
				err := scan(&key, &until)
				if until.Unix() == 0 {
					until.Time = never
				}
				rows[fmt.Sprintf("%s %x", table, key)] = until.Time
				return true, err
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// wrongTries returns how many tries each row of the ledger holds.
func wrongTries(t *testing.T, p *portal.Portal) map[string]int {
	t.Helper()
	tries := map[string]int{}
	_, err := db.All(t.Context(), p.DB.Reader(), `SELECT account_id, bucket, subject, LENGTH(times) FROM ledger`,
		nil, func(scan db.Scan) (bool, error) {
			var account, bucket, subject string
			var bytes int
			err := scan(&account, &bucket, &subject, &bytes)
			tries[strings.Join([]string{account, bucket, subject}, " ")] = bytes / entryBytes
			return true, err
		})
	if err != nil {
		t.Fatal(err)
	}
	return tries
}
