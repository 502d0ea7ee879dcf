package guessing

// A. Guess limits: known browsers, and the doors that stay open behind a limit.

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// knownBrowser returns a browser with a copy of the device cookie and nothing
// else.
func knownBrowser(t *testing.T, p *portal.Portal, of *portal.Browser) *portal.Browser {
	t.Helper()
	b := p.Browser(t)
	b.SetCookie(portal.DeviceCookie, of.Cookie(portal.DeviceCookie))
	return b
}

// letIn opens the link of "sallyport account unlock" in the browser.
func letIn(t *testing.T, p *portal.Portal, b *portal.Browser, name string) {
	t.Helper()
	token, err := p.Login.Unlock(context.Background(), portal.MustAccount(t, p, name))
	testkit.Check(t, err)
	portal.OpenLetIn(t, b, token.Reveal())
}

// signsIn walks a whole sign-in, a demanded new password too, and fails the
// test unless each step is taken at the first try. It returns the password.
func signsIn(t *testing.T, b *portal.Browser, what, name, password string, codes ...string) string {
	t.Helper()
	if a := b.Post("/login", "username", name, "password", password); a.Location != "/login/code" {
		t.Errorf("%s: password: %s", what, portal.Summary(a))
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

func TestAttack13TwoCodeCap(t *testing.T) {
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
			t.Errorf("fifteen wrong pairs: %v, want 10 compared", got)
		}
		if got := portal.UnitsUsed(t, p, "ada", "two-codes"); got != 10 {
			t.Errorf("the ledger has %d pairs, want 10", got)
		}
		late := portal.PendingSignIn(t, p, "ada")
		if got := portal.TryCode(late, "/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period)); got != portal.OutcomeNoMore {
			t.Errorf("the right pair past the cap: %s", got)
		}
		// Neither half of it was used up, and the known browser isn't touched.
		password := signsIn(t, knownBrowser(t, p, known), "known browser", "ada", portal.Password, "code", phone.Code(0))
		signsIn(t, p.Browser(t), "backup code", "ada", password, "backup_code", phone.Codes[0])
		p.Clock.Move(24 * time.Hour)
		signsIn(t, p.Browser(t), "a day later", "ada", password, "code", phone.Code(0), "next_code", phone.Code(totp.Period))
	})
}

// TestAttack12SeenCodeTellsNothingOfTheNext: whoever saw a used code doesn't
// learn the one after it from the form for two.
func TestAttack12SeenCodeTellsNothingOfTheNext(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		seen := phone.Code(0)
		owner := portal.PendingSignIn(t, p, "ada")
		owner.Post("/login/code", "code", seen)
		portal.CheckSignedIn(t, owner, "the owner", true)
		thief := portal.PendingSignIn(t, p, "ada")
		right := thief.Post("/login/code", "code", seen, "next_code", phone.Code(totp.Period))
		wrong := thief.Post("/login/code", "code", seen, "next_code", portal.WrongCode(phone))
		if right.Status != http.StatusUnprocessableEntity || right.Body != wrong.Body {
			t.Errorf("a seen code with the right next: %s; with a wrong one: %s; pages differ: %v", portal.Summary(right), portal.Summary(wrong), right.Body != wrong.Body)
		}
		if got := portal.UnitsUsed(t, p, "ada", "two-codes"); got != 2 {
			t.Errorf("two pairs cost %d tries", got)
		}
	})
}

// TestAttack17PasswordThiefLocksNobodyOut: a thief with the password uses up
// every code, and begins more sign-ins than are kept while the owner types.
func TestAttack17PasswordThiefLocksNobodyOut(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		portal.FromNetwork(known, 1)
		p.Clock.Move(time.Hour)
		flood := func() {
			for n := range 110 {
				p.Clock.Move(100 * time.Millisecond)
				if a := portal.FromNetwork(p.Browser(t), 100+n%3).SignIn("ada"); a.Location != "/login/code" {
					t.Fatalf("the thief's sign-in: %s", portal.Summary(a))
				}
			}
		}
		portal.UseUp(t, p, phone)
		for range 10 {
			portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", portal.WrongCode(phone), "next_code", portal.WrongCode(phone))
		}
		if got := portal.TryCode(portal.PendingSignIn(t, p, "ada"), "/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period)); got != portal.OutcomeNoMore {
			t.Fatalf("the thief has left something: %s", got)
		}
		stillOwner := knownBrowser(t, p, known)
		fresh := portal.FromNetwork(p.Browser(t), 2)
		unlocked := portal.FromNetwork(p.Browser(t), 3)
		letIn(t, p, unlocked, "ada")
		for what, b := range map[string]*portal.Browser{"known browser": portal.FromNetwork(stillOwner, 1), "unknown browser": fresh, "unlocked browser": unlocked} {
			if a := b.SignIn("ada"); a.Location != "/login/code" {
				t.Errorf("%s: password: %s", what, portal.Summary(a))
			}
		}
		flood()
		// The password is suspect: each way leads to a new one, past the code.
		for what, a := range map[string]portal.Answer{
			"known browser": stillOwner.Post("/login/code", "code", phone.Code(0)),
			"backup code":   fresh.Post("/login/backup-code", "backup_code", phone.Codes[0]),
			"unlock link":   unlocked.Post("/login/code", "code", phone.Code(totp.Period)),
		} {
			if a.Location != "/login/new-password" {
				t.Errorf("%s, beside a flood of sign-ins: %s", what, portal.Summary(a))
			}
		}
		flood()
		fresh.Post("/login/new-password", "new_password", "one that no thief has")
		portal.CheckSignedIn(t, fresh, "backup code and new password", true)
		p.Clock.Move(time.Minute)
		// And one more link of the owner's own, from the session that is open.
		other := portal.FromNetwork(p.Browser(t), 4)
		portal.OpenLetIn(t, other, portal.LinkFor(t, fresh))
		signsIn(t, other, "let-in link", "ada", "one that no thief has", "code", phone.Code(0))
	}, portal.BehindProxy)
}

func TestAttack18DeviceCookieIsNoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		thief := knownBrowser(t, p, owner)
		if thief.SignedIn() || thief.Post("/login", "username", "ada", "password", "").Status != http.StatusUnprocessableEntity {
			t.Error("a device cookie stands for a password")
		}
		if a := thief.Post("/login", "username", "ada", "password", "wrong"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("wrong password: %s", portal.Summary(a))
		}
		if a := thief.SignIn("ada"); a.Location != "/login/code" {
			t.Errorf("right password: %s, want the code to be asked for", portal.Summary(a))
		}
		wrong := portal.WrongCode(phone)
		for n := range 10 {
			if got := portal.TryCode(thief, "/login/code", "code", wrong); got != portal.OutcomeWrong {
				t.Fatalf("wrong code %d in a known browser: %s", n+1, got)
			}
			if n == 4 {
				thief.SignIn("ada") // the fifth ended every sign-in
			}
		}
		if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 10 || b != 0 {
			t.Errorf("%d tries of the known browser, %d of others; want 10, 0", a, b)
		}
		// The eleventh of the day makes it unknown, and is counted there.
		if got := portal.TryCode(thief, "/login/code", "code", wrong); got != portal.OutcomeWrong {
			t.Errorf("the eleventh: %s", got)
		}
		if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 10 || b != 1 {
			t.Errorf("%d tries of the known browser, %d of others; want 10, 1", a, b)
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM devices`); n != 0 {
			t.Error("the copied cookie is still known")
		}
		if !strings.Contains(portal.VisibleText(owner.Get("/settings/activity").Body), "Forgot a known browser") {
			t.Error("the owner isn't told that the browser was forgotten")
		}
	})
}

// TestAttack18CopiedCookieGetsTwentyFiveAYear: however often the owner's
// browser gets a new token, and the thief copies it, its year has 25 codes.
func TestAttack18CopiedCookieGetsTwentyFiveAYear(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		password := portal.Password // each that the owner chooses is the thief's too
		begin := func(thief *portal.Browser) {
			if a := thief.Post("/login", "username", "ada", "password", password); a.Location != "/login/code" {
				t.Fatalf("the thief's password: %s", portal.Summary(a))
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
					t.Fatalf("wrong code: %s", got)
				}
				if thief.Last.Location != "" {
					begin(thief) // the fifth ended every sign-in
				}
			}
		}
		for n := range 3 {
			p.Clock.Move(24 * time.Hour)
			thief := knownBrowser(t, p, owner)
			begin(thief)
			portal.TryCode(thief, "/login/code", "code", portal.WrongCode(phone))
			if a, b := portal.UnitsUsed(t, p, "ada", "code-known"), portal.UnitsUsed(t, p, "ada", "code"); a != 25 || b != 1+n {
				t.Errorf("past 25: %d tries of the known browser, %d of others; want 25, %d", a, b, 1+n)
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
				t.Errorf("single code: %s", got)
			}
		}
		p.Browser(t).Post("/login", "username", "ada", "password", "wrong")
		for _, b := range []*portal.Browser{stranger, foreign} {
			a := b.Post("/login", "username", "ada", "password", portal.Password)
			if said = append(said, a.Body); a.Status != http.StatusTooManyRequests {
				t.Errorf("password: %s, want 429", portal.Summary(a))
			}
		}
		if said[0] != said[1] || said[2] != said[3] {
			t.Error("eve's cookie changes what the pages say of ada")
		}
		if got := portal.UnitsUsed(t, p, "ada", "code-known"); got != 0 {
			t.Errorf("eve's cookie has a budget of its own for ada: %d", got)
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
				t.Fatalf("failure %d: %s", i+1, portal.Summary(a))
			}
		}
		neighbour := p.Browser(t)
		neighbour.Header.Set("X-Forwarded-For", "198.51.100.200")
		a := neighbour.Post("/login", "username", "bob", "password", portal.Password)
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); a.Status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 600 {
			t.Errorf("unknown browser in the network: %s, Retry-After %q", portal.Summary(a), a.Header.Get("Retry-After"))
		}
		known.Header.Set("X-Forwarded-For", "198.51.100.200")
		signsIn(t, known, "known browser in the network", "ada", portal.Password, "code", phone.Code(0))
		elsewhere := p.Browser(t)
		elsewhere.Header.Set("X-Forwarded-For", "198.51.101.1")
		if a := elsewhere.Post("/login", "username", "bob", "password", portal.Password); a.Location != "/" {
			t.Errorf("the network beside it: %s", portal.Summary(a))
		}
		p.Clock.Move(10 * time.Minute)
		if a := neighbour.Post("/login", "username", "bob", "password", portal.Password); a.Location != "/" {
			t.Errorf("ten minutes later: %s", portal.Summary(a))
		}
	}, portal.BehindProxy)
}

// TestAttack24SpreadOverIPv6: whoever owns a /48 has a thousand networks and
// one budget.
func TestAttack24SpreadOverIPv6(t *testing.T) {
	const (
		tries = 250 // each from another /64, in one /56 or in 250 of them
		alike = 3   // names that don't exist share 2¹⁶ rows: a few count as one account
	)
	for what, c := range map[string]struct {
		names   int // that are tried
		address string
		step    int // between the addresses
		want    int // passwords compared
	}{
		"in a /48":              {names: 30, address: "2001:db8:1:%x::1", step: 0x101, want: 120},
		"in a /56":              {names: 9, address: "2001:db8:2:%x::1", step: 1, want: 30},
		"many names in a /48":   {names: tries, address: "2001:db8:3:%x::1", step: 0x101, want: 40},
		"IPv4 inside IPv6 is 4": {names: tries, address: "::ffff:198.51.100.%d", step: 1, want: 10},
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
					t.Errorf("%v, want %d compared and the rest 429", got, c.want)
				}
			}, portal.BehindProxy)
		})
	}
}
