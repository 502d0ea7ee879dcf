package recovery

// What ends the links that an operator's command mails, who can read their tokens, and when no link
// is mailed.

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAnOperatorsLinkEndsWithWhatItIsFor checks that a change of the account ends a mailed link, and
// keeps a link from being mailed if its mail still waits.
func TestAnOperatorsLinkEndsWithWhatItIsFor(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := t.Context(), manage.CommandLine()
		changes := map[string]func(a account.Account) error{
			"address": func(a account.Account) error { return p.Manage.Accounts.SetEmail(ctx, by, a, a.Name+"@example.org") },
			"disabled": func(a account.Account) error {
				testkit.Check(t, p.Manage.Accounts.Disable(ctx, by, a))
				return p.Manage.Accounts.Enable(ctx, by, a)
			},
			"removed":  func(a account.Account) error { return p.Manage.Accounts.Remove(ctx, by, a) },
			"password": func(a account.Account) error { return p.Manage.Passwords.Set(ctx, by, a, chosen) },
		}
		for _, waits := range []bool{false, true} {
			for what, change := range changes {
				issue := map[string]func(name string){
					"invitation": func(name string) {
						_, _, err := p.Manage.Accounts.InviteByMail(ctx, by, account.Account{Name: name, Email: name + "@example.com"})
						testkit.Check(t, err)
					},
					"enrollment": func(name string) {
						p.AddAccount(t, name)
						portal.VerifyEmail(t, p, name)
						_, err := p.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, portal.MustAccount(t, p, name))
						testkit.Check(t, err)
					},
					"let_in": func(name string) {
						p.AddAccount(t, name)
						portal.VerifyEmail(t, p, name)
						_, err := p.Manage.Links.LetInByMail(ctx, by, portal.MustAccount(t, p, name))
						testkit.Check(t, err)
					},
				}
				if what == "password" {
					delete(issue, "enrollment") // a new password leaves the enrolment link valid, since the owner still needs it
				}
				for kind, issue := range issue {
					name := strings.ReplaceAll(fmt.Sprint(kind, "-", what, "-", waits), "_", "-")
					to := name + "@example.com"
					portal.Mails(t, p)
					if waits {
						unblock := block(t, p)
						issue(name)
						testkit.Check(t, change(portal.MustAccount(t, p, name)))
						unblock()
						p.Clock.Move(2 * time.Minute)
						for _, m := range portal.Mails(t, p) {
							if _, path, _ := m.Link(); m.To == to && path == "/setup" {
								t.Errorf("%s: the link was mailed after the change, want no mail", name)
							}
						}
						given := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind = 'mail_given_up' AND detail = $1`, kind)
						want := 0
						if (what == "address" || what == "disabled") && kind != "let_in" {
							want = 1 // the owner still needs such a link, so the operator is told
						}
						portal.ChangeRows(t, p, `DELETE FROM events`)
						if given != want {
							t.Errorf("%s: %d events say that the mail was given up, want %d", name, given, want)
						}
						continue
					}
					issue(name)
					ticket := lastTicket(t, p, to)
					testkit.Check(t, change(portal.MustAccount(t, p, name)))
					isDead(t, p, name, ticket)
				}
			}
		}
	})
}

// TestAReplacedLinkIsNotGivenUp issues a link twice while no mail can be sent. The owner gets the
// second one, so no event says that a mail was given up.
func TestAReplacedLinkIsNotGivenUp(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := t.Context(), manage.CommandLine()
		portal.WithTwoFactor(t, p, "ada")
		portal.VerifyEmail(t, p, "ada")
		portal.Mails(t, p)
		unblock := block(t, p)
		for range 2 {
			_, _, err := p.Manage.Accounts.InviteByMail(ctx, by, account.Account{Name: "bob", Email: "bob@example.com"})
			testkit.Check(t, err)
			_, err = p.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, portal.MustAccount(t, p, "ada"))
			testkit.Check(t, err)
			p.Clock.Move(time.Second)
		}
		unblock()
		p.Clock.Move(2 * time.Minute)
		links := map[string]int{}
		for _, m := range portal.Mails(t, p) {
			if _, path, _ := m.Link(); path == "/setup" {
				links[m.To]++
			}
		}
		if len(links) != 2 || links["ada@example.com"] != 1 || links["bob@example.com"] != 1 {
			t.Errorf("mailed links by address: %v, want one to ada and one to bob", links)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind = 'mail_given_up'`); n != 0 {
			t.Errorf("%d events say that a mail was given up, want none", n)
		}
	})
}

// TestNoConfirmationIsMailedForADisabledAccount checks that the operator gets ErrDisabled and no
// mail is stored, since the account's owner couldn't use the link.
func TestNoConfirmationIsMailedForADisabledAccount(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		portal.VerifyEmail(t, p, "ada")
		testkit.Check(t, p.Manage.Accounts.Disable(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, "ada")))
		if err := p.Recovery.SendVerification(t.Context(), portal.MustAccount(t, p, "ada")); !errors.Is(err, account.ErrDisabled) {
			t.Errorf("the error is %v, want ErrDisabled", err)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE topic = 'verify_email'`); n != 0 {
			t.Errorf("%d messages wait, want none", n)
		}
	})
}

// TestAttackD12NobodyButTheMailboxGetsTheToken checks that nothing that an operator can see contains
// the token of a mailed link.
func TestAttackD12NobodyButTheMailboxGetsTheToken(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		portal.WithTwoFactor(t, p, "ada")
		portal.VerifyEmail(t, p, "ada")
		tokens := map[string]string{"invitation": invite(t, p, "bob"), "let-in": letInByMail(t, p, "ada"), "enrolment": resetByMail(t, p, "ada")}
		b := p.Browser(t)
		b.SignIn("ada")
		places := map[string]string{"log": p.Logs.String(), "activity": b.Get("/settings/activity").Body, "profile": b.Get("/settings/profile").Body}
		for _, table := range []string{"events", "outbox", "tickets", "accounts"} {
			places[table] = rowsOf(t, p, table)
		}
		if !strings.Contains(places["events"], "link mailed") || strings.Contains(places["events"], "link shown") {
			t.Errorf("the events don't say that the links were mailed, or say that one was shown: %s", places["events"])
		}
		for what, token := range tokens {
			if len(token) < 40 {
				t.Fatalf("the token of the %s is %q, want at least 40 characters", what, token)
			}
			for place, text := range places {
				if strings.Contains(text, token) {
					t.Errorf("%s contains the token of the %s, want it in the mail alone", place, what)
				}
			}
		}
	})
}

// rowsOf returns the values of all rows of a table as text.
func rowsOf(t *testing.T, p *portal.Portal, table string) string {
	t.Helper()
	rows, err := p.DB.Reader().QueryContext(t.Context(), `SELECT * FROM `+table)
	testkit.Check(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	testkit.Check(t, err)
	var all strings.Builder
	for rows.Next() {
		row := make([]any, len(columns))
		for i := range row {
			row[i] = new(any)
		}
		testkit.Check(t, rows.Scan(row...))
		for _, value := range row {
			fmt.Fprintf(&all, "%s %v ", *value.(*any), *value.(*any))
		}
	}
	testkit.Check(t, rows.Err())
	return all.String()
}

// TestNoLinkIsMailedWhileAnEarlierVersionRuns checks that no link is mailed while a node of an earlier
// version runs. Such a node would give a mailed link the rights of a link that an operator hands over.
func TestNoLinkIsMailedWhileAnEarlierVersionRuns(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := t.Context(), manage.CommandLine()
		portal.WithTwoFactor(t, p, "ada")
		portal.VerifyEmail(t, p, "ada")
		portal.ChangeRows(t, p, `INSERT INTO nodes (id, name, ring_keys, knows, expires_at) VALUES ('old', 'old', 'key', 'audit2', $1)`, p.Clock.Now().Add(time.Hour).UnixMilli())
		before := fmt.Sprint(portal.EventCounts(t, p))
		_, resetErr := p.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, portal.MustAccount(t, p, "ada"))
		_, _, inviteErr := p.Manage.Accounts.InviteByMail(ctx, by, account.Account{Name: "bob", Email: "bob@example.com"})
		_, letInErr := p.Manage.Links.LetInByMail(ctx, by, portal.MustAccount(t, p, "ada"))
		for what, err := range map[string]error{"reset": resetErr, "invitation": inviteErr, "let-in link": letInErr} {
			if !errors.Is(err, cluster.ErrNotYet) {
				t.Errorf("mail a %s beside a node of an earlier version: got %v, want ErrNotYet", what, err)
			}
		}
		if after := fmt.Sprint(portal.EventCounts(t, p)); after != before || portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`) != 1 || portal.CountRows(t, p, `SELECT COUNT(*) FROM accounts`) != 1 {
			t.Errorf("the refused commands changed rows: events %s, want %s as before, one authenticator and one account", after, before)
		}
		portal.ChangeRows(t, p, `DELETE FROM nodes WHERE id = 'old'`)
		resetByMail(t, p, "ada")
	})
}
