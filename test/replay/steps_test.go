package replay

// Which time steps are accepted, and that each is accepted once.

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack27OnlyThreeStepsOpen(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		for off, want := range map[time.Duration]bool{
			-90 * time.Second: false, -60 * time.Second: false, -30 * time.Second: true,
			0: true, 30 * time.Second: true, 60 * time.Second: false, 90 * time.Second: false,
		} {
			p.Clock.Move(10 * time.Minute)
			b := portal.PendingSignIn(t, p, "ada")
			b.Post("/login/code", "code", phone.Code(off))
			portal.CheckSignedIn(t, b, "code of "+off.String(), want)
		}
	})
}

// TestAttack27StepsAreAsLongAsThePeriod checks which codes are accepted from an authenticator with
// a period of 60 s: its time steps take 60 s too.
func TestAttack27StepsAreAsLongAsThePeriod(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.SetParameters(t, p, phone, totp.Parameters{Algorithm: totp.SHA512, Digits: 8, Period: time.Minute})
		for off, want := range map[time.Duration]bool{
			-3 * time.Minute: false, -2 * time.Minute: false, -time.Minute: true, -30 * time.Second: true,
			0: true, 30 * time.Second: true, time.Minute: true, 2 * time.Minute: false, 3 * time.Minute: false,
		} {
			p.Clock.Move(20 * time.Minute)
			code := phone.Code(off)
			b := portal.PendingSignIn(t, p, "ada")
			b.Post("/login/code", "code", code)
			portal.CheckSignedIn(t, b, "code of "+off.String(), want)
			if want {
				again := portal.PendingSignIn(t, p, "ada")
				again.Post("/login/code", "code", code)
				portal.CheckSignedIn(t, again, "code of "+off.String()+", again", false)
			}
		}
	})
}

func TestAttack27WindowFollowsTheLearnedDrift(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(10 * time.Minute)
		const fast = 4 * time.Minute
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(fast-totp.Period), "next_code", phone.Code(fast))
		portal.CheckSignedIn(t, b, "two codes of a fast phone", true)
		for off, want := range map[time.Duration]bool{
			fast - 2*totp.Period: false, fast - totp.Period: true, fast: true, fast + totp.Period: true, fast + 2*totp.Period: false,
			0: false,
		} {
			p.Clock.Move(20 * time.Minute)
			b := portal.PendingSignIn(t, p, "ada")
			b.Post("/login/code", "code", phone.Code(off))
			portal.CheckSignedIn(t, b, "code of "+off.String()+" after a drift of "+fast.String(), want)
		}
	})
}

func TestAttack28ReplayOfTheSameStep(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		b := portal.PendingSignIn(t, p, "ada")
		used := phone.Code(0)
		b.Post("/login/code", "code", used)
		portal.CheckSignedIn(t, b, "fresh code", true)
		before := portal.CountRows(t, p, portal.SessionsOfQuery, "ada")

		same := b
		same.SignIn("ada")
		if a := same.Post("/login/code", "code", used); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("used code in the same browser: %s, want 422", portal.Summary(a))
		}
		for range 6 { // more than the budget of wrong codes
			other := portal.PendingSignIn(t, p, "ada")
			other.Post("/login/code", "code", used)
			portal.CheckSignedIn(t, other, "used code in another browser", false)
			if !strings.Contains(portal.VisibleText(other.Post("/login/code", "code", used).Body), "already used") {
				t.Errorf("used code in another browser: %s, and the page doesn't say that it was used", portal.Summary(other.Last))
			}
		}
		pair := portal.PendingSignIn(t, p, "ada")
		pair.Post("/login/code", "code", used, "next_code", phone.Code(totp.Period))
		portal.CheckSignedIn(t, pair, "used code as the first of two", false)
		p.Clock.Move(totp.Period)
		pair.Post("/login/code", "code", used, "next_code", phone.Code(0))
		portal.CheckSignedIn(t, pair, "used code as the first of two, a step later", false)

		old := b.Cookie(portal.SessionCookie)
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", used, "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a used code: %s, want 422", portal.Summary(a))
		}
		if b.Cookie(portal.SessionCookie) != old {
			t.Error("reauthentication with a used code changed the session")
		}
		if after := portal.CountRows(t, p, portal.SessionsOfQuery, "ada"); after != before {
			t.Errorf("sessions: %d before the replays, %d after, want the same number", before, after)
		}
		if n := portal.EventCounts(t, p)["code_reused:refused"]; n < 7 {
			t.Errorf("got %d events code_reused, want one for each replay", n)
		}
		if !strings.Contains(portal.VisibleText(b.Get("/settings/activity").Body), "a code that was already used") {
			t.Error("the owner's activity doesn't mention the replays")
		}
		// Replays cost no try, so a fresh code is still compared.
		again := portal.PendingSignIn(t, p, "ada")
		again.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, again, "fresh code after the replays", true)
	})
}

func TestAttack28ReplayOnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 2)
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period)
	first, second := portal.PendingSignIn(t, nodes[0], "ada"), portal.PendingSignIn(t, nodes[1], "ada")
	first.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, first, "fresh code", true)
	second.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, second, "the same code on the other node", false)
	portal.MoveAll(nodes, totp.Period)
	second.Post("/login/code", "code", phone.Code(0))
	portal.CheckSignedIn(t, second, "the next code on the other node", true)
}

func TestAttack29OlderStepAfterNewer(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		older, newer := phone.Code(-totp.Period), phone.Code(0)
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", newer)
		portal.CheckSignedIn(t, b, "newer code", true)
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", older)
		portal.CheckSignedIn(t, b, "older code, never used", false)
		p.Clock.Move(2 * totp.Period)
		b.Post("/login/code", "code", phone.Code(-totp.Period))
		portal.CheckSignedIn(t, b, "previous code, with no newer one used", true)
	})
}

// raceCode submits the same right code from n browsers at the same time, spread over nodes,
// each in its own attempt or all in the same one. It fails the test unless one session opens.
func raceCode(t *testing.T, nodes []*portal.Portal, n int, sameAttempt bool) {
	t.Helper()
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	for _, p := range nodes[1:] {
		p.Clock.Move(totp.Period) // Enroll moved the first node's clock
	}
	before := portal.CountRows(t, nodes[0], portal.SessionsOfQuery, "ada")
	browsers := make([]*portal.Browser, n)
	for i := range browsers {
		p := nodes[i%len(nodes)]
		if sameAttempt && i > 0 {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(portal.AttemptCookie, browsers[0].Cookie(portal.AttemptCookie))
		} else {
			browsers[i] = portal.PendingSignIn(t, p, "ada")
		}
	}
	code := phone.Code(0)
	got := testkit.Race(n, func(i int) string {
		a := browsers[i].Post("/login/code", "code", code)
		if browsers[i].Cookie(portal.SessionCookie) != "" {
			return "session"
		}
		return portal.Summary(a)
	})
	if got["session"] != 1 {
		t.Errorf("one code from %d browsers at once: %v, want one session", n, got)
	}
	for answer := range got {
		if answer != "session" && !strings.HasPrefix(answer, "422") && !strings.HasPrefix(answer, "503") && answer != "303 /login?notice=expired" {
			t.Errorf("unexpected answer %q, want 422, 503 or an expired attempt", answer)
		}
	}
	if after := portal.CountRows(t, nodes[0], portal.SessionsOfQuery, "ada"); after != before+1 {
		t.Errorf("sessions: %d before the race, %d after, want one more", before, after)
	}
	signedIn := 0
	for _, b := range browsers {
		if b.SignedIn() {
			signedIn++
		}
	}
	if signedIn != 1 {
		t.Errorf("%d browsers are signed in, want one", signedIn)
	}
}

func TestAttack30OneCodeOpensOneSession(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) { raceCode(t, []*portal.Portal{p}, 32, false) })
}

func TestAttack30OneAttemptEndsOnce(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) { raceCode(t, []*portal.Portal{p}, 32, true) })
}

func TestAttack30OneCodeOnThreeNodes(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"own attempts": false, "one attempt": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raceCode(t, portal.StartNodes(t, 3), 33, same)
		})
	}
}
