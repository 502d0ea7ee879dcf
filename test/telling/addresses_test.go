package telling

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/smtpd"
)

// noMailbox is how a mail server answers that it has no such mailbox.
var noMailbox = smtpd.Script{Rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown"}}

// refusing is a portal whose mail server refuses what a test tells it to, and an account with a
// confirmed address.
type refusing struct {
	*portal.Portal
	mail *smtpd.Server
	ada  account.Account
}

// withRefusing runs a test on each engine.
func withRefusing(t *testing.T, test func(t *testing.T, r *refusing)) {
	t.Helper()
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			r := &refusing{mail: smtpd.Start(t, smtpd.Options{})}
			r.Portal = portal.Start(t, engine, "SALLYPORT_MAIL_URL=smtp://127.0.0.1:"+r.mail.Port, "SALLYPORT_MAIL_FROM=portal@example.com", portal.BehindProxy)
			r.AddAccount(t, "ada")
			portal.VerifyEmail(t, r.Portal, "ada")
			r.read(t)
			r.send(t)
			test(t, r)
		})
	}
}

// read reads the account again.
func (r *refusing) read(t *testing.T) account.Account {
	t.Helper()
	r.ada = portal.MustAccount(t, r.Portal, "ada")
	return r.ada
}

// tell records an event of the account that its owner is told of, and sends what is due. It
// returns how many mails the server has accepted since.
func (r *refusing) tell(t *testing.T, k audit.Kind) int {
	t.Helper()
	testkit.Check(t, r.DB.Write(t.Context(), func(tx *db.Tx) error {
		return r.Login.Journal.Record(t.Context(), tx, audit.Event{At: r.Clock.Now(), AccountID: r.ada.ID, Kind: k, Actor: audit.ByOwner, Detail: "a name"})
	}))
	return r.send(t)
}

func (r *refusing) send(t *testing.T) int {
	t.Helper()
	before := len(r.mail.Mails())
	for range 2 { // one that another run has claimed is sent by then
		testkit.Check(t, r.Outbox.Run(t.Context()))
		r.Outbox.Wait()
	}
	return len(r.mail.Mails()) - before
}

// ticket returns the ticket of the link in the newest mail to an address; empty if it has none.
func (r *refusing) ticket(t *testing.T, to string) string {
	t.Helper()
	all := r.mail.Mails()
	newest := all[len(all)-1]
	if newest.To != to {
		t.Fatalf("the newest mail goes to %s, want %s", newest.To, to)
	}
	_, _, ticket := portal.ReadMail(t, newest.Content).Link()
	return ticket
}

// A mailbox that doesn't exist is marked, once, and no mail to it is tried again. Only mails that
// are an owner's last defence are still sent.
func TestARefusedAddressIsMarked(t *testing.T) {
	withRefusing(t, func(t *testing.T, r *refusing) {
		for _, other := range []*smtp.SMTPError{
			{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "spam from an unknown user"},
			{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 2, 2}, Message: "mailbox full"},
			{Code: 550, EnhancedCode: smtp.NoEnhancedCode, Message: "relay not permitted"},
		} {
			r.mail.Answer(smtpd.Script{Rcpt: other})
			r.tell(t, audit.AuthenticatorRemoved)
			if !r.read(t).EmailReachesOwner() {
				t.Errorf("after %d %v %s the address is marked", other.Code, other.EnhancedCode, other.Message)
			}
		}
		r.mail.Answer(noMailbox)
		for range 3 {
			r.tell(t, audit.AuthenticatorRemoved)
		}
		if a := r.read(t); a.EmailReachesOwner() || !a.EmailRefusedAt.Equal(r.Clock.Now()) {
			t.Errorf("the account is %+v; want its address refused", a)
		}
		if got := portal.EventCounts(t, r.Portal); got["email_refused:done"] != 1 || got["mail_given_up:refused"] != 6 {
			t.Errorf("events: %v; want email_refused once", got)
		}
		if n := portal.CountRows(t, r.Portal, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("%d mails wait", n)
		}
		r.mail.Answer(smtpd.Script{})
		if routine, defence := r.tell(t, audit.PassMade), r.tell(t, audit.AuthenticatorRemoved); routine != 0 || defence != 1 {
			t.Errorf("%d mails about a pass and %d about an authenticator were sent, want none and one", routine, defence)
		}
		if r.read(t).EmailReachesOwner() {
			t.Error("an accepted mail ended the mark")
		}

		owner := r.Browser(t)
		owner.SignIn("ada")
		if page := owner.Get("/settings/profile").Body; !strings.Contains(page, "Messages don’t reach you: the mail server refused") || !strings.Contains(page, "Send again") {
			t.Errorf("the Profile tab doesn't show it:\n%s", page)
		}
		if a := owner.Post("/settings/profile/email", "email", r.ada.Email); a.Location != "/settings/profile?notice=email_asked" || r.send(t) != 1 {
			t.Errorf("Send again: %s", portal.Summary(a))
		}
		owner.Post("/settings/profile/email/confirm", "ticket", r.ticket(t, r.ada.Email))
		if !r.read(t).EmailReachesOwner() || r.tell(t, audit.PassMade) != 1 {
			t.Error("confirming the address doesn't end the mark")
		}
		if page := owner.Get("/settings/profile").Body; strings.Contains(page, "Messages don’t reach you") {
			t.Error("the Profile tab shows the mark after its end")
		}

		ctx, by := t.Context(), manage.CommandLine()
		refuse := func() {
			testkit.Check(t, r.Recovery.AddressRefused(ctx, r.ada.ID, "ADA@example.com"))
			if r.read(t).EmailReachesOwner() {
				t.Fatal("the address isn't marked again")
			}
		}
		refuse()
		testkit.Check(t, r.Manage.Accounts.VerifyEmail(ctx, by, r.ada))
		if !r.read(t).EmailReachesOwner() {
			t.Error("the word of an operator doesn't end the mark")
		}
		refuse()
		testkit.Check(t, r.Manage.Accounts.SetEmail(ctx, by, r.ada, "ada@example.org"))
		if !r.read(t).EmailRefusedAt.IsZero() {
			t.Error("another address is marked")
		}
		testkit.Check(t, r.Manage.Accounts.SetEmail(ctx, by, r.ada, r.ada.Email))
		if !r.read(t).EmailRefusedAt.IsZero() {
			t.Error("an address that came back is marked")
		}
	})
}

// An administrator sees the mark on the page of the account.
func TestAdministratorsSeeARefusedAddress(t *testing.T) {
	withRefusing(t, func(t *testing.T, r *refusing) {
		root := r.AddAccount(t, "root1")
		testkit.Check(t, r.Manage.Accounts.SetRole(t.Context(), manage.CommandLine(), root, account.Administrator))
		b := r.Browser(t)
		b.SignIn("root1")
		b.Enroll("phone")
		r.mail.Answer(noMailbox)
		r.tell(t, audit.AuthenticatorRemoved)
		page := b.Get("/admin/accounts/" + r.ada.ID)
		for _, want := range []string{r.ada.Email, ">refused<", "The mail server refused the email address"} {
			if !strings.Contains(page.Body, want) {
				t.Errorf("the page of the account doesn't contain %q: %s\n%s", want, portal.Summary(page), page.Body)
			}
		}
	})
}

// Attack D-26: an address that was refused is later another person's, who asks for a new password
// and for the former address. The answers are the same as ever, but no link is sent.
func TestAttackD26RefusedAddressGetsNoLink(t *testing.T) {
	withRefusing(t, func(t *testing.T, r *refusing) {
		ask := func() portal.Answer { return r.Browser(t).Post("/forgot", "username", "ada") }
		before := ask()
		r.send(t)
		waiting := r.ticket(t, r.ada.Email) // of a mail that arrived before
		r.mail.Answer(noMailbox)
		r.tell(t, audit.AuthenticatorRemoved)
		r.mail.Answer(smtpd.Script{})
		if a := ask(); a.Status != before.Status || a.Location != before.Location || a.Body != before.Body || r.send(t) != 0 {
			t.Errorf("%s, want the answer %s and no mail", portal.Summary(a), portal.Summary(before))
		}
		if a := r.Browser(t).Post("/reset", "ticket", waiting, "new_password", "a wholly other phrase"); a.Status != http.StatusNotFound {
			t.Errorf("an earlier link sets a password: %s", portal.Summary(a))
		}

		owner := r.Browser(t)
		owner.SignIn("ada")
		owner.Post("/settings/profile/email", "email", "ada@example.org")
		r.send(t)
		owner.Post("/settings/profile/email/confirm", "ticket", r.ticket(t, "ada@example.org"))
		if n := r.send(t); n != 2 || r.read(t).Email != "ada@example.org" {
			t.Errorf("%d mails about the change to %s, want two notices", n, r.ada.Email)
		}
		for _, m := range r.mail.Mails() {
			if _, path, _ := portal.ReadMail(t, m.Content).Link(); path == "/undo-email" {
				t.Errorf("the refused address got a link that restores it:\n%s", m.Content)
			}
		}
	})
}

// A mail is refused while its account changes the address, and while other nodes have the same
// answer.
func TestRefusalRacesWithAChangeOfAddress(t *testing.T) {
	withRefusing(t, func(t *testing.T, r *refusing) {
		const rounds = 20
		for i := range rounds {
			address, next := r.read(t).Email, []string{"ada@example.com", "ada@example.org"}[(i+1)%2]
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if err := r.Recovery.AddressRefused(t.Context(), r.ada.ID, address); err != nil {
						t.Error(err)
					}
				})
			}
			all.Go(func() {
				if err := r.Manage.Accounts.SetEmail(t.Context(), manage.CommandLine(), r.ada, next); err != nil {
					t.Error(err)
				}
			})
			all.Wait()
			if a := r.read(t); a.Email != next || !a.EmailRefusedAt.IsZero() {
				t.Fatalf("round %d: %s was refused, and %s is marked", i, address, a.Email)
			}
			portal.ChangeRows(t, r.Portal, `UPDATE accounts SET refused_email = NULL`)
		}
		if n := portal.EventCounts(t, r.Portal)["email_refused:done"]; n > rounds {
			t.Errorf("%d events for %d refusals", n, rounds)
		}
	})
}
