package recovery

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const chosen = "a wholly other phrase"

// onBothEngines runs a test on a portal with mail on each engine.
func onBothEngines(t *testing.T, test func(t *testing.T, p *portal.Portal), settings ...string) {
	t.Helper()
	portal.OnBothEngines(t, test, append(settings, portal.WithMail...)...)
}

// reset submits a new password with a link's ticket.
func reset(b *portal.Browser, ticket, typed string) portal.Answer {
	return b.Post("/reset", "ticket", ticket, "new_password", typed)
}

// isUsed fails the test if a link is still valid.
func isUsed(t *testing.T, p *portal.Portal, what, ticket string) {
	t.Helper()
	if a := p.Browser(t).Get("/reset?ticket=" + ticket); a.Status != http.StatusNotFound {
		t.Errorf("%s: the link's page has status %d, want 404", what, a.Status)
	}
	if a := reset(p.Browser(t), ticket, chosen); a.Status != http.StatusNotFound {
		t.Errorf("%s: set a password with the link: %s, want 404", what, portal.Summary(a))
	}
}

// isForResetsOnly fails the test if /setup, the page of an operator's links, accepts the ticket.
func isForResetsOnly(t *testing.T, b *portal.Browser, ticket string) {
	t.Helper()
	for _, a := range []portal.Answer{b.Get("/setup?ticket=" + ticket), b.Post("/setup", "ticket", ticket, "new_password", chosen)} {
		if a.Status != http.StatusNotFound {
			t.Errorf("/setup with the ticket: %s, want 404", portal.Summary(a))
		}
	}
}

// TestAttackD5OneLinkSetsOnePassword submits one link in many browsers at once. One of them sets the
// password.
func TestAttackD5OneLinkSetsOnePassword(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		ticket := portal.MailedReset(t, p, p.Browser(t), "ada")
		const n = 6
		var browsers [n]*portal.Browser
		for i := range browsers {
			browsers[i] = p.Browser(t)
		}
		var answers [n]portal.Answer
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { answers[i] = reset(browsers[i], ticket, fmt.Sprint("a wholly other phrase ", i)) })
		}
		all.Wait()
		winner := -1
		for i, a := range answers {
			switch {
			case a.Status == http.StatusSeeOther && winner < 0:
				winner = i
			case !portal.OneOf(a.Status, http.StatusNotFound, http.StatusServiceUnavailable): // 503: the hashing queue is full
				t.Errorf("browser %d got %s, want 303 for one browser, and 404 or 503 for the others", i, portal.Summary(a))
			}
		}
		if winner < 0 {
			t.Fatal("no browser set the password, want one")
		}
		if browsers[winner].Cookie(portal.SessionCookie) != "" || browsers[winner].Cookie(portal.DeviceCookie) != "" {
			t.Error("the link opened a session or made the browser known, want neither")
		}
		isUsed(t, p, "afterwards", ticket)
		b := p.Browser(t)
		b.Post("/login", "username", "ada", "password", fmt.Sprint("a wholly other phrase ", winner))
		portal.CheckSignedIn(t, b, "with the new password", true)
	})
}

// TestAttackD5OlderLinksDie checks that a change of the account ends the links that were mailed before
// it, and those whose mail still waits.
func TestAttackD5OlderLinksDie(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := context.Background(), manage.CommandLine()
		for what, change := range map[string]func(a account.Account) error{
			"password": func(a account.Account) error { return p.Manage.Passwords.Set(ctx, by, a, chosen) },
			"address":  func(a account.Account) error { return p.Manage.Accounts.SetEmail(ctx, by, a, "new@example.org") },
			"disabled": func(a account.Account) error { return p.Manage.Accounts.Disable(ctx, by, a) },
			"enabled-again": func(a account.Account) error {
				testkit.Check(t, p.Manage.Accounts.Disable(ctx, by, a))
				return p.Manage.Accounts.Enable(ctx, by, a)
			},
			"address-back": func(a account.Account) error {
				testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, by, a, "elsewhere@example.org"))
				return p.Manage.Accounts.SetEmail(ctx, by, a, a.Email)
			},
			"removed": func(a account.Account) error { return p.Manage.Accounts.Remove(ctx, by, a) },
			"used":    func(a account.Account) error { reset(p.Browser(t), lastTicket(t, p, a.Email), chosen); return nil },
		} {
			name := strings.ReplaceAll(what, " ", "-")
			p.AddAccount(t, name)
			first := portal.MailedReset(t, p, p.Browser(t), name)
			p.Clock.Move(time.Second)
			p.Browser(t).Post("/forgot", "username", name)
			second := lastTicket(t, p, name+"@example.com")
			if first == second {
				t.Fatalf("%s: the second mail has the link of the first, want a new one", what)
			}
			before := len(portal.Mails(t, p))
			p.Browser(t).Post("/forgot", "username", name) // this mail may still wait during the change
			testkit.Check(t, change(portal.MustAccount(t, p, name)))
			isUsed(t, p, what, first)
			isUsed(t, p, what, second)
			for _, m := range portal.Mails(t, p)[before:] {
				if _, _, ticket := m.Link(); ticket != "" {
					isUsed(t, p, what+", of a mail that waited", ticket)
				}
			}
		}
	}, portal.BehindProxy)
}

func lastTicket(t *testing.T, p *portal.Portal, to string) string {
	t.Helper()
	_, _, ticket := portal.LastMail(t, p, to).Link()
	return ticket
}

// TestAttackD6LinksComeFromPublicURL asks for a link with every header by which proxies name a host.
// The mailed link leads to public_url.
func TestAttackD6LinksComeFromPublicURL(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		to := portal.VerifyEmail(t, p, "ada")
		b := p.Browser(t)
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "X-Host", "X-Forwarded-Prefix", "X-Original-URL", "X-Rewrite-URL"} {
			b.Header.Set(name, "evil.example")
		}
		b.Header.Set("Forwarded", "host=evil.example;proto=https")
		b.Header.Set("X-Forwarded-Port", "444")
		b.Post("/forgot", "username", "ada")
		m := portal.LastMail(t, p, to)
		if origin, path, _ := m.Link(); origin != p.Base || path != "/reset" || strings.Contains(m.Raw, "evil") {
			t.Errorf("the link is at %s%s, want %s/reset:\n%s", origin, path, p.Base, m.Raw)
		}
	}, portal.BehindProxy)
}

// TestAttackD7NobodyLearnsWhichNamesExist checks that /forgot answers the same, and writes the same
// rows, for names of every kind.
func TestAttackD7NobodyLearnsWhichNamesExist(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := context.Background(), manage.CommandLine()
		for _, name := range []string{"known", "unverified", "disabled", "no-address"} {
			p.AddAccount(t, name)
		}
		portal.VerifyEmail(t, p, "known")
		portal.VerifyEmail(t, p, "disabled")
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, by, portal.MustAccount(t, p, "unverified"), "unverified@example.com"))
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, by, portal.MustAccount(t, p, "disabled")))
		_, _, err := p.Manage.Accounts.Invite(ctx, by, account.Account{Name: "invited", Email: "invited@example.com"})
		testkit.Check(t, err)
		portal.Mails(t, p)

		var first string
		n := 0
		for round := range 5 { // past the limit of the day too
			for _, typed := range []string{"known", "unverified", "disabled", "no-address", "invited", "nobody", "a\u202e", "known@example.com", "nobody@example.com"} {
				n++
				b := portal.FromNetwork(p.Browser(t), n)
				before := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
				waiting := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`)
				a := b.Post("/forgot", "username", typed)
				var header []string
				for name, values := range a.Header {
					if name != "Date" {
						header = append(header, name+": "+strings.Join(values, ", "))
					}
				}
				slices.Sort(header)
				got := fmt.Sprint(a.Status, " ", header, a.Body)
				if first == "" {
					first = got
				}
				if got != first || a.Location != "/login?notice=mail_sent" {
					t.Errorf("round %d, %q: %s\nwant the same as for the others:\n%s", round, typed, got, first)
				}
				// The sender decides later which requests lead to a mail.
				if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind <> 'reset_asked'`); after > before {
					t.Errorf("round %d, %q: the request wrote an event other than reset_asked, want none", round, typed)
				}
				if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); after != waiting+1 {
					t.Errorf("round %d, %q: the outbox had %d messages and has %d, want one more, as for the others", round, typed, waiting, after)
				}
			}
		}
		mails := map[string]int{}
		for _, m := range portal.Mails(t, p) {
			if _, _, ticket := m.Link(); ticket != "" {
				mails[m.To]++
			}
		}
		if len(mails) != 1 || mails["known@example.com"] != 3 {
			t.Errorf("mails with links: %v, want three to known@example.com", mails)
		}
		if left := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); left != 0 {
			t.Errorf("the outbox still has %d messages, want none", left)
		}
	}, portal.BehindProxy)
}

// TestALinkLivesFromItsMail checks that a link's life begins when its mail is sent, here ten minutes
// late, and that a mail that can't be sent for half an hour is given up.
func TestALinkLivesFromItsMail(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		to := portal.VerifyEmail(t, p, "ada")
		portal.Mails(t, p)
		dir := p.Config.Mail.URL.Dir
		block := func() {
			testkit.Check(t, os.RemoveAll(dir))
			testkit.Check(t, os.WriteFile(dir, nil, 0o600))
		}
		pass := func(d time.Duration) {
			for range d / (30 * time.Second) {
				p.Clock.Move(30 * time.Second)
				testkit.Check(t, p.Outbox.Run(context.Background()))
				p.Outbox.Wait()
			}
		}
		block()
		p.Browser(t).Post("/forgot", "username", "ada")
		pass(10 * time.Minute)
		testkit.Check(t, os.Remove(dir))
		pass(6 * time.Minute)
		ticket := lastTicket(t, p, to)
		p.Clock.Move(28 * time.Minute) // 44 minutes after the request
		if a := p.Browser(t).Get("/reset?ticket=" + ticket); a.Status != http.StatusOK {
			t.Errorf("open the link 28 minutes after its mail: %s, want 200", portal.Summary(a))
		}
		p.Clock.Move(5 * time.Minute)
		isUsed(t, p, "33 minutes after the mail", ticket)

		block()
		p.Browser(t).Post("/forgot", "username", "ada")
		p.Browser(t).Post("/forgot", "username", "nobody")
		pass(32 * time.Minute)
		if got := portal.EventCounts(t, p); got["mail_given_up:refused"] != 1 {
			t.Errorf("events: %v, want mail_given_up once", got)
		}
		if left := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); left != 0 {
			t.Errorf("the outbox still has %d messages, want none", left)
		}
	})
}

// TestMailReplacesOneFactorOnly checks that mail doesn't replace the password within a week after it
// replaced the second factor.
func TestMailReplacesOneFactorOnly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		ticket := portal.MailedReset(t, p, p.Browser(t), "ada")
		portal.ChangeRows(t, p, `UPDATE accounts SET factor_mailed_at = $1`, p.Clock.Now().UnixMilli())
		isUsed(t, p, "mail replaced the second factor", ticket)
		before := len(portal.Mails(t, p))
		p.Browser(t).Post("/forgot", "username", "ada")
		if after := len(portal.Mails(t, p)); after != before || portal.EventCounts(t, p)["reset_asked:refused"] != 1 {
			t.Errorf("the request sent %d mails, and the events are %v; want no mail, and reset_asked refused once", after-before, portal.EventCounts(t, p))
		}
		p.Clock.Move(account.MailPause)
		p.Browser(t).Post("/forgot", "username", "ada")
		if a := reset(p.Browser(t), lastTicket(t, p, "ada@example.com"), chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("set a password by mail a week later: %s, want the notice password_set", portal.Summary(a))
		}
		if a := portal.MustAccount(t, p, "ada"); a.MailMayReplaceFactor(p.Clock.Now()) || !a.MailMayReplaceFactor(p.Clock.Now().Add(account.MailPause)) {
			t.Error("the reset doesn't keep mail from replacing the second factor for a week")
		}
	})
}

// TestWithoutMailNothingChanges checks that a portal without mail has neither the pages for a new
// password by mail nor links to them.
func TestWithoutMailNothingChanges(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		if a := b.Get("/login"); strings.Contains(a.Body, "/forgot") {
			t.Error("without mail, the sign-in page links to /forgot, want no link")
		}
		nowhere := b.Get("/nowhere")
		for _, a := range []portal.Answer{b.Get("/forgot"), b.Post("/forgot", "username", "ada"), b.Get("/reset"), b.Post("/reset")} {
			if a.Status != nowhere.Status {
				t.Errorf("a page for a new password by mail, on a portal without mail: %s, want %d as for any unknown page", portal.Summary(a), nowhere.Status)
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("the outbox has %d messages, want none", n)
		}
	})
}
