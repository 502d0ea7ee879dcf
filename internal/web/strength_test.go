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
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Passwords that a portal with the default settings accepts.
const (
	weakPassword = "password monkey 4"
	fairPassword = "seven lamps by the door"
)

var weakSentence = regexp.MustCompile(`That password is weak, though\. [^.]+\. [^.<]+\.`)

// passwordForm is a form that sets a password.
type passwordForm struct {
	account string // name of the account
	open    func(t *testing.T, p *portal.Portal) (b *portal.Browser, send func(typed string) portal.Answer)
}

var passwordForms = map[string]passwordForm{
	"first account": {"first", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		token, ok, err := p.Manage.Links.IssueSetup(context.Background(), manage.CommandLine())
		if err != nil || !ok {
			t.Fatalf("the portal has no link for the first account (error %v)", err)
		}
		b := p.Browser(t)
		return b, func(typed string) portal.Answer {
			return b.Post("/setup", "ticket", token.Reveal(), "username", "first", "email", "", "new_password", typed)
		}
	}},
	"invitation": {"grace", func(t *testing.T, p *portal.Portal) (*portal.Browser, func(string) portal.Answer) {
		token, _, err := p.Manage.Accounts.Invite(context.Background(), manage.CommandLine(), account.Account{Name: "grace"})
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

// forEachPasswordForm runs a test on a new portal for each form and database engine.
func forEachPasswordForm(t *testing.T, test func(t *testing.T, p *portal.Portal, f passwordForm)) {
	t.Parallel()
	for _, engine := range testkit.Engines {
		for name, f := range passwordForms {
			t.Run(engine+", "+name, func(t *testing.T) {
				t.Parallel()
				test(t, portal.Start(t, engine), f)
			})
		}
	}
}

func TestWeakPasswordIsAcceptedAndTheNextPageWarnsOnce(t *testing.T) {
	forEachPasswordForm(t, func(t *testing.T, p *portal.Portal, f passwordForm) {
		b, send := f.open(t, p)
		answer := send(weakPassword)
		if answer.Status != http.StatusSeeOther {
			t.Fatalf("weak password: status %d, want 303", answer.Status)
		}
		page := b.Get(answer.Location)
		if page.Status != http.StatusOK || !weakSentence.MatchString(page.Body) {
			t.Errorf("%s: status %d, want a page that says that the password is weak", answer.Location, page.Status)
		}
		page = b.Get(answer.Location)
		if !strings.Contains(page.Body, `role="status"`) || weakSentence.MatchString(page.Body) {
			t.Error("loaded again, the page repeats the warning, or lacks its notice")
		}
		for _, word := range []string{"weak", "common"} {
			if strings.Contains(answer.Location, word) || strings.Contains(p.Logs.String(), word) {
				t.Errorf("the address or the log contains %q", word)
			}
		}
	})
}

func TestFairPasswordIsAcceptedWithoutAWarning(t *testing.T) {
	forEachPasswordForm(t, func(t *testing.T, p *portal.Portal, f passwordForm) {
		b, send := f.open(t, p)
		answer := send(fairPassword)
		if answer.Status != http.StatusSeeOther || b.Cookie("sallyport-weak") != "" {
			t.Fatalf("fair password: status %d, cookie for a weak password %q; want 303 and no cookie", answer.Status, b.Cookie("sallyport-weak"))
		}
		if page := b.Get(answer.Location); !strings.Contains(page.Body, `class="box ok" role="status"`) || weakSentence.MatchString(page.Body) {
			t.Errorf("%s: the page lacks its notice, or warns of a weak password", answer.Location)
		}
	})
}

func TestWeakCookieLastsAMinuteAndSelectsOnlyKnownSentences(t *testing.T) {
	for _, engine := range testkit.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			p := portal.Start(t, engine)
			_, send := passwordForms["change"].open(t, p)
			var found *http.Cookie
			for _, line := range send(weakPassword).Header.Values("Set-Cookie") {
				if c, err := http.ParseSetCookie(line); err == nil && c.Name == "sallyport-weak" {
					found = c
				}
			}
			if found == nil || found.MaxAge != int(time.Minute.Seconds()) || !found.HttpOnly || found.SameSite != http.SameSiteLaxMode {
				t.Fatalf("cookie %+v, want HttpOnly, SameSite=Lax and a lifetime of a minute", found)
			}
			for _, planted := range []string{"", "strong", "<b>", "weak", "common.", strings.Repeat("x", 4000)} {
				b := p.Browser(t)
				b.SetCookie("sallyport-weak", planted)
				if a := b.Get("/login?notice=account_created"); a.Status != http.StatusOK || weakSentence.MatchString(a.Body) || !strings.Contains(a.Body, "Your account is ready.") {
					t.Errorf("cookie %.20q: status %d, warning %q; want 200 with the usual notice", planted, a.Status, weakSentence.FindString(a.Body))
				}
			}
		})
	}
}

// TestAttack129And130EveryFormSaysTheSame checks that all forms that set a password refuse the same
// passwords with the same messages.
func TestAttack129And130EveryFormSaysTheSame(t *testing.T) {
	const (
		short   = "That password is too short. Use at least 15 characters."
		long    = "That password is too long. Use at most 256 characters."
		invalid = "That password contains characters that can’t be typed on every keyboard. Use letters, digits, spaces and punctuation."
		easy    = "That password is easy to guess. "
	)
	forEachPasswordForm(t, func(t *testing.T, p *portal.Portal, f passwordForm) {
		b, send := f.open(t, p)
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
			f.account + " at sallyport 1":         easy + "Attackers try your name and the site’s name first. Add other words.",
			"qwertyuiop asdfghjkl":                easy + "Attackers try sequences like 12345 or qwerty early. Add a word or two.",
			"password password password":          easy + "Repeating it adds little. Add other words.",
			"pa$$w0rd-pa$$w0rd-pa$$w0rd-pa$$w0rd": easy,
		} {
			a := send(typed)
			if a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, want) {
				t.Errorf("password %.30q: status %d, want 422 with %q", typed, a.Status, want)
			}
			if got := strings.Count(a.Body, `role="alert"`); got != 1 {
				t.Errorf("password %.30q: the page has %d error messages, want 1", typed, got)
			}
			if b.Cookie("sallyport-weak") != "" {
				t.Errorf("password %.30q: it is refused, but the next page would warn that it is weak", typed)
			}
		}
		if a := send(strings.Repeat("x", 1_000_000)); a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("a password of a million characters: status %d, want 413", a.Status)
		}
		// The longest password counts to its last character.
		longest := strings.Repeat("seven lamps by the door ", 11)[:password.MaxRunes-1] + "X"
		if a := send(longest); a.Status != http.StatusSeeOther {
			t.Fatalf("a password of %d characters: status %d, want 303", password.MaxRunes, a.Status)
		}
		for typed, want := range map[string]int{longest[:password.MaxRunes-1]: 422, longest[:password.MaxRunes-1] + "Y": 422, longest: 303} {
			if a := p.Browser(t).Post("/login", "username", f.account, "password", typed); a.Status != want {
				t.Errorf("sign-in with the password that ends in %q: status %d, want %d", typed[len(typed)-3:], a.Status, want)
			}
		}
	})
}
