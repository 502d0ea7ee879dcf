// Package portal starts a whole server for a test, with a clock that the test moves,
// and browsers that keep cookies.
package portal

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/maintenance"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
)

// Portal is a server on loopback that runs until its test ends.
type Portal struct {
	*server.Portal
	Clock *testkit.Clock
	Base  string         // URL without a path: scheme, host and port
	At    string         // address at which it listens
	Dir   string         // data directory, which contains the key ring
	Logs  *Log           // the server's log, debug lines included
	Roots *x509.CertPool // the authorities that browsers trust, if the portal terminates TLS
	Ahead atomic.Int64   // nanoseconds by which Clock is ahead of the database's clock

	unmarked time.Duration // how far Clock has moved since the high-water mark was last moved

	// Stop stops the server as its operator would, and closes it. It is also called at the end
	// of the test.
	Stop func()
}

// Log is a buffer that is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// String returns the log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start starts a portal on a fresh database of the engine. Each of settings is an
// environment variable such as "SALLYPORT_SITE_NAME=Acme".
func Start(t testing.TB, engine string, settings ...string) *Portal {
	t.Helper()
	dir := t.TempDir()
	if rawURL := testkit.MigratedURL(t, engine, dir); engine == "postgres" {
		settings = append([]string{"SALLYPORT_DATABASE=" + rawURL}, settings...)
	}
	return StartIn(t, dir, testkit.NewClock(), settings...)
}

// StartIn starts a portal on the data directory dir, which may hold the database and the key ring
// of an earlier one. "{dir}" in a setting stands for dir. The setting "SALLYPORT_CONFIG=FILE"
// names a configuration file.
func StartIn(t testing.TB, dir string, clock *testkit.Clock, settings ...string) *Portal {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	settings = slices.Clone(settings)
	for i := range settings {
		settings[i] = strings.ReplaceAll(settings[i], "{dir}", dir)
	}
	file := ""
	for _, one := range settings {
		if path, ok := strings.CutPrefix(one, "SALLYPORT_CONFIG="); ok {
			file = path
		}
	}
	cfg, err := config.Load(file, append([]string{"SALLYPORT_LISTEN=" + listener.Addr().String(), "SALLYPORT_DATA_DIR=" + dir}, settings...))
	if err != nil {
		t.Fatal(err)
	}
	p := &Portal{Clock: clock, Base: cfg.PortalURL(), At: listener.Addr().String(), Dir: dir, Logs: &Log{}}
	log := slog.New(slog.NewJSONHandler(p.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if p.Portal, err = server.Open(context.Background(), cfg, p.Clock.Now, log); err != nil {
		t.Fatal(err)
	}
	p.Login.Passwords = testkit.Quick
	// A test can't move PostgreSQL's clock, so the test's clock is the reference on PostgreSQL too.
	p.Login.Mark.Reference = func(context.Context) (time.Time, error) {
		return p.Clock.Now().Add(-time.Duration(p.Ahead.Load())), nil
	}
	// The error of WriteUses is ignored, since some tests take the database away.
	clock.BeforeMove(func() { p.Entry.WriteUses(context.Background()) })
	clock.AfterMove(p.moveMarkAfter)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, listener) }()
	p.Stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		p.Portal.Close()
	})
	t.Cleanup(p.Stop)
	return p
}

// OpenKeys opens the database and the key ring while the server runs, as a command does.
func (p *Portal) OpenKeys(ctx context.Context) (*maintenance.Keys, error) {
	database := maintenance.Database{URL: p.Config.DatabaseURL(), Pooled: p.Config.Pooler, Direct: p.Config.DatabaseDirect.Reveal()}
	return maintenance.OpenKeys(ctx, database, secret.Source{Path: p.Config.KeyRingPath()}, time.Now)
}

// moveMarkAfter moves the high-water mark after the clock has moved by d, as a job of the
// server does every ten seconds. It adds up short durations and leaves the move to a later call.
func (p *Portal) moveMarkAfter(d time.Duration) {
	p.unmarked += max(0, d)
	if p.unmarked < 5*time.Minute {
		return
	}
	p.unmarked = 0
	p.Believe()
}

// Believe moves the high-water mark to the clock's time, as if the clock had reached it without a
// forward leap. It has no effect if the database doesn't answer.
func (p *Portal) Believe() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := p.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, `UPDATE clock SET high_water_at = $1, leapt_at = NULL, seen_at = NULL, version = version + 1 WHERE high_water_at < $1`,
			db.At{Time: p.Clock.Now()})
		return err
	})
	if err == nil {
		p.WatchClock(ctx)
	}
}

// Password is the password of every account that [Portal.AddAccount] adds.
const Password = "correct horse battery"

// AddAccount adds an account with [Password].
func (p *Portal) AddAccount(t testing.TB, name string) account.Account {
	t.Helper()
	a, err := p.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: name}, Password)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var (
	keyPattern  = regexp.MustCompile(`secret=([A-Z2-7]{32})`)
	codePattern = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b`)
)
