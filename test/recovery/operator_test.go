package recovery

// Links that operators' commands mail: invitations, links to the wizard, and let-in links.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const newWizard = "/settings/security/authenticators/new"

// mailed calls issue, which makes the server mail a link to the address that it returns. It returns
// the ticket of the link.
func mailed(t *testing.T, p *portal.Portal, issue func() (to string, err error)) string {
	t.Helper()
	p.Clock.Move(time.Second) // so that this mail has a later time than the others
	to, err := issue()
	testkit.Check(t, err)
	return lastTicket(t, p, to)
}

// invite makes the server mail an invitation, and returns the invitation's ticket.
func invite(t *testing.T, p *portal.Portal, name string) string {
	t.Helper()
	return mailed(t, p, func() (string, error) {
		to, _, err := p.Manage.Accounts.InviteByMail(t.Context(), manage.CommandLine(), account.Account{Name: name, Email: name + "@example.com"})
		return to, err
	})
}

// resetByMail resets the account's second factor, and returns the ticket of the mailed link.
func resetByMail(t *testing.T, p *portal.Portal, name string) string {
	t.Helper()
	return mailed(t, p, func() (string, error) {
		return p.Manage.Authenticators.ResetTwoFactorByMail(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, name))
	})
}

// letInByMail makes the server mail a let-in link, and returns the link's ticket.
func letInByMail(t *testing.T, p *portal.Portal, name string) string {
	t.Helper()
	return mailed(t, p, func() (string, error) {
		return p.Manage.Links.LetInByMail(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, name))
	})
}

// isDead fails the test if an operator's link still works.
func isDead(t *testing.T, p *portal.Portal, what, ticket string) {
	t.Helper()
	b := p.Browser(t)
	for _, a := range []portal.Answer{b.Get("/setup?ticket=" + ticket), b.Post("/setup", "ticket", ticket, "new_password", chosen, "username", "ada")} {
		if a.Status != http.StatusNotFound {
			t.Errorf("%s: /setup with the link: %s, want 404", what, portal.Summary(a))
		}
	}
}

// block makes the sending of mails fail until unblock is called.
func block(t *testing.T, p *portal.Portal) (unblock func()) {
	t.Helper()
	dir := p.Config.Mail.URL.Dir
	testkit.Check(t, os.RemoveAll(dir))
	testkit.Check(t, os.WriteFile(dir, nil, 0o600))
	return func() { testkit.Check(t, os.Remove(dir)) }
}

// pass moves the clock in steps and sends the mails that become due.
func pass(t *testing.T, p *portal.Portal, d time.Duration) {
	t.Helper()
	const step = 15 * time.Minute
	for range d / step {
		p.Clock.Move(step)
		testkit.Check(t, p.Outbox.Run(context.Background()))
		p.Outbox.Wait()
	}
}

// signInAndEnroll signs ada in with the given password, opens an enrolment link and enrols a phone.
func signInAndEnroll(t *testing.T, p *portal.Portal, typed, ticket string) {
	t.Helper()
	b := p.Browser(t)
	b.Post("/login", "username", "ada", "password", typed)
	if a := b.Get("/setup?ticket=" + ticket); a.Location != newWizard {
		t.Fatalf("open the link: %s, want the wizard", portal.Summary(a))
	}
	b.Enroll("Phone")
}

// TestMailReplacesOneFactorOfTwo checks that within seven days mail replaces the password or the second
// factor, but not both. This limit doesn't apply to a link that an operator hands over.
func TestMailReplacesOneFactorOfTwo(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := t.Context(), manage.CommandLine()
		portal.WithTwoFactor(t, p, "ada")
		refused := func(when string, want error) {
			t.Helper()
			before := portal.EventCounts(t, p)
			_, err := p.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, portal.MustAccount(t, p, "ada"))
			if !errors.Is(err, want) {
				t.Errorf("reset the second factor by mail %s: got %v, want %v", when, err, want)
			}
			if after := portal.EventCounts(t, p); fmt.Sprint(after) != fmt.Sprint(before) || portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators`) != 1 {
				t.Errorf("%s: the refused reset left the events %v, want %v as before and one authenticator", when, after, before)
			}
		}
		// After mail set the password, it doesn't replace the second factor.
		reset(p.Browser(t), portal.MailedReset(t, p, p.Browser(t), "ada"), chosen)
		refused("after a new password by mail", recovery.ErrPasswordMailed)
		p.Clock.Move(account.MailPause - time.Second)
		refused("just before seven days", recovery.ErrPasswordMailed)
		p.Clock.Move(time.Second)
		signInAndEnroll(t, p, chosen, resetByMail(t, p, "ada"))

		// After mail replaced the second factor, it doesn't replace the password. The answer of /forgot
		// doesn't show that.
		forgot := func(when string, want int) {
			t.Helper()
			resets := func() (n int) {
				for _, m := range portal.Mails(t, p) {
					if _, path, _ := m.Link(); path == "/reset" {
						n++
					}
				}
				return n
			}
			before := resets()
			a := p.Browser(t).Post("/forgot", "username", "ada")
			if got := resets() - before; got != want || a.Location != "/login?notice=mail_sent" {
				t.Errorf("ask for a new password %s: %d mails and %s, want %d and the notice mail_sent", when, got, portal.Summary(a), want)
			}
		}
		forgot("after the enrolment", 0)
		p.Clock.Move(portal.MustAccount(t, p, "ada").FactorMailedAt.Add(account.MailPause - time.Second).Sub(p.Clock.Now()))
		forgot("just before seven days", 0)
		p.Clock.Move(time.Second)
		forgot("after seven days", 1)

		// factor_mailed_at is the time at which the mailed link enrolled an authenticator.
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators JOIN accounts ON accounts.id = account_id WHERE confirmed_at = factor_mailed_at`); n != 1 {
			t.Errorf("%d authenticators have the time factor_mailed_at, want 1", n)
		}

		// From a reset until the owner has enrolled again, the password is all that protects the
		// account, so mail doesn't replace it. If mail did replace it, the mailed link would end. A
		// link that an operator hands over wouldn't end.
		p.Clock.Move(account.MailPause)
		mailed := resetByMail(t, p, "ada")
		signedIn := p.Browser(t)
		signedIn.Post("/login", "username", "ada", "password", chosen)
		if a := signedIn.Get("/setup?ticket=" + mailed); a.Location != newWizard {
			t.Fatalf("open the link: %s, want the wizard", portal.Summary(a))
		}
		forgot("after the reset", 0)
		p.Clock.Move(account.MailPause)
		forgot("long after the reset", 0)
		mailed = resetByMail(t, p, "ada")
		signedIn.Post("/login", "username", "ada", "password", chosen)
		signedIn.Get("/setup?ticket=" + mailed)
		testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
			return account.SetPasswordMailed(ctx, tx, portal.MustAccount(t, p, "ada").ID, p.Clock.Now())
		}))
		isDead(t, p, "after a new password by mail", mailed)
		if a := signedIn.Post("/settings/security/authenticators"); a.Location != "/settings/security?notice=locked" {
			t.Errorf("open the wizard with the cookie of the mailed link: %s, want the notice locked", portal.Summary(a))
		}
		shown, err := p.Manage.Authenticators.ResetTwoFactor(ctx, by, portal.MustAccount(t, p, "ada"), time.Hour)
		testkit.Check(t, err)
		signInAndEnroll(t, p, chosen, shown.Reveal())
		if a := portal.MustAccount(t, p, "ada"); a.FactorMailedAt.After(p.Clock.Now().Add(-account.MailPause)) {
			t.Error("an enrolment with a link that was handed over sets the time factor_mailed_at, want it unchanged")
		}

		// With a suspect password, the owner of the link would choose a new password, so mail would
		// replace both.
		p.Clock.Move(account.MailPause)
		testkit.Check(t, p.DB.Write(ctx, func(tx *db.Tx) error {
			_, err := password.MarkSuspect(ctx, tx, portal.MustAccount(t, p, "ada").ID, p.Clock.Now())
			return err
		}))
		refused("with a suspect password", recovery.ErrPasswordSuspect)
	})
}

// TestMailNeverReplacesBothAtOnce sets a password with a mailed link while an operator resets the second
// factor by mail. One of the two succeeds.
func TestMailNeverReplacesBothAtOnce(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		portal.WithTwoFactor(t, p, "ada")
		portal.VerifyEmail(t, p, "ada")
		typed := portal.Password
		for round := range 6 {
			browser, next := p.Browser(t), fmt.Sprint(chosen, " ", round)
			set := portal.MailedReset(t, p, browser, "ada")
			p.Clock.Move(time.Second) // so that this mail has a later time than the others
			var all sync.WaitGroup
			var err error
			all.Go(func() {
				time.Sleep(time.Duration(round) * 20 * time.Millisecond) // hashing the password takes about 50 ms
				_, err = p.Manage.Authenticators.ResetTwoFactorByMail(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, "ada"))
			})
			all.Go(func() { reset(browser, set, next) })
			all.Wait()
			a := portal.MustAccount(t, p, "ada")
			isSet := a.PasswordMailedAt.After(p.Clock.Now().Add(-time.Hour))
			if isSet == a.EnrollLocked || isSet != errors.Is(err, recovery.ErrPasswordMailed) {
				t.Errorf("round %d: the password was replaced: %v; the second factor was removed: %v; the command's error: %v; want one of the two, and ErrPasswordMailed if the password was replaced", round, isSet, a.EnrollLocked, err)
			}
			if isSet {
				typed = next
			} else {
				signInAndEnroll(t, p, typed, lastTicket(t, p, "ada@example.com"))
			}
			p.Clock.Move(account.MailPause)
		}
	})
}

// TestOneMailedLinkIsRedeemedOnce submits each kind of link in many browsers at once (attack 62). One
// browser succeeds.
func TestOneMailedLinkIsRedeemedOnce(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const n = 6
		race := func(what, ticket string) {
			t.Helper()
			var browsers [n]*portal.Browser
			for i := range browsers {
				browsers[i] = p.Browser(t)
			}
			got := testkit.Race(n, func(i int) string {
				return fmt.Sprint(browsers[i].Post("/setup", "ticket", ticket, "username", "ada", "new_password", fmt.Sprint(chosen, " ", i)).Status)
			})
			if got["303"] != 1 || got["303"]+got["404"]+got["503"] != n { // 503: the hashing queue is full
				t.Errorf("%s in %d browsers at once: answers %v, want one 303, and 404 or 503 for the others", what, n, got)
			}
			known := 0
			for _, b := range browsers {
				if b.Cookie(portal.SessionCookie) != "" {
					t.Errorf("%s opened a session, want none", what)
				}
				if b.Cookie(portal.DeviceCookie) != "" {
					known++
				}
			}
			if known != 1 {
				t.Errorf("%s made %d browsers known, want one", what, known)
			}
			isDead(t, p, what+", used", ticket)
		}
		race("an invitation", invite(t, p, "ada"))
		if portal.MustAccount(t, p, "ada").EmailVerifiedAt.IsZero() {
			t.Error("the address isn't confirmed after the owner used a link that was mailed to it")
		}
		race("a let-in link", letInByMail(t, p, "ada"))
		testkit.Check(t, p.Manage.Passwords.Set(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), portal.Password))

		ticket := resetByMail(t, p, "ada")
		var browsers [n]*portal.Browser
		var phones [n]*portal.Phone
		for i := range browsers {
			browsers[i] = p.Browser(t)
			browsers[i].SignIn("ada")
			browsers[i].Get("/setup?ticket=" + ticket)
			phones[i] = browsers[i].BeginEnroll()
		}
		testkit.Race(n, func(i int) string {
			a := browsers[i].Post("/settings/security/authenticators/"+phones[i].ID+"/confirm", "code", phones[i].Code(0), "name", "Phone")
			return portal.Summary(a)
		})
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM authenticators WHERE confirmed_at IS NOT NULL`); n != 1 {
			t.Errorf("one enrolment link in six browsers confirmed %d authenticators, want 1", n)
		}
		isDead(t, p, "an enrolment link, used", ticket)
	})
}

// TestARobotGainsAndSpoilsNoLinkOfAnOperator lets a robot open the links and submit their forms before
// the owner, as programs of mail servers do (attack 68). The robot gains nothing, and each link still
// works.
func TestARobotGainsAndSpoilsNoLinkOfAnOperator(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		robot := p.Browser(t)
		visit := func(ticket string) {
			t.Helper()
			rows := func() string {
				return fmt.Sprint(portal.EventCounts(t, p), portal.CountRows(t, p, `SELECT COUNT(*) FROM devices`), portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions`),
					portal.CountRows(t, p, `SELECT COUNT(*) FROM tickets WHERE used_at IS NULL`))
			}
			before := rows()
			for _, method := range []string{"HEAD", "GET", "OPTIONS", "GET"} {
				robot.Do(method, "/setup?ticket="+ticket, nil, nil)
			}
			robot.Get("/setup?ticket=" + ticket)
			robot.Follow()
			robot.Post("/setup", "ticket", ticket)
			robot.Post("/setup", "ticket", ticket, "username", "", "new_password", "")
			robot.Post("/setup?ticket="+ticket, "new_password", chosen, "username", "ada") // the portal ignores a ticket in the query
			robot.Post("/reset", "ticket", ticket, "new_password", chosen)
			robot.Post("/undo-email", "ticket", ticket, "email", "ada@example.com")
			robot.Post("/settings/security/authenticators")
			if after := rows(); after != before {
				t.Errorf("after the robot, events and rows are %s, want %s as before", after, before)
			}
			if robot.Cookie(portal.SessionCookie) != "" || robot.Cookie(portal.DeviceCookie) != "" {
				t.Error("the robot has a session or is a known browser, want neither")
			}
		}
		ticket := invite(t, p, "ada")
		visit(ticket)
		if a := p.Browser(t).Post("/setup", "ticket", ticket, "new_password", portal.Password); a.Location != "/login?notice=account_created" {
			t.Errorf("the invited person uses the invitation after the robot: %s, want the notice account_created", portal.Summary(a))
		}
		ticket = letInByMail(t, p, "ada")
		visit(ticket)
		if a := p.Browser(t).Post("/setup", "ticket", ticket, "username", "Ada@Example.com"); a.Location != "/login?notice=let_in" {
			t.Errorf("the owner uses the let-in link after the robot: %s, want the notice let_in", portal.Summary(a))
		}
		ticket = resetByMail(t, p, "ada")
		visit(ticket)
		signInAndEnroll(t, p, portal.Password, ticket)
	})
}

// TestAnOperatorsLinkLivesFromItsMail checks that a link's life begins when its mail is sent, here a day
// late, and that a mail that can't be sent for longer is given up.
func TestAnOperatorsLinkLivesFromItsMail(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := t.Context(), manage.CommandLine()
		p.AddAccount(t, "ada")
		portal.VerifyEmail(t, p, "ada")
		portal.Mails(t, p)
		unblock := block(t, p)
		_, _, err := p.Manage.Accounts.InviteByMail(ctx, by, account.Account{Name: "bob", Email: "bob@example.com"})
		testkit.Check(t, err)
		_, err = p.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, portal.MustAccount(t, p, "ada"))
		testkit.Check(t, err)
		pass(t, p, 30*time.Hour)
		unblock()
		pass(t, p, 90*time.Minute)
		enroll, invitation := lastTicket(t, p, "ada@example.com"), lastTicket(t, p, "bob@example.com")
		open := func(what, ticket string, want int) {
			t.Helper()
			if a := p.Browser(t).Get("/setup?ticket=" + ticket); a.Status != want {
				t.Errorf("open %s: %s, want %d", what, portal.Summary(a), want)
			}
		}
		p.Clock.Move(recovery.EnrollLife - 2*time.Hour)
		open("the enrolment link, 22 hours after its mail", enroll, http.StatusSeeOther)
		p.Clock.Move(3 * time.Hour)
		open("the enrolment link, 25 hours after its mail", enroll, http.StatusNotFound)
		p.Clock.Move(recovery.InvitationLife - 27*time.Hour)
		open("the invitation, 70 hours after its mail", invitation, http.StatusOK)
		p.Clock.Move(4 * time.Hour)
		open("the invitation, 74 hours after its mail", invitation, http.StatusNotFound)

		// While the mails can't be sent, the queue shows the reason. Once they are given up, an event
		// says so.
		block(t, p)
		_, _, err = p.Manage.Accounts.InviteByMail(ctx, by, account.Account{Name: "bob"})
		testkit.Check(t, err)
		_, err = p.Manage.Links.LetInByMail(ctx, by, portal.MustAccount(t, p, "ada"))
		testkit.Check(t, err)
		pass(t, p, time.Hour)
		if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind = 'mail_given_up' AND detail = 'let_in'`); got != 1 {
			t.Errorf("after an hour, %d events say that the let-in link was given up, want 1", got)
		}
		if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox WHERE topic = 'invitation' AND last_error <> ''`); got != 1 {
			t.Errorf("after an hour, %d invitations wait with the reason, want 1", got)
		}
		pass(t, p, 73*time.Hour)
		if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE kind = 'mail_given_up' AND detail = 'invitation'`); got != 1 {
			t.Errorf("after three days, %d events say that the invitation was given up, want 1", got)
		}
	})
}
