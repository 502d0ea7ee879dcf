package portal

import (
	"context"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// CountRows returns the number that a query returns.
func CountRows(t *testing.T, p *Portal, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.One(context.Background(), p.DB.Reader(), query, args, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// SessionsOfQuery counts the sessions of an account. Its argument is the account's name.
const SessionsOfQuery = `SELECT COUNT(*) FROM sessions WHERE account_id = (SELECT id FROM accounts WHERE name = $1)`

// ChangeRows runs a statement as an attacker with write access to the database would. It
// fails the test if no row changed.
func ChangeRows(t *testing.T, p *Portal, statement string, args ...any) {
	t.Helper()
	err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
		n, err := db.Exec(context.Background(), tx, statement, args...)
		if err == nil && n == 0 {
			t.Fatalf("the statement changed no rows: %s", statement)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// EventCounts returns the number of events by kind and outcome, such as "code_reused:refused".
func EventCounts(t *testing.T, p *Portal) map[string]int {
	t.Helper()
	all, err := db.All(context.Background(), p.DB.Reader(), `SELECT kind, outcome FROM events`,
		nil, func(scan db.Scan) (string, error) {
			var kind, outcome string
			err := scan(&kind, &outcome)
			return kind + ":" + outcome, err
		})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, one := range all {
		count[one]++
	}
	return count
}

// DatabaseOf returns the setting that names the portal's PostgreSQL database; nil on SQLite.
func DatabaseOf(p *Portal) []string {
	if url := p.Config.Database.Reveal(); url != "" {
		return []string{"SALLYPORT_DATABASE=" + url}
	}
	return nil
}

// UnusedCodesOf counts the unused backup codes of an account. Its argument is the account's name.
const UnusedCodesOf = `SELECT COUNT(*) FROM backup_codes WHERE used_at IS NULL AND account_id = (SELECT id FROM accounts WHERE name = $1)`

// MustAccount returns the account with this name. It fails the test if there is none.
func MustAccount(t *testing.T, p *Portal, name string) account.Account {
	t.Helper()
	a, err := account.ByName(context.Background(), p.DB.Reader(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// halfDone finds accounts whose two-factor authentication is neither on nor off, sessions
// that lack a second proof, and authenticators without a secret.
const halfDone = `
	SELECT 'two-factor authentication of ' || a.name
	FROM   accounts a
	JOIN   (SELECT a.id, (SELECT COUNT(*) FROM authenticators WHERE account_id = a.id AND confirmed_at IS NOT NULL) AS confirmed,
	               (SELECT COUNT(*) FROM backup_codes WHERE account_id = a.id) AS codes FROM accounts a) has ON has.id = a.id
	WHERE  NOT (a.two_factor_at IS NULL AND confirmed = 0 AND codes = 0 OR a.two_factor_at IS NOT NULL AND confirmed > 0 AND codes = 10)
	UNION ALL
	SELECT 'session of ' || a.name || ' with ' || s.proofs
	FROM   sessions s JOIN accounts a ON a.id = s.account_id AND a.security_stamp = s.security_stamp
	WHERE  a.two_factor_at IS NOT NULL AND s.proofs NOT LIKE '%totp:%' AND s.proofs NOT LIKE '%backup_code:%'
	UNION ALL
	SELECT 'authenticator without a secret: ' || id FROM authenticators WHERE id NOT IN (SELECT authenticator_id FROM totp)`

// NothingHalfDone fails the test for each row that [halfDone] finds.
func NothingHalfDone(t *testing.T, d *db.DB) {
	t.Helper()
	found, err := db.All(context.Background(), d.Reader(), halfDone,
		nil, func(scan db.Scan) (s string, err error) { return s, scan(&s) })
	testkit.Check(t, err)
	for _, one := range found {
		t.Errorf("a change was stored in part: %s; want every change whole or not at all", one)
	}
}
