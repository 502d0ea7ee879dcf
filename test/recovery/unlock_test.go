package recovery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const unlockCookie = "sallyport-unlock"

// typeCode submits the code that the page of a mailed link shows.
func typeCode(b *portal.Browser, code string) portal.Answer {
	return b.Post("/unlock/code", "unlock_code", code)
}

// isLetIn reports whether the answer says that the browser was let in.
func isLetIn(a portal.Answer) bool { return a.Location == "/login?notice=let_in" }

// mayTry submits a right or wrong password and reports whether the portal compared it.
func mayTry(t *testing.T, b *portal.Browser, name, password string) bool {
	t.Helper()
	a := b.Post("/login", "username", name, "password", password)
	if !portal.OneOf(a.Status, http.StatusSeeOther, http.StatusUnprocessableEntity, http.StatusTooManyRequests) {
		t.Errorf("submit a password for %s: %s, want 303, 422 or 429", name, portal.Summary(a))
	}
	return a.Status != http.StatusTooManyRequests
}

// isNoLink fails the test if asker, the browser that asked for a link, is still let in by the link
// or its code.
func isNoLink(t *testing.T, what string, asker *portal.Browser, ticket, code string) {
	t.Helper()
	if a := asker.Get("/unlock?ticket=" + ticket); a.Status != http.StatusNotFound {
		t.Errorf("%s: the link's page has status %d, want 404", what, a.Status)
	}
	if a := asker.Post("/unlock", "ticket", ticket); a.Status != http.StatusNotFound {
		t.Errorf("%s: submit the link in the browser that asked: %s, want 404", what, portal.Summary(a))
	}
	if a := typeCode(asker, code); a.Status != http.StatusUnprocessableEntity {
		t.Errorf("%s: submit the code in the browser that asked: %s, want 422", what, portal.Summary(a))
	}
}

// TestAttackD9CodesOfALink checks that the code of a link lets in only the browser that asked for
// the link, and that each link allows three wrong codes and expires.
func TestAttackD9CodesOfALink(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		laptop, phone := p.Browser(t), p.Browser(t)
		first := portal.MailedUnlock(t, p, laptop, "ada")
		code := portal.UnlockCode(t, phone, first)
		if again := portal.UnlockCode(t, p.Browser(t), first); again != code {
			t.Errorf("the link shows the code %s, then %s, want the same code", code, again)
		}
		// A browser that didn't ask, one that asked for another link, and one with a forged cookie.
		other, invented := p.Browser(t), p.Browser(t)
		theirs := portal.MailedUnlock(t, p, other, "ada")
		invented.SetCookie(unlockCookie, strings.Repeat("A", 43))
		for what, b := range map[string]*portal.Browser{"no cookie": phone, "another link's cookie": other, "made-up cookie": invented} {
			if a := typeCode(b, code); isLetIn(a) || a.Status != http.StatusUnprocessableEntity {
				t.Errorf("submit the code in the browser with %s: %s, want 422", what, portal.Summary(a))
			}
			if a := b.Post("/unlock", "ticket", first); a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, code) {
				t.Errorf("submit the link in the browser with %s: %s, want its page with the code", what, portal.Summary(a))
			}
			if mayTry(t, b, "ada", portal.Password) {
				t.Errorf("the browser with %s may try passwords, want 429", what)
			}
		}
		// Malformed codes cost no try. After three wrong codes no fourth one is compared, neither the
		// right one nor that of the other browser's link.
		for _, typed := range []string{"", "ABCD", "ABCD-EFGHJ", "ABCD-EFG\x00", "ABCDEFGU"} {
			typeCode(laptop, typed)
		}
		for n := range 3 {
			if a := typeCode(laptop, wrongCode(code)); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("wrong code %d: %s, want 422", n, portal.Summary(a))
			}
		}
		if a := typeCode(laptop, code); isLetIn(a) {
			t.Error("the right code was accepted after three wrong ones, want a refusal")
		}
		if a := typeCode(laptop, portal.UnlockCode(t, phone, theirs)); isLetIn(a) {
			t.Error("the code of another browser's link was accepted, want a refusal")
		}
		// Two of the three tries of the other browser's link are used up. The third one, with the
		// right code, still works.
		if a := typeCode(other, strings.ToLower(portal.UnlockCode(t, phone, theirs))); !isLetIn(a) {
			t.Errorf("the right code in the other browser that asked: %s, want the notice let_in", portal.Summary(a))
		}
		if a := laptop.Post("/unlock", "ticket", first); !isLetIn(a) {
			t.Errorf("submit the link, after three wrong codes, in the browser that asked: %s, want the notice let_in", portal.Summary(a))
		}
		isNoLink(t, "used", laptop, first, code)

		// A link expires.
		p.Clock.Move(25 * time.Hour)
		late := portal.MailedUnlock(t, p, laptop, "ada")
		code = portal.UnlockCode(t, phone, late)
		p.Clock.Move(17 * time.Minute)
		isNoLink(t, "expired", laptop, late, code)
		// If one browser asks for two links, the first link still works.
		one := portal.MailedUnlock(t, p, laptop, "ada")
		two := portal.MailedUnlock(t, p, laptop, "ada")
		if a := typeCode(laptop, portal.UnlockCode(t, phone, one)); one == two || !isLetIn(a) {
			t.Errorf("submit the code of the first of two links: %s, want the notice let_in, and two different links", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// wrongCode returns a code that differs from code in its last character.
func wrongCode(code string) string {
	last := "0"
	if strings.HasSuffix(code, last) {
		last = "1"
	}
	return code[:len(code)-1] + last
}

// TestAttackD9OneLinkLetsOneBrowserIn submits a link and its code many times at once on three nodes: one
// request succeeds. Then it submits wrong codes of another link at once: three of them are compared.
func TestAttackD9OneLinkLetsOneBrowserIn(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 3, append([]string{portal.BehindProxy}, portal.WithMail...)...)
	raceUnlock(t, nodes)
	t.Run("sqlite", func(t *testing.T) {
		raceUnlock(t, []*portal.Portal{portal.Start(t, "sqlite", append([]string{portal.BehindProxy}, portal.WithMail...)...)})
	})
}

func raceUnlock(t *testing.T, nodes []*portal.Portal) {
	t.Helper()
	const n = 9
	p := nodes[0]
	asked := func(name string) (ticket, code string, tabs []*portal.Browser) {
		p.AddAccount(t, name)
		laptop := p.Browser(t)
		ticket = portal.MailedUnlock(t, p, laptop, name)
		for i := range n {
			b := portal.FromNetwork(nodes[i%len(nodes)].Browser(t), i)
			b.SetCookie(unlockCookie, laptop.Cookie(unlockCookie))
			tabs = append(tabs, b)
		}
		return ticket, portal.UnlockCode(t, p.Browser(t), ticket), tabs
	}
	race := func(one func(i int) portal.Answer) (letIn int) {
		got := testkit.Race(n, func(i int) string {
			a := one(i)
			if !isLetIn(a) && !portal.OneOf(a.Status, http.StatusNotFound, http.StatusUnprocessableEntity) {
				return portal.Summary(a)
			}
			return fmt.Sprint(isLetIn(a))
		})
		if got["true"]+got["false"] != n {
			t.Errorf("requests at once got the answers %v, want each let in, or refused with 404 or 422", got)
		}
		return got["true"]
	}
	letInRows := func(name string) int {
		return portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0 AND account_id = (SELECT id FROM accounts WHERE name = $1)`, name)
	}
	ticket, code, tabs := asked("ada")
	if got := race(func(i int) portal.Answer {
		if i%2 == 0 {
			return tabs[i].Post("/unlock", "ticket", ticket)
		}
		return typeCode(tabs[i], code)
	}); got != 1 || letInRows("ada") != 1 {
		t.Errorf("%d requests at once were answered with let_in, and the database has %d such browsers, want one each", got, letInRows("ada"))
	}
	_, code, tabs = asked("bob")
	if got := race(func(i int) portal.Answer { return typeCode(tabs[i], wrongCode(code)) }); got != 0 {
		t.Errorf("%d browsers were let in with a wrong code, want none", got)
	}
	if got := portal.CountRows(t, p, `SELECT tries FROM tickets WHERE account_id = (SELECT id FROM accounts WHERE name = 'bob')`); got != 3 {
		t.Errorf("of nine wrong codes at once %d were compared, want 3", got)
	}
	if a := typeCode(tabs[0], code); isLetIn(a) || letInRows("bob") != 0 {
		t.Errorf("the right code after nine wrong ones at once: %s, want a refusal", portal.Summary(a))
	}
}

// TestAttackD9OlderLinksDie checks that a change of the account ends the links that were mailed before
// it, and the rights of browsers that were let in before it.
func TestAttackD9OlderLinksDie(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := context.Background(), manage.CommandLine()
		networks, sessions := 0, map[string]string{}
		for what, change := range map[string]func(a account.Account) error{
			"password": func(a account.Account) error { return p.Manage.Passwords.Set(ctx, by, a, chosen) },
			"address":  func(a account.Account) error { return p.Manage.Accounts.SetEmail(ctx, by, a, "new@example.org") },
			"disabled": func(a account.Account) error { return p.Manage.Accounts.Disable(ctx, by, a) },
			"removed":  func(a account.Account) error { return p.Manage.Accounts.Remove(ctx, by, a) },
			"reset": func(a account.Account) error {
				_, err := p.Manage.Authenticators.ResetTwoFactor(ctx, by, a, time.Hour)
				return err
			},
			"forgotten": func(a account.Account) error {
				b := p.Browser(t)
				b.SetCookie(portal.SessionCookie, sessions[a.Name])
				b.Post("/settings/devices/forget-all")
				return nil
			},
		} {
			p.AddAccount(t, what)
			networks++
			owner := p.Browser(t)
			owner.SignIn(what)
			sessions[what] = owner.Cookie(portal.SessionCookie)
			first, other := portal.FromNetwork(p.Browser(t), networks), portal.FromNetwork(p.Browser(t), networks)
			ticket := portal.MailedUnlock(t, p, first, what)
			code := portal.UnlockCode(t, p.Browser(t), ticket)
			if a := other.Post("/unlock", "ticket", portal.MailedUnlock(t, p, other, what)); !isLetIn(a) || !mayTry(t, other, what, "wrong") {
				t.Fatalf("%s: let the other browser in: %s, want the notice let_in and a try at a password", what, portal.Summary(a))
			}
			testkit.Check(t, change(portal.MustAccount(t, p, what)))
			isNoLink(t, what, first, ticket, code)
			if what != "removed" && mayTry(t, other, what, "wrong") {
				t.Errorf("%s: after the change, the browser that was let in may still try passwords, want 429", what)
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices WHERE used_at = 0`); n > 0 {
				t.Errorf("%s: after the change, %d browsers are still let in, want none", what, n)
			}
		}
	}, portal.BehindProxy)
}

// TestAttackD9NobodyLearnsWhichNamesExist checks that a client that doesn't get the mail gets the same
// answers for names of every kind.
func TestAttackD9NobodyLearnsWhichNamesExist(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx, by := context.Background(), manage.CommandLine()
		for _, name := range []string{"ada1", "ada2", "ada3"} {
			p.AddAccount(t, name)
		}
		portal.VerifyEmail(t, p, "ada1")
		portal.VerifyEmail(t, p, "ada3")
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, by, portal.MustAccount(t, p, "ada3")))
		_, _, err := p.Manage.Accounts.Invite(ctx, by, account.Account{Name: "ada4", Email: "ada4@example.com"})
		testkit.Check(t, err)
		testkit.Check(t, p.Manage.Accounts.VerifyEmail(ctx, by, portal.MustAccount(t, p, "ada4")))
		portal.Mails(t, p)
		n := 0
		for round := range 5 { // past the limit of the day too
			steps := map[string]string{}
			for _, name := range []string{"ada1", "ada2", "ada3", "ada4", "ada9"} {
				n++
				b := portal.FromNetwork(p.Browser(t), n)
				portal.Shield(t, p, name)
				waiting := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`)
				var got []string
				for _, do := range []func() portal.Answer{
					func() portal.Answer { return b.Post("/login", "username", name, "password", portal.Password) },
					func() portal.Answer { return b.Post("/unlock/ask", "username", name) },
					func() portal.Answer { return b.Get("/unlock") },
					func() portal.Answer { portal.Mails(t, p); return typeCode(b, "7K3M9QXT") },
					func() portal.Answer { return typeCode(b, "7K3M9QXT") },
					func() portal.Answer { return typeCode(b, "7K3M9QXT") },
					func() portal.Answer { return typeCode(b, "7K3M9QXT") },
					func() portal.Answer { return typeCode(b, "nonsense, of course") },
				} {
					a := do()
					if a.Location == "/unlock" {
						if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM outbox`); after != waiting+1 {
							t.Errorf("ask for a link for %s: the outbox had %d messages and has %d, want one more", name, waiting, after)
						}
					}
					var header []string
					for name, values := range a.Header {
						if name != "Date" {
							header = append(header, name+": "+strings.Join(values, ", "))
						}
					}
					slices.Sort(header)
					got = append(got, fmt.Sprint(a.Status, header, a.Body))
				}
				all := strings.NewReplacer(name, "NAME", b.Cookie(unlockCookie), "COOKIE").Replace(strings.Join(got, "\n"))
				steps[all] = name
			}
			if len(steps) != 1 {
				t.Errorf("round %d: the answers differ by name, want the same for all: %v", round, steps)
			}
		}
		mails := map[string]int{}
		for _, m := range portal.Mails(t, p) {
			if _, _, ticket := m.Link(); ticket != "" {
				mails[m.To]++
			}
		}
		if len(mails) != 1 || mails["ada1@example.com"] != 3 {
			t.Errorf("mails with links: %v, want three to ada1@example.com", mails)
		}
	}, portal.BehindProxy)
}
