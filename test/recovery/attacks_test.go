package recovery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack66AResetKeepsTheSecondFactor sets a new password with a mailed link. The link opens no
// session and makes no browser known, and the next sign-in asks for the code, even in the owner's
// known browser.
func TestAttack66AResetKeepsTheSecondFactor(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		thief := p.Browser(t)
		if a := reset(thief, portal.MailedReset(t, p, thief, "ada"), chosen); a.Location != "/login?notice=password_set" {
			t.Fatalf("set a password with the mailed link: %s, want the notice password_set", portal.Summary(a))
		}
		for _, name := range []string{portal.SessionCookie, portal.AttemptCookie, portal.DeviceCookie} {
			if thief.Cookie(name) != "" {
				t.Errorf("the reset set the cookie %s", name)
			}
		}
		if owner.SignedIn() {
			t.Error("after the reset, the owner's earlier session is still open, want it ended")
		}
		for name, b := range map[string]*portal.Browser{"the browser of the reset": thief, "the owner's browser": owner} {
			if a := b.Post("/login", "username", "ada", "password", chosen); a.Location != "/login/code" || b.SignedIn() {
				t.Errorf("%s, with the new password: %s, want the form for the code", name, portal.Summary(a))
			}
			if a := b.Get("/settings/security"); a.Status == http.StatusOK {
				t.Errorf("%s opens the security settings without a code, want a refusal", name)
			}
		}
		owner.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, owner, "with the code", true)
	})
}

// TestAttack67TheLinkLeadsToPublicURL asks for a link with requests that name another host in the
// request line or in a header. The portal refuses such a request, or mails a link to public_url.
func TestAttack67TheLinkLeadsToPublicURL(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		to := portal.VerifyEmail(t, p, "ada")
		host := strings.TrimPrefix(p.Base, "http://")
		const form = "username=ada"
		for _, start := range []string{
			"POST http://evil.example/forgot HTTP/1.1\r\nHost: " + host,
			"POST http://evil.example/forgot HTTP/1.1\r\nHost: evil.example",
			"POST " + p.Base + "/forgot HTTP/1.1\r\nHost: evil.example",
			"POST /forgot HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.example",
			"POST /forgot HTTP/1.1\r\nHost: evil.example",
			"POST /forgot HTTP/1.1\r\nHost: evil.example:444",
			"POST /forgot HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Host: " + host + "\r\nForwarded: host=evil.example",
			"POST /forgot HTTP/1.1\r\nHost: " + host + "\r\nOrigin: http://evil.example\r\nReferer: http://evil.example/forgot",
		} {
			for _, from := range []string{"\r\nSec-Fetch-Site: same-origin", ""} {
				p.Clock.Move(25 * time.Hour) // so that the limit of mails in a day doesn't apply
				before := len(portal.Mails(t, p))
				answer := portal.RawAnswer(t, p, fmt.Sprintf("%s%s\r\nX-Forwarded-For: 203.0.113.9\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", start, from, len(form), form))
				if strings.Contains(answer, "//evil.example") {
					t.Errorf("%s: the answer has a link to evil.example, want none:\n%s", start, answer)
				}
				for _, m := range portal.Mails(t, p)[before:] {
					if origin, path, _ := m.Link(); m.To != to || origin != p.Base || path != "/reset" || strings.Contains(m.Raw, "evil") {
						t.Errorf("%s: a mail to %s with the link %s%s, want one to %s with %s/reset", start, m.To, origin, path, to, p.Base)
					}
				}
			}
		}
		if a := p.Browser(t).Post("/forgot", "username", "ada"); a.Location != "/login?notice=mail_sent" {
			t.Errorf("ask for a link in a browser: %s, want the notice mail_sent", portal.Summary(a))
		}
		lastTicket(t, p, to) // fails the test unless a link was mailed
	}, portal.BehindProxy)
}

// TestAttack62TheAddressNeedsAFreshProof tries to change the address with a session whose proof is
// older than ten minutes. The portal demands a reauthentication, sends no mail and keeps the address.
func TestAttack62TheAddressNeedsAFreshProof(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		to := portal.VerifyEmail(t, p, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		p.Clock.Move(10*time.Minute + time.Second)
		before := len(portal.Mails(t, p))
		if a := b.Post("/settings/profile/email", "email", "eve@example.net"); !strings.HasPrefix(a.Location, "/reauthenticate?return=") {
			t.Errorf("a stale session asks for another address: %s, want 303 to /reauthenticate", portal.Summary(a))
		}
		if after := len(portal.Mails(t, p)); after != before || portal.MustAccount(t, p, "ada").Email != to {
			t.Errorf("the refused change sent %d mails and left the address %s, want no mail and %s", after-before, portal.MustAccount(t, p, "ada").Email, to)
		}
	})
}

// TestAttack63LinksOfOthers checks that no form for mailed links accepts a link of another kind, and
// that a link that confirms an address works only in a session of its own account.
func TestAttack63LinksOfOthers(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "eve")
		ada, eve := p.Browser(t), p.Browser(t)
		ada.SignIn("ada")
		eve.SignIn("eve")
		links := map[string]string{"/reset": portal.MailedReset(t, p, p.Browser(t), "ada")}
		p.Clock.Move(time.Second)
		portal.ChangeEmail(t, p, ada, "ada@example.org") // ends the link to a new password
		links["/undo-email"] = lastTicket(t, p, "ada@example.com")
		p.Clock.Move(time.Second)
		links["/settings/profile/email/confirm"] = portal.MailedVerification(t, p, ada, "ada@example.net")
		p.Clock.Move(time.Second)
		p.Browser(t).Post("/forgot", "username", "ada")
		links["/reset"] = lastTicket(t, p, "ada@example.org")
		for kind, ticket := range links {
			for path := range links {
				if path == kind && path != "/settings/profile/email/confirm" {
					continue // such a link works without a session of the account
				}
				for _, b := range []*portal.Browser{eve, p.Browser(t)} {
					b.Get(path + "?ticket=" + ticket)
					a := b.Post(path, "ticket", ticket, "new_password", chosen, "email", "ada@example.com")
					if a.Status != http.StatusNotFound && !strings.HasPrefix(a.Location, "/login?return=") {
						t.Errorf("POST %s with the link of %s: %s, want 404 or the sign-in", path, kind, portal.Summary(a))
					}
				}
			}
		}
		if a := portal.MustAccount(t, p, "ada"); a.Email != "ada@example.org" {
			t.Errorf("ada's address is %s, want ada@example.org as before", a.Email)
		}
		if a := portal.MustAccount(t, p, "eve"); a.Email != "" {
			t.Errorf("eve's address is %s, want none as before", a.Email)
		}
		if a := ada.Post("/settings/profile/email/confirm", "ticket", links["/settings/profile/email/confirm"]); a.Location != "/settings/profile?notice=email_confirmed" {
			t.Errorf("ada confirms her address after eve's tries: %s, want the notice email_confirmed", portal.Summary(a))
		}
	})
}

// TestAttackD27AMailboxIsOneFactor checks that a thief who reads the owner's mails can't sign in, even
// if the thief persuades the operator to reset the second factor by mail.
func TestAttackD27AMailboxIsOneFactor(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		portal.WithTwoFactor(t, p, "ada")
		portal.VerifyEmail(t, p, "ada")
		enroll := resetByMail(t, p, "ada")
		thief := p.Browser(t)
		thief.Get("/setup?ticket=" + enroll)
		thief.Post("/forgot", "username", "ada")
		for _, m := range portal.Mails(t, p) {
			if _, path, ticket := m.Link(); path == "/reset" {
				reset(thief, ticket, chosen)
			}
		}
		thief.Post("/login", "username", "ada", "password", chosen)
		if thief.SignedIn() {
			t.Error("the thief is signed in with the owner's mails alone, want no session")
		}
		signInAndEnroll(t, p, portal.Password, enroll)
	})
}

// TestAttackD10AWaitingConfirmationEnds checks that a waiting mail to confirm an address is never
// sent once an operator has set another address. A thief in a session asked for the mail, and kept
// it from arriving.
func TestAttackD10AWaitingConfirmationEnds(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const path, theirs, owners = "/settings/profile/email", "thief@example.net", "ada@example.org"
		p.AddAccount(t, "ada")
		portal.VerifyEmail(t, p, "ada")
		thief := p.Browser(t)
		thief.SignIn("ada")
		portal.Mails(t, p)
		unblock := block(t, p)
		thief.Post(path, "email", theirs)
		setEmail := func(to string) {
			testkit.Check(t, p.Manage.Accounts.SetEmail(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), to))
		}
		setEmail(owners)
		unblock()
		p.Clock.Move(2 * time.Minute)
		for _, m := range portal.Mails(t, p) {
			if _, _, ticket := m.Link(); m.To == theirs && ticket != "" {
				t.Error("the mail to the thief was sent, want none")
				thief.Post(path+"/confirm", "ticket", ticket)
			}
		}
		if got := portal.MustAccount(t, p, "ada").Email; got != owners {
			t.Errorf("the address is %s, want %s", got, owners)
		}
	})
}
