package replay

// The verification of codes with a wrong clock or a wrong key.

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack39ClockSetBack(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		used := phone.Code(0)
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", used)
		portal.CheckSignedIn(t, b, "code before the clock is set back", true)

		p.Clock.Move(-10 * time.Minute)
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", used)
		portal.CheckSignedIn(t, b, "used code after the clock was set back", false)
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "unused code of a step before the last used one", false)
		b.Post("/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period))
		portal.CheckSignedIn(t, b, "two unused codes of steps before the last used one", false)
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, "backup code", true)
	})
}

func TestAttack41NodeWithAFastClock(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 2)
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period + 45*time.Second)
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		portal.MoveAll(nodes, 10*time.Minute)
		code := phone.Code(0)
		for i, n := range order {
			b := portal.PendingSignIn(t, nodes[n], "ada")
			b.Post("/login/code", "code", code)
			portal.CheckSignedIn(t, b, "the same code on two nodes", i == 0)
		}
	}
	// On both nodes at the same time.
	portal.MoveAll(nodes, 10*time.Minute)
	code := phone.Code(0)
	browsers := []*portal.Browser{portal.PendingSignIn(t, nodes[0], "ada"), portal.PendingSignIn(t, nodes[1], "ada")}
	got := testkit.Race(2, func(i int) string {
		browsers[i].Post("/login/code", "code", code)
		if browsers[i].Cookie(portal.SessionCookie) != "" {
			return "session"
		}
		return "none"
	})
	if got["session"] != 1 {
		t.Errorf("one code on two nodes at once: %v, want one session", got)
	}
}

// TestAttack41FarFromTheDatabasesClock checks that a node whose clock is far from the database's
// accepts no codes, and says so. It would accept some that all other nodes refuse.
func TestAttack41FarFromTheDatabasesClock(t *testing.T) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p, metrics := portal.StartMeasured(t, engine)
			_, err := p.Manage.Accounts.Add(t.Context(), manage.CommandLine(), account.Account{Name: "op", Role: account.Administrator}, portal.Password)
			testkit.Check(t, err)
			operator := p.Browser(t)
			operator.SignIn("op")
			_, phone := portal.WithTwoFactor(t, p, "ada")
			for _, test := range []struct {
				ahead              time.Duration
				accepted           bool
				ready, page, gauge string
			}{
				{5 * time.Second, true, "", "", "5"},
				{-6 * time.Second, true, "clock_watch: 6s behind the database's\n", "differs from the database’s by 6 seconds. Synchronize", "-6"},
				{31 * time.Second, false, "clock: 31s ahead of the database's; no codes are accepted\n", "differs from the database’s by 31 seconds, so it refuses codes", "31"},
				{-time.Hour, false, "clock: 1h0m0s behind the database's; no codes are accepted\n", "so it refuses codes", "-3600"},
				{0, true, "", "", "0"},
			} {
				p.Clock.Move(5 * time.Minute)
				p.Ahead.Store(int64(test.ahead))
				testkit.Check(t, p.WatchClock(t.Context()))
				b := portal.PendingSignIn(t, p, "ada")
				a := b.Post("/login/code", "code", phone.Code(0))
				portal.CheckSignedIn(t, b, "code with the clock ahead by "+test.ahead.String(), test.accepted)
				if !test.accepted {
					if !strings.Contains(portal.VisibleText(a.Body), "this server’s clock is wrong") {
						t.Errorf("clock ahead by %v: the page doesn't say why the code is refused", test.ahead)
					}
					b.Post("/login/backup-code", "backup_code", phone.Codes[0])
					portal.CheckSignedIn(t, b, "backup code", true)
					phone.Codes = phone.Codes[1:]
				}
				ready, page := operator.Get("/readyz"), portal.VisibleText(operator.Get("/settings/profile").Body)
				if (ready.Status == http.StatusOK) != test.accepted || !strings.Contains(ready.Body, test.ready) {
					t.Errorf("clock ahead by %v: readyz answers %d %s, want ready: %v, with %q", test.ahead, ready.Status, ready.Body, test.accepted, test.ready)
				}
				if !strings.Contains(page, test.page) || strings.Contains(page, "differs from the database") != (test.page != "") {
					t.Errorf("clock ahead by %v: the operator's page doesn't have the notice %q, or has one that it shouldn't", test.ahead, test.page)
				}
				if got := portal.Scrape(t, metrics); !strings.Contains(got, "\nsallyport_clock_ahead_of_database_seconds "+test.gauge+"\n") {
					t.Errorf("clock ahead by %v: sallyport_clock_ahead_of_database_seconds isn't %s", test.ahead, test.gauge)
				}
			}
			if logs := p.Logs.String(); !strings.Contains(logs, "it refuses codes from authenticator apps") || !strings.Contains(logs, "synchronize both with a time server") {
				t.Error("the log doesn't say what is wrong")
			}
		})
	}
}

func TestAttack42LostKey(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		signedIn, phone := portal.WithTwoFactor(t, p, "ada")
		pending := portal.PendingSignIn(t, p, "ada")
		before := portal.CountRows(t, p, portal.SessionsOfQuery, "ada")
		right := p.Login.Ring

		// Without the key the secrets can't be opened. That must never count as an account
		// without a second factor.
		p.Login.Ring = secret.NewRing()
		for what, a := range map[string]portal.Answer{
			"code":        pending.Post("/login/code", "code", phone.Code(0)),
			"backup code": pending.Post("/login/backup-code", "backup_code", phone.Codes[0]),
			"password":    p.Browser(t).Post("/login", "username", "ada", "password", portal.Password),
			"reauthenticate": signedIn.Post("/reauthenticate",
				"password", portal.Password, "code", phone.Code(0), "return", "/"),
		} {
			if a.Status < 500 || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s with a lost key: %s, cookie %q; want 5xx and no cookie", what, portal.Summary(a), a.Header.Get("Set-Cookie"))
			}
		}
		if page := portal.VisibleText(signedIn.Get("/settings/security").Body); !strings.Contains(page, "Disable two-factor authentication") {
			t.Error("with a lost key, the page shows two-factor authentication as disabled")
		}
		if after := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); after != before {
			t.Errorf("sessions: %d before, %d after, want the same number", before, after)
		}
		p.Login.Ring = right
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "code with the right key", true)
	})
}

func TestAttack42LostKeyAtStart(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		dir := t.TempDir()
		environ := []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_DATABASE=" + p.Config.Database.Reveal()}
		if p.Config.Database.Reveal() == "" {
			// SQLite's file is in the same directory as the key ring, so move the ring away.
			environ = []string{"SALLYPORT_DATA_DIR=" + p.Config.DataDir}
			dir = p.Config.DataDir
			testkit.MoveFile(t, filepath.Join(dir, "keyring"), filepath.Join(dir, "keyring.away"))
		}
		cfg, err := config.Load("", environ)
		if err != nil {
			t.Fatal(err)
		}
		open := func() string {
			opened, err := server.Open(context.Background(), cfg, p.Clock.Now, p.Log)
			if err == nil {
				opened.Close()
				return "opened"
			}
			return err.Error()
		}
		if got := open(); !strings.Contains(got, "there is no key ring at "+dir) {
			t.Errorf("open a database without its key ring: got %q, want that there is no key ring", got)
		}
		if _, err := secret.CreateRing(filepath.Join(dir, "keyring")); err != nil {
			t.Fatal(err)
		}
		if got := open(); !strings.Contains(got, "is not the one that this database was written with") {
			t.Errorf("open a database with another key ring: got %q, want that it isn't the database's", got)
		}
	})
}
