package guessing

// Known browsers, and the ways to sign in that stay open past a limit.

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// knownBrowser returns a new browser whose only cookie is a copy of the other browser's
// device cookie.
func knownBrowser(t *testing.T, p *portal.Portal, of *portal.Browser) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	b.SetCookie(portal.DeviceCookie, of.Cookie(portal.DeviceCookie))
	return b
}

// letIn opens a let-in link of the command "sallyport account unlock" in the browser.
func letIn(t *testing.T, p *portal.Portal, b *portal.Browser, name string) {
	t.Helper()
	token, err := p.Manage.Links.LetIn(context.Background(), manage.CommandLine(), portal.MustAccount(t, p, name))
	testkit.Check(t, err)
	portal.OpenLetIn(t, b, token.Reveal())
}

// signsIn signs in and, if the portal demands it, chooses a new password. It fails the test
// unless each step succeeds at the first try, and returns the account's password.
func signsIn(t *testing.T, b *portal.Browser, what, name, password string, codes ...string) string {
	t.Helper()
	if a := b.Post("/login", "username", name, "password", password); a.Location != "/login/code" {
		t.Errorf("%s: right password: %s, want /login/code", what, portal.Summary(a))
		return password
	}
	path := "/login/code"
	if codes[0] == "backup_code" {
		path = "/login/backup-code"
	}
	a := b.Post(path, codes...)
	if a.Location == "/login/new-password" {
		password += " again"
		a = b.Post("/login/new-password", "new_password", password)
	}
	portal.CheckSignedIn(t, b, what, true)
	return password
}

func TestAttack13AtMostTenPairsADay(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		portal.UseUp(t, p, phone)
		got, wrong := map[string]int{}, portal.WrongCode(phone)
		pairs := [][2]string{{wrong, wrong}, {phone.Code(0), wrong}, {wrong, phone.Code(totp.Period)}}
		for n := range 15 {
			pair := pairs[n%len(pairs)]
			got[portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", pair[0], "next_code", pair[1])]++
		}
		if got[portal.OutcomeWrong] != 10 || got[portal.OutcomeNoMore] != 5 {
			t.Errorf("fifteen wrong pairs: %v, want 10 compared and 5 refused", got)
		}
		if got := portal.UnitsUsed(t, p, "ada", "two-codes"); got != 10 {
			t.Errorf("the ledger has %d pairs, want 10", got)
		}
		late := portal.PendingSignIn(t, p, "ada")
		if got := portal.TryCode(late, "/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period)); got != portal.OutcomeNoMore {
			t.Errorf("the right pair past the limit: %s, want %s", got, portal.OutcomeNoMore)
		}
		// Neither code of the pair was used up, and the known browser isn't limited.
		password := signsIn(t, knownBrowser(t, p, known), "known browser", "ada", portal.Password, "code", phone.Code(0))
		signsIn(t, p.Browser(t), "backup code", "ada", password, "backup_code", phone.Codes[0])
		p.Clock.Move(24 * time.Hour)
		signsIn(t, p.Browser(t), "a day later", "ada", password, "code", phone.Code(0), "next_code", phone.Code(totp.Period))
	})
}

// TestAttack12UsedCodeDoesNotRevealTheNext checks that a thief who saw a used code can't find
// out the next one with the form for two codes.
func TestAttack12UsedCodeDoesNotRevealTheNext(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		seen := phone.Code(0)
		owner := portal.PendingSignIn(t, p, "ada")
		owner.Post("/login/code", "code", seen)
		portal.CheckSignedIn(t, owner, "the owner, with a fresh code", true)
		thief := portal.PendingSignIn(t, p, "ada")
		right := thief.Post("/login/code", "code", seen, "next_code", phone.Code(totp.Period))
		wrong := thief.Post("/login/code", "code", seen, "next_code", portal.WrongCode(phone))
		if right.Status != http.StatusUnprocessableEntity || right.Body != wrong.Body {
			t.Errorf("used code with the right next one: %s, want 422; with a wrong next one: %s; pages differ: %v", portal.Summary(right), portal.Summary(wrong), right.Body != wrong.Body)
		}
		if got := portal.UnitsUsed(t, p, "ada", "two-codes"); got != 2 {
			t.Errorf("two pairs cost %d units, want 2", got)
		}
	})
}

// TestAttack17PasswordThiefCannotLockOutTheOwner lets a thief who has the password use up the
// budget of codes and, while the owner types, begin more attempts than the server keeps.
func TestAttack17PasswordThiefCannotLockOutTheOwner(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		portal.FromNetwork(known, 1)
		p.Clock.Move(time.Hour)
		flood := func() {
			for n := range 110 {
				p.Clock.Move(100 * time.Millisecond)
				if a := portal.FromNetwork(p.Browser(t), 100+n%3).SignIn("ada"); a.Location != "/login/code" {
					t.Fatalf("sign-in of the thief: %s, want /login/code", portal.Summary(a))
				}
			}
		}
		portal.UseUp(t, p, phone)
		for range 10 {
			portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone), "next_code", portal.WrongCode(phone))
		}
		if got := portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period)); got != portal.OutcomeNoMore {
			t.Fatalf("right pair after the thief spent the budget: %s, want %s", got, portal.OutcomeNoMore)
		}
		stillOwner := knownBrowser(t, p, known)
		fresh := portal.FromNetwork(p.Browser(t), 2)
		unlocked := portal.FromNetwork(p.Browser(t), 3)
		letIn(t, p, unlocked, "ada")
		for what, b := range map[string]*portal.Browser{"known browser": portal.FromNetwork(stillOwner, 1), "unknown browser": fresh, "unlocked browser": unlocked} {
			if a := b.SignIn("ada"); a.Location != "/login/code" {
				t.Errorf("%s: right password: %s, want /login/code", what, portal.Summary(a))
			}
		}
		flood()
		// The password is suspect, so each way to sign in demands a new one after the code.
		for what, a := range map[string]portal.Answer{
			"known browser": stillOwner.Post("/login/code", "code", phone.Code(0)),
			"backup code":   fresh.Post("/login/backup-code", "backup_code", phone.Codes[0]),
			"unlock link":   unlocked.Post("/login/code", "code", phone.Code(totp.Period)),
		} {
			if a.Location != "/login/new-password" {
				t.Errorf("%s during a flood of sign-ins: %s, want /login/new-password", what, portal.Summary(a))
			}
		}
		flood()
		fresh.Post("/login/new-password", "new_password", "one that no thief has")
		portal.CheckSignedIn(t, fresh, "backup code and new password", true)
		p.Clock.Move(time.Minute)
		// The owner's open session can create a let-in link for another browser.
		other := portal.FromNetwork(p.Browser(t), 4)
		portal.OpenLetIn(t, other, portal.LetInTicket(t, fresh))
		signsIn(t, other, "let-in link", "ada", "one that no thief has", "code", phone.Code(0))
	}, portal.BehindProxy)
}

func TestAttack18DeviceCookieIsNoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		thief := knownBrowser(t, p, owner)
		if thief.SignedIn() || thief.Post("/login", "username", "ada", "password", "").Status != http.StatusUnprocessableEntity {
			t.Error("a browser with only a device cookie is signed in or gets past an empty password")
		}
		if a := thief.Post("/login", "username", "ada", "password", "wrong"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("wrong password with the device cookie: %s, want 422", portal.Summary(a))
		}
		if a := thief.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("right password with the device cookie: %s, want /login/code", portal.Summary(a))
		}
		wrong := portal.WrongCode(phone)
		for n := range 10 {
			if got := portal.TryCode(thief, "/login/code", "code", wrong); got != portal.OutcomeWrong {
				t.Fatalf("wrong code %d in a known browser: %s, want %s", n+1, got, portal.OutcomeWrong)
			}
			if n == 4 {
				thief.SignIn("ada") // the fifth wrong code ended every attempt
			}
		}
		if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 10 || b != 0 {
			t.Errorf("after ten wrong codes, the ledger has %d units of the known browser and %d of others; want 10 and 0", a, b)
		}
		// The eleventh wrong code of the day makes the browser unknown, and is counted in the
		// budget of unknown browsers.
		if got := portal.TryCode(thief, "/login/code", "code", wrong); got != portal.OutcomeWrong {
			t.Errorf("the eleventh wrong code: %s, want %s", got, portal.OutcomeWrong)
		}
		if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 10 || b != 1 {
			t.Errorf("after eleven wrong codes, the ledger has %d units of the known browser and %d of others; want 10 and 1", a, b)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices`); n != 0 {
			t.Error("after eleven wrong codes, the browser of the copied cookie is still known")
		}
		if !strings.Contains(portal.VisibleText(owner.Get("/settings/activity").Body), "Forgot a known browser") {
			t.Error("the activity page doesn't say that a known browser was forgotten")
		}
	})
}

// TestAttack18CopiedCookieHasTwentyFiveCodesAYear checks that a known browser has a budget of
// 25 wrong codes a year, no matter how often it gets a new token that the thief copies.
func TestAttack18CopiedCookieHasTwentyFiveCodesAYear(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		password := portal.Password // the thief knows every password that the owner chooses
		begin := func(thief *portal.Browser) {
			if a := thief.Post("/login", "username", "ada", "password", password); a.Location != "/login/code" {
				t.Fatalf("right password of the thief: %s, want /login/code", portal.Summary(a))
			}
		}
		for month, want := range []int{9, 18, 25} {
			if month > 0 {
				p.Clock.Move(100 * 24 * time.Hour)
				password = signsIn(t, owner, "the owner", "ada", password, "code", phone.Code(0))
			}
			thief := knownBrowser(t, p, owner)
			begin(thief)
			for portal.UnitsUsed(t, p, "ada", "code-known") < want {
				if got := portal.TryCode(thief, "/login/code", "code", portal.WrongCode(phone)); got != portal.OutcomeWrong {
					t.Fatalf("wrong code of the thief: %s, want %s", got, portal.OutcomeWrong)
				}
				if thief.Last.Location != "" {
					begin(thief) // the fifth wrong code ended every attempt
				}
			}
		}
		for n := range 3 {
			p.Clock.Move(24 * time.Hour)
			thief := knownBrowser(t, p, owner)
			begin(thief)
			portal.TryCode(thief, "/login/code", "code", portal.WrongCode(phone))
			if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 25 || b != 1+n {
				t.Errorf("past 25 codes, the ledger has %d units of the known browser and %d of others; want 25 and %d", a, b, 1+n)
			}
		}
	})
}

func TestAttack19DeviceCookieIsForOneAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		eve, _ := portal.WithTwoFactor(t, p, "eve")
		portal.UseUp(t, p, phone)
		for range 5 {
			p.Browser(t).Post("/login", "username", "ada", "password", "wrong")
		}
		p.Clock.Move(5 * time.Second)
		stranger, foreign := p.Browser(t), knownBrowser(t, p, eve)
		var said []string
		for _, b := range []*portal.Browser{stranger, foreign} {
			b.SignIn("ada")
			said = append(said, b.Get("/login/code").Body)
			if got := portal.TryCode(b, "/login/code", "code", portal.WrongCode(phone)); got != portal.OutcomeTwoCodes {
				t.Errorf("wrong single code past the budget: %s, want %s", got, portal.OutcomeTwoCodes)
			}
		}
		p.Browser(t).Post("/login", "username", "ada", "password", "wrong")
		for _, b := range []*portal.Browser{stranger, foreign} {
			a := b.Post("/login", "username", "ada", "password", portal.Password)
			if said = append(said, a.Body); a.Status != http.StatusTooManyRequests {
				t.Errorf("right password past the budget: %s, want 429", portal.Summary(a))
			}
		}
		if said[0] != said[1] || said[2] != said[3] {
			t.Error("ada's pages differ between a browser with eve's device cookie and one without")
		}
		if got := portal.UnitsUsed(t, p, "ada", "code-known"); got != 0 {
			t.Errorf("a browser with eve's device cookie used %d units of the budget of ada's known browsers, want 0", got)
		}
	})
}

func TestAttack23ThrottledNetworkKeepsItsKnownBrowsers(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		p.AddAccount(t, "bob")
		for i := range 30 {
			attacker := p.Browser(t)
			attacker.Header.Set("X-Forwarded-For", "198.51.100."+strconv.Itoa(1+i))
			if a := attacker.Post("/login", "username", "name"+strconv.Itoa(i%6), "password", "wrong"); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("wrong password %d: %s, want 422", i+1, portal.Summary(a))
			}
		}
		neighbour := p.Browser(t)
		neighbour.Header.Set("X-Forwarded-For", "198.51.100.200")
		a := neighbour.Post("/login", "username", "bob", "password", portal.Password)
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); a.Status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 600 {
			t.Errorf("unknown browser in the throttled network: %s, Retry-After %q; want 429 and 1 to 600 seconds", portal.Summary(a), a.Header.Get("Retry-After"))
		}
		known.Header.Set("X-Forwarded-For", "198.51.100.200")
		signsIn(t, known, "known browser in the throttled network", "ada", portal.Password, "code", phone.Code(0))
		elsewhere := p.Browser(t)
		elsewhere.Header.Set("X-Forwarded-For", "198.51.101.1")
		if a := elsewhere.Post("/login", "username", "bob", "password", portal.Password); a.Location != "/" {
			t.Errorf("unknown browser in another network: %s, want /", portal.Summary(a))
		}
		p.Clock.Move(10 * time.Minute)
		if a := neighbour.Post("/login", "username", "bob", "password", portal.Password); a.Location != "/" {
			t.Errorf("unknown browser in the throttled network ten minutes later: %s, want /", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// TestAttack24SpreadOverIPv6 checks that an attacker with an IPv6 /48 has one budget, however
// many networks of the /48 the requests come from.
func TestAttack24SpreadOverIPv6(t *testing.T) {
	const (
		tries = 250 // each from another /64, in one /56 or in 250 different ones
		alike = 3   // tolerance: names that don't exist share 2¹⁶ rows, so a few count as one account
	)
	for what, c := range map[string]struct {
		names   int // number of different names
		address string
		step    int // distance between the addresses
		want    int // number of passwords that are compared
	}{
		"in a /48":                     {names: 30, address: "2001:db8:1:%x::1", step: 0x101, want: 120},
		"in a /56":                     {names: 9, address: "2001:db8:2:%x::1", step: 1, want: 30},
		"many names in a /48":          {names: tries, address: "2001:db8:3:%x::1", step: 0x101, want: 40},
		"IPv4 address written as IPv6": {names: tries, address: "::ffff:198.51.100.%d", step: 1, want: 10},
	} {
		t.Run(what, func(t *testing.T) {
			portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
				got := map[int]int{}
				for i := range tries {
					b := p.Browser(t)
					b.Header.Set("X-Forwarded-For", fmt.Sprintf(c.address, i*c.step))
					got[b.Post("/login", "username", "name"+strconv.Itoa(i%c.names), "password", "wrong").Status]++
				}
				n := got[http.StatusUnprocessableEntity]
				if n < c.want || n > c.want+alike || got[http.StatusTooManyRequests] != tries-n {
					t.Errorf("number of answers by status: %v, want %d to %d passwords compared (422) and the rest 429", got, c.want, c.want+alike)
				}
			}, portal.BehindProxy)
		})
	}
}
