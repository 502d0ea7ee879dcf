package guessing

// A. Guess limits: years of guessing, with everything that a thief has who
// knows the password, whatever it becomes.

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

// siege is years of guessing at one account.
type siege struct {
	t        *testing.T
	p        *portal.Portal
	owner    *portal.Browser // known
	phones   []*portal.Phone
	password string // the thief learns each
	began    time.Time
	networks int // that the thief has come from

	compared int                     // from outside: codes that were said to be wrong, at this moment
	codes    []portal.Try            // from unknown browsers
	known    map[string][]portal.Try // from known ones
	pairs    []portal.Try
	due      []time.Time // when a window has slid, or is about to
}

func (s *siege) settings() []string {
	settings := []string{portal.BehindProxy}
	if url := s.p.Config.Database.Reveal(); url != "" {
		settings = append(settings, "SALLYPORT_DATABASE="+url)
	}
	return settings
}

// restart stops the server and starts it again on what is there.
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

// tab returns a browser of the thief, from a network that he never used, that
// gave the right password in one of its spellings.
func (s *siege) tab() *portal.Browser {
	s.t.Helper()
	s.networks++
	b := portal.FromNetwork(s.p.Browser(s.t), s.networks%10000)
	name := []string{"ada", "ADA", " ada ", "ａｄａ", "Ada"}[s.networks%5]
	if a := b.Post("/login", "username", name, "password", s.password); a.Location != "/login/code" {
		s.t.Fatalf("the thief's password: %s", portal.Summary(a))
	}
	return b
}

// guess gives wrong codes in so many tabs at once until none is compared.
func (s *siege) guess(tabs int) {
	for {
		browsers := make([]*portal.Browser, tabs)
		for i := range browsers {
			browsers[i] = s.tab()
		}
		wrong := portal.WrongCode(s.phones...)
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

// guessWith gives wrong codes at a door until none is compared, or limit were.
func (s *siege) guessWith(b *portal.Browser, limit int, path string, fields ...string) {
	for range limit {
		if portal.TryCode(b, path, append(fields, "code", portal.WrongCode(s.phones...))...) != portal.OutcomeWrong {
			return
		}
		s.compared++
	}
}

// guessPairs uses the form for two codes.
func (s *siege) guessPairs() {
	for range 12 {
		if portal.TryCode(s.tab(), "/login/code", "code", portal.WrongCode(s.phones...), "next_code", portal.WrongCode(s.phones...)) != portal.OutcomeWrong {
			return
		}
		s.compared++
	}
}

// ownerSignsIn fails the test unless the owner gets in: with one code, or with
// two, or once the operator has let this browser in.
func (s *siege) ownerSignsIn(b *portal.Browser) {
	s.t.Helper()
	phone := s.phones[0]
	for _, fields := range [][]string{
		{"code", phone.Code(0)}, {"code", phone.Code(0), "next_code", phone.Code(totp.Period)}, nil, {"code", phone.Code(0)},
	} {
		if fields == nil {
			letIn(s.t, s.p, b, "ada")
			continue
		}
		if a := b.Post("/login", "username", "ada", "password", s.password); a.Location != "/login/code" {
			s.t.Fatalf("the owner's password: %s", portal.Summary(a))
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
	s.t.Fatalf("the owner is locked out on %v", s.p.Clock.Now())
}

// record holds what was compared at this moment against the ledger and the
// audit log, and notes when windows will have slid.
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
	// Of those compared at once, some find their attempt ended by another.
	if logged != entries || s.compared > entries {
		s.t.Errorf("%v: %d codes compared, %d in the audit log, %d in the ledger", now, s.compared, logged, entries)
	}
	s.compared = 0
	if unknown > 0 {
		for _, window := range []time.Duration{day, 30 * day, year} {
			s.due = append(s.due, now.Add(window-time.Second), now.Add(window))
		}
	}
}

// wait moves the clock to the next moment at which something may be possible,
// at most six days on, and reports whether a window slides then.
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

// most is the most units within any window of that length.
func most(tries []portal.Try, within time.Duration) int {
	best := 0
	for i, first := range tries {
		n := 0
		for _, one := range tries[i:] {
			if one.At.Sub(first.At) < within {
				n += one.Units
			}
		}
		best = max(best, n)
	}
	return best
}

// TestAttack11YearsOfGuessing: three years of the best attack on one account,
// one on PostgreSQL. The thief has the password and each that follows it, a
// network for every try, tabs side by side, every spelling of the name, copies
// of the owner's cookies on the day they are new, and tries at the moments when
// a window slides. The owner signs in now and then, has a second authenticator
// for a while, and must always get in.
func TestAttack11YearsOfGuessing(t *testing.T) {
	t.Parallel()
	for engine, years := range map[string]int{"sqlite": 3, "postgres": 1} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine, portal.BehindProxy)
			owner, phone := portal.WithTwoFactor(t, p, "ada")
			s := &siege{t: t, p: p, owner: owner, phones: []*portal.Phone{phone}, password: portal.Password, began: p.Clock.Now(), known: map[string][]portal.Try{}}
			s.run(years)
			s.judge(years)
		})
	}
}

func (s *siege) run(years int) {
	const (
		tabs        = 6 // side by side
		ownerEvery  = 20 * day
		newBrowser  = 4 // of the owner's sign-ins, each fourth
		pairsEvery  = 6
		restartEach = 25
		second      = 350 * day // when the owner enrolls a tablet
		secondGone  = 470 * day
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
				s.t.Errorf("a restart and a sweep gave back %d tries", s.compared)
			}
			s.compared = 0
		}
		age := s.p.Clock.Now().Sub(s.began)
		if s.p.Clock.Now().Sub(lastSignIn) < ownerEvery {
			continue
		}
		lastSignIn = s.p.Clock.Now()
		s.p.Clock.Move(time.Minute)
		signIns++
		if signIns%newBrowser == 0 {
			s.ownerSignsIn(portal.FromNetwork(s.p.Browser(s.t), 10000+signIns))
			s.p.Clock.Move(time.Minute)
		}
		s.ownerSignsIn(s.owner)
		switch {
		case age > second && age < secondGone && len(s.phones) == 1:
			s.phones = append(s.phones, s.owner.Enroll("Tablet"))
		case age > secondGone && len(s.phones) == 2:
			if a := s.owner.Post("/settings/security/authenticators/" + s.phones[1].ID + "/remove"); a.Location != "/settings/security?notice=removed" {
				s.t.Fatalf("remove the tablet: %s", portal.Summary(a))
			}
			s.phones = s.phones[:1]
		}
		// Now that the owner's cookies are new, the thief copies them: the
		// known browser's, and the session, whose door takes codes too.
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
	}
}

func (s *siege) judge(years int) {
	for _, limit := range []struct {
		within time.Duration
		units  int
	}{{day, 5}, {30 * day, 10}, {year, 25}} {
		if got := most(s.codes, limit.within); got > limit.units {
			s.t.Errorf("unknown browsers: %d units within %v, want at most %d", got, limit.within, limit.units)
		}
	}
	perBrowser := 0
	for id, tries := range s.known {
		perBrowser = max(perBrowser, most(tries, year))
		if inADay, inAYear := most(tries, day), most(tries, year); inADay > 10 || inAYear > 25 {
			s.t.Errorf("known browser %s: %d units in a day, %d in a year", id, inADay, inAYear)
		}
	}
	if got := most(s.pairs, day); got > 10 {
		s.t.Errorf("%d pairs in a day", got)
	}
	const (
		code  = 3e-6     // three steps of a million codes
		pair  = 21e-12   // 21 places of two codes in a row
		aYear = 10 * 365 // pairs, were all ten tried every day
		bound = 1e-4     // for a thief without a known browser
		least = 25 - 2   // units a year, or the attack wasn't the best
	)
	singles, total := most(s.codes, year), 0
	for _, one := range s.codes {
		total += one.Units
	}
	p := 1 - math.Pow(1-code, float64(singles))*math.Pow(1-pair, aYear)
	s.t.Logf("%d years: %d units of single codes, at most %d in a year; %d pairs; p = %.2e a year, bound %.0e; %d known browsers whose cookies were copied, at most %d units in each",
		years, total, singles, len(s.pairs), p, bound, len(s.known), perBrowser)
	if p > bound || singles < least || total < years*least || len(s.pairs) == 0 || len(s.known) == 0 {
		s.t.Errorf("p = %.2e a year, want at most %.0e, and every way tried", p, bound)
	}
}
