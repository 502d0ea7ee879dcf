package guessing

// How many codes are compared. Each test counts them by the answers of the pages, and checks the
// count against the ledger.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack1SessionSpreading(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		wrong, got := portal.WrongCode(phone), map[string]int{}
		tabs := make([]*portal.Browser, 100)
		for i := range tabs {
			tabs[i] = portal.PendingSignIn(t, p, "ada")
		}
		for _, tab := range tabs {
			got[portal.TryCode(tab, "/login/code", "code", wrong)]++
		}
		// The fifth wrong code ends every attempt, so the thief must begin new ones.
		if got[portal.OutcomeWrong] != 5 || got[portal.OutcomeEnded] != 95 {
			t.Errorf("a wrong code in each of a hundred attempts: %v, want 5 compared and 95 attempts ended", got)
		}
		for range 10 {
			if got := portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", wrong); got != portal.OutcomeTwoCodes {
				t.Errorf("wrong code in an attempt begun afterwards: %s, want %s", got, portal.OutcomeTwoCodes)
			}
		}
		portal.CheckUsedUp(t, p, phone, "after all attempts")
	})
}

// overrun submits n wrong codes at the same time, spread over nodes, each in its own attempt
// or all in the same one. It fails the test unless five are compared.
func overrun(t *testing.T, nodes []*portal.Portal, n int, sameAttempt bool) {
	t.Helper()
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	tabs := make([]*portal.Browser, n)
	for i := range tabs {
		p := nodes[i%len(nodes)]
		if tabs[i] = p.Browser(t); sameAttempt && i > 0 {
			tabs[i].SetCookie(portal.AttemptCookie, tabs[0].Cookie(portal.AttemptCookie))
		} else {
			tabs[i].SignIn("ada")
		}
	}
	wrong := portal.WrongCode(phone)
	got := testkit.Race(n, func(i int) string { return portal.TryCode(tabs[i], "/login/code", "code", wrong) })
	// The answer to a compared code can be that the fifth wrong code ended its attempt.
	if failed := portal.EventCounts(t, nodes[0])["code_failed:refused"]; failed != 5 || got[portal.OutcomeWrong] > 5 || got[portal.OutcomePassed] > 0 {
		t.Errorf("%d wrong codes at once: %v and %d events of a wrong code; want 5 compared", n, got, failed)
	}
	portal.CheckUsedUp(t, nodes[0], phone, "afterwards")
}

func TestAttack2ParallelOverrun(t *testing.T) {
	for name, same := range map[string]bool{"own attempts": false, "one attempt": true} {
		t.Run(name, func(t *testing.T) {
			portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) { overrun(t, []*portal.Portal{p}, 64, same) })
		})
	}
}

func TestAttack2ParallelOverrunOnThreeNodes(t *testing.T) {
	t.Parallel()
	overrun(t, portal.StartNodes(t, 3), 63, false)
}

func TestAttack4ManyAddresses(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		wrong, got := portal.WrongCode(phone), map[string]int{}
		b := portal.PendingSignIn(t, p, "ada")
		for n := range 1000 {
			said := portal.TryCode(portal.FromNetwork(b, n), "/login/code", "code", wrong)
			if got[said]++; b.Last.Status == http.StatusSeeOther {
				b = portal.FromNetwork(p.Browser(t), n) // the fifth wrong code ended the attempt
				b.SignIn("ada")
			}
		}
		if got[portal.OutcomeWrong] != 5 || got[portal.OutcomeTwoCodes] != 995 {
			t.Errorf("wrong codes from a thousand addresses: %v, want 5 compared and 995 refused", got)
		}
		portal.CheckUsedUp(t, p, phone, "after all addresses")
	}, portal.BehindProxy)
}

// TestAttack6RestartRefillsNoBudget checks that the budget of codes is still used up after the
// server was stopped, and after it was killed. A killed server leaves what it committed, so the
// test starts one on a copy of the files, or on the same PostgreSQL database.
func TestAttack6RestartRefillsNoBudget(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.UseUp(t, p, phone)
		p.Stop()
		again := portal.StartIn(t, p.Dir, p.Clock, portal.DatabaseOf(p)...)
		portal.CheckUsedUp(t, again, phone, "after a stop")

		dir := t.TempDir()
		for _, name := range []string{"keyring", "sallyport.db", "sallyport.db-wal"} {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if os.IsNotExist(err) && name != "keyring" {
				continue // PostgreSQL has no such file
			}
			testkit.Check(t, err)
			testkit.Check(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		}
		portal.CheckUsedUp(t, portal.StartIn(t, dir, p.Clock, portal.DatabaseOf(p)...), phone, "after a kill")
	})
}

func TestAttack8AliasesShareOneBudget(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, err := p.Manage.Accounts.Add(context.Background(), manage.CommandLine(), account.Account{Name: "zoë", Email: "zoe@example.test"}, portal.Password)
		testkit.Check(t, err)
		b := p.Browser(t)
		b.SignIn("zoë")
		phone := b.Enroll("Phone")
		spellings := []string{"zoë", "zoe\u0308", "ZOË", "ZOE\u0308", " zoë ", "ｚoë", "zoe@example.test", "Zoe@Example.TEST", " zoe@example.test "}
		got := map[string]int{}
		for _, name := range spellings {
			for range 5 {
				tab := p.Browser(t)
				tab.SignIn(name)
				got[portal.TryCode(tab, "/login/code", "code", portal.WrongCode(phone))]++
			}
		}
		if got[portal.OutcomeWrong] != 5 || got[portal.OutcomeTwoCodes] != 5*len(spellings)-5 {
			t.Errorf("wrong codes for %d spellings of a name: %v, want 5 compared and the rest refused", len(spellings), got)
		}
		if got := portal.UnitsUsed(t, p, "zoë", "code"); got != 5 {
			t.Errorf("the ledger has %d units, want 5", got)
		}
		// Spellings share the budget of passwords too: the sixth wrong one is refused.
		for i, name := range spellings {
			want := http.StatusUnprocessableEntity
			if i >= 5 {
				want = http.StatusTooManyRequests
			}
			if a := p.Browser(t).Post("/login", "username", name, "password", "wrong"); a.Status != want {
				t.Errorf("wrong password %d, as %q: %s, want %d", i+1, name, portal.Summary(a), want)
			}
		}
	})
}

func TestAttack10RightPasswordClearsNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		b := portal.PendingSignIn(t, p, "ada")
		for range 4 {
			portal.TryCode(b, "/login/code", "code", portal.WrongCode(phone))
		}
		before := fmt.Sprint(portal.Ledger(t, p, "ada", "code"))
		for range 50 {
			portal.PendingSignIn(t, p, "ada")
		}
		if after := fmt.Sprint(portal.Ledger(t, p, "ada", "code")); after != before {
			t.Errorf("fifty right passwords changed the ledger from %s to %s", before, after)
		}
		if got := portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone)); got != portal.OutcomeWrong {
			t.Errorf("the fifth wrong code: %s, want %s", got, portal.OutcomeWrong)
		}
		portal.CheckUsedUp(t, p, phone, "after the fifth wrong code")
	})
}

func TestAttack16StrangerSpendsNoCodes(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		portal.WithTwoFactor(t, p, "eve")
		p.Clock.Move(time.Hour)
		right, wrong := phone.Code(0), portal.WrongCode(phone)

		withoutAttempt, eve := p.Browser(t), portal.PendingSignIn(t, p, "eve")
		forged := p.Browser(t)
		forged.SetCookie(portal.AttemptCookie, strings.Repeat("A", len(eve.Cookie(portal.AttemptCookie))))
		for who, b := range map[string]*portal.Browser{"browser without an attempt": withoutAttempt, "browser with a forged attempt": forged} {
			for _, code := range []string{right, wrong} {
				if got := portal.TryCode(b, "/login/code", "code", code, "username", "ada"); got != portal.OutcomeEnded {
					t.Errorf("code from a %s: %s, want %s", who, got, portal.OutcomeEnded)
				}
			}
		}
		if got := portal.TryCode(eve, "/login/code", "code", right, "username", "ada", "account", "ada"); got != portal.OutcomeWrong {
			t.Errorf("ada's code in eve's attempt: %s, want %s", got, portal.OutcomeWrong)
		}
		// In a copied session, without the right password, a code isn't compared.
		copied := p.Browser(t)
		copied.SetCookie(portal.SessionCookie, known.Cookie(portal.SessionCookie))
		var said []string
		for _, code := range []string{right, wrong} {
			a := copied.Post("/reauthenticate", "password", "wrong", "code", code, "return", "/")
			said = append(said, portal.VisibleText(a.Body))
			if a.Status != http.StatusUnprocessableEntity {
				t.Errorf("reauthentication with a wrong password and a code: %s, want 422", portal.Summary(a))
			}
		}
		if said[0] != said[1] {
			t.Error("with a wrong password, a right and a wrong code get different answers")
		}
		for _, path := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			copied.Post(path, "code", wrong, "backup_code", "AAAA-AAAA-AAAA", "new_password", "another long password")
		}
		for _, bucket := range []string{"code", "code-known", "two-codes"} {
			if got := portal.UnitsUsed(t, p, "ada", bucket); got != 0 {
				t.Errorf("strangers spent %d units of ada's bucket %q, want 0", got, bucket)
			}
		}
		// The right code wasn't used up either.
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", right)
		portal.CheckSignedIn(t, b, "ada's code", true)
	})
}

// TestAttack37UsedCodeIsNoFreeTry checks that a code that was used with one authenticator isn't
// compared with another. A used code costs no try, so it would be a free guess.
func TestAttack37UsedCodeIsNoFreeTry(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		tablet := b.Enroll("Tablet")
		// Find a code that the tablet shows some minutes after the phone. The owner uses it while
		// the phone shows it. The thief tries it from then on, until the tablet shows it.
		p.Clock.Move(time.Hour)
		const soonest, latest = 3, 15 // steps
		shown := []string{}           // the phone's codes; shown[i] is the code of i steps ago
		lag := -1
		for lag < soonest {
			p.Clock.Set(totp.Period)
			shown = append([]string{phone.Code(0)}, shown[:min(len(shown), latest)]...)
			lag = slices.Index(shown, tablet.Code(0))
		}
		seen := shown[lag]
		p.Clock.Set(-time.Duration(lag) * totp.Period)
		p.Believe()
		owner := portal.PendingSignIn(t, p, "ada")
		owner.Post("/login/code", "code", seen)
		portal.CheckSignedIn(t, owner, "the owner, with a fresh code", true)
		thief := portal.PendingSignIn(t, p, "ada")
		for step := range lag + 1 {
			if a := thief.Post("/login/code", "code", seen); a.Status != http.StatusUnprocessableEntity || !strings.Contains(portal.VisibleText(a.Body), "already used") {
				t.Errorf("used code %d steps later: %s, want 422 and a page that calls it used", step, portal.Summary(a))
			}
			p.Clock.Move(totp.Period)
		}
		if got := portal.UnitsUsed(t, p, "ada", "code"); got != 0 {
			t.Errorf("a used code cost %d units, want 0", got)
		}
	})
}
