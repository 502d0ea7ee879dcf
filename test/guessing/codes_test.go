package guessing

// Which input counts as a code, which account and authenticator a code belongs to, and the
// budget of wrong codes.

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack32OnlyDigits(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		b := portal.PendingSignIn(t, p, "ada")
		code := phone.Code(0)
		fullWidth := strings.Map(func(r rune) rune { return r - '0' + '０' }, code)
		arabic := strings.Map(func(r rune) rune { return r - '0' + '٠' }, code)
		for _, typed := range []string{
			code + "\n", "\n" + code, code + "\r\n", "\t" + code, code[:3] + "\t" + code[3:], code[:3] + "," + code[3:], code[:3] + "\u200b" + code[3:],
			"+" + code, "0" + code, code + "0", code + code, code[:5], code[1:], "1e5", "0x1234", code + ".0", code + ";", "'" + code + "'",
			code + "\x00", "\x00" + code, code[:3] + "\x00" + code[3:], fullWidth, arabic, "\u200b" + code, code + "\ufeff", "[" + code + "]", `"` + code + `"`,
			"", " ", "null", "true", "NaN", "\xff\xfe" + code, strings.Repeat("0", 60000) + code,
		} {
			b.Post("/login/code", "code", typed)
			portal.CheckSignedIn(t, b, "code typed as "+strings.ToValidUTF8(typed[:min(len(typed), 20)], "?"), false)
		}
		form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}}
		with := func(contentType string) http.Header {
			h := form.Clone()
			h.Set("Content-Type", contentType)
			return h
		}
		for _, one := range []struct {
			what, path, body string
			header           http.Header
			want             []int
		}{
			{"repeated field, right one last", "", "code=" + portal.WrongCode(phone) + "&code=" + code, form, []int{400}},
			{"repeated field, right one first", "", "code=" + code + "&code=" + portal.WrongCode(phone), form, []int{400}},
			{"array", "", "code[]=" + code, form, []int{422}},
			{"in the query", "?code=" + code, "", form, []int{422}},
			{"in the query beside the form", "?code=" + code, "code=", form, []int{422}},
			{"JSON", "", `{"code":"` + code + `"}`, with("application/json"), []int{422}},
			{"JSON number", "", `{"code":` + code + `}`, with("application/json"), []int{422}},
			{"text/plain", "", "code=" + code, with("text/plain"), []int{422}},
			{"no type", "", "code=" + code, http.Header{"Sec-Fetch-Site": {"same-origin"}}, []int{422}},
			{"multipart", "", "--x\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n" + code + "\r\n--x--\r\n", with("multipart/form-data; boundary=x"), []int{400, 422}},
			{"broken escape", "", "code=" + code + "&x=%zz", form, []int{400}},
			{"a megabyte", "", "code=" + strings.Repeat("1", 1<<20), form, []int{413}},
			{"a megabyte before the code", "", "x=" + strings.Repeat("1", 1<<20) + "&code=" + code, form, []int{413}},
		} {
			a := b.Do(http.MethodPost, "/login/code"+one.path, strings.NewReader(one.body), one.header)
			if !portal.OneOf(a.Status, one.want...) {
				t.Errorf("%s: %s, want %v", one.what, portal.Summary(a), one.want)
			}
			portal.CheckSignedIn(t, b, one.what, false)
		}
		// These inputs were neither compared nor counted, and the code is still valid. One space
		// inside a code is allowed.
		b.Post("/login/code", "code", code[:3]+" "+code[3:])
		portal.CheckSignedIn(t, b, "code with an inner space", true)
		// Codes are marked as used in their canonical form.
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", code)
		portal.CheckSignedIn(t, b, "the same code without the space", false)
	})
}

func TestAttack34LeadingZeros(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		ahead := totp.Period
		for !strings.HasPrefix(phone.Code(ahead), "000") {
			ahead += totp.Period
		}
		p.Clock.Move(ahead)
		code := phone.Code(0)
		b := portal.PendingSignIn(t, p, "ada")
		for _, typed := range []string{strings.TrimLeft(code, "0"), code[1:], code[2:], code[3:], "0" + code} {
			b.Post("/login/code", "code", typed)
			portal.CheckSignedIn(t, b, typed+" for "+code, false)
		}
		b.Post("/login/code", "code", code)
		portal.CheckSignedIn(t, b, code, true)
	})
}

func TestAttack35CodeOfAnotherAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := portal.WithTwoFactor(t, p, "ada")
		_, eve := portal.WithTwoFactor(t, p, "eve")
		p.Clock.Move(time.Minute)
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, b, "eve's code for ada", false)
		b.Post("/login/code", "code", eve.Code(0), "next_code", eve.Code(totp.Period))
		portal.CheckSignedIn(t, b, "two of eve's codes for ada", false)
		b.Post("/login/code", "code", ada.Code(0))
		portal.CheckSignedIn(t, b, "ada's code", true)
		// Eve's code was never compared with her own authenticator, so it isn't used up.
		b = portal.PendingSignIn(t, p, "eve")
		b.Post("/login/code", "code", eve.Code(0))
		portal.CheckSignedIn(t, b, "eve's code for eve", true)
	})
}

func TestAttack36FieldsOfTheClient(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := portal.WithTwoFactor(t, p, "ada")
		_, eve := portal.WithTwoFactor(t, p, "eve")
		own := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		key, err := totp.ParseBase32(own)
		if err != nil {
			t.Fatal(err)
		}
		fields := []string{
			"user", "eve", "username", "eve", "account", "eve", "account_id", "eve", "secret", own, "key", own, "time", "0", "now", "0", "step", "1",
			"digits", "1", "window", "99", "drift", "99", "skip", "true", "verified", "1", "otp", "1", "two_factor", "false", "proofs", "password,totp",
			"stage", "3", "purpose", "reauthentication", "session", "1", "remember", "1", "trust", "1", "admin", "1", "role", "operator",
		}
		query := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			query.Set(fields[i], fields[i+1])
		}
		if a := p.Browser(t).Post("/login?"+query.Encode(), append([]string{"username", "ada", "password", "not the password at all"}, fields[8:]...)...); a.Status != http.StatusUnprocessableEntity && a.Status != http.StatusBadRequest {
			t.Errorf("sign-in with a wrong password and additional fields: %s, want 422 or 400", portal.Summary(a))
		}
		b := p.Browser(t)
		if a := b.Post("/login?"+query.Encode(), append([]string{"username", "ada", "password", portal.Password}, fields[4:]...)...); a.Location != "/login/code" {
			t.Errorf("sign-in with the right password and additional fields: %s, want /login/code", portal.Summary(a))
		}
		b = portal.PendingSignIn(t, p, "ada")
		for _, code := range []string{portal.WrongCode(ada), eve.Code(0), totp.CodeAt(key, p.Clock.Now())} {
			b.Post("/login/code?"+query.Encode(), append([]string{"code", code}, fields...)...)
			portal.CheckSignedIn(t, b, "wrong code with additional fields", false)
		}
		b.Post("/login/backup-code", append([]string{"backup_code", eve.Codes[0]}, fields...)...)
		portal.CheckSignedIn(t, b, "eve's backup code with additional fields", false)
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM accounts WHERE role = 'operator'`); n != 0 {
			t.Errorf("the additional fields made %d accounts operators, want none", n)
		}
		b.Post("/login/code?"+query.Encode(), append([]string{"code", ada.Code(0)}, fields...)...)
		portal.CheckSignedIn(t, b, "right code with additional fields", true)
		if page := portal.VisibleText(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
			t.Error("the profile page doesn't show ada's account alone")
		}
	})
}

func TestAttack37TwoDevicesShareOneBudget(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := portal.WithTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		p.Clock.Move(5 * time.Minute)
		for _, phone := range []*portal.Phone{first, second} {
			one := portal.PendingSignIn(t, p, "ada")
			one.Post("/login/code", "code", phone.Code(0))
			portal.CheckSignedIn(t, one, "code of one of two authenticators", true)
			again := portal.PendingSignIn(t, p, "ada")
			again.Post("/login/code", "code", phone.Code(0))
			portal.CheckSignedIn(t, again, "the same code a second time", false)
		}
		// A wrong code is compared with both authenticators, so it costs two of the five
		// units. After two wrong codes no single code is compared.
		p.Clock.Move(time.Minute)
		guess := portal.PendingSignIn(t, p, "ada")
		for range 2 {
			guess.Post("/login/code", "code", portal.WrongCode(first, second))
		}
		guess.Post("/login/code", "code", first.Code(0))
		portal.CheckSignedIn(t, guess, "right code after four of five units", false)
		if !strings.Contains(guess.Get("/login/code").Body, `name="next_code"`) {
			t.Error("after four of five units, the page doesn't ask for two codes")
		}
		guess.Post("/login/code", "code", second.Code(0), "next_code", second.Code(totp.Period))
		portal.CheckSignedIn(t, guess, "two codes in a row", true)
	})
}

func TestAttack38RemovedDevice(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := portal.WithTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		before := portal.PendingSignIn(t, p, "ada")
		if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
			t.Fatalf("remove the second authenticator: %s, want the notice removed", portal.Summary(a))
		}
		before.Post("/login/code", "code", second.Code(0))
		portal.CheckSignedIn(t, before, "code of the removed authenticator in an attempt from before the removal", false)
		after := portal.PendingSignIn(t, p, "ada")
		after.Post("/login/code", "code", second.Code(0))
		portal.CheckSignedIn(t, after, "code of the removed authenticator in a new attempt", false)
		after.Post("/login/code", "code", second.Code(0), "next_code", second.Code(totp.Period))
		portal.CheckSignedIn(t, after, "two codes of the removed authenticator", false)
		after.Post("/login/code", "code", first.Code(0))
		portal.CheckSignedIn(t, after, "code of the remaining authenticator", true)
	})
}

// TestAttackR1R6FiveWrongCodes checks that an account has one budget of wrong codes for all
// forms and attempts (R1), which no success refills (R6). Past the budget single codes
// aren't compared, but two in a row are.
func TestAttackR1R6FiveWrongCodes(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		wrong := func(b *portal.Browser) {
			t.Helper()
			if a := b.Post("/login/code", "code", portal.WrongCode(phone)); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("wrong code: %s, want 422", portal.Summary(a))
			}
		}
		// Two wrong codes in one attempt, then a right one.
		b := portal.PendingSignIn(t, p, "ada")
		wrong(b)
		wrong(b)
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "right code after two wrong ones", true)
		// A third wrong code, in another attempt.
		wrong(portal.PendingSignIn(t, p, "ada"))
		// Right passwords in between don't refill the budget, with any spelling of the name.
		for _, name := range []string{"ada", "ADA", " ada ", "Ada", "ａｄａ"} {
			portal.PendingSignIn(t, p, name)
		}
		// A right backup code doesn't either.
		b = portal.PendingSignIn(t, p, "ADA")
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, "backup code", true)
		// The fourth and the fifth wrong code, each in its own attempt.
		wrong(portal.PendingSignIn(t, p, "Ada"))
		if strings.Contains(portal.PendingSignIn(t, p, "ada").Get("/login/code").Body, `name="next_code"`) {
			t.Error("after four wrong codes, the page asks for two codes, want one")
		}
		last := portal.PendingSignIn(t, p, "ada")
		wrong(last)

		p.Clock.Move(time.Minute)
		for _, b := range []*portal.Browser{last, portal.PendingSignIn(t, p, "ada"), portal.PendingSignIn(t, p, "ADA")} {
			b.Post("/login/code", "code", phone.Code(0))
			portal.CheckSignedIn(t, b, "right single code past the budget", false)
			if !strings.Contains(b.Get("/login/code").Body, `name="next_code"`) {
				t.Error("after five wrong codes, the page doesn't ask for two codes")
			}
		}
		// The single code wasn't compared, so it isn't used up either.
		last.Post("/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period))
		portal.CheckSignedIn(t, last, "two codes in a row", true)
		// This success doesn't refill a budget either.
		p.Clock.Move(2 * time.Minute)
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "single code after two in a row", false)
		// The budget's window slides.
		p.Clock.Move(24 * time.Hour)
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "single code a day later", true)
	})
}

// TestAttack12WrongPairRevealsNoHalf checks that the answer to a wrong pair doesn't reveal
// whether one of its codes was right.
func TestAttack12WrongPairRevealsNoHalf(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		b := portal.PendingSignIn(t, p, "ada")
		for range 5 {
			b.Post("/login/code", "code", portal.WrongCode(phone))
		}
		b = portal.PendingSignIn(t, p, "ada") // the fifth wrong code ended the attempt and made the password suspect
		now, next, wrong := phone.Code(0), phone.Code(totp.Period), portal.WrongCode(phone)
		want := ""
		for _, pair := range [][2]string{{wrong, wrong}, {now, wrong}, {wrong, next}, {now, now}, {now, phone.Code(2 * totp.Period)}, {next, now}} {
			a := b.Post("/login/code", "code", pair[0], "next_code", pair[1])
			if want == "" {
				want = a.Body
			}
			if a.Status != http.StatusUnprocessableEntity || a.Body != want {
				t.Errorf("wrong pair %v: %s, want 422; page differs from that of the first pair: %v", pair, portal.Summary(a), a.Body != want)
			}
		}
		if a := b.Post("/login/code", "code", now, "next_code", next); a.Location != "/login/new-password" {
			t.Errorf("two right codes in a row: %s, want /login/new-password", portal.Summary(a))
		}
		b = portal.PendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", now, "next_code", next)
		portal.CheckSignedIn(t, b, "the same two codes a second time", false)
	})
}
