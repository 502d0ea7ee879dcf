package sallyport_test

// A. Guess limits: how many codes are looked at. Each test counts from outside
// what was compared, and holds it against the ledger.

import (
	"context"
	"encoding/binary"
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
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const DeviceCookie = "sallyport-device"

// What the form for codes may answer.
const (
	OutcomeWrong    = "compared" // and wrong
	OutcomeTwoCodes = "two codes"
	OutcomeNoMore   = "no more"
	OutcomeEnded    = "ended" // the attempt or session was, before this try
	OutcomePassed   = "passed"
)

// TryCode gives a code, or two, at a door, and says what became of it.
func TryCode(b *portal.Browser, path string, fields ...string) string {
	return Outcome(b.Post(path, fields...))
}

func Outcome(a portal.Answer) string {
	said := VisibleText(a.Body)
	switch {
	case a.Location == "/login?notice=ended": // the wrong one that ends all attempts
		return OutcomeWrong
	case strings.HasPrefix(a.Location, "/login?"):
		return OutcomeEnded
	case a.Status == http.StatusSeeOther:
		return OutcomePassed
	case strings.Contains(said, "That code didn’t match."), strings.Contains(said, "Those codes didn’t match."):
		return OutcomeWrong
	case strings.Contains(said, "After wrong codes we ask for two in a row. Enter the code you see now"):
		return OutcomeTwoCodes
	case strings.Contains(said, "There were too many wrong codes today."):
		return OutcomeNoMore
	}
	return Summary(a)
}

// NetworkAddress returns an address in the nth IPv4 /24 of a test.
func NetworkAddress(n int) string { return fmt.Sprintf("10.%d.%d.%d", n/250, n%250, 1+n%200) }

// FromNetwork makes the browser's address one of that network; see [BehindProxy].
func FromNetwork(b *portal.Browser, n int) *portal.Browser {
	b.Header.Set("X-Forwarded-For", NetworkAddress(n))
	return b
}

// Try is an entry of the ledger.
type Try struct {
	At    time.Time
	Units int
}

// Ledger returns an account's entries of a bucket, by device.
func Ledger(t *testing.T, p *portal.Portal, name, bucket string) map[string][]Try {
	t.Helper()
	type row struct {
		subject string
		times   []byte
	}
	rows, err := db.All(context.Background(), p.DB.Reader(), func(scan db.Scan) (r row, err error) {
		return r, scan(&r.subject, &r.times)
	}, `SELECT subject, times FROM ledger WHERE bucket = $1 AND account_id = (SELECT id FROM accounts WHERE name = $2)`, bucket, name)
	if err != nil {
		t.Fatal(err)
	}
	const entry = 23 // id (4), Unix milliseconds (8), units (2), owned (1), tag (8)
	tries := map[string][]Try{}
	for _, r := range rows {
		for b := r.times; len(b) >= entry; b = b[entry:] {
			tries[r.subject] = append(tries[r.subject], Try{
				At: time.UnixMilli(int64(binary.BigEndian.Uint64(b[4:]))), Units: int(binary.BigEndian.Uint16(b[12:])),
			})
		}
	}
	return tries
}

// UnitsUsed adds up the entries of a bucket, over all devices.
func UnitsUsed(t *testing.T, p *portal.Portal, name, bucket string) int {
	t.Helper()
	n := 0
	for _, tries := range Ledger(t, p, name, bucket) {
		for _, one := range tries {
			n += one.Units
		}
	}
	return n
}

// UsedUp fails the test unless all five single codes of the day are used, and
// a right one isn't looked at.
func UsedUp(t *testing.T, p *portal.Portal, phone *portal.Phone, when string) {
	t.Helper()
	if got := UnitsUsed(t, p, "ada", "code"); got != 5 {
		t.Errorf("%s: the ledger has %d units, want 5", when, got)
	}
	if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", phone.Code(0)); got != OutcomeTwoCodes {
		t.Errorf("%s: a right single code: %s, want %s", when, got, OutcomeTwoCodes)
	}
}

// UseUp gives wrong codes until none is compared any more.
func UseUp(t *testing.T, p *portal.Portal, phones ...*portal.Phone) {
	t.Helper()
	for range 5 {
		if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", WrongCode(phones...)); got != OutcomeWrong {
			t.Fatalf("wrong code: %s", got)
		}
	}
}

func TestAttack1SessionSpreading(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := WithTwoFactor(t, p, "ada")
		wrong, got := WrongCode(phone), map[string]int{}
		tabs := make([]*portal.Browser, 100)
		for i := range tabs {
			tabs[i] = PendingSignIn(t, p, "ada")
		}
		for _, tab := range tabs {
			got[TryCode(tab, "/login/code", "code", wrong)]++
		}
		// The fifth ends every attempt, so the thief begins anew.
		if got[OutcomeWrong] != 5 || got[OutcomeEnded] != 95 {
			t.Errorf("a hundred attempts: %v, want 5 compared", got)
		}
		for range 10 {
			if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", wrong); got != OutcomeTwoCodes {
				t.Errorf("an attempt of after: %s", got)
			}
		}
		UsedUp(t, p, phone, "after all")
	})
}

// overrun gives so many wrong codes at once, spread over nodes.
func overrun(t *testing.T, nodes []*portal.Portal, n int, sameAttempt bool) {
	t.Helper()
	_, phone := WithTwoFactor(t, nodes[0], "ada")
	tabs := make([]*portal.Browser, n)
	for i := range tabs {
		p := nodes[i%len(nodes)]
		if tabs[i] = p.Browser(t); sameAttempt && i > 0 {
			tabs[i].SetCookie(AttemptCookie, tabs[0].Cookie(AttemptCookie))
		} else {
			tabs[i].SignIn("ada")
		}
	}
	wrong := WrongCode(phone)
	got := testkit.Race(n, func(i int) string { return TryCode(tabs[i], "/login/code", "code", wrong) })
	// Of those compared, some find their attempt ended by the fifth.
	if failed := EventCounts(t, nodes[0])["code_failed:refused"]; failed != 5 || got[OutcomeWrong] > 5 || got[OutcomePassed] > 0 {
		t.Errorf("%d at once: %v, %d events; want 5 compared", n, got, failed)
	}
	UsedUp(t, nodes[0], phone, "afterwards")
}

func TestAttack2ParallelOverrun(t *testing.T) {
	for name, same := range map[string]bool{"own attempts": false, "one attempt": true} {
		t.Run(name, func(t *testing.T) {
			OnBothEngines(t, func(t *testing.T, p *portal.Portal) { overrun(t, []*portal.Portal{p}, 64, same) })
		})
	}
}

func TestAttack2ParallelOverrunOnThreeNodes(t *testing.T) {
	t.Parallel()
	overrun(t, StartNodes(t, 3), 63, false)
}

func TestAttack4ManyAddresses(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := WithTwoFactor(t, p, "ada")
		wrong, got := WrongCode(phone), map[string]int{}
		b := PendingSignIn(t, p, "ada")
		for n := range 1000 {
			said := TryCode(FromNetwork(b, n), "/login/code", "code", wrong)
			if got[said]++; b.Last.Status == http.StatusSeeOther {
				b = FromNetwork(p.Browser(t), n) // that was the fifth
				b.SignIn("ada")
			}
		}
		if got[OutcomeWrong] != 5 || got[OutcomeTwoCodes] != 995 {
			t.Errorf("from a thousand addresses: %v, want 5 compared", got)
		}
		UsedUp(t, p, phone, "after all")
	}, BehindProxy)
}

// TestAttack6RestartIsNoRefill: neither an ordered stop nor a killed process
// gives tries back. What a killed one leaves is what it had committed: a copy
// of its files, or for PostgreSQL the database without its goodbye.
func TestAttack6RestartIsNoRefill(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := WithTwoFactor(t, p, "ada")
		UseUp(t, p, phone)
		p.Stop()
		again := portal.StartIn(t, p.Dir, p.Clock, DatabaseOf(p)...)
		UsedUp(t, again, phone, "after a stop")

		dir := t.TempDir()
		for _, name := range []string{"keyring", "sallyport.db", "sallyport.db-wal"} {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if os.IsNotExist(err) && name != "keyring" {
				continue // on PostgreSQL
			}
			Check(t, err)
			Check(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		}
		UsedUp(t, portal.StartIn(t, dir, p.Clock, DatabaseOf(p)...), phone, "after a kill")
	})
}

// DatabaseOf is the setting that names the portal's PostgreSQL database.
func DatabaseOf(p *portal.Portal) []string {
	if url := p.Config.Database.Reveal(); url != "" {
		return []string{"SALLYPORT_DATABASE=" + url}
	}
	return nil
}

func TestAttack8AliasesShareOneBudget(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, err := p.Login.AddAccount(context.Background(), account.Account{Name: "zoë", Email: "zoe@example.test"}, portal.Password)
		Check(t, err)
		b := p.Browser(t)
		b.SignIn("zoë")
		phone := b.Enroll("Phone")
		spellings := []string{"zoë", "zoe\u0308", "ZOË", "ZOE\u0308", " zoë ", "ｚoë", "zoe@example.test", "Zoe@Example.TEST", " zoe@example.test "}
		got := map[string]int{}
		for _, name := range spellings {
			for range 5 {
				tab := p.Browser(t)
				tab.SignIn(name)
				got[TryCode(tab, "/login/code", "code", WrongCode(phone))]++
			}
		}
		if got[OutcomeWrong] != 5 || got[OutcomeTwoCodes] != 5*len(spellings)-5 {
			t.Errorf("%d spellings: %v, want 5 compared", len(spellings), got)
		}
		if got := UnitsUsed(t, p, "zoë", "code"); got != 5 {
			t.Errorf("the ledger has %d units, want 5", got)
		}
		// Passwords too: the sixth waits, whatever the spelling.
		for i, name := range spellings {
			want := http.StatusUnprocessableEntity
			if i >= 5 {
				want = http.StatusTooManyRequests
			}
			if a := p.Browser(t).Post("/login", "username", name, "password", "wrong"); a.Status != want {
				t.Errorf("wrong password %d, as %q: %s, want %d", i+1, name, Summary(a), want)
			}
		}
	})
}

func TestAttack10RightPasswordClearsNothing(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := WithTwoFactor(t, p, "ada")
		b := PendingSignIn(t, p, "ada")
		for range 4 {
			TryCode(b, "/login/code", "code", WrongCode(phone))
		}
		before := fmt.Sprint(Ledger(t, p, "ada", "code"))
		for range 50 {
			PendingSignIn(t, p, "ada")
		}
		if after := fmt.Sprint(Ledger(t, p, "ada", "code")); after != before {
			t.Errorf("fifty right passwords made %s of %s", after, before)
		}
		if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", WrongCode(phone)); got != OutcomeWrong {
			t.Errorf("the fifth: %s", got)
		}
		UsedUp(t, p, phone, "after the fifth")
	})
}

func TestAttack16StrangerSpendsNoCodes(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := WithTwoFactor(t, p, "ada")
		WithTwoFactor(t, p, "eve")
		p.Clock.Move(time.Hour)
		right, wrong := phone.Code(0), WrongCode(phone)

		nobody, eve := p.Browser(t), PendingSignIn(t, p, "eve")
		forged := p.Browser(t)
		forged.SetCookie(AttemptCookie, strings.Repeat("A", len(eve.Cookie(AttemptCookie))))
		for who, b := range map[string]*portal.Browser{"without an attempt": nobody, "with a forged one": forged} {
			for _, code := range []string{right, wrong} {
				if got := TryCode(b, "/login/code", "code", code, "username", "ada"); got != OutcomeEnded {
					t.Errorf("%s: %s", who, got)
				}
			}
		}
		if got := TryCode(eve, "/login/code", "code", right, "username", "ada", "account", "ada"); got != OutcomeWrong {
			t.Errorf("ada's code in eve's attempt: %s", got)
		}
		// In a copied session, without the password: a code isn't looked at.
		copied := p.Browser(t)
		copied.SetCookie(SessionCookie, known.Cookie(SessionCookie))
		var said []string
		for _, code := range []string{right, wrong} {
			a := copied.Post("/reauthenticate", "password", "wrong", "code", code, "return", "/")
			said = append(said, VisibleText(a.Body))
			if a.Status != http.StatusUnprocessableEntity {
				t.Errorf("wrong password and a code: %s", Summary(a))
			}
		}
		if said[0] != said[1] {
			t.Error("beside a wrong password, a right code gives another answer than a wrong one")
		}
		for _, path := range []string{"/login/code", "/login/backup-code", "/login/new-password"} {
			copied.Post(path, "code", wrong, "backup_code", "AAAA-AAAA-AAAA", "new_password", "another long password")
		}
		for _, bucket := range []string{"code", "code-known", "two-codes"} {
			if got := UnitsUsed(t, p, "ada", bucket); got != 0 {
				t.Errorf("strangers spent %d units of ada's bucket %q", got, bucket)
			}
		}
		// The right code wasn't used up either.
		b := PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", right)
		CheckSignedIn(t, b, "ada's code", true)
	})
}

// TestAttack37UsedCodeIsNoFreeTry: a code that one authenticator has used costs
// nothing, so it must not be tried at another.
func TestAttack37UsedCodeIsNoFreeTry(t *testing.T) {
	OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := WithTwoFactor(t, p, "ada")
		tablet := b.Enroll("Tablet")
		// What a thief with a used code waits for: the tablet shows it some
		// minutes after the phone did.
		p.Clock.Move(time.Hour)
		const soonest, latest = 3, 15 // steps
		shown := []string{}           // by the phone, so many steps ago
		lag := -1
		for lag < soonest {
			p.Clock.Set(totp.Period)
			shown = append([]string{phone.Code(0)}, shown[:min(len(shown), latest)]...)
			lag = slices.Index(shown, tablet.Code(0))
		}
		seen := shown[lag]
		p.Clock.Set(-time.Duration(lag) * totp.Period)
		p.Believe()
		owner := PendingSignIn(t, p, "ada")
		owner.Post("/login/code", "code", seen)
		CheckSignedIn(t, owner, "the owner", true)
		thief := PendingSignIn(t, p, "ada")
		for step := range lag + 1 {
			if a := thief.Post("/login/code", "code", seen); a.Status != http.StatusUnprocessableEntity || !strings.Contains(VisibleText(a.Body), "already used") {
				t.Errorf("used code, %d steps later: %s", step, Summary(a))
			}
			p.Clock.Move(totp.Period)
		}
		if got := UnitsUsed(t, p, "ada", "code"); got != 0 {
			t.Errorf("a used code cost %d units", got)
		}
	})
}
