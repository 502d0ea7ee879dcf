// Package testkit gives tests a fresh database on either engine and a clock that they
// move by hand. Package testkit/portal starts a whole server, and testkit/disk makes
// writes fail.
package testkit

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
)

// PostgresVariable names the environment variable that has the URL of a PostgreSQL
// server. The URL's user must be a superuser, since tests create databases there.
const PostgresVariable = "SALLYPORT_TEST_POSTGRES"

// Engines lists the names of both engines.
var Engines = []string{"sqlite", "postgres"}

// untilTimeout is enough time even for a busy machine to do what usually takes a moment.
const untilTimeout = 20 * time.Second

// Until waits until the function done returns true, for a state that another goroutine or process
// brings about. It fails the test after untilTimeout. The parameter what describes the state.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(start) > untilTimeout {
			t.Fatalf("waited %v in vain for: %s", untilTimeout, what)
		}
	}
}

// Quick has low Argon2id costs. It is for tests that don't depend on the costs.
var Quick = secret.Argon2id{MemoryKiB: 64, Iterations: 1}

// Each runs a test once for each engine, with a new database that has today's schema.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	for _, engine := range Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, Open(t, MigratedURL(t, engine, t.TempDir())))
		})
	}
}

// Open opens the database at rawURL and closes it at the end of the test.
func Open(t testing.TB, rawURL string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// DatabaseURL returns the URL of a new, empty database of the engine. The database is
// removed at the end of the test.
func DatabaseURL(t testing.TB, engine string) string {
	t.Helper()
	if engine == "sqlite" {
		return "sqlite:" + filepath.Join(t.TempDir(), "sallyport.db")
	}
	return postgresURL(t, "template1")
}

// postgresURL returns the URL of a new PostgreSQL database. It is a copy of the database whose
// name is template, and is removed at the end of the test.
func postgresURL(t testing.TB, template string) string {
	t.Helper()
	server := os.Getenv(PostgresVariable)
	if server == "" {
		t.Fatalf("%s is not set; run: go run ./internal/testkit/withpostgres -- go test ./...", PostgresVariable)
	}
	admin, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := "t_" + strings.ToLower(strings.NewReplacer("-", "x", "_", "y").Replace(secret.NewID()))
	if _, err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template + " STRATEGY FILE_COPY"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin, err := sql.Open("pgx", server)
		if err != nil {
			return
		}
		defer admin.Close()
		admin.Exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Clock is a clock that stands still until a test moves it. It is safe for concurrent
// use.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	before []func()
	after  []func(time.Duration)
}

// Start is the time at which every [Clock] starts. It is the start of a time step.
var Start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// NewClock returns a clock at [Start].
func NewClock() *Clock { return &Clock{now: Start} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// BeforeMove makes [Clock.Move] call f before each move. The function f does what a server's
// jobs would do.
func (c *Clock) BeforeMove(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = append(c.before, f)
}

// AfterMove makes [Clock.Move] call f after each move, with the duration of the move. The
// function f does what a server's jobs would do.
func (c *Clock) AfterMove(f func(time.Duration)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = append(c.after, f)
}

// Move moves the clock ahead by d, or back if d is negative. It calls the functions of
// [Clock.BeforeMove] and [Clock.AfterMove].
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	before, after := slices.Clone(c.before), slices.Clone(c.after)
	c.mu.Unlock()
	for _, f := range before {
		f()
	}
	c.Set(d)
	for _, f := range after {
		f(d)
	}
}

// Set is like [Clock.Move] but doesn't call the functions of [Clock.BeforeMove] and
// [Clock.AfterMove].
func (c *Clock) Set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Race calls f from n goroutines at the same time and returns how often f returned each
// result. It passes each call a different number below n.
func Race(n int, f func(i int) string) map[string]int {
	var (
		ready, done sync.WaitGroup
		start       = make(chan struct{})
		results     = make([]string, n)
	)
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			results[i] = f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	count := map[string]int{}
	for _, r := range results {
		count[r]++
	}
	return count
}

// Outcome returns "ok" or the text of err, as a result for [Race].
func Outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return fmt.Sprint(err)
}
