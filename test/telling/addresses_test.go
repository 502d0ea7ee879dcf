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

// noMailbox makes a mail server answer that the mailbox doesn't exist.
var noMailbox = smtpd.Script{Rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown"}}

// refusing is a portal with an account, ada, whose address is confirmed. The test chooses what the
// portal's mail server refuses.
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

// tell records an event that causes a notice to ada, sends the mails that are due, and returns how many
// of them the mail server accepted.
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
	for range 2 { // the second run sends what another run had claimed during the first
		testkit.Check(t, r.Outbox.Run(t.Context()))
		r.Outbox.Wait()
	}
	return len(r.mail.Mails()) - before
}

// ticket returns the ticket of the link in the newest mail, or an empty text if that mail has no
// link. The mail must be to the given address.
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

// If the mail server says that a mailbox doesn't exist, its address is marked as refused, once. From
// then on only the notices that are an owner's last defence are sent to it.
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
				t.Errorf("after the answer %d %v %s, the address is marked as refused, want no mark", other.Code, other.EnhancedCode, other.Message)
			}
		}
		r.mail.Answer(noMailbox)
		for range 3 {
			r.tell(t, audit.AuthenticatorRemoved)
		}
		if a := r.read(t); a.EmailReachesOwner() || !a.EmailRefusedAt.Equal(r.Clock.Now()) {
			t.Errorf("after the answer that the mailbox doesn't exist, the account is %+v, want its address marked as refused now", a)
		}
		if got := portal.EventCounts(t, r.Portal); got["email_refused:done"] != 1 || got["mail_given_up:refused"] != 6 {
			t.Errorf("events: %v, want email_refused once and mail_given_up six times", got)
		}
		if n := portal.CountRows(t, r.Portal, `SELECT COUNT(*) FROM outbox`); n != 0 {
			t.Errorf("%d mails wait, want none", n)
		}
		r.mail.Answer(smtpd.Script{})
		if routine, defence := r.tell(t, audit.PassMade), r.tell(t, audit.AuthenticatorRemoved); routine != 0 || defence != 1 {
			t.Errorf("to the refused address, %d mails about a pass and %d about an authenticator were sent, want none and one", routine, defence)
		}
		if r.read(t).EmailReachesOwner() {
			t.Error("an accepted mail removed the mark, want it to stay")
		}

		owner := r.Browser(t)
		owner.SignIn("ada")
		if page := owner.Get("/settings/profile").Body; !strings.Contains(page, "Messages don’t reach you: the mail server refused") || !strings.Contains(page, "Send again") {
			t.Errorf("the Profile tab doesn't show that the address was refused, with the button Send again:\n%s", page)
		}
		if a := owner.Post("/settings/profile/email", "email", r.ada.Email); a.Location != "/settings/profile?notice=email_asked" || r.send(t) != 1 {
			t.Errorf("press Send again: %s, want the notice email_asked and one mail", portal.Summary(a))
		}
		owner.Post("/settings/profile/email/confirm", "ticket", r.ticket(t, r.ada.Email))
		if !r.read(t).EmailReachesOwner() || r.tell(t, audit.PassMade) != 1 {
			t.Error("the owner confirmed the address: it is still marked, or a notice isn't sent to it")
		}
		if page := owner.Get("/settings/profile").Body; strings.Contains(page, "Messages don’t reach you") {
			t.Error("the Profile tab still shows the mark after it was removed")
		}

		ctx, by := t.Context(), manage.CommandLine()
		refuse := func() {
			testkit.Check(t, r.Recovery.AddressRefused(ctx, r.ada.ID, "ADA@example.com"))
			if r.read(t).EmailReachesOwner() {
				t.Fatal("after another refusal, the address isn't marked, want a mark")
			}
		}
		refuse()
		testkit.Check(t, r.Manage.Accounts.VerifyEmail(ctx, by, r.ada))
		if !r.read(t).EmailReachesOwner() {
			t.Error("an operator confirmed the address: it is still marked, want no mark")
		}
		refuse()
		testkit.Check(t, r.Manage.Accounts.SetEmail(ctx, by, r.ada, "ada@example.org"))
		if !r.read(t).EmailRefusedAt.IsZero() {
			t.Error("an operator set another address: it is marked, want no mark")
		}
		testkit.Check(t, r.Manage.Accounts.SetEmail(ctx, by, r.ada, r.ada.Email))
		if !r.read(t).EmailRefusedAt.IsZero() {
			t.Error("an address that came back is marked")
		}
	})
}

// The page of an account shows administrators that its address was refused.
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

// Attack D-26: after an address was refused, its mailbox may belong to another person. That person gets
// the usual answer to a request for a new password, but no link, and no link that restores the address.
func TestAttackD26RefusedAddressGetsNoLink(t *testing.T) {
	withRefusing(t, func(t *testing.T, r *refusing) {
		ask := func() portal.Answer { return r.Browser(t).Post("/forgot", "username", "ada") }
		before := ask()
		r.send(t)
		earlier := r.ticket(t, r.ada.Email) // of a mail that arrived before the refusal
		r.mail.Answer(noMailbox)
		r.tell(t, audit.AuthenticatorRemoved)
		r.mail.Answer(smtpd.Script{})
		if a := ask(); a.Status != before.Status || a.Location != before.Location || a.Body != before.Body || r.send(t) != 0 {
			t.Errorf("ask for a new password at a refused address: %s, want %s as before, and no mail", portal.Summary(a), portal.Summary(before))
		}
		if a := r.Browser(t).Post("/reset", "ticket", earlier, "new_password", "a wholly other phrase"); a.Status != http.StatusNotFound {
			t.Errorf("set a password with a link from before the refusal: %s, want 404", portal.Summary(a))
		}

		owner := r.Browser(t)
		owner.SignIn("ada")
		owner.Post("/settings/profile/email", "email", "ada@example.org")
		r.send(t)
		owner.Post("/settings/profile/email/confirm", "ticket", r.ticket(t, "ada@example.org"))
		if n := r.send(t); n != 2 || r.read(t).Email != "ada@example.org" {
			t.Errorf("the change of the address sent %d mails and left the address %s, want two notices and ada@example.org", n, r.ada.Email)
		}
		for _, m := range r.mail.Mails() {
			if _, path, _ := portal.ReadMail(t, m.Content).Link(); path == "/undo-email" {
				t.Errorf("a mail has a link that restores the refused address, want none:\n%s", m.Content)
			}
		}
	})
}

// A refusal that is reported three times at once, while the account's address changes, doesn't mark the
// new address and leaves at most one event.
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
				t.Fatalf("round %d: %s was refused, and the account has %s, marked at %v; want %s without a mark", i, address, a.Email, a.EmailRefusedAt, next)
			}
			portal.ChangeRows(t, r.Portal, `UPDATE accounts SET refused_email = NULL`)
		}
		if n := portal.EventCounts(t, r.Portal)["email_refused:done"]; n > rounds {
			t.Errorf("%d events of a refused address in %d rounds, want at most one in each", n, rounds)
		}
	})
}
