package guessing

// The tests in this file check which audit events failures leave, and how many.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestWrongCodesAreRecordedForClientsThatHangUp checks that a wrong code leaves its events even if
// the client closes its connection right after it sent the code.
func TestWrongCodesAreRecordedForClientsThatHangUp(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		for n := range 5 {
			pending := portal.PendingSignIn(t, p, "ada")
			ctx, hangUp := context.WithCancel(context.Background())
			// After the try is in the ledger, SubmitCode reads the clock to compare the code. At
			// that moment the client hangs up.
			clock := p.Login.Clock
			p.Login.Clock = func() time.Time {
				if portal.UnitsUsed(t, p, "ada", "code") > n {
					hangUp()
				}
				return clock()
			}
			before := portal.EventCounts(t, p)["code_failed:refused"]
			p.Login.SubmitCode(ctx, pending.Cookie(portal.AttemptCookie), portal.WrongCode(phone), "", login.Browser{})
			p.Login.Clock = clock
			hangUp()
			if after := portal.EventCounts(t, p)["code_failed:refused"]; after != before+1 {
				t.Errorf("a wrong code left %d events, want one", after-before)
			}
		}
		got := portal.EventCounts(t, p)
		if got["code_failed:refused"] != 5 || got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events: %v, want code_failed 5 times, wrong_codes_noticed and password_suspected once each", got)
		}
	})
}

// TestManyWrongCodesAtOnceLeadToOneNotice checks that the notice is sent even if several codes
// are compared at the same time, so that no try finds exactly three wrong codes.
func TestManyWrongCodesAtOnceLeadToOneNotice(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		tabs := make([]*portal.Browser, 12)
		for i := range tabs {
			tabs[i] = portal.PendingSignIn(t, p, "ada")
		}
		wrong := portal.WrongCode(phone)
		testkit.Race(len(tabs), func(i int) string { return portal.TryCode(tabs[i], "/login/code", "code", wrong) })
		if got := portal.EventCounts(t, p); got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events: %v, want wrong_codes_noticed and password_suspected once each", got)
		}
	})
}

// TestTheOwnerIsToldOfAThiefWithPasswordAndCookie checks that wrong codes in a known browser lead
// to a notice, unless a sign-in follows: then they were the owner's own mistakes.
func TestTheOwnerIsToldOfAThiefWithPasswordAndCookie(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		for range 4 {
			p.Clock.Move(time.Minute)
			owner.SignIn("ada")
			for range 2 {
				portal.TryCode(owner, "/login/code", "code", portal.WrongCode(phone))
			}
			owner.Post("/login/code", "code", phone.Code(0))
			portal.CheckSignedIn(t, owner, "the owner, after two wrong codes", true)
		}
		if strings.Contains(portal.VisibleText(owner.Get("/settings/profile").Body), banner) || portal.EventCounts(t, p)["wrong_codes_noticed:done"] != 0 {
			t.Error("wrong codes led to a notice although a sign-in in the same browser followed, want none")
		}
		p.Clock.Move(24 * time.Hour)
		owner.SignIn("ada")
		owner.Post("/login/code", "code", phone.Code(0))
		thief := knownBrowser(t, p, owner)
		thief.SignIn("ada")
		for n := 1; n <= 5; n++ {
			portal.TryCode(thief, "/login/code", "code", portal.WrongCode(phone))
			if told := strings.Contains(portal.VisibleText(owner.Get("/settings/profile").Body), banner); told != (n >= 3) {
				t.Errorf("after %d wrong codes of the thief: banner shown: %v, want it from the third on", n, told)
			}
		}
		if got := portal.EventCounts(t, p); got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events: %v, want wrong_codes_noticed and password_suspected once each", got)
		}
	})
}

// TestNoAccountFillsTheDisk repeats every request that an account's user can repeat, and checks
// that each kind leaves a bounded number of events.
func TestNoAccountFillsTheDisk(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		const times = 130
		b, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		seen := phone.Code(0)
		tab := portal.PendingSignIn(t, p, "ada")
		tab.Post("/login/code", "code", seen)
		pending := portal.PendingSignIn(t, p, "ada")
		b.Post("/settings/devices/forget-all")
		b.SignIn("ada")
		p.Clock.Move(30 * time.Second)
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "ada", true)
		for what, c := range map[string]struct {
			most int // the most events that are allowed
			do   func(n int) portal.Answer
		}{
			"the same display name": {0, func(int) portal.Answer { return b.Post("/settings/profile", "display_name", "") }},
			"the same name of a phone": {0, func(int) portal.Answer {
				return b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Phone")
			}},
			"sign out other sessions, of which there are none": {1, func(int) portal.Answer { return b.Post("/settings/sessions/revoke-others") }},
			"other display names":                              {60, func(n int) portal.Answer { return b.Post("/settings/profile", "display_name", fmt.Sprint("Ada ", n)) }},
			"other names of a phone": {60, func(n int) portal.Answer {
				return b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", fmt.Sprint("Phone ", n))
			}},
			"let-in links": {60, func(int) portal.Answer { return b.Post("/settings/sessions/let-in") }},
			"a used code":  {24, func(int) portal.Answer { return pending.Post("/login/code", "code", seen) }},
			"enrolments begun and cancelled": {0, func(int) portal.Answer {
				if a := b.Post("/settings/security/authenticators"); a.Status == http.StatusSeeOther {
					b.Post(a.Location + "/cancel")
				}
				return b.Last
			}},
			"backup codes": {3, func(int) portal.Answer { return b.Post("/settings/security/backup-codes") }},
		} {
			before, last := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`), portal.Answer{}
			for n := range times {
				last = c.do(n)
			}
			if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`) - before; got > c.most {
				t.Errorf("%s, %d times: %d events, want at most %d", what, times, got, c.most)
			}
			if c.most == 60 && (last.Status != http.StatusTooManyRequests || !strings.Contains(portal.VisibleText(last.Body), "Too many changes")) {
				t.Errorf("%s, the last of %d: %s, want 429 and an explanation", what, times, portal.Summary(last))
			}
		}
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill"); a.Location != "/settings/security?notice=password_changed" {
			t.Errorf("change the password afterwards: %s, want it to succeed", portal.Summary(a))
		}
		if a := b.Post("/settings/devices/forget-all"); a.Location != "/settings/sessions?notice=forgotten" {
			t.Errorf("forget known browsers afterwards: %s, want it to succeed", portal.Summary(a))
		}
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		for range 3 {
			b.Post("/settings/devices/forget-all")
		}
		if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`) - before; got != 0 {
			t.Errorf("three requests with no browser to forget left %d events, want none", got)
		}
		if page := portal.VisibleText(b.Get("/settings/activity?before=9999999999999.x").Body); !strings.Contains(page, "times within an hour") {
			for a := b.Last; ; {
				next := strings.Index(a.Body, "/settings/activity?before=")
				if next < 0 {
					t.Error("no entry of the activity says how many events it stands for")
					break
				}
				path := portal.Unescape(a.Body[next:])
				a = b.Get(path[:strings.IndexByte(path, '"')])
				if strings.Contains(portal.VisibleText(a.Body), "times within an hour") {
					break
				}
			}
		}
	})
}
