package cli

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
)

// countingQuerier counts the statements that it executes.
type countingQuerier struct {
	db.Querier
	statements int
}

func (c *countingQuerier) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	c.statements++
	return c.Querier.QueryContext(ctx, query, args...)
}

func (c *countingQuerier) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	c.statements++
	return c.Querier.QueryRowContext(ctx, query, args...)
}

func TestAccountListNeedsNoStatementPerAccount(t *testing.T) {
	testkit.Each(t, func(t *testing.T, d *db.DB) {
		ctx, want := context.Background(), map[string]string{}
		add := func(first, n int) {
			t.Helper()
			err := d.Write(ctx, func(tx *db.Tx) error {
				for i := first; i < first+n; i++ {
					a, err := account.Create(ctx, tx, account.Account{Name: fmt.Sprintf("name%03d", i)}, testkit.Start)
					if err != nil {
						return err
					}
					want[a.Name] = "off"
					if i%3 == 0 {
						continue
					}
					pending, err := authenticator.CreatePending(ctx, tx, a.ID, "session", authenticator.TOTP, testkit.Start)
					if err != nil {
						return err
					}
					if i%3 == 1 {
						continue // pending, so two-factor authentication is off
					}
					want[a.Name] = "on"
					pending.Name = "phone"
					if err := authenticator.Confirm(ctx, tx, "session", pending, testkit.Start); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		statements := 0
		for i, n := range []int{3, 200} {
			add(i*10, n)
			q, out := &countingQuerier{Querier: d.Reader()}, &bytes.Buffer{}
			if err := listAccounts(ctx, q, listFlags{}.newWriter(out, "NAME"), testkit.Start); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")[1:]
			if len(lines) != len(want) {
				t.Fatalf("%d lines for %d accounts:\n%s", len(lines), len(want), out)
			}
			for _, line := range lines {
				if fields := strings.Fields(line); fields[len(fields)-1] != want[fields[0]] {
					t.Errorf("%s; want two-factor %s", line, want[fields[0]])
				}
			}
			if statements != 0 && q.statements != statements {
				t.Errorf("%d statements for %d accounts, %d for 3", q.statements, len(want), statements)
			}
			statements = q.statements
		}
	})
}
