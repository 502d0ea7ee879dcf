package guessing

// How wrong codes are reported. The owner sees a banner on every settings page and entries
// in the activity; the operator sees a log line. test/telling has the mails that attacks 20 and 21 in
// docs/attacks.md also mention.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const banner = "Someone entered your password and then"

func TestAttack20NoticeAndForcedChange(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		waiting := portal.PendingSignIn(t, p, "ada")
		for n := 1; n <= 5; n++ {
			portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone))
			page := portal.VisibleText(owner.Get("/settings/profile").Body)
			if told := strings.Contains(page, banner); told != (n >= 3) {
				t.Errorf("after %d wrong codes: banner shown: %v, want it from the third on", n, told)
			}
			if n >= 3 && !strings.Contains(page, fmt.Sprintf("%s %d wrong codes.", banner, n)) {
				t.Errorf("after %d wrong codes, the banner doesn't have this number", n)
			}
		}
		got := portal.EventCounts(t, p)
		if got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events after five wrong codes: %v, want wrong_codes_noticed and password_suspected once each", got)
		}
		if got := portal.TryCode(waiting, "/login/code", "code", phone.Code(0)); got != portal.OutcomeEnded {
			t.Errorf("right code in an attempt begun before the fifth wrong code: %s, want %s", got, portal.OutcomeEnded)
		}
		if !owner.SignedIn() || owner.Get("/settings/sessions").Status != http.StatusOK {
			t.Error("wrong codes elsewhere ended the owner's open session")
		}
		// The next sign-in demands a new password, in known and in unknown browsers.
		b := portal.PendingSignIn(t, p, "ada")
		if a := b.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Location != "/login/new-password" || b.SignedIn() {
			t.Errorf("backup code in an unknown browser: %s, want /login/new-password and no session", portal.Summary(a))
		}
		known := knownBrowser(t, p, owner)
		known.SignIn("ada")
		if a := known.Post("/login/code", "code", phone.Code(0)); a.Location != "/login/new-password" || known.SignedIn() {
			t.Errorf("right code in a known browser: %s, want /login/new-password and no session", portal.Summary(a))
		}
		known.Post("/login/new-password", "new_password", "one that nobody knows")
		portal.CheckSignedIn(t, known, "a new password", true)
		if strings.Contains(portal.VisibleText(known.Get("/settings/profile").Body), banner) {
			t.Error("after a new password, the banner is still shown")
		}
	})
}

// TestAttack21NoticesAreCoalesced checks that two hundred wrong codes lead to one notice, and to
// an event for each code that was compared. The budgets limit how many are compared.
func TestAttack21NoticesAreCoalesced(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		b := portal.PendingSignIn(t, p, "ada")
		for n := range 200 {
			fields := []string{"code", portal.WrongCode(phone)}
			if n%2 == 0 {
				fields = append(fields, "next_code", portal.WrongCode(phone))
			}
			if portal.TryCode(b, "/login/code", fields...) != portal.OutcomeWrong || b.Last.Status == http.StatusSeeOther {
				b = portal.PendingSignIn(t, p, "ada")
			}
		}
		got := portal.EventCounts(t, p)
		if got["code_failed:refused"] != 15 || got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events: %v, want code_failed 15 times, wrong_codes_noticed and password_suspected once each", got)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`) - before; n != 17 {
			t.Errorf("two hundred wrong codes left %d events, want 17", n)
		}
		if page := portal.VisibleText(owner.Get("/settings/profile").Body); strings.Count(page, banner) != 1 || !strings.Contains(page, banner+" 15 wrong codes") {
			t.Error("the page doesn't have one banner with the count 15")
		}
	})
}

// TestAttack22InstanceBudget lets a thief who knows the passwords of many accounts try one code
// at each. After thirty wrong codes every unknown browser needs two codes in a row, and the log
// says so once.
func TestAttack22InstanceBudget(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const alarm = "wrong codes after right passwords on many accounts"
		ctx := context.Background()
		var (
			phones []*portal.Phone
			owners []*portal.Browser
		)
		for n := range 32 {
			name := fmt.Sprint("account", n)
			p.AddAccount(t, name)
			owner := portal.FromNetwork(p.Browser(t), n)
			owner.SignIn(name)
			owners, phones = append(owners, owner), append(phones, owner.Enroll("Phone"))
		}
		p.Clock.Move(time.Hour)
		for n, phone := range phones {
			testkit.Check(t, p.Measure(ctx)) // the server does this every ten seconds
			want := portal.OutcomeWrong
			if n >= 30 {
				want = portal.OutcomeTwoCodes
			}
			b := portal.FromNetwork(p.Browser(t), n) // since one network may not try so many accounts
			b.SignIn(fmt.Sprint("account", n))
			if got := portal.TryCode(b, "/login/code", "code", portal.WrongCode(phone)); got != want {
				t.Errorf("wrong code for account %d: %s, want %s", n, got, want)
			}
			if logged := strings.Count(p.Logs.String(), alarm); logged != n/30 {
				t.Errorf("after account %d, the log has the alarm %d times, want %d", n, logged, n/30)
			}
		}
		signsIn(t, owners[31], "known browser", "account31", portal.Password, "code", phones[31].Code(0))
		signsIn(t, p.Browser(t), "two codes in a row", "account30", portal.Password, "code", phones[30].Code(0), "next_code", phones[30].Code(totp.Period))
		signsIn(t, p.Browser(t), "backup code", "account29", portal.Password, "backup_code", phones[29].Codes[0])
		p.Clock.Move(24 * time.Hour)
		testkit.Check(t, p.Measure(ctx))
		signsIn(t, p.Browser(t), "a day later", "account28", portal.Password, "code", phones[28].Code(0))
	}, portal.BehindProxy)
}
