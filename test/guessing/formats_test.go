package guessing

// Authenticators whose codes have another length, algorithm or period than those that the wizard
// makes. Their rows come from other servers.

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

var (
	eightDigits = totp.Parameters{Algorithm: totp.SHA256, Digits: 8, Period: time.Minute}
	sevenDigits = totp.Parameters{Algorithm: totp.SHA512, Digits: 7, Period: 30 * time.Second}
)

// typeCode submits a code and fails the test unless the page has this text.
func typeCode(t *testing.T, b *portal.Browser, code, text string) {
	t.Helper()
	if a := b.Post("/login/code", "code", code); a.Status != http.StatusUnprocessableEntity || !strings.Contains(portal.VisibleText(a.Body), text) {
		t.Errorf("the code %s: %s, want 422 and %q", code, portal.Summary(a), text)
	}
}

// TestAttack37CodesOfSeveralLengths signs in with authenticators of both kinds, and checks that a
// wrong code is compared only with authenticators that have codes of its length, and costs a unit
// for each of them.
func TestAttack37CodesOfSeveralLengths(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		token := b.Enroll("Token")
		portal.SetParameters(t, p, token, eightDigits)
		p.Clock.Move(5 * time.Minute)
		one := portal.PendingSignIn(t, p, "ada")
		if page := portal.VisibleText(one.Get("/login/code").Body); !strings.Contains(page, "Enter the code") || strings.Contains(page, "-digit") {
			t.Errorf("with codes of 6 and 8 digits: want a page that asks for the code and names no length, got\n%s", page)
		}
		if page := portal.VisibleText(one.Get("/login/code?two=1").Body); !strings.Contains(page, "up to 60 seconds") {
			t.Errorf("with a period of 60 s: want a page for two codes that says \"up to 60 seconds\", got\n%s", page)
		}
		// Inputs of a length that no code of the account has are neither compared nor counted.
		for _, code := range []string{"1234567", "000000000", "12345", phone.Code(0) + "0"} {
			typeCode(t, one, code, "A code has 6 to 8 digits.")
		}
		for _, pair := range [][2]string{{phone.Code(0), token.Code(time.Minute)}, {token.Code(0), phone.Code(30 * time.Second)}, {"1234567", "1234567"}} {
			a := one.Post("/login/code", "code", pair[0], "next_code", pair[1])
			if a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, "A code has 6 to 8 digits.") {
				t.Errorf("the pair %v: %s, want 422 and the number of digits", pair, portal.Summary(a))
			}
		}
		if n := portal.UnitsUsed(t, p, "ada", "code") + portal.UnitsUsed(t, p, "ada", "two-codes"); n != 0 {
			t.Errorf("malformed codes cost %d units, want 0", n)
		}
		for i, of := range []*portal.Phone{phone, token} {
			one.Post("/login/code", "code", of.Code(0))
			portal.CheckSignedIn(t, one, "code of an authenticator of two", true)
			again := portal.PendingSignIn(t, p, "ada")
			again.Post("/login/code", "code", of.Code(0))
			portal.CheckSignedIn(t, again, "the same code a second time", false)
			wrong := portal.WrongCode(of, phone, token)
			typeCode(t, again, wrong, "didn’t match")
			if n := portal.UnitsUsed(t, p, "ada", "code"); n != i+1 {
				t.Errorf("after %d wrong codes, of %d digits: %d units used, want %d", i+1, of.Digits, n, i+1)
			}
			one = portal.PendingSignIn(t, p, "ada")
		}
		// The two codes of a pair are one period of their authenticator apart.
		p.Clock.Move(5 * time.Minute)
		one.Post("/login/code", "code", token.Code(0), "next_code", token.Code(30*time.Second))
		portal.CheckSignedIn(t, one, "the same code twice", false)
		one.Post("/login/code", "code", token.Code(4*time.Minute), "next_code", token.Code(5*time.Minute))
		portal.CheckSignedIn(t, one, "two codes in a row of a fast token", true)
		p.Clock.Move(5 * time.Minute)
		one = portal.PendingSignIn(t, p, "ada")
		one.Post("/login/code", "code", token.Code(5*time.Minute))
		portal.CheckSignedIn(t, one, "one code with the learned drift", true)
	})
}

func TestPagesSayHowLongACodeIs(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		portal.SetParameters(t, p, phone, eightDigits)
		p.Clock.Move(5 * time.Minute)
		one := portal.PendingSignIn(t, p, "ada")
		if page := portal.VisibleText(one.Get("/login/code").Body); !strings.Contains(page, "Enter the 8-digit code") {
			t.Errorf("with codes of 8 digits: want a page that asks for the 8-digit code, got\n%s", page)
		}
		typeCode(t, one, "123456", "A code has 8 digits.")
		a := one.Post("/login/code", "code", portal.WrongCode(phone), "next_code", portal.WrongCode(phone))
		if !strings.Contains(a.Body, "wait up to 60 seconds") {
			t.Errorf("a wrong pair: %s, want a page that says how long to wait", portal.Summary(a))
		}
		if page := portal.VisibleText(b.Get("/reauthenticate").Body); !strings.Contains(page, "8-digit code") {
			t.Errorf("with codes of 8 digits: want a form for a fresh proof that asks for an 8-digit code, got\n%s", page)
		}
		b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0), "return", "/")
		portal.CheckSignedIn(t, b, "a fresh proof with 8 digits", true)
		// The wizard still makes codes of six digits.
		wizard := b.BeginEnroll()
		if !strings.Contains(b.Last.Body, "algorithm=SHA1&amp;digits=6&amp;period=30") {
			t.Error("the wizard's key URI doesn't say SHA1, 6 digits and 30 s")
		}
		confirm := "/settings/security/authenticators/" + wizard.ID + "/confirm"
		if a := b.Post(confirm, "code", wizard.Code(0)+"00", "name", "Phone"); a.Status != http.StatusUnprocessableEntity || !strings.Contains(a.Body, "A code has 6 digits.") {
			t.Errorf("8 digits in the wizard: %s, want 422", portal.Summary(a))
		}
		if a := b.Post(confirm, "code", wizard.Code(0), "name", "Phone"); a.Location != "/settings/security?notice=added" {
			t.Errorf("6 digits in the wizard: %s, want the notice added", portal.Summary(a))
		}
	})
}

// TestAttack32StrangersLearnNoLength checks that a client without a right password gets the same
// answer for codes of every length.
func TestAttack32StrangersLearnNoLength(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.SetParameters(t, p, phone, sevenDigits)
		for _, attempt := range []string{"", "invented"} {
			type answer struct {
				status         int
				location, body string
			}
			answers := map[answer]bool{}
			for _, code := range []string{"123456", "1234567", "12345678", phone.Code(0), "12345", "x"} {
				b := p.Browser(t)
				b.SetCookie(portal.AttemptCookie, attempt)
				a := b.Post("/login/code", "code", code)
				answers[answer{a.Status, a.Location, a.Body}] = true
			}
			if len(answers) != 1 {
				t.Errorf("attempt %q: %d different answers to codes of several lengths: %v; want one", attempt, len(answers), answers)
			}
		}
	})
}

// TestUnsupportedAuthenticatorAdmitsNobody checks that no code is accepted for a row with
// parameters that the program doesn't know. The page and the backup codes still work.
func TestUnsupportedAuthenticatorAdmitsNobody(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		portal.ChangeRows(t, p, `UPDATE totp SET algorithm = 'MD5' WHERE authenticator_id = $1`, phone.ID)
		b := portal.PendingSignIn(t, p, "ada")
		if a := b.Get("/login/code"); a.Status != http.StatusOK {
			t.Errorf("the form for a code: %s, want 200", portal.Summary(a))
		}
		for _, code := range []string{phone.Code(0), "000000", "00000000"} {
			if a := b.Post("/login/code", "code", code); a.Status != http.StatusInternalServerError {
				t.Errorf("the code %s: %s, want 500", code, portal.Summary(a))
			}
			portal.CheckSignedIn(t, b, "code of an unsupported authenticator", false)
		}
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, "backup code", true)
	})
}

// TestUnsupportedAuthenticatorBesideAnother checks that no code of an account is compared while one
// of its authenticators has a row that can't be read. Backup codes still work.
func TestUnsupportedAuthenticatorBesideAnother(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := portal.WithTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		portal.ChangeRows(t, p, `UPDATE totp SET period = 45 WHERE authenticator_id = $1`, first.ID)
		other := portal.PendingSignIn(t, p, "ada")
		if a := other.Post("/login/code", "code", second.Code(0)); a.Status != http.StatusInternalServerError {
			t.Errorf("a right code of the undamaged authenticator: %s, want 500", portal.Summary(a))
		}
		portal.CheckSignedIn(t, other, "code beside a damaged row", false)
		other.Post("/login/backup-code", "backup_code", first.Codes[0])
		portal.CheckSignedIn(t, other, "backup code", true)
	})
}

// TestOffsetOfPhonesIsATime checks that the server estimates its clock's offset from the phones' offsets
// in seconds, not in time steps.
func TestOffsetOfPhonesIsATime(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite")
	for _, name := range []string{"ada", "bob", "eve"} {
		_, phone := portal.WithTwoFactor(t, p, name)
		portal.SetParameters(t, p, phone, eightDigits)
		b := portal.PendingSignIn(t, p, name)
		b.Post("/login/code", "code", phone.Code(time.Minute))
		portal.CheckSignedIn(t, b, "code of a phone that is a step ahead", true)
	}
	if got := p.Login.Watch.Offset(); got != time.Minute {
		t.Errorf("after codes of three phones that are a step of 60 s ahead, the server's offset is %v, want 1m", got)
	}
}
