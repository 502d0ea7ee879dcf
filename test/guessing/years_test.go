package guessing

// Years of guessing by a thief who knows the password and every later one, and uses everything that
// helps.

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// siege is the state of years of guessing at one account.
type siege struct {
	t        *testing.T
	p        *portal.Portal
	owner    *portal.Browser // a known browser
	phones   []*portal.Phone
	password string // the current one, which the thief knows too
	began    time.Time
	networks int // number of networks that the thief has used
	rounds   int // number of rounds of guesses, which use codes of each length in turn

	compared int                     // number of codes that pages called wrong at the clock's current time
	codes    []portal.Try            // ledger entries of single codes from unknown browsers
	known    map[string][]portal.Try // those from known browsers, by device
	pairs    []portal.Try            // those of two codes in a row
	letIn    int                     // number of browsers that mail let in
	due      []time.Time             // the times at which a window slides, and a second before each
}

// siegeSettings returns the settings of a portal that mails links and no notices.
func siegeSettings() []string {
	return append([]string{portal.BehindProxy, "SALLYPORT_MAIL_NOTICES=false"}, portal.WithMail...)
}

func (s *siege) settings() []string {
	settings := siegeSettings()
	if url := s.p.Config.Database.Reveal(); url != "" {
		settings = append(settings, "SALLYPORT_DATABASE="+url)
	}
	return settings
}

// restart stops the server and starts another one on the same files and database.
func (s *siege) restart() {
	cookies := map[string]string{}
	for _, name := range []string{portal.SessionCookie, portal.DeviceCookie} {
		cookies[name] = s.owner.Cookie(name)
	}
	s.p.Stop()
	s.p = portal.StartIn(s.t, s.p.Dir, s.p.Clock, s.settings()...)
	s.owner = s.p.Browser(s.t)
	for name, value := range cookies {
		s.owner.SetCookie(name, value)
	}
}

// tab returns a browser of the thief in a new network, which submitted the right password with
// one of the spellings of the name.
func (s *siege) tab() *portal.Browser {
	s.t.Helper()
	s.networks++
	b := portal.FromNetwork(s.p.Browser(s.t), s.networks%10000)
	name := []string{"ada", "ADA", " ada ", "ａｄａ", "Ada"}[s.networks%5]
	if a := b.Post("/login", "username", name, "password", s.password); a.Location != "/login/code" {
		s.t.Fatalf("right password of the thief: %s, want /login/code", portal.Summary(a))
	}
	return b
}

// guess submits wrong codes in the given number of tabs at the same time, until no more codes are
// compared.
func (s *siege) guess(tabs int) {
	for {
		browsers := make([]*portal.Browser, tabs)
		for i := range browsers {
			browsers[i] = s.tab()
		}
		s.rounds++
		wrong := portal.WrongCode(append([]*portal.Phone{s.phones[s.rounds%len(s.phones)]}, s.phones...)...)
		got := testkit.Race(tabs, func(i int) string { return portal.TryCode(browsers[i], "/login/code", "code", wrong) })
		if got[portal.OutcomePassed] > 0 {
			s.t.Fatal("a wrong code opened a session")
		}
		s.compared += got[portal.OutcomeWrong]
		if got[portal.OutcomeWrong] == 0 {
			return
		}
	}
}

// guessWith submits wrong codes to the form at path until one isn't compared, but at most limit
// codes.
func (s *siege) guessWith(b *portal.Browser, limit int, path string, fields ...string) {
	for range limit {
		if portal.TryCode(b, path, append(fields, "code", portal.WrongCode(s.phones...))...) != portal.OutcomeWrong {
			return
		}
		s.compared++
	}
}

// guessLetIn submits wrong codes in new browsers that mail lets in, since the thief reads the owner's
// mails too. No such browser has codes of its own.
func (s *siege) guessLetIn() {
	for range 3 { // as many links as are mailed in a day
		s.networks++
		b := portal.FromNetwork(s.p.Browser(s.t), s.networks%10000)
		if a := b.Post("/unlock", "ticket", portal.MailedUnlock(s.t, s.p, b, "ada")); a.Location != "/login?notice=let_in" {
			s.t.Fatalf("the thief submits a link from the owner's mails: %s, want the notice let_in", portal.Summary(a))
		}
		if a := b.Post("/login", "username", "ada", "password", s.password); a.Location != "/login/code" {
			s.t.Fatalf("right password in a browser that mail let in: %s, want /login/code", portal.Summary(a))
		}
		s.letIn++
		s.guessWith(b, 10, "/login/code")
		b.Post("/login", "username", "ada", "password", s.password) // the fifth ends the attempt
		s.guessWith(b, 10, "/login/code")
		own := portal.CountRows(s.t, s.p, `SELECT COUNT(*) FROM ledger JOIN devices ON ledger.subject = devices.id WHERE used_at = 0`)
		if own != 0 {
			s.t.Error("a browser that mail let in has its own budget of codes, want that of unknown browsers")
		}
		s.record()
	}
	// The shield would keep out the thief's other browsers too.
	portal.ChangeRows(s.t, s.p, `DELETE FROM ledger WHERE bucket = 'password' AND subject = ''`)
}

// guessPairs submits wrong pairs to the form for two codes until one isn't compared.
func (s *siege) guessPairs() {
	for range 12 {
		if portal.TryCode(s.tab(), "/login/code", "code", portal.WrongCode(s.phones...), "next_code", portal.WrongCode(s.phones...)) != portal.OutcomeWrong {
			return
		}
		s.compared++
	}
}

// ownerSignsIn fails the test unless the owner can sign in: with one code, with two codes in a
// row, or with one code after the operator's let-in link.
func (s *siege) ownerSignsIn(b *portal.Browser) {
	s.t.Helper()
	phone := s.phones[0]
	for _, fields := range [][]string{
		{"code", phone.Code(0)}, {"code", phone.Code(0), "next_code", phone.Code(phone.Period)}, nil, {"code", phone.Code(0)},
	} {
		if fields == nil {
			letIn(s.t, s.p, b, "ada")
			continue
		}
		if a := b.Post("/login", "username", "ada", "password", s.password); a.Location != "/login/code" {
			s.t.Fatalf("right password of the owner: %s, want /login/code", portal.Summary(a))
		}
		got := portal.TryCode(b, "/login/code", fields...)
		if got == portal.OutcomeTwoCodes || got == portal.OutcomeNoMore {
			continue
		}
		if b.Last.Location == "/login/new-password" {
			s.password = fmt.Sprintf("the pass phrase of %s", s.p.Clock.Now().Format(time.DateOnly))
			b.Post("/login/new-password", "new_password", s.password)
		}
		portal.CheckSignedIn(s.t, b, "the owner, "+s.p.Clock.Now().Format(time.DateOnly), true)
		return
	}
	s.t.Fatalf("on %v, the owner can't sign in in any way", s.p.Clock.Now())
}

// record checks the number of codes that were compared at the clock's time against the ledger and
// the audit log, and adds to s.due the times at which the windows of these codes slide.
func (s *siege) record() {
	s.t.Helper()
	now := s.p.Clock.Now()
	entries, unknown := 0, 0
	note := func(to []portal.Try, from []portal.Try) []portal.Try {
		for _, one := range from {
			if one.At.Equal(now) {
				entries++
				to = append(to, one)
			}
		}
		return to
	}
	before := len(s.codes)
	s.codes = note(s.codes, portal.Ledger(s.t, s.p, "ada", "code")[""])
	unknown = len(s.codes) - before
	for id, tries := range portal.Ledger(s.t, s.p, "ada", "code-known") {
		s.known[id] = note(s.known[id], tries)
	}
	s.pairs = note(s.pairs, portal.Ledger(s.t, s.p, "ada", "two-codes")[""])
	logged := portal.CountRows(s.t, s.p, `SELECT COUNT(*) FROM events WHERE kind = 'code_failed' AND at = $1`, now.UnixMilli())
	// The answer to a compared code can be that another one ended its attempt, so s.compared
	// may be less.
	if logged != entries || s.compared > entries {
		s.t.Errorf("at %v: %d codes compared, %d in the audit log, %d in the ledger; want the same number in both logs, and no more compared", now, s.compared, logged, entries)
	}
	s.compared = 0
	if unknown > 0 {
		for _, window := range []time.Duration{day, 30 * day, year} {
			s.due = append(s.due, now.Add(window-time.Second), now.Add(window))
		}
	}
}

// wait moves the clock to the next time in s.due, but at most six days ahead, and reports
// whether it moved to a time in s.due.
func (s *siege) wait() bool {
	const longest = 6*day - 37*time.Minute
	now := s.p.Clock.Now()
	s.due = slices.DeleteFunc(s.due, func(at time.Time) bool { return !at.After(now) })
	next := now.Add(longest)
	slides := false
	for _, at := range s.due {
		if !at.After(next) {
			next, slides = at, true
		}
	}
	s.p.Clock.Move(next.Sub(now))
	return slides
}

// most returns the highest number of units within any window of the given length.
func most(tries []portal.Try, length time.Duration) int {
	best := 0
	for i, first := range tries {
		n := 0
		for _, one := range tries[i:] {
			if one.At.Sub(first.At) < length {
				n += one.Units
			}
		}
		best = max(best, n)
	}
	return best
}

// TestAttack11YearsOfGuessing runs the best attack on one account for three years. On PostgreSQL,
// and on an authenticator with eight digits and a period of 60 s, it runs for one year. The thief
// knows the password and each new one, has a network for every try, uses several tabs at once,
// every spelling of the name and fresh copies of the owner's cookies, reads the owner's mails, and
// tries again as soon as the limits allow it. The owner signs in now and then, has a second
// authenticator for a while, and must always be able to sign in.
func TestAttack11YearsOfGuessing(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		engine     string
		years      int
		parameters totp.Parameters
		second     time.Duration // when the owner enrolls a tablet, whose codes have six digits
	}{
		"sqlite":       {"sqlite", 3, totp.Standard(), 350 * day},
		"postgres":     {"postgres", 1, totp.Standard(), 350 * day},
		"eight digits": {"sqlite", 1, eightDigits, 100 * day},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, of.engine, siegeSettings()...)
			owner, phone := portal.WithTwoFactor(t, p, "ada")
			portal.SetParameters(t, p, phone, of.parameters)
			s := &siege{t: t, p: p, owner: owner, phones: []*portal.Phone{phone}, password: portal.Password, began: p.Clock.Now(), known: map[string][]portal.Try{}}
			s.run(of.years, of.second)
			s.judge(of.years)
		})
	}
}

func (s *siege) run(years int, second time.Duration) {
	const (
		tabs        = 6 // at the same time
		ownerEvery  = 20 * day
		newBrowser  = 4 // every fourth sign-in of the owner is in a new browser
		pairsEvery  = 6
		restartEach = 25
		secondFor   = 120 * day
	)
	lastSignIn, signIns := s.began, 0
	for moment := 0; s.p.Clock.Now().Before(s.began.Add(time.Duration(years) * year)); moment++ {
		if slides := s.wait(); slides {
			s.guess(tabs)
		} else {
			s.guess(1)
		}
		if moment%pairsEvery == 0 {
			s.guessPairs()
		}
		s.record()
		if moment%restartEach == restartEach-1 {
			s.restart()
			s.guess(tabs)
			testkit.Check(s.t, s.p.Sweep(context.Background()))
			if s.guess(1); s.compared != 0 {
				s.t.Errorf("after a restart and a sweep, %d more codes were compared, want 0", s.compared)
			}
			s.compared = 0
		}
		age := s.p.Clock.Now().Sub(s.began)
		if s.p.Clock.Now().Sub(lastSignIn) < ownerEvery {
			continue
		}
		lastSignIn = s.p.Clock.Now()
		s.p.Clock.Move(2 * s.phones[0].Period)
		signIns++
		if signIns%newBrowser == 0 {
			s.ownerSignsIn(portal.FromNetwork(s.p.Browser(s.t), 10000+signIns))
			s.p.Clock.Move(2 * s.phones[0].Period)
		}
		s.ownerSignsIn(s.owner)
		switch {
		case age > second && age < second+secondFor && len(s.phones) == 1:
			s.phones = append(s.phones, s.owner.Enroll("Tablet"))
		case age > second+secondFor && len(s.phones) == 2:
			if a := s.owner.Post("/settings/security/authenticators/" + s.phones[1].ID + "/remove"); a.Location != "/settings/security?notice=removed" {
				s.t.Fatalf("remove the tablet: %s, want the notice removed", portal.Summary(a))
			}
			s.phones = s.phones[:1]
		}
		// The thief copies the owner's new cookies: that of the known browser, and that of the
		// session, since the form for reauthentication accepts codes too.
		s.p.Clock.Move(time.Minute)
		held := s.tab()
		held.SetCookie(portal.SessionCookie, s.owner.Cookie(portal.SessionCookie))
		s.guessWith(held, tabs, "/reauthenticate", "password", s.password, "return", "/")
		held = knownBrowser(s.t, s.p, s.owner)
		held.SetCookie(portal.SessionCookie, s.owner.Cookie(portal.SessionCookie))
		s.guessWith(held, 2, "/reauthenticate", "password", s.password, "return", "/")
		held.Post("/login", "username", "ada", "password", s.password)
		s.guessWith(held, 9, "/login/code")
		s.guess(tabs)
		s.record()
		s.guessLetIn()
	}
}

func (s *siege) judge(years int) {
	for _, limit := range []struct {
		within time.Duration
		units  int
	}{{day, 5}, {30 * day, 10}, {year, 25}} {
		if got := most(s.codes, limit.within); got > limit.units {
			s.t.Errorf("unknown browsers used %d units within %v, want at most %d", got, limit.within, limit.units)
		}
	}
	perBrowser := 0
	for id, tries := range s.known {
		perBrowser = max(perBrowser, most(tries, year))
		if inADay, inAYear := most(tries, day), most(tries, year); inADay > 10 || inAYear > 25 {
			s.t.Errorf("known browser %s used %d units in a day and %d in a year, want at most 10 and 25", id, inADay, inAYear)
		}
	}
	if got := most(s.pairs, day); got > 10 {
		s.t.Errorf("%d pairs were compared within a day, want at most 10", got)
	}
	const (
		code  = 3e-6     // a unit: three steps of a million codes
		pair  = 21e-12   // 21 places of two codes in a row
		aYear = 10 * 365 // pairs, if all ten are tried every day
		bound = 1e-4     // for a thief without a known browser
		least = 25 - 2   // units a year; with fewer the attack isn't the best one
	)
	singles, total := most(s.codes, year), 0
	for _, one := range s.codes {
		total += one.Units
	}
	p := 1 - math.Pow(1-code, float64(singles))*math.Pow(1-pair, aYear)
	s.t.Logf("%d years: %d units of single codes, at most %d in a year; %d pairs; p = %.2e a year, bound %.0e; %d known browsers whose cookies were copied, at most %d units in each; %d browsers that mail let in",
		years, total, singles, len(s.pairs), p, bound, len(s.known), perBrowser, s.letIn)
	if p > bound || singles < least || total < years*least || len(s.pairs) == 0 || len(s.known) == 0 || s.letIn == 0 {
		s.t.Errorf("probability of a right guess: %.2e a year, want at most %.0e, with at least %d units a year, some pairs and some known browsers tried", p, bound, least)
	}
}
