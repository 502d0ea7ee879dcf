package guessing

// Accounts whose second factor shows no codes. A later version adds WebAuthn authenticators; this
// one reads their rows but can't verify them.

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// becomeKey turns a phone into a WebAuthn authenticator, as a later version would have stored it.
func becomeKey(t *testing.T, p *portal.Portal, phone *portal.Phone) {
	t.Helper()
	portal.ChangeRows(t, p, `DELETE FROM totp WHERE authenticator_id = $1`, phone.ID)
	portal.ChangeRows(t, p, `UPDATE authenticators SET kind = 'webauthn' WHERE id = $1`, phone.ID)
}

// If no authenticator of an account shows codes, the portal asks for a backup code. A code that is
// submitted nevertheless is neither compared nor counted.
func TestACodeIsRefusedWhereNothingShowsCodes(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		becomeKey(t, p, phone)
		thief := portal.PendingSignIn(t, p, "ada")
		if a := thief.Get("/login/code"); a.Location != "/login/backup-code" {
			t.Errorf("the form for a code: %s, want the one for a backup code", portal.Summary(a))
		}
		if a := thief.Get("/login/backup-code"); a.Status != http.StatusOK || strings.Contains(a.Body, "/login/code") {
			t.Errorf("the form for a backup code has a link to the form for a code, want none: %s", portal.Summary(a))
		}
		const none = "This account has no authenticator app"
		for i := range 40 {
			fields := []string{"code", phone.Code(0)}
			if i%2 == 1 {
				fields = append(fields, "next_code", phone.Code(totp.Period))
			}
			if a := thief.Post("/login/code", fields...); a.Status != http.StatusUnprocessableEntity || !strings.Contains(portal.VisibleText(a.Body), none) {
				t.Fatalf("code %d: %s, want 422 and %q", i, portal.Summary(a), none)
			}
		}
		if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM ledger WHERE bucket IN ('code', 'code-known', 'two-codes', 'prefix') AND LENGTH(times) > 0`); n != 0 {
			t.Errorf("codes that weren't compared left %d rows in the ledger, want none", n)
		}
		if got := portal.EventCounts(t, p); got["code_failed:refused"] != 0 {
			t.Errorf("codes that weren't compared left the events %v, want no code_failed", got)
		}
		// A reauthentication asks for a backup code too, and compares no other code.
		if a := owner.Get("/reauthenticate"); strings.Contains(a.Body, `name="code"`) || !strings.Contains(a.Body, `name="backup_code"`) {
			t.Errorf("the form of a reauthentication doesn't ask for a backup code: %s", portal.Summary(a))
		}
		for _, code := range []string{phone.Code(0), "12", ""} {
			if a := owner.Post("/reauthenticate", "password", portal.Password, "code", code); a.Status != http.StatusUnprocessableEntity || !strings.Contains(portal.VisibleText(a.Body), none) {
				t.Errorf("reauthentication with the code %q: %s, want 422 and %q", code, portal.Summary(a), none)
			}
		}
		if a := owner.Post("/reauthenticate", "password", portal.Password, "backup_code", phone.Codes[0]); a.Status != http.StatusSeeOther {
			t.Errorf("reauthentication with a backup code: %s, want it to succeed", portal.Summary(a))
		}
		if a := owner.Get("/settings/security"); a.Status != http.StatusOK || !strings.Contains(a.Body, "Phone") {
			t.Errorf("the Security tab doesn't list the authenticator: %s", portal.Summary(a))
		}
		portal.TryCode(thief, "/login/backup-code", "backup_code", phone.Codes[1])
		portal.CheckSignedIn(t, thief, "a backup code", true)
	})
}

// A code is compared with the authenticators that show codes, and costs a unit for each of them.
func TestACodeCostsNothingForAuthenticatorsWithoutCodes(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		owner, phone := portal.WithTwoFactor(t, p, "ada")
		becomeKey(t, p, owner.Enroll("Key"))
		b := portal.PendingSignIn(t, p, "ada")
		if got := portal.TryCode(b, "/login/code", "code", portal.WrongCode(phone)); got != portal.OutcomeWrong {
			t.Errorf("a wrong code: %s, want %s", got, portal.OutcomeWrong)
		}
		if got := portal.UnitsUsed(t, p, "ada", "code"); got != 1 {
			t.Errorf("a wrong code cost %d units, want 1", got)
		}
		portal.TryCode(b, "/login/code", "code", phone.Code(0))
		portal.CheckSignedIn(t, b, "a code of the phone", true)
	})
}
