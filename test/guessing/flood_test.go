package guessing

// Floods of wrong passwords by strangers, over days and all at once.

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/throttle"
)

// TestAttack14StrangersCannotLockOutTheOwner floods one name for ten days with 10,000 wrong
// passwords and 10,000 forged attempts from 500 networks. During the flood the known browser
// signs in at the first try, and a let-in link lets an unknown browser sign in at once.
// PostgreSQL gets a tenth of the flood, since its answers don't differ.
func TestAttack14StrangersCannotLockOutTheOwner(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const (
			days     = 10
			rounds   = 4 // in a day
			networks = 500
			tabs     = 2 // browsers that flood at the same time
		)
		flood := 250 // requests of each kind in a round
		if p.Config.Database.Reveal() != "" {
			flood /= 10
		}
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		portal.FromNetwork(owner, networks+1)
		strangers := make([]*portal.Browser, tabs)
		for i := range strangers {
			strangers[i] = p.Browser(t)
		}
		compared, shielded := 0, 0
		for round := range days * rounds {
			p.Clock.Move(24 * time.Hour / rounds)
			answers := testkit.Race(tabs, func(tab int) string {
				b, said := strangers[tab], map[int]int{}
				for n := range flood / tabs {
					portal.FromNetwork(b, (round*flood+tab*flood/tabs+n)%networks)
					said[b.Post("/login", "username", "ada", "password", "wrong "+strconv.Itoa(n)).Status]++
					b.SetCookie(portal.AttemptCookie, strings.Repeat("A", 20)+strconv.Itoa(100000000000+n))
					if a := b.Post("/login/code", "code", "123456"); a.Location != "/login?notice=expired" {
						said[a.Status]++
					}
				}
				return fmt.Sprint(said[http.StatusUnprocessableEntity], " ", said[http.StatusTooManyRequests], " ", len(said))
			})
			for answer := range answers {
				var wrong, refused, sorts int
				if _, err := fmt.Sscan(answer, &wrong, &refused, &sorts); err != nil || sorts > 2 {
					t.Errorf("round %d: the flood got the answers %q, want only 422 and 429", round, answer)
				}
				compared, shielded = compared+wrong, shielded+refused
			}
			began := p.Clock.Now()
			signsIn(t, owner, fmt.Sprint("known browser, round ", round), "ada", portal.Password, "code", phone.Code(0))
			if round%rounds == 0 {
				p.Clock.Move(30 * time.Second)
				fresh := portal.FromNetwork(p.Browser(t), networks+2)
				portal.OpenLetIn(t, fresh, portal.LetInTicket(t, owner))
				signsIn(t, fresh, "let-in link", "ada", portal.Password, "code", phone.Code(0))
				p.Clock.Move(30 * time.Second)
				fresh = portal.FromNetwork(p.Browser(t), networks+3)
				letIn(t, p, fresh, "ada")
				signsIn(t, fresh, "account unlock", "ada", portal.Password, "code", phone.Code(0))
			}
			if waited := p.Clock.Now().Sub(began); waited > time.Minute {
				t.Errorf("round %d: the owner's sign-ins took %v, want at most a minute", round, waited)
			}
		}
		// No more passwords than the budget were compared, and no code was spent.
		if compared > 100*days || shielded == 0 {
			t.Errorf("%d passwords were compared in %d days and %d refused, want at most 100 a day and some refused", compared, days, shielded)
		}
		if got := portal.UnitsUsed(t, p, "ada", "code"); got != 0 {
			t.Errorf("strangers spent %d units of the budget of codes, want 0", got)
		}
	}, portal.BehindProxy)
}

// TestAttack14ShieldedPasswordIsntChanged checks that, while wrong passwords of strangers
// shield the account, the pages that ask a signed-in but unknown browser for the password
// say what the owner can do.
func TestAttack14ShieldedPasswordIsntChanged(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		owner := p.Browser(t)
		owner.SignIn("ada")
		for n := range 100 {
			if n >= 5 {
				p.Clock.Move(5 * time.Second)
			}
			if a := portal.FromNetwork(p.Browser(t), n).Post("/login", "username", "ada", "password", "wrong"); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("wrong password %d: %s, want 422", n+1, portal.Summary(a))
			}
		}
		owner.SetCookie(portal.DeviceCookie, "forgotten")
		for path, fields := range map[string][]string{
			"/settings/security/password": {"password", portal.Password, "new_password", "another long password"},
			"/reauthenticate":             {"password", portal.Password, "return", "/"},
		} {
			a := owner.Post(path, fields...)
			if a.Status >= 500 || !strings.Contains(portal.VisibleText(a.Body), "too many wrong passwords for this account") {
				t.Errorf("post to %s: %s, want an explanation; the page says:\n%s", path, portal.Summary(a), portal.VisibleText(a.Body))
			}
		}
	}, portal.BehindProxy)
}

// hashingSlots returns the number of slots of a portal's queue. In a container it may be less than
// the number of the machine's processors.
func hashingSlots() int { return runtime.GOMAXPROCS(0) }

// TestAttack25FullQueue checks a hashing queue without a free slot or place: an unknown
// browser gets 503 with Retry-After before anything is hashed or counted, and a known browser
// still gets a place, ahead of the others.
func TestAttack25FullQueue(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		known, phone := portal.WithTwoFactor(t, p, "ada")
		var flood sync.WaitGroup
		defer flood.Wait()
		ctx, giveUp := context.WithCancel(context.Background())
		defer giveUp()
		var leave []func(bool)
		slots := hashingSlots()
		for n := range slots {
			one, err := p.Login.Queue.Acquire(ctx, throttle.Place{Browser: "flood", Account: fmt.Sprint("flood ", n)})
			testkit.Check(t, err)
			leave = append(leave, one)
		}
		const places = 48 // number of the queue's places for unknown browsers
		for n := range places {
			flood.Go(func() {
				if leave, err := p.Login.Queue.Acquire(ctx, throttle.Place{Browser: "flood", Account: fmt.Sprint("flood ", slots+n)}); err == nil {
					<-ctx.Done()
					leave(true)
				}
			})
		}
		testkit.Until(t, "a full queue", func() bool { return p.Login.Queue.Len() >= places })
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		for _, name := range []string{"ada", "nobody"} {
			a := p.Browser(t).Post("/login", "username", name, "password", portal.Password)
			if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); a.Status != http.StatusServiceUnavailable || err != nil || wait < 1 {
				t.Errorf("sign-in of %s in an unknown browser: %s, Retry-After %q; want 503 and at least a second", name, portal.Summary(a), a.Header.Get("Retry-After"))
			}
		}
		if after := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM events`); after != before {
			t.Errorf("the refused sign-ins wrote %d rows to the database, want none", after-before)
		}
		done := make(chan portal.Answer, 1)
		go func() { done <- known.Post("/login", "username", "ada", "password", portal.Password) }()
		testkit.Until(t, "the known browser in the queue", func() bool { return p.Login.Queue.Len() > places })
		leave[0](true) // frees one slot, for which 49 wait
		if a := <-done; a.Location != "/login/code" {
			t.Errorf("sign-in in the known browser: %s, want /login/code", portal.Summary(a))
		}
		giveUp()
		known.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, known, "known browser", true)
		for _, one := range leave[1:] {
			one(true)
		}
	})
}

// TestAttack25LongForms checks that a form of more than 64 KiB gets 413 and that its password isn't
// counted.
func TestAttack25LongForms(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		for _, bytes := range []int{1 << 20, 64<<10 + 1} {
			if a := b.Post("/login", "username", "ada", "password", strings.Repeat("a", bytes)); a.Status != http.StatusRequestEntityTooLarge {
				t.Errorf("a password of %d bytes: %s, want 413", bytes, portal.Summary(a))
			}
		}
		if a := b.Post("/login", "username", "ada", "password", strings.Repeat("a", 60<<10)); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("a password of 60 KiB: %s, want 422", portal.Summary(a))
		}
		if got := portal.UnitsUsed(t, p, "ada", "password"); got != 1 {
			t.Errorf("%d passwords were counted, want only the one of 60 KiB", got)
		}
	})
}

// TestAttack25OneAccountCannotFillTheQueue checks that a user who floods the queue with the
// right password of one account, in known browsers, doesn't keep out known browsers of other
// accounts.
func TestAttack25OneAccountCannotFillTheQueue(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	ada, phone := portal.WithTwoFactor(t, p, "ada")
	eve, _ := portal.WithTwoFactor(t, p, "eve")
	tabs := make([]*portal.Browser, 40)
	for i := range tabs {
		tabs[i] = knownBrowser(t, p, eve)
	}
	var leave []func(bool)
	for range hashingSlots() {
		one, err := p.Login.Queue.Acquire(context.Background(), throttle.Place{Browser: "flood"})
		testkit.Check(t, err)
		leave = append(leave, one)
	}
	answers := make(chan int, len(tabs))
	var flood sync.WaitGroup
	defer flood.Wait()
	for _, tab := range tabs {
		flood.Go(func() { answers <- tab.Post("/login", "username", "eve", "password", portal.Password).Status })
	}
	const perAccount = 4
	testkit.Until(t, "every request of eve's to wait or to be answered", func() bool { return len(answers)+p.Login.Queue.Len() >= len(tabs) })
	waiting := p.Login.Queue.Len()
	if waiting != perAccount {
		t.Errorf("%d of eve's requests wait, want %d", waiting, perAccount)
	}
	for range len(answers) {
		if status := <-answers; status != http.StatusServiceUnavailable {
			t.Errorf("a request of eve's that doesn't wait: %d, want 503", status)
		}
	}
	done := make(chan portal.Answer, 1)
	go func() { done <- ada.Post("/login", "username", "ada", "password", portal.Password) }()
	testkit.Until(t, "ada's request in the queue", func() bool { return p.Login.Queue.Len() != waiting })
	for _, one := range leave {
		one(true)
	}
	if a := <-done; a.Location != "/login/code" {
		t.Errorf("sign-in in ada's known browser: %s, want /login/code", portal.Summary(a))
	}
	ada.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, ada, "ada's known browser", true)
}
