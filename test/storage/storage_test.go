package storage

// Locked, damaged, manipulated and shared databases.

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// otherProcess returns a connection to a SQLite file that is independent of the portal's
// connections, like one of another process.
func otherProcess(t *testing.T, path string) *sql.Conn {
	t.Helper()
	pool, err := sql.Open("sqlite", "file:"+path)
	testkit.Check(t, err)
	t.Cleanup(func() { pool.Close() })
	conn, err := pool.Conn(context.Background())
	testkit.Check(t, err)
	return conn
}

// TestAttack140LockedDatabase lets another writer hold the lock of the database for longer than a
// request waits.
func TestAttack140LockedDatabase(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	b, phone := portal.WithTwoFactor(t, p, "ada")
	first, second := portal.PendingSignIn(t, p, "ada"), portal.PendingSignIn(t, p, "ada")
	other := otherProcess(t, filepath.Join(p.Config.DataDir, "sallyport.db"))
	_, err := other.ExecContext(context.Background(), "BEGIN IMMEDIATE")
	testkit.Check(t, err)

	code := phone.Code(0)
	begin := time.Now()
	if a := first.Post("/login/code", "code", code); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("code while the database is locked: %s, Retry-After %q; want 503 with Retry-After and no cookie", portal.Summary(a), a.Header.Get("Retry-After"))
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the refusal took %v, want at most 20s", took)
	}
	// Requests that only read don't wait. One that did would be refused too.
	if a := p.Browser(t).Get("/login"); a.Status != http.StatusOK {
		t.Errorf("sign-in page while the database is locked: %s, want 200", portal.Summary(a))
	}
	if a := b.Get("/settings/security"); a.Status != http.StatusOK {
		t.Errorf("security page while the database is locked: %s, want 200", portal.Summary(a))
	}
	_, err = other.ExecContext(context.Background(), "ROLLBACK")
	testkit.Check(t, err)

	first.Post("/login/code", "code", code)
	portal.CheckSignedIn(t, first, "the same code once the lock is free", true)
	second.Post("/login/code", "code", code)
	portal.CheckSignedIn(t, second, "the same code a second time", false)
}

// signIn submits the name and [portal.Password] to a portal without a listener.
func signIn(p *server.Portal, name string) *httptest.ResponseRecorder {
	form := url.Values{"username": {name}, "password": {portal.Password}}.Encode()
	r := httptest.NewRequest(http.MethodPost, p.URL("/login"), strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	p.Handler.ServeHTTP(w, r)
	return w
}

func TestAttack141DamagedFile(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		damage func(t *testing.T, path string)
		want   string // text of the error, or "opens"; if empty, the portal may open, but no sign-in succeeds
	}{
		"undamaged": {func(*testing.T, string) {}, "opens"},
		"newer schema": {func(t *testing.T, path string) {
			_, err := otherProcess(t, path).ExecContext(context.Background(), `UPDATE schema SET version = 999, usable_since = 999`)
			testkit.Check(t, err)
		}, "made by a newer sallyport"},
		"newer schema that this program may use": {func(t *testing.T, path string) {
			_, err := otherProcess(t, path).ExecContext(context.Background(), `UPDATE schema SET version = 999, usable_since = 1`)
			testkit.Check(t, err)
		}, "opens"},
		"garbage": {func(t *testing.T, path string) {
			testkit.Check(t, os.WriteFile(path, bytes.Repeat([]byte("this is no database\n"), 1000), 0o600))
		}, "not a database"},
		"another database": {func(t *testing.T, path string) {
			testkit.Check(t, os.Remove(path))
			_, err := otherProcess(t, path).ExecContext(context.Background(), `CREATE TABLE accounts (id TEXT)`)
			testkit.Check(t, err)
		}, "migrate"},
		"head overwritten": {func(t *testing.T, path string) { overwrite(t, path, 0, 100) }, "not a database"},
		"cut in half": {func(t *testing.T, path string) {
			info, err := os.Stat(path)
			testkit.Check(t, err)
			testkit.Check(t, os.Truncate(path, info.Size()/2))
		}, ""},
		"pages overwritten": {func(t *testing.T, path string) {
			info, err := os.Stat(path)
			testkit.Check(t, err)
			overwrite(t, path, 8192, int(info.Size())-8192)
		}, ""},
		"directory": {func(t *testing.T, path string) {
			testkit.Check(t, os.Remove(path))
			testkit.Check(t, os.Mkdir(path, 0o700))
		}, "open database"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "sallyport.db")
			p, err := portal.OpenFiles(t, dir)
			testkit.Check(t, err)
			_, err = p.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: "ada"}, portal.Password)
			testkit.Check(t, err)
			testkit.Check(t, p.Close())
			c.damage(t, path)

			again, err := portal.OpenFiles(t, dir)
			switch {
			case c.want == "opens" && err != nil:
				t.Fatalf("open the portal: got %v, want it to open", err)
			case c.want == "opens":
				if w := signIn(again, "ada"); w.Code != http.StatusSeeOther {
					t.Errorf("sign-in after the portal opened: %d, want 303", w.Code)
				}
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("open the portal: got %v, want an error with %q", err, c.want)
			case err == nil:
				if w := signIn(again, "ada"); w.Code < 400 || len(w.Result().Cookies()) > 0 {
					t.Errorf("sign-in on the damaged file: %d, cookies %v; want an error and no cookie", w.Code, w.Result().Cookies())
				}
			case len(err.Error()) < 10 || strings.Contains(err.Error(), "panic"):
				t.Errorf("open the portal: got %q, want an error that says what is wrong", err)
			}
		})
	}
}

// overwrite overwrites n bytes of a file, beginning at the given offset.
func overwrite(t *testing.T, path string, offset int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	testkit.Check(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0x5a}, n), offset)
	testkit.Check(t, err)
	testkit.Check(t, f.Close())
}

// TestAttack142SwappedRows lets an attacker with write access to the database copy and move the
// rows of one account to another. No secret of the attacker's account must open the other one.
func TestAttack142SwappedRows(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		n := 0
		// Each case has its own accounts ada and eve. Eve is the attacker: she has her own
		// password, app and backup codes, and ada's password.
		for what, statements := range map[string][]string{
			"totp secret copied": {
				`UPDATE totp SET secret = (SELECT secret FROM totp WHERE authenticator_id = '{eve phone}') WHERE authenticator_id = '{ada phone}'`},
			"totp secret and id copied": {
				`DELETE FROM totp WHERE authenticator_id = '{ada phone}'`,
				`UPDATE totp SET authenticator_id = '{ada phone}' WHERE authenticator_id = '{eve phone}'`},
			"authenticators swapped": {
				`UPDATE authenticators SET account_id = CASE account_id WHEN '{ada}' THEN '{eve}' ELSE '{ada}' END WHERE account_id IN ('{ada}', '{eve}')`},
			"eve's authenticator moved to ada": {
				`UPDATE authenticators SET account_id = '{ada}' WHERE id = '{eve phone}'`},
			"eve's authenticator in the place of ada's": {
				`DELETE FROM authenticators WHERE id = '{ada phone}'`,
				`UPDATE authenticators SET account_id = '{ada}' WHERE id = '{eve phone}'`},
			"secret cut": {
				`UPDATE totp SET secret = (SELECT salt FROM backup_codes WHERE account_id = '{eve}' LIMIT 1) WHERE authenticator_id = '{ada phone}'`},
			"secret gone":       {`DELETE FROM totp WHERE authenticator_id = '{ada phone}'`},
			"another algorithm": {`UPDATE totp SET algorithm = 'SHA256' WHERE authenticator_id = '{ada phone}'`},
			"fewer digits":      {`UPDATE totp SET digits = 1 WHERE authenticator_id = '{ada phone}'`},
			"longer period":     {`UPDATE totp SET period = 3000000 WHERE authenticator_id = '{ada phone}'`},
			"unknown kind":      {`UPDATE authenticators SET kind = 'none' WHERE id = '{ada phone}'`},
		} {
			n++
			p.Clock.Move(time.Hour) // failures at ten accounts in an hour would throttle this network
			_, ada := portal.WithTwoFactor(t, p, fmt.Sprint("ada", n))
			_, eve := portal.WithTwoFactor(t, p, fmt.Sprint("eve", n))
			fill := strings.NewReplacer("{ada phone}", ada.ID, "{eve phone}", eve.ID,
				"{ada}", portal.MustAccount(t, p, fmt.Sprint("ada", n)).ID, "{eve}", portal.MustAccount(t, p, fmt.Sprint("eve", n)).ID)
			pending := portal.PendingSignIn(t, p, fmt.Sprint("ada", n))
			for _, statement := range statements {
				portal.ChangeRows(t, p, fill.Replace(statement))
			}
			later := p.Browser(t)
			if a := later.Post("/login", "username", fmt.Sprint("ada", n), "password", portal.Password); a.Location != "/login/code" && a.Status < 500 {
				t.Errorf("%s: the password leads to %s, want /login/code or an error", what, portal.Summary(a))
			}
			for i, b := range []*portal.Browser{pending, later} {
				for whose, phone := range map[string]*portal.Phone{"eve's": eve, "ada's": ada} {
					a := b.Post("/login/code", "code", phone.Code(0))
					if a.Status < 400 && !strings.HasPrefix(a.Location, "/login") {
						t.Errorf("%s: %s code in attempt %d: %s, want a refusal", what, whose, i, portal.Summary(a))
					}
					portal.CheckSignedIn(t, b, what+": "+whose+" code", false)
				}
				b.Post("/login/code", "code", eve.Code(0), "next_code", eve.Code(totp.Period))
				portal.CheckSignedIn(t, b, what+": two of eve's codes", false)
			}
		}
		// After so many wrong codes every account would need two codes in a row.
		p.Clock.Move(24 * time.Hour)
		testkit.Check(t, p.Measure(context.Background()))
		for what, statements := range map[string][]string{
			"hash and salt copied": {
				`UPDATE backup_codes SET salt = (SELECT salt FROM backup_codes WHERE account_id = '{eve}' LIMIT 1), hash = (SELECT hash FROM backup_codes WHERE account_id = '{eve}' LIMIT 1) WHERE account_id = '{ada}'`},
			"rows moved":     {`DELETE FROM backup_codes WHERE account_id = '{ada}'`, `UPDATE backup_codes SET account_id = '{ada}' WHERE account_id = '{eve}'`},
			"rows added":     {`UPDATE backup_codes SET account_id = '{ada}' WHERE account_id = '{eve}'`},
			"another cost":   {`UPDATE backup_codes SET memory_kib = 1, iterations = 0 WHERE account_id = '{ada}'`},
			"an absurd cost": {`UPDATE backup_codes SET memory_kib = 1000000000 WHERE account_id = '{ada}'`},
		} {
			n++
			_, ada := portal.WithTwoFactor(t, p, fmt.Sprint("ada", n))
			_, eve := portal.WithTwoFactor(t, p, fmt.Sprint("eve", n))
			fill := strings.NewReplacer("{ada}", portal.MustAccount(t, p, fmt.Sprint("ada", n)).ID, "{eve}", portal.MustAccount(t, p, fmt.Sprint("eve", n)).ID)
			for _, statement := range statements {
				portal.ChangeRows(t, p, fill.Replace(statement))
			}
			b := portal.PendingSignIn(t, p, fmt.Sprint("ada", n))
			for _, code := range eve.Codes {
				b.Post("/login/backup-code", "backup_code", code)
				portal.CheckSignedIn(t, b, what+": eve's backup code", false)
				p.Clock.Move(5 * time.Second)
			}
			// The authenticator app isn't affected.
			b.Post("/login/code", "code", ada.Code(0))
			portal.CheckSignedIn(t, b, what+": ada's code", true)
		}
		// The thief's sealed password hash in the victim's row.
		ctx := context.Background()
		const evesPassword = "known to eve alone"
		for _, one := range []struct{ name, password string }{{"victim", portal.Password}, {"thief", evesPassword}} {
			_, err := p.Manage.Accounts.Add(ctx, manage.CommandLine(), account.Account{Name: one.name}, one.password)
			testkit.Check(t, err)
		}
		portal.ChangeRows(t, p, `UPDATE passwords SET phc = (SELECT phc FROM passwords WHERE account_id = $1) WHERE account_id = $2`,
			portal.MustAccount(t, p, "thief").ID, portal.MustAccount(t, p, "victim").ID)
		for _, password := range []string{evesPassword, portal.Password} {
			b := p.Browser(t)
			a := b.Post("/login", "username", "victim", "password", password)
			if a.Status < 400 || b.Cookie(portal.SessionCookie) != "" || b.Cookie(portal.AttemptCookie) != "" {
				t.Errorf("sign-in with the hash of another account in the row: %s, want an error and no cookies", portal.Summary(a))
			}
		}
		if a := p.Browser(t).Post("/login", "username", "thief", "password", evesPassword); a.Status != http.StatusSeeOther {
			t.Errorf("sign-in of the account whose hash was copied: %s, want 303", portal.Summary(a))
		}
		// A stored hash that is typed as the password is a wrong password (R11).
		if a := p.Browser(t).Post("/login", "username", "thief", "password", "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("sign-in with a PHC string as the password: %s, want 422", portal.Summary(a))
		}
	})
}

// TestAttack144TwoServersOnOneFile checks that a second server refuses to start on the first one's file,
// and that commands can use the file while the first server runs.
func TestAttack144TwoServersOnOneFile(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	p.AddAccount(t, "ada")
	environ := []string{"SALLYPORT_DATA_DIR=" + p.Config.DataDir, "SALLYPORT_LISTEN=" + testkit.FreeAddress(t), portal.NoConfig}
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		done := make(chan int, 1)
		go func() { done <- cli.Main(args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, environ) }()
		select {
		case code := <-done:
			return code, out.String()
		case <-time.After(30 * time.Second):
			t.Fatalf("sallyport %v still runs after 30s", args)
			return 0, ""
		}
	}
	if code, out := run("serve"); code != 1 || !strings.Contains(out, "another sallyport serves this database") {
		t.Errorf("second server: exit code %d, want 1 and the reason:\n%s", code, out)
	}
	if code, out := run("account", "list"); code != 0 || !strings.Contains(out, "ada") {
		t.Errorf("account list while the server runs: exit code %d, want 0 and ada:\n%s", code, out)
	}
	b := p.Browser(t)
	b.SignIn("ada")
	if !b.SignedIn() {
		t.Error("after the second start, the first server doesn't accept a sign-in")
	}
}
