package replay

// Backup codes: single use, sets, and how they are shown and typed.

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

func TestAttack43BackupCodeWorksOnce(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, "backup code", true)
		if page := portal.VisibleText(b.Get("/?notice=backup_code_used").Body); !strings.Contains(page, "Backup code used, 9 left.") {
			t.Error("the page doesn't say that nine codes are left")
		}
		if page := portal.VisibleText(b.Get("/settings/activity").Body); !strings.Contains(page, "Backup code used, 9 left") {
			t.Error("the owner's activity doesn't say that nine codes are left")
		}
		same := b
		same.SignIn("ada")
		if a := same.Post("/login/backup-code", "backup_code", phone.Codes[0]); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("used code in the same browser: %s, want 422", portal.Summary(a))
		}
		p.Clock.Move(5 * time.Second)
		other := portal.PendingSignIn(t, p, "ada")
		other.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, other, "used code in another browser", false)
		p.Clock.Move(5 * time.Second)
		if a := b.Post("/reauthenticate", "password", portal.Password, "backup_code", phone.Codes[0], "return", "/"); a.Status != http.StatusUnprocessableEntity {
			t.Errorf("reauthentication with a used code: %s, want 422", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "ada"); n != 9 {
			t.Errorf("after one code was used, %d are left, want 9", n)
		}
		p.Clock.Move(5 * time.Second)
		other.Post("/login/backup-code", "backup_code", phone.Codes[1])
		portal.CheckSignedIn(t, other, "another code", true)
	})
}

func TestAttack43UsedCodeOnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := portal.StartNodes(t, 2)
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	nodes[1].Clock.Move(totp.Period)
	for i, p := range nodes {
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, b, fmt.Sprint("the same code on node ", i), i == 0)
	}
}

// raceBackupCode submits one code from n browsers at the same time, spread over nodes, and
// fails the test unless one session opens. Each browser has its own network, since backup
// codes are paced by network.
func raceBackupCode(t *testing.T, nodes []*portal.Portal, n int) {
	t.Helper()
	_, phone := portal.WithTwoFactor(t, nodes[0], "ada")
	for _, p := range nodes[1:] {
		p.Clock.Move(totp.Period)
	}
	before := portal.CountRows(t, nodes[0], portal.SessionsOfQuery, "ada")
	browsers := make([]*portal.Browser, n)
	for i := range browsers {
		browsers[i] = portal.PendingSignIn(t, nodes[i%len(nodes)], "ada")
		browsers[i].Header.Set("X-Forwarded-For", fmt.Sprintf("10.0.%d.1", i))
	}
	got := testkit.Race(n, func(i int) string {
		a := browsers[i].Post("/login/backup-code", "backup_code", phone.Codes[3])
		if browsers[i].Cookie(portal.SessionCookie) != "" {
			return "session"
		}
		return fmt.Sprint(a.Status)
	})
	if got["session"] != 1 || got["session"]+got["422"]+got["429"]+got["503"] != n {
		t.Errorf("one code from %d browsers at once: %v, want one session and refusals", n, got)
	}
	if after := portal.CountRows(t, nodes[0], portal.SessionsOfQuery, "ada"); after != before+1 {
		t.Errorf("sessions: %d before the race, %d after, want one more", before, after)
	}
	if left := portal.CountRows(t, nodes[0], portal.UnusedCodesOf, "ada"); left != 9 {
		t.Errorf("after the race, %d codes are left, want 9", left)
	}
}

func TestAttack44BackupCodeRace(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) { raceBackupCode(t, []*portal.Portal{p}, 32) }, portal.BehindProxy)
}

func TestAttack44BackupCodeRaceOnThreeNodes(t *testing.T) {
	t.Parallel()
	raceBackupCode(t, portal.StartNodes(t, 3, portal.BehindProxy), 33)
}

func TestAttack46BackupCodeOfAnotherAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		portal.WithTwoFactor(t, p, "ada")
		_, eve := portal.WithTwoFactor(t, p, "eve")
		b := portal.PendingSignIn(t, p, "ada")
		b.Post("/login/backup-code", "backup_code", eve.Codes[0])
		portal.CheckSignedIn(t, b, "eve's backup code for ada", false)
		if n := portal.CountRows(t, p, portal.UnusedCodesOf, "eve"); n != 10 {
			t.Errorf("after one was tried for ada, eve has %d codes, want 10", n)
		}
		b = portal.PendingSignIn(t, p, "eve")
		b.Post("/login/backup-code", "backup_code", eve.Codes[0])
		portal.CheckSignedIn(t, b, "eve's backup code for eve", true)
	})
}

func TestAttack48NoCodesBeforeTwoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		for range 4 {
			if a := b.Post("/settings/security/backup-codes"); a.Status != http.StatusNotFound || len(portal.OneBackupCode.FindAllString(portal.VisibleText(a.Body), -1)) > 0 {
				t.Errorf("backup codes without two-factor authentication: %s, want 404 and none", portal.Summary(a))
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM backup_codes`); n != 0 {
			t.Errorf("the refused requests stored %d codes, want none", n)
		}
		b.Enroll("Phone")
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM backup_codes`); n != 10 {
			t.Errorf("%d codes after the enrolment, want 10", n)
		}
		// The refused requests don't count towards the three sets an hour.
		if a := b.Post("/settings/security/backup-codes"); len(portal.ShownCodes(a.Body)) != 10 {
			t.Errorf("first new set after refused requests: %s, want ten codes", portal.Summary(a))
		}
	})
}

func TestAttack49CodesDieWithTwoFactor(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, before := portal.WithTwoFactor(t, p, "ada")
		if a := b.Post("/settings/security/disable"); a.Location != "/settings/security?notice=disabled" {
			t.Fatalf("disable two-factor authentication: %s, want the notice disabled", portal.Summary(a))
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM backup_codes`); n != 0 {
			t.Errorf("after two-factor authentication was disabled, %d codes are left, want none", n)
		}
		again := b.Enroll("Phone")
		pending := portal.PendingSignIn(t, p, "ada")
		for _, code := range before.Codes {
			pending.Post("/login/backup-code", "backup_code", code)
			portal.CheckSignedIn(t, pending, "code of the set that ended with two-factor authentication", false)
			p.Clock.Move(5 * time.Second)
		}
		pending.Post("/login/backup-code", "backup_code", again.Codes[9])
		portal.CheckSignedIn(t, pending, "code of the current set", true)
	})
}

func TestAttack49NewSetEndsTheOld(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		newer := portal.ShownCodes(b.Post("/settings/security/backup-codes").Body)
		if len(newer) != 10 {
			t.Fatalf("got %d new codes, want 10", len(newer))
		}
		pending := portal.PendingSignIn(t, p, "ada")
		pending.Post("/login/backup-code", "backup_code", phone.Codes[0])
		portal.CheckSignedIn(t, pending, "code of the old set", false)
		p.Clock.Move(5 * time.Second)
		pending.Post("/login/backup-code", "backup_code", newer[0])
		portal.CheckSignedIn(t, pending, "code of the new set", true)
	})
}

func TestAttack50SetsOfCodes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	symbols := map[rune]int{}
	for range 1000 {
		set := backupcode.NewSet(testkit.Quick)
		if len(set.Codes) != 10 {
			t.Fatalf("a set has %d codes, want 10", len(set.Codes))
		}
		for _, code := range set.Codes {
			if seen[code] {
				t.Fatalf("code %s occurs twice in 1,000 sets", code)
			}
			seen[code] = true
			for _, r := range code {
				symbols[r]++
			}
		}
	}
	// 12 symbols out of 32 are 60 bits if all symbols are equally likely: each then occurs
	// 3,750 ± 61 times among 120,000.
	for _, r := range "0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
		if n := symbols[r]; n < 3300 || n > 4200 {
			t.Errorf("symbol %c occurs %d times among 120,000, want about 3,750", r, n)
		}
		delete(symbols, r)
	}
	if symbols['-'] != 20000 || len(symbols) != 1 {
		t.Errorf("other symbols in the codes: %v, want 20,000 dashes alone", symbols)
	}
}

func TestAttack50StoredCodesAreSealed(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, ada := portal.WithTwoFactor(t, p, "ada")
		portal.WithTwoFactor(t, p, "eve")
		if salts := portal.CountRows(t, p, `SELECT COUNT(DISTINCT salt) FROM backup_codes`); salts != 2 {
			t.Errorf("two sets have %d salts, want 2", salts)
		}
		if hashes := portal.CountRows(t, p, `SELECT COUNT(DISTINCT hash) FROM backup_codes`); hashes != 20 {
			t.Errorf("20 codes have %d sealed hashes, want 20", hashes)
		}
		code := strings.ReplaceAll(ada.Codes[0], "-", "")
		for _, column := range []string{"id", "salt", "hash"} {
			stored := `CAST(` + column + ` AS TEXT)`
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM backup_codes WHERE `+stored+` LIKE '%`+code+`%' OR `+stored+` LIKE '%`+ada.Codes[0]+`%'`); n != 0 {
				t.Errorf("column %s contains a code in clear text", column)
			}
		}
	})
}

// TestAttack51And54CodesAreShownOnce checks that only the answer that creates a set shows its
// codes, and that no cache may store this answer.
func TestAttack51And54CodesAreShownOnce(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := p.Browser(t)
		b.SignIn("ada")
		phone := b.BeginEnroll()
		confirm := "/settings/security/authenticators/" + phone.ID + "/confirm"
		first := b.Post(confirm, "code", phone.Code(0), "name", "Phone")
		p.Clock.Move(totp.Period)
		second := b.Post("/settings/security/backup-codes")
		var all []string
		for what, a := range map[string]portal.Answer{"first set": first, "new set": second} {
			codes := portal.ShownCodes(a.Body)
			if a.Status != http.StatusOK || len(codes) != 10 {
				t.Fatalf("%s: %s with %d codes, want 200 with 10", what, portal.Summary(a), len(codes))
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control %q, want no-store", what, got)
			}
			if a.Header.Get("ETag") != "" || a.Header.Get("Last-Modified") != "" {
				t.Errorf("%s: the page has an ETag or a Last-Modified header, by which a cache could ask for it again", what)
			}
			all = append(all, codes...)
			// Each code is in the list and in the download, which is a data: URL.
			for _, code := range codes {
				if n := strings.Count(a.Body, code); n != 2 {
					t.Errorf("%s: a code is on the page %d times, want twice", what, n)
				}
			}
			for _, link := range portal.LinksOn(a.Body) {
				if portal.OneBackupCode.MatchString(link) && !strings.HasPrefix(link, "data:text/plain") {
					t.Errorf("%s: the page has a link with a code in its URL: %s", what, link)
				}
			}
		}
		shows := func(what string, a portal.Answer) {
			t.Helper()
			for _, code := range all {
				if strings.Contains(a.Body, code) || strings.Contains(a.Body, strings.ReplaceAll(code, "-", "")) {
					t.Errorf("%s shows a backup code again", what)
				}
			}
		}
		for _, r := range portal.Routes(t) {
			if r.Method == http.MethodGet {
				shows("GET "+r.Path, b.Get(r.At(phone.ID)))
			}
		}
		for _, path := range []string{confirm, "/settings/security/backup-codes"} {
			if a := b.Get(path); a.Status != http.StatusSeeOther || a.Location != "/settings/security" {
				t.Errorf("GET %s: %s, want 303 to the Security tab", path, portal.Summary(a))
			}
		}
		// A reload of the page sends the confirming form a second time.
		if a := b.Post(confirm, "code", phone.Code(0), "name", "Phone"); a.Location != "/settings/security?notice=already_confirmed" {
			t.Errorf("confirm a second time: %s, want a notice that it is confirmed already", portal.Summary(a))
		}
		other := portal.PendingSignIn(t, p, "ada")
		shows("the form for a backup code", other.Get("/login/backup-code"))
	})
}

func TestAttack52WaysOfTyping(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b, phone := portal.WithTwoFactor(t, p, "ada")
		codes := phone.Codes
		with := func(symbol string) string {
			for _, code := range codes {
				if strings.Contains(code, symbol) {
					return code
				}
			}
			return ""
		}
		for with("0") == "" || with("1") == "" {
			p.Clock.Move(20 * time.Minute)
			if b.Post("/reauthenticate", "password", portal.Password, "code", phone.Code(0)).Status != http.StatusSeeOther {
				t.Fatalf("reauthenticate: %s, want 303", portal.Summary(b.Last))
			}
			codes = portal.ShownCodes(b.Post("/settings/security/backup-codes").Body)
		}
		zero, one := with("0"), with("1")
		forms := map[string]func(string) string{
			"lower case":     strings.ToLower,
			"no dashes":      func(c string) string { return strings.ReplaceAll(c, "-", "") },
			"spaces":         func(c string) string { return " " + strings.ReplaceAll(c, "-", " ") + " " },
			"dashes, spaces": func(c string) string { return strings.Join(strings.Split(c, ""), "- ") },
			"O for 0":        func(c string) string { return strings.ReplaceAll(c, "0", "O") },
			"o for 0":        func(c string) string { return strings.ReplaceAll(strings.ToLower(c), "0", "o") },
			"I for 1":        func(c string) string { return strings.ReplaceAll(c, "1", "I") },
			"l for 1":        func(c string) string { return strings.ReplaceAll(c, "1", "l") },
		}
		// Use a code in one form; then it must be refused in all forms.
		for what, form := range forms {
			code := ""
			switch {
			case strings.Contains(what, "0"):
				code = zero
			case strings.Contains(what, "1"):
				code = one
			default:
				code = codes[len(codes)-1]
			}
			portal.ChangeRows(t, p, `UPDATE backup_codes SET used_at = NULL`)
			pending := portal.PendingSignIn(t, p, "ada")
			pending.Post("/login/backup-code", "backup_code", form(code))
			portal.CheckSignedIn(t, pending, what, true)
			for again, form := range forms {
				p.Clock.Move(5 * time.Second)
				pending := portal.PendingSignIn(t, p, "ada")
				pending.Post("/login/backup-code", "backup_code", form(code))
				portal.CheckSignedIn(t, pending, what+", then "+again, false)
			}
			p.Clock.Move(5 * time.Second)
		}
		// Input that isn't twelve symbols isn't compared, so it isn't paced either.
		pending := portal.PendingSignIn(t, p, "ada")
		for _, typed := range []string{
			"", zero[:13], zero + "0", zero + "-" + one, "U" + zero[1:], "Ａ" + zero[1:], zero + "\x00", "\n" + zero, zero + "%", strings.Repeat("-", 60) + zero,
			zero[:4] + "–" + zero[5:], phone.Code(0), strings.Repeat("A", 60000),
		} {
			if a := pending.Post("/login/backup-code", "backup_code", typed); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("backup code typed as %.20q: %s, want 422", typed, portal.Summary(a))
			}
		}
	})
}

func TestAttack53LastCode(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, phone := portal.WithTwoFactor(t, p, "ada")
		var b *portal.Browser
		for i, code := range phone.Codes {
			b = portal.PendingSignIn(t, p, "ada")
			b.Post("/login/backup-code", "backup_code", code)
			portal.CheckSignedIn(t, b, fmt.Sprint("code ", i+1), true)
		}
		for _, path := range []string{"/", "/settings/profile", "/settings/sessions"} {
			page := b.Get(path).Body
			if !strings.Contains(portal.VisibleText(page), "You have no backup codes left.") || !strings.Contains(page, `href="/settings/security#new-codes"`) {
				t.Errorf("with no code left, %s doesn't say so or has no link to new codes", path)
			}
		}
		// The authenticator app still works, and the sign-in still asks for it.
		p.Clock.Move(time.Minute)
		pending := portal.PendingSignIn(t, p, "ada")
		if strings.Contains(pending.Get("/login/code").Body, "/login/backup-code") {
			t.Error("with no code left, the code page offers to enter a backup code")
		}
		pending.Post("/login/backup-code", "backup_code", phone.Codes[9])
		portal.CheckSignedIn(t, pending, "the last code a second time", false)
		pending.Post("/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, pending, "code of the authenticator app", true)
	})
}
