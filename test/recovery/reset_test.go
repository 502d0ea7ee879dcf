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

// isUsed fails the test unless a link is no longer valid.
func isUsed(t *testing.T, p *portal.Portal, what, ticket string) {
	t.Helper()
	if a := p.Browser(t).Get("/reset?ticket=" + ticket); a.Status != http.StatusNotFound {
		t.Errorf("%s: the link's page has status %d, want 404", what, a.Status)
	}
	if a := reset(p.Browser(t), ticket, chosen); a.Status != http.StatusNotFound {
		t.Errorf("%s: the link sets a password: %s", what, portal.Summary(a))
	}
}

// isForResetsOnly fails the test if other pages accept the ticket of a mailed link.
func isForResetsOnly(t *testing.T, b *portal.Browser, ticket string) {
	t.Helper()
	for _, a := range []portal.Answer{b.Get("/setup?ticket=" + ticket), b.Post("/setup", "ticket", ticket, "new_password", chosen)} {
		if a.Status != http.StatusNotFound {
			t.Errorf("the page of other links accepts the ticket: %s", portal.Summary(a))
		}
	}
}

// TestAttackD5OneLinkSetsOnePassword submits one link in many browsers at once.
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
			case !portal.OneOf(a.Status, http.StatusNotFound, http.StatusServiceUnavailable): // too many wait to hash
				t.Errorf("answer %d: %s, want one 303, and 404 or 503 else", i, portal.Summary(a))
			}
		}
		if winner < 0 {
			t.Fatal("no browser set the password")
		}
		if browsers[winner].Cookie(portal.SessionCookie) != "" || browsers[winner].Cookie(portal.DeviceCookie) != "" {
			t.Error("the link opened a session, or made the browser known")
		}
		isUsed(t, p, "afterwards", ticket)
		b := p.Browser(t)
		b.Post("/login", "username", "ada", "password", fmt.Sprint("a wholly other phrase ", winner))
		portal.CheckSignedIn(t, b, "with the new password", true)
	})
}

// TestAttackD5OlderLinksDie changes the account after a link was mailed, and while a mail waits.
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
				t.Fatalf("%s: no second link", what)
			}
			before := len(portal.Mails(t, p))
			p.Browser(t).Post("/forgot", "username", name) // its mail may wait
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

// TestAttackD6LinksComeFromPublicURL asks with every header that proxies use to name a host.
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

// TestAttackD7NobodyLearnsWhichNamesExist compares the answers, and the rows that each request
// writes.
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
				// The mails of the account itself are written later, by the sender.
				if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind <> 'reset_asked'`); after > before {
					t.Errorf("round %d, %q: the request wrote an event", round, typed)
				}
				if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); after != waiting+1 {
					t.Errorf("round %d, %q: %d messages after %d, want one more, as for the others", round, typed, after, waiting)
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
			t.Errorf("%d messages are left", left)
		}
	}, portal.BehindProxy)
}

// TestOneNetworkAsksSlowly holds the limits of a network for requests that name anybody.
func TestOneNetworkAsksSlowly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b := portal.FromNetwork(p.Browser(t), 7)
		for i := range 10 {
			if a := b.Post("/forgot", "username", fmt.Sprint("name", i)); a.Status != http.StatusSeeOther {
				t.Fatalf("request %d: %s", i, portal.Summary(a))
			}
		}
		if a := b.Post("/forgot", "username", "one more"); a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("the eleventh name within an hour: %s, want 429 with Retry-After", portal.Summary(a))
		}
		if a := portal.FromNetwork(p.Browser(t), 8).Post("/forgot", "username", "one more"); a.Status != http.StatusSeeOther {
			t.Errorf("from another network: %s", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// TestAttackD7LimitsDontJoinNameAndAddress asks from one network for a name and for an address. If
// both counted as one account, the limit of the network would tell.
func TestAttackD7LimitsDontJoinNameAndAddress(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "known")
		portal.VerifyEmail(t, p, "known")
		for i, name := range []string{"known", "nobody"} {
			b := portal.FromNetwork(p.Browser(t), i+1)
			for range 4 { // past the limit of the day
				b.Post("/forgot", "username", name)
			}
			b.Post("/forgot", "username", name+"@example.com")
			admitted := 0
			for b.Post("/forgot", "username", fmt.Sprint("other", admitted)).Status == http.StatusSeeOther && admitted < 20 {
				admitted++
			}
			if admitted != 8 {
				t.Errorf("%s: %d other names are admitted, want 8", name, admitted)
			}
		}
	}, portal.BehindProxy)
}

// TestStrangersCantUseUpTheOwnersMails asks for another's account all day.
func TestStrangersCantUseUpTheOwnersMails(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "bob")
		owner, other := portal.FromNetwork(p.Browser(t), 1), portal.FromNetwork(p.Browser(t), 2)
		owner.SignIn("ada")
		other.SignIn("bob")
		to := portal.VerifyEmail(t, p, "ada")
		sent := func(b *portal.Browser) int {
			before := len(portal.Mails(t, p))
			b.Post("/forgot", "username", "ada")
			return len(portal.Mails(t, p)) - before
		}
		strangers := 0
		for range 5 {
			strangers += sent(other) // it is known to another account
		}
		owners := 0
		for range 5 {
			owners += sent(owner)
		}
		if strangers != 3 || owners != 3 {
			t.Errorf("%d mails for a stranger and %d for the owner's browser, want three each", strangers, owners)
		}
		// The link works in a browser that another account uses, which stays signed in.
		if a := reset(other, lastTicket(t, p, to), chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("in another account's browser: %s", portal.Summary(a))
		}
		if a := other.Get("/settings/profile"); !strings.Contains(a.Body, "bob") || strings.Contains(a.Body, to) {
			t.Errorf("another account's browser, afterwards: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the owner's old session", false)
	}, portal.BehindProxy)
}

// TestARobotGainsAndSpoilsNothing opens the link and submits its form as programs of mail servers
// do before the person.
func TestARobotGainsAndSpoilsNothing(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		owner := p.Browser(t)
		owner.SignIn("ada")
		ticket := portal.MailedReset(t, p, p.Browser(t), "ada")
		robot := p.Browser(t)
		for _, method := range []string{"HEAD", "GET", "OPTIONS", "GET"} {
			robot.Do(method, "/reset?ticket="+ticket, nil, nil)
		}
		isForResetsOnly(t, robot, ticket)
		robot.Post("/reset", "ticket", ticket)
		robot.Post("/reset", "ticket", ticket, "new_password", "", "username", "ada")
		robot.Post("/reset", "ticket", ticket, "new_password", "ada")
		robot.Post("/reset?ticket="+ticket, "new_password", chosen) // the ticket is read from the form alone
		portal.CheckSignedIn(t, robot, "the robot", false)
		portal.CheckSignedIn(t, owner, "the owner, after the robot", true)
		if a := reset(p.Browser(t), ticket, chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("the person's turn: %s", portal.Summary(a))
		}
		portal.CheckSignedIn(t, owner, "the old session", false)
	})
}

// TestALinkLivesFromItsMail keeps the mails from being written for ten minutes, and for longer
// than they are tried.
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
			t.Errorf("28 minutes after the mail: %s", portal.Summary(a))
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
			t.Errorf("%d messages are left", left)
		}
	})
}

// TestMailReplacesOneFactorOnly asks for a new password after mail replaced the second factor.
func TestMailReplacesOneFactorOnly(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		ticket := portal.MailedReset(t, p, p.Browser(t), "ada")
		portal.ChangeRows(t, p, `UPDATE accounts SET factor_mailed_at = $1`, p.Clock.Now().UnixMilli())
		isUsed(t, p, "mail replaced the second factor", ticket)
		before := len(portal.Mails(t, p))
		p.Browser(t).Post("/forgot", "username", "ada")
		if after := len(portal.Mails(t, p)); after != before || portal.EventCounts(t, p)["reset_asked:refused"] != 1 {
			t.Errorf("%d mails more, events %v; want none, and the refusal", after-before, portal.EventCounts(t, p))
		}
		p.Clock.Move(account.MailPause)
		p.Browser(t).Post("/forgot", "username", "ada")
		if a := reset(p.Browser(t), lastTicket(t, p, "ada@example.com"), chosen); a.Location != "/login?notice=password_set" {
			t.Errorf("a week later: %s", portal.Summary(a))
		}
		if a := portal.MustAccount(t, p, "ada"); a.MailMayReplaceFactor(p.Clock.Now()) || !a.MailMayReplaceFactor(p.Clock.Now().Add(account.MailPause)) {
			t.Error("the reset doesn't keep mail from replacing the second factor for a week")
		}
	})
}

// TestWithoutMailNothingChanges checks that a portal without mail has no such pages.
func TestWithoutMailNothingChanges(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		if a := b.Get("/login"); strings.Contains(a.Body, "/forgot") {
			t.Error("the sign-in page links to /forgot")
		}
		nowhere := b.Get("/nowhere")
		for _, a := range []portal.Answer{b.Get("/forgot"), b.Post("/forgot", "username", "ada"), b.Get("/reset"), b.Post("/reset")} {
			if a.Status != nowhere.Status {
				t.Errorf("%s, want %d", portal.Summary(a), nowhere.Status)
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}
