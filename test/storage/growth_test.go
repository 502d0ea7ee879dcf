package storage

// The tables that grow, and by how many rows.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack7And150OtherNames checks that tries at names that don't exist remove no counted try of
// an account, and that their rows are gone a day later.
func TestAttack7And150OtherNames(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const (
			names      = 1000
			perNetwork = 10 // number of accounts that a network may try in an hour
		)
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.UseUp(t, p, phone)
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger`)
		b := p.Browser(t)
		for n := range names {
			if a := portal.FromNetwork(b, n/perNetwork).Post("/login", "username", fmt.Sprint("somebody", n), "password", "wrong"); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("wrong password for name %d: %s, want 422", n, portal.Summary(a))
			}
		}
		portal.CheckUsedUp(t, p, phone, "after a thousand names")
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger`) - before; n > names+names/perNetwork+1 {
			t.Errorf("tries at %d names left %d rows, want at most %d", names, n, names+names/perNetwork+1)
		}
		// A name is stored as two bytes of a MAC, so there are at most 2¹⁶ rows.
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE account_id LIKE 'nobody-%' AND LENGTH(account_id) = $1`, len("nobody-")+4); n < names*9/10 {
			t.Errorf("%d rows of names that don't exist, want at least %d", n, names*9/10)
		}
		p.Clock.Move(24 * time.Hour)
		testkit.Check(t, p.Sweep(context.Background()))
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE account_id LIKE 'nobody-%' OR account_id = ''`); n != 0 {
			t.Errorf("a day later, %d rows of these names are left, want none", n)
		}
		if got := portal.UnitsUsed(t, p, "ada", "code"); got != 5 {
			t.Errorf("a day later, the ledger has %d units of ada's wrong codes, want 5", got)
		}
	}, portal.BehindProxy)
}

// countRowsWithoutEvents counts the rows of every table that requests write, except those of the
// audit log, which are kept for a configured time (audit.keep).
func countRowsWithoutEvents(t *testing.T, p *portal.Portal) int {
	t.Helper()
	n := 0
	for _, table := range []string{"accounts", "attempts", "authenticators", "backup_codes", "devices", "ledger", "passes", "passwords", "sessions", "tickets", "totp"} {
		n += portal.CountRows(t, p, `SELECT COUNT(*) FROM `+table)
	}
	return n
}

// TestAttack150MadeUpCookies checks that requests with forged cookies and links write no rows and
// don't wait for the lock of writers.
func TestAttack150MadeUpCookies(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		rows, events := countRowsWithoutEvents(t, p), portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		b := p.Browser(t)
		b.Get("/login") // waits until the server has written its first rows
		writes, release := make(chan bool), make(chan bool)
		go p.DB.Write(context.Background(), func(*db.Tx) error {
			close(writes)
			<-release
			return nil
		})
		<-writes
		stuck := time.AfterFunc(time.Minute, func() { close(release) })
		for n := range 300 {
			token := strings.Repeat("A", 40) + fmt.Sprintf("%03d", n)
			for _, name := range []string{portal.SessionCookie, portal.AttemptCookie, portal.DeviceCookie} {
				b.SetCookie(name, token)
			}
			b.Get("/settings/security")
			b.Get("/setup?ticket=" + token)
			b.Post("/setup", "ticket", token, "new_password", "a long pass phrase")
			b.Post("/login/code", "code", "123456")
			b.Post("/login/backup-code", "backup_code", "AAAA-AAAA-AAAA")
			b.Post("/login/cancel")
			b.Post("/logout")
		}
		if stuck.Stop() {
			close(release)
		} else {
			t.Error("a request with forged cookies waited for the lock of writers")
		}
		if r, e := countRowsWithoutEvents(t, p), portal.CountRows(t, p, `SELECT COUNT(*) FROM events`); r != rows || e != events {
			t.Errorf("requests with forged cookies left %d rows and %d events, want none", r-rows, e-events)
		}
	})
}

// TestAttack150RowsOfOneAccount checks that a client with the password or a session can create no
// more rows than the quotas allow, and that these rows expire.
func TestAttack150RowsOfOneAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		p.AddAccount(t, "bob") // without two-factor authentication
		for range 130 {
			portal.PendingSignIn(t, p, "ada")
			p.Browser(t).SignIn("bob")
		}
		for i := range 30 {
			portal.LetInTicket(t, owner)
			owner.BeginEnroll()
			owner.Post("/settings/security/passes", panels.PassFields(fmt.Sprint("pass ", i))...)
		}
		for what, c := range map[string]struct {
			query string
			most  int
		}{
			"attempts in one network": {`SELECT COUNT(*) FROM attempts`, 100},
			"sessions":                {`SELECT COUNT(*) FROM sessions WHERE account_id = (SELECT id FROM accounts WHERE name = 'bob')`, 100},
			"known browsers":          {`SELECT COUNT(*) FROM devices WHERE account_id = (SELECT id FROM accounts WHERE name = 'bob')`, 20},
			"let-in links":            {`SELECT COUNT(*) FROM tickets`, 1},
			"machine passes":          {`SELECT COUNT(*) FROM passes`, 20},
			"wizards":                 {`SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NULL`, 5},
		} {
			if n := portal.CountRows(t, p, c.query); n > c.most || n == 0 {
				t.Errorf("number of %s: %d, want 1 to %d", what, n, c.most)
			}
		}
		// A quota removes older rows, so the newest attempt is valid.
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "the newest attempt", true)
		p.Clock.Move(400 * 24 * time.Hour)
		testkit.Check(t, p.Sweep(context.Background()))
		// These are two accounts, their passwords, an authenticator with its secret and ten backup
		// codes.
		if n := countRowsWithoutEvents(t, p); n != 2+2+1+1+10 {
			t.Errorf("%d rows are left after 400 days, want 16", n)
		}
	}, panels.PanelRadio(t))
}

// TestAttack53LastCodeOnAnotherNode checks that the last backup code is used up on all nodes, and
// that codes of the authenticator app are still accepted on each.
func TestAttack53LastCodeOnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 2)
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period)
	var last *portal.Browser
	for n, code := range phone.Codes {
		last = portal.PendingSignIn(t, nodes[n%2], "ada")
		last.Post("/login/backup-code", "backup_code", code)
		portal.CheckSignedIn(t, last, fmt.Sprint("code ", n+1), true)
	}
	for n, p := range nodes {
		portal.MoveAll(nodes, time.Minute)
		there := p.Browser(t)
		there.SetCookie(portal.SessionCookie, last.Cookie(portal.SessionCookie))
		if page := portal.VisibleText(there.Get("/settings/security").Body); !strings.Contains(page, "You have no backup codes left.") {
			t.Errorf("node %d doesn't say that no code is left", n)
		}
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/backup-code", "backup_code", phone.Codes[9])
		portal.CheckSignedIn(t, b, fmt.Sprint("last code a second time, node ", n), false)
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, fmt.Sprint("code of the app, node ", n), true)
	}
}
