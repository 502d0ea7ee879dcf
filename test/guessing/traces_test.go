package guessing

// What failures leave behind, and how much of it.

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

// TestWrongCodesLeaveTheirTracesWhetherTheClientWaitsOrNot: each client hangs up right
// after sending.
func TestWrongCodesLeaveTheirTracesWhetherTheClientWaitsOrNot(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		for n := range 5 {
			pending := portal.PendingSignIn(t, p, "ada")
			ctx, hangUp := context.WithCancel(context.Background())
			// Once the try is written down the clock is asked what time it is for the code.
			clock := p.Login.Clock
			p.Login.Clock = func() time.Time {
				if portal.UnitsUsed(t, p, "ada", "code") > n {
					hangUp()
				}
				return clock()
			}
			before := portal.EventCounts(t, p)["code_failed:refused"]
			p.Login.SubmitCode(ctx, pending.Cookie(portal.AttemptCookie), portal.WrongCode(phone), "", "", login.Browser{})
			p.Login.Clock = clock
			hangUp()
			if after := portal.EventCounts(t, p)["code_failed:refused"]; after != before+1 {
				t.Errorf("%d events of a wrong code, want one", after-before)
			}
		}
		got := portal.EventCounts(t, p)
		if got["code_failed:refused"] != 5 || got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events %v", got)
		}
	})
}

// TestManyWrongCodesAtOnceAreOneNotice: of those that were compared at once no one need
// be the third.
func TestManyWrongCodesAtOnceAreOneNotice(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		tabs := make([]*portal.Browser, 12)
		for i := range tabs {
			tabs[i] = portal.PendingSignIn(t, p, "ada")
		}
		wrong := portal.WrongCode(phone)
		testkit.Race(len(tabs), func(i int) string { return portal.TryCode(tabs[i], "/login/code", "code", wrong) })
		if got := portal.EventCounts(t, p); got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events %v, want one notice and one suspicion", got)
		}
	})
}

// TestTheOwnerIsToldOfAThiefWithPasswordAndCookie, and an owner's own slips in a known
// browser, which end in a sign-in, are no sign of a thief.
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
			portal.CheckSignedIn(t, owner, "the owner, after two slips", true)
		}
		if strings.Contains(portal.VisibleText(owner.Get("/settings/profile").Body), banner) || portal.EventCounts(t, p)["wrong_codes_noticed:done"] != 0 {
			t.Error("the owner's own slips are a notice")
		}
		p.Clock.Move(24 * time.Hour)
		owner.SignIn("ada")
		owner.Post("/login/code", "code", phone.Code(0))
		thief := knownBrowser(t, p, owner)
		thief.SignIn("ada")
		for n := 1; n <= 5; n++ {
			portal.TryCode(thief, "/login/code", "code", portal.WrongCode(phone))
			if told := strings.Contains(portal.VisibleText(owner.Get("/settings/profile").Body), banner); told != (n >= 3) {
				t.Errorf("after %d wrong codes of the thief: told %v", n, told)
			}
		}
		if got := portal.EventCounts(t, p); got["wrong_codes_noticed:done"] != 1 || got["password_suspected:done"] != 1 {
			t.Errorf("events %v", got)
		}
	})
}

// TestNoAccountFillsTheDisk tries every route that an account holder may use again and
// again: each leaves a bounded number of events.
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
			most int // events
			do   func(n int) portal.Answer
		}{
			"the same display name": {0, func(int) portal.Answer { return b.Post("/settings/profile", "display_name", "") }},
			"the same name of a phone": {0, func(int) portal.Answer {
				return b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", "Phone")
			}},
			"sign out others, who are none": {1, func(int) portal.Answer { return b.Post("/settings/sessions/revoke-others") }},
			"other display names":           {60, func(n int) portal.Answer { return b.Post("/settings/profile", "display_name", fmt.Sprint("Ada ", n)) }},
			"other names of a phone": {60, func(n int) portal.Answer {
				return b.Post("/settings/security/authenticators/"+phone.ID+"/rename", "name", fmt.Sprint("Phone ", n))
			}},
			"links that make browsers known": {60, func(int) portal.Answer { return b.Post("/settings/sessions/let-in") }},
			"a used code":                    {24, func(int) portal.Answer { return pending.Post("/login/code", "code", seen) }},
			"wizards begun and cancelled": {0, func(int) portal.Answer {
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
				t.Errorf("%s: %s", what, portal.Summary(last))
			}
		}
		if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill"); a.Location != "/settings/security?notice=password_changed" {
			t.Errorf("the password can't be changed any more: %s", portal.Summary(a))
		}
		if a := b.Post("/settings/devices/forget-all"); a.Location != "/settings/sessions?notice=forgotten" {
			t.Errorf("browsers can't be forgotten any more: %s", portal.Summary(a))
		}
		before := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`)
		for range 3 {
			b.Post("/settings/devices/forget-all")
		}
		if got := portal.CountRows(t, p, `SELECT COUNT(*) FROM events`) - before; got != 0 {
			t.Errorf("nothing to forget: %d events", got)
		}
		if page := portal.VisibleText(b.Get("/settings/activity?before=9999999999999.x").Body); !strings.Contains(page, "times within an hour") {
			for a := b.Last; ; {
				next := strings.Index(a.Body, "/settings/activity?before=")
				if next < 0 {
					t.Error("no event says for how many it stands")
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
