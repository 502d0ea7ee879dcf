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
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestReadyzNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const well = "database: ok\nkey_ring: ok\nledger: ok\nclock: ok\nclock_watch: ok\naudit: ok\n"
	for name, test := range map[string]struct {
		harm func(t *testing.T, p *portal.Portal)
		want string // the body of 503; if empty, the portal is ready
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
					t.Fatalf("readyz before the fault: %d %q, want 200 %q", got.Status, got.Body, well)
				}
				test.harm(t, p)
				p.Clock.Move(2 * time.Second) // readyz caches its answer that long
				status, want := 200, well
				if test.want != "" {
					status, want = 503, test.want
				}
				if got := b.Get("/readyz"); got.Status != status || got.Body != want {
					t.Errorf("readyz: %d %q, want %d %q", got.Status, got.Body, status, want)
				}
			})
		}
	}
}

func TestOperatorsSeeThatTheClockIsWrong(t *testing.T) {
	t.Parallel()
	const slow, behind = "server’s clock is about 30 seconds slow", "server’s clock was set back"
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, address := portal.StartMeasured(t, engine)
			_, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "op", Role: account.Administrator}, portal.Password)
			if err != nil {
				t.Fatal(err)
			}
			operator, member := p.Browser(t), p.Browser(t)
			operator.SignIn("op")
			// Three phones have clocks that are half a minute ahead of the server's.
			for _, name := range []string{"ada", "bob", "eve"} {
				p.AddAccount(t, name)
				member = p.Browser(t)
				member.SignIn(name)
				phone := member.Enroll("phone")
				if strings.Contains(operator.Get("/settings/profile").Body, slow) {
					t.Fatal("after fewer than three phones, the operator's page says that the server's clock is slow")
				}
				b := p.Browser(t)
				b.SignIn(name)
				b.Post("/login/code", "code", phone.Code(30*time.Second))
				if !b.SignedIn() {
					t.Fatalf("sign-in of %s with a phone that is 30 s ahead: %d %s; want a session", name, b.Last.Status, b.Last.Body)
				}
			}
			if !strings.Contains(operator.Get("/settings/profile").Body, slow) {
				t.Error("after three phones, the operator's page doesn't say that the clock is slow")
			}
			if strings.Contains(member.Get("/settings/profile").Body, slow) {
				t.Error("a member's page says that the clock is slow, want it on operators' pages only")
			}
			if got := operator.Get("/readyz"); got.Status != 200 || !strings.Contains(got.Body, "clock_watch: about 30s slow, compared with the phones that sign in\n") {
				t.Errorf("readyz with a slow clock: %d, want 200 and a line about it:\n%s", got.Status, got.Body)
			}

			if err := p.WatchClock(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Clock.Move(-5 * time.Minute)
			if err := p.WatchClock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(operator.Get("/settings/profile").Body, behind) {
				t.Error("with the clock set back, the operator's page doesn't say so")
			}
			if !strings.Contains(p.Logs.String(), "it refuses codes from authenticator apps: correct the clock") {
				t.Error("with the clock set back, the log doesn't say that codes are refused")
			}
			got := portal.Scrape(t, address)
			for _, want := range []string{"\nsallyport_clock_offset_seconds 30\n", "\nsallyport_clock_set_back_total 1\n"} {
				if !strings.Contains(got, want) {
					t.Errorf("the metrics don't have %q", want)
				}
			}
		})
	}
}

// TestReadyzTellsOfStandbysThatLag checks that /readyz reports if no standby is synchronous. After a
// failover a used code is still refused (R7) only if the standby has every commit.
func TestReadyzTellsOfStandbysThatLag(t *testing.T) {
	t.Parallel()
	// The test needs its own PostgreSQL server, since a standby copies all databases of a server.
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
			p.Clock.Move(2 * time.Second) // readyz caches its answer that long
			a := p.Browser(t).Get("/readyz")
			if got := strings.Contains(a.Body, "\nstandby: no standby is synchronous"); a.Status != http.StatusOK || got != want {
				t.Errorf("readyz as role %s with %s: %d, want 200, and a line about the standby: %v\n%s", role, when, a.Status, want, a.Body)
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
			t.Errorf("LosesCommits as role %s with synchronous_commit=local: %v, %v; want true", role, loses, err)
		}
		p.Stop()
		sqlAll("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
		end()
		testkit.Until(t, "the end of the standby", func() bool { return standbys(t, admin, "true") == 0 })
	}
}

// standbys returns the number of streaming standbys for which a condition is true.
func standbys(t *testing.T, admin *sql.DB, which string) (n int) {
	t.Helper()
	testkit.Check(t, admin.QueryRow("SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming' AND "+which).Scan(&n))
	return n
}

// startStandby starts a program that receives and confirms every commit of a PostgreSQL server,
// as a standby does.
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

// TestPanicInATransactionHoldsNothing checks that a panic in a transaction releases the transaction's
// lock and connection (F9).
func TestPanicInATransactionHoldsNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, _ := portal.WithTwoFactor(t, p, "ada")
		ring := p.Login.Ring
		p.Login.Ring = nil // every request that seals or opens a secret panics
		for _, form := range []struct {
			path   string
			fields []string
		}{
			{"/settings/security/authenticators", nil},
			{"/settings/security/backup-codes", nil},
			{"/settings/security/password", []string{"password", portal.Password, "new_password", "another horse, another battery"}},
			{"/login", []string{"username", "ada", "password", portal.Password}},
		} {
			// Repeat it more often than there are slots for hashing, or connections.
			for range 5 {
				if a := b.Post(form.path, form.fields...); a.Status != 500 && a.Status != 429 && a.Location != "/settings/security?notice=codes_limit" {
					t.Errorf("post to %s without a key ring: %s, want 500", form.path, portal.Summary(a))
				}
			}
			if a := b.Get("/healthz"); a.Status != 200 {
				t.Errorf("healthz after posts to %s: %d, want 200", form.path, a.Status)
			}
		}
		p.Login.Ring = ring
		p.Clock.Move(time.Hour) // so that the ledger no longer counts the tries that panicked
		portal.NothingHalfDone(t, p.DB)
		if !strings.Contains(p.Logs.String(), `"msg":"panic"`) {
			t.Error("the log has no line about a panic")
		}
		pending := portal.PendingSignIn(t, p, "ada")
		if a := pending.Post("/login/cancel"); a.Status != 303 {
			t.Errorf("cancel an attempt after the panics: %s, want 303", portal.Summary(a))
		}
	})
}
