package guessing

// A guesser who can read the owner's mails.

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// letInByMail asks for a link in the browser and submits it there. It fails the test unless the browser
// is let in.
func letInByMail(t *testing.T, p *portal.Portal, b *portal.Browser) {
	t.Helper()
	if a := b.Post("/unlock", "ticket", portal.MailedUnlock(t, p, b, "ada")); a.Location != "/login?notice=let_in" {
		t.Fatalf("submit a mailed link: %s, want the notice let_in", portal.Summary(a))
	}
}

// TestAttackD9AMailboxBringsAGuesserFewPasswords checks that a guesser who uses every mailed link in a
// new browser may try at most a hundred passwords a day.
func TestAttackD9AMailboxBringsAGuesserFewPasswords(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const days, links = 3, 3
		p.AddAccount(t, "ada")
		owner := portal.FromNetwork(p.Browser(t), 1)
		owner.SignIn("ada")
		compared, networks := 0, 1
		// guess submits at most n wrong passwords, and reports whether the browser may submit more.
		guess := func(b *portal.Browser, n int) bool {
			for n > 0 {
				switch a := b.Post("/login", "username", "ada", "password", "wrong"); {
				case a.Status == http.StatusUnprocessableEntity:
					compared++
					n--
				case a.Header.Get("Retry-After") != "":
					wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
					testkit.Check(t, err)
					p.Clock.Move(time.Duration(wait) * time.Second)
				default:
					return false
				}
			}
			return true
		}
		for range days {
			var browsers []*portal.Browser
			for n := range links {
				networks++
				b := portal.FromNetwork(p.Browser(t), networks)
				letInByMail(t, p, b)
				for _, former := range browsers {
					if guess(former, 1) {
						t.Error("a browser that an earlier link let in may still try passwords, want only the newest")
					}
				}
				if more := guess(b, 40); more != (n < links-1) {
					t.Errorf("after %d passwords, the browser of link %d may try more: %v, want %v", compared, n+1, more, n < links-1)
				}
				browsers = append(browsers, b)
			}
			before := len(portal.Mails(t, p))
			p.Browser(t).Post("/unlock/ask", "username", "ada")
			if after := len(portal.Mails(t, p)); after != before {
				t.Errorf("a request past the limit of the day sent %d mails, want none", after-before)
			}
			if a := owner.Post("/login", "username", "ada", "password", portal.Password); a.Status != http.StatusSeeOther {
				t.Errorf("right password in the owner's known browser: %s, want 303", portal.Summary(a))
			}
			p.Clock.Move(day)
		}
		ledger := portal.Ledger(t, p, "ada", "password")
		if got := most(ledger["let-in"], day); got != 100 || compared != days*100 || len(ledger) != 2 {
			t.Errorf("%d passwords compared in %d days, at most %d in a day, in the ledger's rows of %d devices; want 100 a day, in the row of browsers that mail let in and one other", compared, days, got, len(ledger))
		}
		if got := portal.Ledger(t, p, "ada", "password-known"); len(got) > 1 {
			t.Errorf("%d browsers have their own budget of passwords, want the owner's alone", len(got))
		}
	}, append([]string{portal.BehindProxy, "SALLYPORT_MAIL_NOTICES=false"}, portal.WithMail...)...)
}

// TestAttackD9LetInBrowsersShareTheirTries checks that the browsers that mail lets in, one after the
// other, share one budget of passwords and use that of unknown browsers for codes, even if their
// requests reach three nodes at once.
func TestAttackD9LetInBrowsersShareTheirTries(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 3, append([]string{portal.BehindProxy}, portal.WithMail...)...)
	p := nodes[0]
	_, phone := portal.WithTwoFactor(t, p, "ada")
	const n = 24
	race := func(password string) (tabs []*portal.Browser, wrong int) {
		asker := p.Browser(t)
		letInByMail(t, p, asker)
		for i := range n {
			b := portal.FromNetwork(nodes[i%len(nodes)].Browser(t), i)
			b.SetCookie(portal.DeviceCookie, asker.Cookie(portal.DeviceCookie))
			tabs = append(tabs, b)
		}
		got := testkit.Race(n, func(i int) string {
			return strconv.Itoa(tabs[i].Post("/login", "username", "ada", "password", password).Status)
		})
		t.Logf("passwords at once: %v", got)
		return tabs, got["422"]
	}
	_, first := race("wrong")
	_, second := race("wrong")
	if first+second != 5 {
		t.Errorf("%d wrong passwords of the first browser and %d of the second were compared, want 5 in all", first, second)
	}
	portal.MoveAll(nodes, day) // since at most three links a day are mailed
	units := 0
	for range 2 {
		tabs, _ := race(portal.Password)
		wrong := portal.WrongCode(phone)
		testkit.Race(n, func(i int) string {
			if tabs[i].Last.Location != "/login/code" {
				return "no attempt"
			}
			return portal.TryCode(tabs[i], "/login/code", "code", wrong)
		})
		units = portal.UnitsUsed(t, p, "ada", "code")
	}
	if got := portal.Ledger(t, p, "ada", "code-known"); units != 5 || len(got) != 0 {
		t.Errorf("the ledger has %d wrong codes of unknown browsers, and rows of %d known ones; want 5 and none", units, len(got))
	}
}
