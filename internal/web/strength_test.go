package web_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Each is taken, weak or not, on a portal with the usual settings.
const (
	weakPassword = "password monkey 4"
	fairPassword = "seven lamps by the door"
)

var weakSentence = regexp.MustCompile(`That password is weak, though\. [^.]+\. [^.<]+\.`)

// door is a form that sets a password.
type door struct {
	account string // its name
	open    func(t *testing.T, p *portal.Portal) (b *portal.Browser, send func(typed string) portal.Answer)
}

var doors = map[string]door{
	"first account": {"first", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		token, ok, err := p.Login.SetupTicket(context.Background())
		if err != nil || !ok {
			t.Fatalf("no link for the first account: %v", err)
		}
		b := p.Browser(t)
		return b, func(typed string) portal.Answer {
			return b.Post("/setup", "ticket", token.Reveal(), "username", "first", "email", "", "new_password", typed)
		}
	}},
	"invitation": {"grace", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		token, _, err := p.Login.Invite(context.Background(), account.Account{Name: "grace"})
		if err != nil {
			t.Fatal(err)
		}
		b := p.Browser(t)
		return b, func(typed string) portal.Answer {
			return b.Post("/setup", "ticket", token.Reveal(), "new_password", typed)
		}
	}},
	"change": {"ada", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		return b, func(typed string) portal.Answer {
			return b.Post("/settings/security/password", "password", portal.Password, "new_password", typed)
		}
	}},
	"suspect": {"eve", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		eve := p.AddAccount(t, "eve")
		b := p.Browser(t)
		b.SignIn("eve")
		phone := b.Enroll("Phone")
		err := p.DB.Write(context.Background(), func(tx *db.Tx) error {
			_, err := password.MarkSuspect(context.Background(), tx, eve.ID, p.Clock.Now())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b.SignIn("eve")
		b.Post("/login/code", "code", phone.Code(0))
		return b, func(typed string) portal.Answer { return b.Post("/login/new-password", "new_password", typed) }
	}},
}

// atEveryDoor runs a test on a fresh portal for each door and engine.
func atEveryDoor(t *testing.T, test func(t *testing.T, p *portal.Portal, d door)) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		for name, d := range doors {
			t.Run(engine+", "+name, func(t *testing.T) {
				t.Parallel()
				test(t, portal.Start(t, engine), d)
			})
		}
	}
}

func TestWeakPasswordIsTakenAndTheNextPageSaysSoOnce(t *testing.T) {
	atEveryDoor(t, func(t *testing.T, p *portal.Portal, d door) {
		b, send := d.open(t, p)
		answer := send(weakPassword)
		if answer.Status != http.StatusSeeOther {
			t.Fatalf("%d, want it taken", answer.Status)
		}
		page := b.Get(answer.Location)
		if page.Status != http.StatusOK || !weakSentence.MatchString(page.Body) {
			t.Errorf("%s: %d, want a page that says it's weak", answer.Location, page.Status)
		}
		page = b.Get(answer.Location)
		if !strings.Contains(page.Body, `role="status"`) || weakSentence.MatchString(page.Body) {
			t.Error("asked for again, the page says it again, or nothing at all")
		}
		for _, word := range []string{"weak", "common"} {
			if strings.Contains(answer.Location, word) || strings.Contains(p.Logs.String(), word) {
				t.Errorf("%q stands in the address or in the log", word)
			}
		}
	})
}

func TestFairPasswordIsTakenWithoutAWord(t *testing.T) {
	atEveryDoor(t, func(t *testing.T, p *portal.Portal, d door) {
		b, send := d.open(t, p)
		answer := send(fairPassword)
		if answer.Status != http.StatusSeeOther || b.Cookie("sallyport-weak") != "" {
			t.Fatalf("%d, want it taken as it is", answer.Status)
		}
		if page := b.Get(answer.Location); !strings.Contains(page.Body, `class="box ok" role="status"`) || weakSentence.MatchString(page.Body) {
			t.Errorf("%s: want a page that says that it's done, and no more", answer.Location)
		}
	})
}

func TestWeaknessIsForgottenAfterAMinuteAndSaysOnlyOurSentences(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			_, send := doors["change"].open(t, p)
			var found *http.Cookie
			for _, line := range send(weakPassword).Header.Values("Set-Cookie") {
				if c, err := http.ParseSetCookie(line); err == nil && c.Name == "sallyport-weak" {
					found = c
				}
			}
			if found == nil || found.MaxAge != int(time.Minute.Seconds()) || !found.HttpOnly || found.SameSite != http.SameSiteLaxMode {
				t.Fatalf("cookie %+v, want one for a minute that no script reads", found)
			}
			for _, planted := range []string{"", "strong", "<b>", "weak", "common.", strings.Repeat("x", 4000)} {
				b := p.Browser(t)
				b.SetCookie("sallyport-weak", planted)
				if a := b.Get("/login?notice=account_created"); a.Status != http.StatusOK || weakSentence.MatchString(a.Body) || !strings.Contains(a.Body, "Your account is ready.") {
					t.Errorf("cookie %.20q: %d %s", planted, a.Status, weakSentence.FindString(a.Body))
				}
			}
		})
	}
}

// ATTACKS 129 and 130.
func TestAttack129And130EveryFormSaysTheSame(t *testing.T) {
	const (
		short   = "That password is too short. Use at least 15 characters."
		long    = "That password is too long. Use at most 256 characters."
		invalid = "That password contains characters that can’t be typed on every keyboard. Use letters, digits, spaces and punctuation."
		easy    = "That password is easy to guess. "
	)
	atEveryDoor(t, func(t *testing.T, p *portal.Portal, d door) {
		b, send := d.open(t, p)
		for typed, want := range map[string]string{
			"":                                    short,
			"fourteen chars":                      short,
			strings.Repeat("🙂", 14):               short,
			strings.Repeat("horse", 52):           long,
			strings.Repeat("x", 60_000):           long,
			"a password with \x00 in it":          invalid,
			"a password with \xff in it":          invalid,
			"a password with \x1b in it":          invalid,
			"passwordpassword":                    easy + "Much of it is on lists of common passwords. Add another word or two.",
			"Sallyport2026Sallyport":              easy + "Attackers try your name and the site’s name first. Add other words.",
			d.account + " at sallyport 1":         easy + "Attackers try your name and the site’s name first. Add other words.",
			"qwertyuiop asdfghjkl":                easy + "Attackers try sequences like 12345 or qwerty early. Add a word or two.",
			"password password password":          easy + "Repeating it adds little. Add other words.",
			"pa$$w0rd-pa$$w0rd-pa$$w0rd-pa$$w0rd": easy,
		} {
			a := send(typed)
			if a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, want) {
				t.Errorf("%.30q: %d, want 422 with %q", typed, a.Status, want)
			}
			if got := strings.Count(a.Body, `role="alert"`); got != 1 {
				t.Errorf("%.30q: said %d times", typed, got)
			}
			if b.Cookie("sallyport-weak") != "" {
				t.Errorf("%.30q: a refused password is called weak later", typed)
			}
		}
		if a := send(strings.Repeat("x", 1_000_000)); a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("a million characters: %d, want 413", a.Status)
		}
		// The longest there is, to its last character.
		longest := strings.Repeat("seven lamps by the door ", 11)[:password.MaxRunes-1] + "X"
		if a := send(longest); a.Status != http.StatusSeeOther {
			t.Fatalf("%d characters: %d, want them taken", password.MaxRunes, a.Status)
		}
		for typed, want := range map[string]int{longest[:password.MaxRunes-1]: 422, longest[:password.MaxRunes-1] + "Y": 422, longest: 303} {
			if a := p.Browser(t).Post("/login", "username", d.account, "password", typed); a.Status != want {
				t.Errorf("sign-in with …%q: %d, want %d", typed[len(typed)-3:], a.Status, want)
			}
		}
	})
}
