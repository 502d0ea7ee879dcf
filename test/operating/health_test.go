package operating

import (
	"context"
	"database/sql"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestReadyzNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const well = "database: ok\nkey_ring: ok\nledger: ok\nclock: ok\nclock_watch: ok\naudit: ok\n"
	for name, test := range map[string]struct {
		harm func(t *testing.T, p *portal.Portal)
		want string // the body; empty where it is 200 and well
	}{
		"well": {func(*testing.T, *portal.Portal) {}, ""},
		"database gone": {func(_ *testing.T, p *portal.Portal) { p.DB.Close() },
			"database: unavailable\nkey_ring: unavailable\nledger: unavailable\nclock: unavailable\nclock_watch: ok\naudit: unavailable\n"},
		"another key ring": {func(t *testing.T, p *portal.Portal) {
			ring, err := secret.CreateRing(filepath.Join(t.TempDir(), "keyring"))
			if err != nil {
				t.Fatal(err)
			}
			p.Login.Ring = ring
		}, "database: ok\nkey_ring: not the one that the database was written with\nledger: ok\nclock: ok\nclock_watch: ok\naudit: ok\n"},
		"ledger gone": {func(t *testing.T, p *portal.Portal) {
			err := p.DB.Write(t.Context(), func(tx *db.Tx) error {
				_, err := db.Exec(context.Background(), tx, `ALTER TABLE ledger RENAME TO gone`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}, "database: ok\nkey_ring: ok\nledger: unavailable\nclock: ok\nclock_watch: ok\naudit: ok\n"},
		"clock set back": {func(_ *testing.T, p *portal.Portal) { p.Clock.Move(-10*time.Minute - 2*time.Second) },
			"database: ok\nkey_ring: ok\nledger: ok\nclock: behind by 10m0s; no codes are accepted\nclock_watch: ok\naudit: ok\n"},
	} {
		for _, engine := range testkit.Engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				t.Parallel()
				p := portal.Start(t, engine)
				p.AddAccount(t, "ada")
				b := p.Browser(t)
				if got := b.Get("/readyz"); got.Status != 200 || got.Body != well {
					t.Fatalf("before: %d %q", got.Status, got.Body)
				}
				test.harm(t, p)
				p.Clock.Move(2 * time.Second) // so long an answer stands
				status, want := 200, well
				if test.want != "" {
					status, want = 503, test.want
				}
				if got := b.Get("/readyz"); got.Status != status || got.Body != want {
					t.Errorf("%d %q, want %d %q", got.Status, got.Body, status, want)
				}
			})
		}
	}
}

func TestOperatorsHearOfTheClock(t *testing.T) {
	t.Parallel()
	const slow, behind = "server’s clock is about 30 seconds slow", "server’s clock was set back"
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, address := portal.StartMeasured(t, engine)
			_, err := p.Login.AddAccount(t.Context(), account.Account{Name: "op", Role: account.Operator}, portal.Password)
			if err != nil {
				t.Fatal(err)
			}
			operator, member := p.Browser(t), p.Browser(t)
			operator.SignIn("op")
			// Three phones agree that it is half a minute later.
			for _, name := range []string{"ada", "bob", "eve"} {
				p.AddAccount(t, name)
				member = p.Browser(t)
				member.SignIn(name)
				phone := member.Enroll("phone")
				if strings.Contains(operator.Get("/settings/profile").Body, slow) {
					t.Fatal("two phones accuse the server")
				}
				b := p.Browser(t)
				b.SignIn(name)
				b.Post("/login/code", "code", phone.Code(30*time.Second))
				if !b.SignedIn() {
					t.Fatalf("%s: %d %s", name, b.Last.Status, b.Last.Body)
				}
			}
			if !strings.Contains(operator.Get("/settings/profile").Body, slow) {
				t.Error("the operator isn't told that the clock is slow")
			}
			if strings.Contains(member.Get("/settings/profile").Body, slow) {
				t.Error("a member is told of the clock")
			}
			if got := operator.Get("/readyz"); got.Status != 200 || !strings.Contains(got.Body, "clock_watch: about 30s slow, compared with the phones that sign in\n") {
				t.Errorf("readyz: %d %s", got.Status, got.Body)
			}

			if err := p.WatchClock(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Clock.Move(-5 * time.Minute)
			if err := p.WatchClock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(operator.Get("/settings/profile").Body, behind) {
				t.Error("the operator isn't told that codes are refused")
			}
			if !strings.Contains(p.Logs.String(), "it refuses codes from authenticator apps: correct the clock") {
				t.Error("the log doesn't say that codes are refused")
			}
			got := portal.Scrape(t, address)
			for _, want := range []string{"\nsallyport_clock_offset_seconds 30\n", "\nsallyport_clock_set_back_total 1\n"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q", want)
				}
			}
		})
	}
}

// R7 outlives a failover only where the standby has every commit.
func TestReadyzTellsOfStandbysThatLag(t *testing.T) {
	t.Parallel()
	// A server of its own: all that use it have the standby.
	dir, err := os.MkdirTemp("", "sallyport-postgres-")
	testkit.Check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	super, stop, err := testkit.StartPostgres(dir)
	testkit.Check(t, err)
	t.Cleanup(stop)
	admin, err := sql.Open("pgx", super)
	testkit.Check(t, err)
	t.Cleanup(func() { admin.Close() })
	sqlAll := func(statements ...string) {
		t.Helper()
		for _, one := range statements {
			if _, err := admin.Exec(one); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
		}
	}
	sqlAll("CREATE ROLE app LOGIN", "CREATE DATABASE one", "CREATE DATABASE two OWNER app")
	for role, database := range map[string]string{"postgres": "one", "app": "two"} {
		p := portal.StartIn(t, t.TempDir(), testkit.NewClock(),
			"SALLYPORT_DATABASE="+strings.Replace(strings.Replace(super, "postgres@", role+"@", 1), "/postgres?", "/"+database+"?", 1))
		lags := func(when string, want bool) {
			t.Helper()
			p.Clock.Move(2 * time.Second) // so long an answer stands
			a := p.Browser(t).Get("/readyz")
			if got := strings.Contains(a.Body, "\nstandby: no standby is synchronous"); a.Status != http.StatusOK || got != want {
				t.Errorf("%s, %s: %d %s", role, when, a.Status, a.Body)
			}
		}
		lags("no standby", false)
		end := startStandby(t, super, dir)
		testkit.Until(t, "the standby", func() bool { return standbys(t, admin, "true") == 1 })
		lags("a standby", true)
		sqlAll("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
		testkit.Until(t, "the synchronous standby", func() bool { return standbys(t, admin, "sync_state = 'sync'") == 1 })
		lags("a synchronous standby", false)
		careless := testkit.Open(t, p.Config.Database.Reveal()+"&synchronous_commit=local")
		if loses, err := careless.LosesCommits(t.Context()); err != nil || !loses {
			t.Errorf("%s, whose commits don't wait for it: %v, %v", role, loses, err)
		}
		p.Stop()
		sqlAll("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
		end()
		testkit.Until(t, "the end of the standby", func() bool { return standbys(t, admin, "true") == 0 })
	}
}

func standbys(t *testing.T, admin *sql.DB, which string) (n int) {
	t.Helper()
	testkit.Check(t, admin.QueryRow("SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming' AND "+which).Scan(&n))
	return n
}

// startStandby starts what takes every commit of a PostgreSQL over, and confirms
// each, as a standby does.
func startStandby(t *testing.T, super, dir string) (end func()) {
	t.Helper()
	bin, err := testkit.PostgresPrograms()
	testkit.Check(t, err)
	to, err := os.MkdirTemp(dir, "standby-")
	testkit.Check(t, err)
	attributes, err := testkit.Unprivileged(to)
	testkit.Check(t, err)
	cmd := exec.Command(filepath.Join(bin, "pg_receivewal"), "-D", to, "--synchronous", "-d", super)
	cmd.SysProcAttr, cmd.Dir = attributes, to
	testkit.Check(t, cmd.Start())
	end = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(end)
	return end
}

// F9.
func TestPanicInATransactionHoldsNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, _ := portal.WithTwoFactor(t, p, "ada")
		ring := p.Login.Ring
		p.Login.Ring = nil // the first to seal or open with it panics
		for _, form := range []struct {
			path   string
			fields []string
		}{
			{"/settings/security/authenticators", nil},
			{"/settings/security/backup-codes", nil},
			{"/settings/security/password", []string{"password", portal.Password, "new_password", "another horse, another battery"}},
			{"/login", []string{"username", "ada", "password", portal.Password}},
		} {
			// More often than there are places to hash at, or connections.
			for range 5 {
				if a := b.Post(form.path, form.fields...); a.Status != 500 && a.Status != 429 && a.Location != "/settings/security?notice=codes_limit" {
					t.Errorf("%s: %s, want 500", form.path, portal.Summary(a))
				}
			}
			if a := b.Get("/healthz"); a.Status != 200 {
				t.Errorf("after %s: healthz %d", form.path, a.Status)
			}
		}
		p.Login.Ring = ring
		p.Clock.Move(time.Hour) // the tries that panicked count
		portal.NothingHalfDone(t, p.DB)
		if !strings.Contains(p.Logs.String(), `"msg":"panic"`) {
			t.Error("no panic is in the log")
		}
		pending := portal.PendingSignIn(t, p, "ada")
		if a := pending.Post("/login/cancel"); a.Status != 303 {
			t.Errorf("a write afterwards: %s", portal.Summary(a))
		}
	})
}
