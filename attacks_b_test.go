package sallyport_test

// B. TOTP verification, and the budget of codes.

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack27OnlyThreeStepsOpen(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		for off, want := range map[time.Duration]bool{
			-90 * time.Second: false, -60 * time.Second: false, -30 * time.Second: true,
			0: true, 30 * time.Second: true, 60 * time.Second: false, 90 * time.Second: false,
		} {
			p.Clock.Move(10 * time.Minute)
			b := pendingSignIn(t, p, "ada")
			b.Post("/login/code", "code", phone.Code(off))
			opens(t, b, "code of "+off.String(), want)
		}
	})
}

func TestAttack27WindowFollowsTheLearnedDrift(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(10 * time.Minute)
		const fast = 4 * time.Minute
		b := pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(fast-totp.Period), "next_code", phone.Code(fast))
		opens(t, b, "two codes of a fast phone", true)
		for off, want := range map[time.Duration]bool{
			fast - 2*totp.Period: false, fast - totp.Period: true, fast: true, fast + totp.Period: true, fast + 2*totp.Period: false,
			0: false,
		} {
			p.Clock.Move(20 * time.Minute)
			b := pendingSignIn(t, p, "ada")
			b.Post("/login/code", "code", phone.Code(off))
			opens(t, b, "code of "+off.String()+" after a drift of "+fast.String(), want)
		}
	})
}

func TestAttack28ReplayOfTheSameStep(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		b := pendingSignIn(t, p, "ada")
		used := phone.Code(0)
		b.Post("/login/code", "code", used)
		opens(t, b, "fresh code", true)
		before := countRows(t, p, sessionsOf, "ada")

		same := b
		same.SignIn("ada")
		if a := same.Post("/login/code", "code", used); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("same browser: %s, want 422", short(a))
		}
		for range 6 { // more than the budget of wrong codes
			other := pendingSignIn(t, p, "ada")
			other.Post("/login/code", "code", used)
			opens(t, other, "other browser", false)
			if !strings.Contains(visible(other.Post("/login/code", "code", used).Body), "already used") {
				t.Errorf("a used code isn't called one: %s", short(other.Last))
			}
		}
		pair := pendingSignIn(t, p, "ada")
		pair.Post("/login/code", "code", used, "next_code", phone.Code(totp.Period))
		opens(t, pair, "used code as the first of two", false)
		p.Clock.Move(totp.Period)
		pair.Post("/login/code", "code", used, "next_code", phone.Code(0))
		opens(t, pair, "used code as the first of two, a step later", false)

		old := b.Cookie(sessionCookie)
		if a := b.Post("/reauthenticate", "password", portal.Password, "code", used, "return", "/settings/security"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a used code: %s, want 422", short(a))
		}
		if b.Cookie(sessionCookie) != old {
			t.Error("reauthentication with a used code changed the session")
		}
		if after := countRows(t, p, sessionsOf, "ada"); after != before {
			t.Errorf("sessions: %d before the replays, %d after", before, after)
		}
		if n := kinds(t, p)["code_reused:refused"]; n < 7 {
			t.Errorf("got %d events code_reused, want one for each replay", n)
		}
		if !strings.Contains(visible(b.Get("/settings/activity").Body), "Code that was already used") {
			t.Error("the owner isn't told of the replay")
		}
		// Replays cost nothing, so one fresh code is still looked at.
		again := pendingSignIn(t, p, "ada")
		again.Post("/login/code", "code", phone.Code(0))
		opens(t, again, "fresh code after the replays", true)
	})
}

func TestAttack28ReplayOnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	_, phone := withTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period)
	first, second := pendingSignIn(t, nodes[0], "ada"), pendingSignIn(t, nodes[1], "ada")
	first.Post("/login/code", "code", phone.Code(0))
	opens(t, first, "fresh code", true)
	second.Post("/login/code", "code", phone.Code(0))
	opens(t, second, "same code on the other node", false)
	moveAll(nodes, totp.Period)
	second.Post("/login/code", "code", phone.Code(0))
	opens(t, second, "next code on the other node", true)
}

func TestAttack29OlderStepAfterNewer(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		older, newer := phone.Code(-totp.Period), phone.Code(0)
		b := pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", newer)
		opens(t, b, "newer code", true)
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", older)
		opens(t, b, "older code, never used", false)
		p.Clock.Move(2 * totp.Period)
		b.Post("/login/code", "code", phone.Code(-totp.Period))
		opens(t, b, "older code where no newer one was used", true)
	})
}

// raceCode gives the same right code from n browsers at once, spread over
// nodes, and fails the test unless exactly one session comes of it.
func raceCode(t *testing.T, nodes []*portal.Portal, n int, sameAttempt bool) {
	t.Helper()
	_, phone := withTwoFactor(t, nodes[0], "ada")
	for _, p := range nodes[1:] {
		p.Clock.Move(totp.Period) // Enroll moved the first
	}
	before := countRows(t, nodes[0], sessionsOf, "ada")
	browsers := make([]*portal.Browser, n)
	for i := range browsers {
		p := nodes[i%len(nodes)]
		if sameAttempt && i > 0 {
			browsers[i] = p.Browser(t)
			browsers[i].SetCookie(attemptCookie, browsers[0].Cookie(attemptCookie))
		} else {
			browsers[i] = pendingSignIn(t, p, "ada")
		}
	}
	code := phone.Code(0)
	got := testkit.Race(n, func(i int) string {
		a := browsers[i].Post("/login/code", "code", code)
		if browsers[i].Cookie(sessionCookie) != "" {
			return "session"
		}
		return short(a)
	})
	if got["session"] != 1 {
		t.Errorf("got %v, want one session", got)
	}
	for answer := range got {
		if answer != "session" && !strings.HasPrefix(answer, "422") && !strings.HasPrefix(answer, "503") && answer != "303 /login?notice=expired" {
			t.Errorf("got an answer %q", answer)
		}
	}
	if after := countRows(t, nodes[0], sessionsOf, "ada"); after != before+1 {
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
	onBothEngines(t, func(t *testing.T, p *portal.Portal) { raceCode(t, []*portal.Portal{p}, 32, false) })
}

func TestAttack30OneAttemptEndsOnce(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) { raceCode(t, []*portal.Portal{p}, 32, true) })
}

func TestAttack30OneCodeOnThreeNodes(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"own attempts": false, "one attempt": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raceCode(t, startNodes(t, 3), 33, same)
		})
	}
}

func TestAttack32OnlySixDigits(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		b := pendingSignIn(t, p, "ada")
		code := phone.Code(0)
		fullWidth := strings.Map(func(r rune) rune { return r - '0' + '０' }, code)
		arabic := strings.Map(func(r rune) rune { return r - '0' + '٠' }, code)
		for _, typed := range []string{
			" " + code, code + " ", "  " + code[:3] + " " + code[3:], code[:2] + " " + code[2:4] + " " + code[4:], code[:3] + "  " + code[3:],
			code + "\n", "\n" + code, code + "\r\n", "\t" + code, code[:3] + "\t" + code[3:], code[:3] + "-" + code[3:], code[:3] + "\u00a0" + code[3:],
			"+" + code, "-" + code, "0" + code, code + "0", code + code, code[:5], code[1:], "1e5", "0x1234", code + ".0", code + ";", "'" + code + "'",
			code + "\x00", "\x00" + code, code[:3] + "\x00" + code[3:], fullWidth, arabic, "\u200b" + code, code + "\ufeff", "[" + code + "]", `"` + code + `"`,
			"", " ", "null", "true", "NaN", "\xff\xfe" + code, strings.Repeat("0", 60000) + code,
		} {
			b.Post("/login/code", "code", typed)
			opens(t, b, "code typed as "+strings.ToValidUTF8(typed[:min(len(typed), 20)], "?"), false)
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
			{"repeated field, right one last", "", "code=" + wrongCode(phone) + "&code=" + code, form, []int{400}},
			{"repeated field, right one first", "", "code=" + code + "&code=" + wrongCode(phone), form, []int{400}},
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
			if !oneOf(a.Status, one.want...) {
				t.Errorf("%s: %s, want %v", one.what, short(a), one.want)
			}
			opens(t, b, one.what, false)
		}
		// None of them was compared, so none was counted, and the code is
		// still good: typed with the one space that is allowed.
		b.Post("/login/code", "code", code[:3]+" "+code[3:])
		opens(t, b, "code with an inner space", true)
		// The canonical form is what is used up.
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", code)
		opens(t, b, "the same code without the space", false)
	})
}

func TestAttack34LeadingZeros(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		ahead := totp.Period
		for !strings.HasPrefix(phone.Code(ahead), "000") {
			ahead += totp.Period
		}
		p.Clock.Move(ahead)
		code := phone.Code(0)
		b := pendingSignIn(t, p, "ada")
		for _, typed := range []string{strings.TrimLeft(code, "0"), code[1:], code[2:], code[3:], "0" + code} {
			b.Post("/login/code", "code", typed)
			opens(t, b, typed+" for "+code, false)
		}
		b.Post("/login/code", "code", code)
		opens(t, b, code, true)
	})
}

func TestAttack35CodeOfAnotherAccount(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := withTwoFactor(t, p, "ada")
		_, eve := withTwoFactor(t, p, "eve")
		p.Clock.Move(time.Minute)
		b := pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", eve.Code(0))
		opens(t, b, "eve's code for ada", false)
		b.Post("/login/code", "code", eve.Code(0), "next_code", eve.Code(totp.Period))
		opens(t, b, "two of eve's codes for ada", false)
		b.Post("/login/code", "code", ada.Code(0))
		opens(t, b, "ada's code", true)
		// It was never compared with eve's authenticator, so it isn't used up.
		b = pendingSignIn(t, p, "eve")
		b.Post("/login/code", "code", eve.Code(0))
		opens(t, b, "eve's code for eve", true)
	})
}

func TestAttack36FieldsOfTheClient(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := withTwoFactor(t, p, "ada")
		_, eve := withTwoFactor(t, p, "eve")
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
			t.Errorf("wrong password with more fields: %s", short(a))
		}
		b := p.Browser(t)
		if a := b.Post("/login?"+query.Encode(), append([]string{"username", "ada", "password", portal.Password}, fields[4:]...)...); a.Location != "/login/code" {
			t.Errorf("right password with more fields: %s, want /login/code", short(a))
		}
		b = pendingSignIn(t, p, "ada")
		for _, code := range []string{wrongCode(ada), eve.Code(0), totp.CodeAt(key, p.Clock.Now())} {
			b.Post("/login/code?"+query.Encode(), append([]string{"code", code}, fields...)...)
			opens(t, b, "wrong code with more fields", false)
		}
		b.Post("/login/backup-code", append([]string{"backup_code", eve.Codes[0]}, fields...)...)
		opens(t, b, "eve's backup code with more fields", false)
		if n := countRows(t, p, `SELECT COUNT(*) FROM accounts WHERE role = 'operator'`); n != 0 {
			t.Errorf("%d accounts became operators", n)
		}
		b.Post("/login/code?"+query.Encode(), append([]string{"code", ada.Code(0)}, fields...)...)
		opens(t, b, "right code with more fields", true)
		if page := visible(b.Get("/settings/profile").Body); !strings.Contains(page, "ada") || strings.Contains(page, "eve") {
			t.Error("the session isn't ada's")
		}
	})
}

func TestAttack37TwoDevicesShareOneBudget(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := withTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		p.Clock.Move(5 * time.Minute)
		for _, phone := range []*portal.Phone{first, second} {
			one := pendingSignIn(t, p, "ada")
			one.Post("/login/code", "code", phone.Code(0))
			opens(t, one, "code of one of two devices", true)
			again := pendingSignIn(t, p, "ada")
			again.Post("/login/code", "code", phone.Code(0))
			opens(t, again, "the same code again", false)
		}
		// A wrong code is compared with both, so it costs two of the five
		// units: after two of them no single code is looked at.
		p.Clock.Move(time.Minute)
		guess := pendingSignIn(t, p, "ada")
		for range 2 {
			guess.Post("/login/code", "code", wrongCode(first, second))
		}
		guess.Post("/login/code", "code", first.Code(0))
		opens(t, guess, "right code after four of five units", false)
		if !strings.Contains(guess.Get("/login/code").Body, `name="next_code"`) {
			t.Error("two codes aren't asked for")
		}
		guess.Post("/login/code", "code", second.Code(0), "next_code", second.Code(totp.Period))
		opens(t, guess, "two codes in a row", true)
	})
}

func TestAttack38RemovedDevice(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, first := withTwoFactor(t, p, "ada")
		second := b.Enroll("Tablet")
		before := pendingSignIn(t, p, "ada")
		if a := b.Post("/settings/security/authenticators/" + second.ID + "/remove"); a.Location != "/settings/security?notice=removed" {
			t.Fatalf("remove: %s", short(a))
		}
		before.Post("/login/code", "code", second.Code(0))
		opens(t, before, "removed device, attempt of before", false)
		after := pendingSignIn(t, p, "ada")
		after.Post("/login/code", "code", second.Code(0))
		opens(t, after, "removed device, attempt of after", false)
		after.Post("/login/code", "code", second.Code(0), "next_code", second.Code(totp.Period))
		opens(t, after, "two codes of the removed device", false)
		after.Post("/login/code", "code", first.Code(0))
		opens(t, after, "the device that is left", true)
	})
}

func TestAttack39ClockSetBack(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		used := phone.Code(0)
		b := pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", used)
		opens(t, b, "code before the clock is set back", true)

		p.Clock.Move(-10 * time.Minute)
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", used)
		opens(t, b, "used code after the clock was set back", false)
		b.Post("/login/code", "code", phone.Code(0))
		opens(t, b, "fresh code of a time before the last step", false)
		b.Post("/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period))
		opens(t, b, "two fresh codes of a time before the last step", false)
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		opens(t, b, "backup code", true)
	})
}

func TestAttack41NodeWithAFastClock(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2)
	_, phone := withTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period + 45*time.Second)
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		moveAll(nodes, 10*time.Minute)
		code := phone.Code(0)
		for i, n := range order {
			b := pendingSignIn(t, nodes[n], "ada")
			b.Post("/login/code", "code", code)
			opens(t, b, "one code on two nodes", i == 0)
		}
	}
	// At once, on both.
	moveAll(nodes, 10*time.Minute)
	code := phone.Code(0)
	browsers := []*portal.Browser{pendingSignIn(t, nodes[0], "ada"), pendingSignIn(t, nodes[1], "ada")}
	got := testkit.Race(2, func(i int) string {
		browsers[i].Post("/login/code", "code", code)
		if browsers[i].Cookie(sessionCookie) != "" {
			return "session"
		}
		return "none"
	})
	if got["session"] != 1 {
		t.Errorf("got %v, want one session", got)
	}
}

func TestAttack42LostKey(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		signedIn, phone := withTwoFactor(t, p, "ada")
		pending := pendingSignIn(t, p, "ada")
		before := countRows(t, p, sessionsOf, "ada")
		right := p.Login.Ring

		// The secrets that are left don't open: never "no second factor".
		p.Login.Ring = secret.NewRing()
		for what, a := range map[string]portal.Answer{
			"code":        pending.Post("/login/code", "code", phone.Code(0)),
			"backup code": pending.Post("/login/backup-code", "backup_code", phone.Codes[0]),
			"password":    p.Browser(t).Post("/login", "username", "ada", "password", portal.Password),
			"reauthenticate": signedIn.Post("/reauthenticate",
				"password", portal.Password, "code", phone.Code(0), "return", "/"),
		} {
			if a.Status < 500 || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s with a lost key: %s, cookie %q; want 5xx and no cookie", what, short(a), a.Header.Get("Set-Cookie"))
			}
		}
		if page := visible(signedIn.Get("/settings/security").Body); !strings.Contains(page, "Disable two-factor authentication") {
			t.Error("with a lost key two-factor authentication looks off")
		}
		if after := countRows(t, p, sessionsOf, "ada"); after != before {
			t.Errorf("sessions: %d before, %d after", before, after)
		}
		p.Login.Ring = right
		pending.Post("/login/code", "code", phone.Code(0))
		opens(t, pending, "code with the right key", true)
	})
}

func TestAttack42LostKeyAtStart(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		dir := t.TempDir()
		environ := []string{"SALLYPORT_DATA_DIR=" + dir, "SALLYPORT_DATABASE=" + p.Config.Database.Reveal()}
		if p.Config.Database.Reveal() == "" {
			// SQLite's file lies beside the key ring: take the ring away.
			environ = []string{"SALLYPORT_DATA_DIR=" + p.Config.DataDir}
			dir = p.Config.DataDir
			moveFile(t, filepath.Join(dir, "keyring"), filepath.Join(dir, "keyring.away"))
		}
		cfg, err := config.Load("", environ)
		if err != nil {
			t.Fatal(err)
		}
		open := func() string {
			opened, err := server.Open(context.Background(), cfg, p.Clock.Now, p.Log)
			if err == nil {
				opened.Close()
				return "opened"
			}
			return err.Error()
		}
		if got := open(); !strings.Contains(got, "there is no key ring at "+dir) {
			t.Errorf("without a key ring: %s", got)
		}
		if _, err := secret.CreateRing(filepath.Join(dir, "keyring")); err != nil {
			t.Fatal(err)
		}
		if got := open(); !strings.Contains(got, "is not the one that this database was written with") {
			t.Errorf("with another key ring: %s", got)
		}
	})
}

// TestAttackR1R6FiveWrongCodes: one budget per account over all doors and
// attempts (R1), kept by no success (R6); past it a single code isn't looked
// at, and two in a row are.
func TestAttackR1R6FiveWrongCodes(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(5 * time.Minute)
		wrong := func(b *portal.Browser) {
			t.Helper()
			if a := b.Post("/login/code", "code", wrongCode(phone)); a.Status != http.StatusUnprocessableEntity {
				t.Fatalf("wrong code: %s", short(a))
			}
		}
		// Two in one attempt, then a sign-in that succeeds.
		b := pendingSignIn(t, p, "ada")
		wrong(b)
		wrong(b)
		b.Post("/login/code", "code", phone.Code(0))
		opens(t, b, "right code after two wrong ones", true)
		// One more in another attempt.
		wrong(pendingSignIn(t, p, "ada"))
		// Right passwords in between change nothing, whatever the spelling.
		for _, name := range []string{"ada", "ADA", " ada ", "Ada", "ａｄａ"} {
			pendingSignIn(t, p, name)
		}
		// A backup code that is right.
		b = pendingSignIn(t, p, "ADA")
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		opens(t, b, "backup code", true)
		// The fourth and the fifth, each in an attempt of its own.
		wrong(pendingSignIn(t, p, "Ada"))
		if strings.Contains(pendingSignIn(t, p, "ada").Get("/login/code").Body, `name="next_code"`) {
			t.Error("two codes are asked for after four wrong ones")
		}
		last := pendingSignIn(t, p, "ada")
		wrong(last)

		p.Clock.Move(time.Minute)
		for _, b := range []*portal.Browser{last, pendingSignIn(t, p, "ada"), pendingSignIn(t, p, "ADA")} {
			b.Post("/login/code", "code", phone.Code(0))
			opens(t, b, "right single code past the budget", false)
			if !strings.Contains(b.Get("/login/code").Body, `name="next_code"`) {
				t.Error("two codes aren't asked for")
			}
		}
		// The single code wasn't looked at, so it isn't used up either.
		last.Post("/login/code", "code", phone.Code(0), "next_code", phone.Code(totp.Period))
		opens(t, last, "two codes in a row", true)
		// That was a success too, and refills nothing.
		p.Clock.Move(2 * time.Minute)
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		opens(t, b, "single code after two in a row", false)
		// Windows slide.
		p.Clock.Move(24 * time.Hour)
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", phone.Code(0))
		opens(t, b, "single code a day later", true)
	})
}

// TestAttack12NoHalfOracle: of a wrong pair nobody learns which half was right.
func TestAttack12NoHalfOracle(t *testing.T) {
	onBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := withTwoFactor(t, p, "ada")
		p.Clock.Move(time.Hour)
		b := pendingSignIn(t, p, "ada")
		for range 5 {
			b.Post("/login/code", "code", wrongCode(phone))
		}
		b = pendingSignIn(t, p, "ada") // the fifth ended the attempt and made the password suspect
		now, next, wrong := phone.Code(0), phone.Code(totp.Period), wrongCode(phone)
		want := ""
		for _, pair := range [][2]string{{wrong, wrong}, {now, wrong}, {wrong, next}, {now, now}, {now, phone.Code(2 * totp.Period)}, {next, now}} {
			a := b.Post("/login/code", "code", pair[0], "next_code", pair[1])
			if want == "" {
				want = a.Body
			}
			if a.Status != http.StatusUnprocessableEntity || a.Body != want {
				t.Errorf("pair %v: %s, body differs from the others' %v", pair, short(a), a.Body != want)
			}
		}
		if a := b.Post("/login/code", "code", now, "next_code", next); a.Location != "/login/new-password" {
			t.Errorf("two codes in a row: %s", short(a))
		}
		b = pendingSignIn(t, p, "ada")
		b.Post("/login/code", "code", now, "next_code", next)
		opens(t, b, "the same two again", false)
	})
}
