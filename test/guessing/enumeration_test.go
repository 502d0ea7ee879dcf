package guessing

// The tests in this file check that answers don't reveal which accounts exist, and which
// passwords are accepted.

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestAttack127Enumeration checks that no answer reveals whether an account exists, whether
// it is disabled, or which authenticators it has.
func TestAttack127Enumeration(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		portal.WithTwoFactor(t, p, "ada1") // two-factor authentication
		p.AddAccount(t, "ada2")            // a password only
		p.AddAccount(t, "ada3")            // disabled
		testkit.Check(t, p.Manage.Accounts.Disable(ctx, manage.CommandLine(), portal.MustAccount(t, p, "ada3")))
		_, _, err := p.Manage.Accounts.Invite(ctx, manage.CommandLine(), account.Account{Name: "ada4"}) // no password
		testkit.Check(t, err)
		testkit.Check(t, p.Manage.Accounts.SetEmail(ctx, manage.CommandLine(), portal.MustAccount(t, p, "ada2"), "ada2@example.test"))

		type answer struct {
			status int
			header string
			body   string
		}
		ask := func(typed, password string) answer {
			a := p.Browser(t).Post("/login", "username", typed, "password", password, "return", "/settings/profile")
			var header []string
			for name, values := range a.Header {
				if name != "Date" {
					header = append(header, name+": "+strings.Join(values, ", "))
				}
			}
			slices.Sort(header)
			return answer{a.Status, strings.Join(header, "\n"), strings.ReplaceAll(a.Body, typed, "NAME")}
		}
		same := func(round string, want int, names map[string]string, password string) {
			t.Helper()
			first := answer{}
			for what, name := range names {
				got := ask(name, password)
				if first == (answer{}) {
					first = got
				}
				if got != first || got.status != want {
					t.Errorf("%s, account %q: status %d, want %d and the same answer as for the other accounts; header:\n%s", round, what, got.status, want, got.header)
				}
			}
		}
		names := map[string]string{"two-factor": "ada1", "password only": "ada2", "disabled": "ada3", "invited": "ada4", "unknown": "ada9", "upper case": "ADA8", "not usable": "a\u202e"}
		emails := map[string]string{"known e-mail": "ada2@example.test", "unknown e-mail": "ada9@example.test"}
		for round := range 5 {
			if round == 0 || round == 2 {
				same("wrong password", http.StatusUnprocessableEntity, names, "not the password at all")
			} else {
				same("wrong password", http.StatusUnprocessableEntity, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, "not the password at all")
			}
		}
		same("budget spent", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, "not the password at all")
		same("budget spent, right password", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9"}, portal.Password)
		p.Clock.Move(time.Second)
		same("budget spent, a second later", http.StatusTooManyRequests, map[string]string{"two-factor": "ada1", "disabled": "ada3", "unknown": "ada9"}, "not the password at all")
		p.Clock.Move(time.Hour)
		same("e-mail", http.StatusUnprocessableEntity, emails, "not the password at all")
		same("right password where it opens nothing", http.StatusUnprocessableEntity, map[string]string{"disabled": "ada3", "unknown": "ada9", "invited": "ada4"}, portal.Password)
		same("no password", http.StatusUnprocessableEntity, names, "")
		// The comparison can notice a difference, here between a right and a wrong password.
		if ask("ada2", portal.Password) == ask("ada9", portal.Password) {
			t.Error("a right and a wrong password get the same answer")
		}
		p.Clock.Move(10 * time.Second)
		opened := p.Browser(t)
		if a := opened.Post("/login", "username", " ADA2@EXAMPLE.TEST ", "password", portal.Password); a.Status != http.StatusSeeOther {
			t.Errorf("right password after another client spent the budget: %s, want 303", portal.Summary(a))
		}
	})
}

func TestAttack129Passwords(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		ctx := context.Background()
		n := 0
		name := func() string { n++; return "user" + string(rune('a'+n%26)) + string(rune('a'+n/26)) }
		opensWith := func(account, typed string) bool {
			b := p.Browser(t)
			a := b.Post("/login", "username", account, "password", typed)
			if a.Status >= 500 {
				t.Errorf("sign-in with a password of %d bytes: %s, want no 5xx", len(typed), portal.Summary(a))
			}
			return a.Status == http.StatusSeeOther && b.SignedIn()
		}
		long := strings.Repeat("horse battery ", 6)[:72]
		for what, one := range map[string]struct {
			password     string
			same, others []string
		}{
			"more than 72 bytes":  {long + "tail", nil, []string{long, long + "liat", long + "tai", long + "tails"}},
			"256 letters":         {strings.Repeat("horsebat", 32), nil, []string{strings.Repeat("horsebat", 32)[:255], strings.Repeat("horsebat", 32) + "h"}},
			"256 wide letters":    {strings.Repeat("語言文字密碼鑰匙", 32), nil, []string{strings.Repeat("語言文字密碼鑰匙", 31), strings.Repeat("語言文字密碼鑰匙", 32) + "語"}},
			"64 emoji":            {strings.Repeat("🙂🙃😀😁😂🤣😃😄", 8), nil, []string{strings.Repeat("🙂🙃😀😁😂🤣😃😄", 7), strings.Repeat("🙃🙂😀😁😂🤣😃😄", 8)}},
			"spaces around":       {"  spaces around it  ", nil, []string{"spaces around it", "  spaces around it", "spaces around it  "}},
			"case":                {"Correct Horse Battery", nil, []string{"correct horse battery", "CORRECT HORSE BATTERY"}},
			"NFC":                 {norm.NFC.String("éàü correct horse"), []string{norm.NFD.String("éàü correct horse")}, []string{"eau correct horse"}},
			"NFD":                 {norm.NFD.String("éàü correct horse"), []string{norm.NFC.String("éàü correct horse")}, nil},
			"space of a keyboard": {"correct\u00a0horse\u3000battery", []string{"correct horse battery"}, []string{"correcthorsebattery"}},
			"signs":               {`"'<>&%\;--{{7*7}}$(x)`, nil, []string{`&#34;'<>&%\;--{{7*7}}$(x)`}},
			"wide digits":         {"１３５７９２４６８０２５８１４", nil, []string{"135792468025814"}},
		} {
			owner := name()
			if _, err := p.Manage.Accounts.Add(ctx, manage.CommandLine(), account.Account{Name: owner}, one.password); err != nil {
				t.Errorf("add an account with the password %q: %v", what, err)
				continue
			}
			for _, typed := range append([]string{one.password}, one.same...) {
				if !opensWith(owner, typed) {
					t.Errorf("password %q: %.20q is refused, want a session", what, typed)
				}
			}
			for _, typed := range append(one.others, one.password+"\x00", one.password+"\x00x", "\x00"+one.password, one.password+"\n") {
				if opensWith(owner, typed) {
					t.Errorf("password %q: %.20q is accepted, want a refusal", what, typed)
				}
				p.Clock.Move(5 * time.Minute)
			}
		}
		for typed, want := range map[string]error{
			"": password.ErrShort, "fourteen chars": password.ErrShort, strings.Repeat("🙂", 14): password.ErrShort, strings.Repeat("a", 257): password.ErrLong, strings.Repeat("a", 1000000): password.ErrLong,
			"a password with \x00 in it": password.ErrInvalid, "a password with \n in it": password.ErrInvalid, "a password with \xff in it": password.ErrInvalid,
		} {
			if _, err := p.Manage.Accounts.Add(ctx, manage.CommandLine(), account.Account{Name: name()}, typed); !errors.Is(err, want) {
				t.Errorf("add an account with the password %.20q: got %v, want %v", typed, err, want)
			}
		}
		// The form for a new password refuses the same passwords.
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		for typed, want := range map[string]int{
			"": 422, "fourteen chars": 422, strings.Repeat("a", 257): 422, strings.Repeat("a", 60000): 422, strings.Repeat("a", 1000000): 413,
			"a password with \x00 in it": 422, "a password with \n in it": 422, "a password with \xff in it": 422, portal.Password: 422,
		} {
			if a := b.Post("/settings/security/password", "password", portal.Password, "new_password", typed); a.Status != want {
				t.Errorf("change the password to %.20q: %s, want %d", typed, portal.Summary(a), want)
			}
			if a := p.Browser(t).Post("/login", "username", "ada", "password", typed); typed != portal.Password && a.Status != want {
				t.Errorf("sign-in with %.20q: %s, want %d", typed, portal.Summary(a), want)
			}
			p.Clock.Move(time.Minute)
		}
		if !opensWith("ada", portal.Password) {
			t.Error("a refused new password was stored")
		}
	})
}
