package portal

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
)

// WithTwoFactor adds an account with two-factor authentication. It returns the browser
// that enrolled, which is signed in, and the phone, whose next code is unused.
func WithTwoFactor(t *testing.T, p *Portal, name string) (*Browser, *Phone) {
	t.Helper()
	p.AddAccount(t, name)
	b := p.Browser(t)
	b.SignIn(name)
	phone := b.Enroll("Phone")
	if len(phone.Codes) != 10 {
		t.Fatalf("the enrolment of %s gave %d backup codes, want 10", name, len(phone.Codes))
	}
	return b, phone
}

// PendingSignIn returns a browser that has submitted the right password and must submit a
// code next.
func PendingSignIn(t *testing.T, p *Portal, name string) *Browser {
	t.Helper()
	b := p.Browser(t)
	if a := b.SignIn(name); a.Location != "/login/code" {
		t.Fatalf("sign-in of %s goes to %s, want /login/code", name, a.Location)
	}
	return b
}

// CheckSignedIn fails the test unless a sign-in has succeeded, or has failed if want is false.
// It succeeded if the browser's last answer is a redirect and the start page opens.
func CheckSignedIn(t *testing.T, b *Browser, what string, want bool) {
	t.Helper()
	a := b.Last
	if got := a.Status == http.StatusSeeOther && b.SignedIn(); got != want {
		t.Errorf("%s: the answer is %d %s, and the browser is signed in: %v, want %v", what, a.Status, a.Location, got, want)
	}
}

// SetParameters changes the parameters of a phone and of its row in the database, as if the
// authenticator had just been imported with these parameters.
func SetParameters(t *testing.T, p *Portal, phone *Phone, params totp.Parameters) {
	t.Helper()
	ChangeRows(t, p, `UPDATE totp SET algorithm = $2, digits = $3, period = $4, last_step = 0, step_ahead = 0, drift_steps = 0 WHERE authenticator_id = $1`,
		phone.ID, string(params.Algorithm), params.Digits, int64(params.Period/time.Second))
	phone.Parameters = params
}

// WrongCode returns a code that none of the phones shows within half an hour of now. It has as
// many digits as the codes of the first phone.
func WrongCode(phones ...*Phone) string {
	shown := map[string]bool{}
	for _, phone := range phones {
		for step := -60; step <= 60; step++ {
			shown[phone.Code(time.Duration(step)*totp.Period)] = true
		}
	}
	least := 1
	for range phones[0].Digits - 1 {
		least *= 10
	}
	for n := least; ; n++ {
		if code := strconv.Itoa(n); !shown[code] {
			return code
		}
	}
}

// The outcomes of [TryCode].
const (
	OutcomeWrong    = "compared"  // the code was compared and is wrong
	OutcomeTwoCodes = "two codes" // the page demands two codes
	OutcomeNoMore   = "no more"   // the account's budgets of the day are used up, so no code is compared
	OutcomeEnded    = "ended"     // the attempt or session had ended before
	OutcomePassed   = "passed"    // the code was accepted
)

// TryCode submits a form with one or two codes and returns the outcome.
func TryCode(b *Browser, path string, fields ...string) string {
	return Outcome(b.Post(path, fields...))
}

// Outcome returns what the answer to a code says: one of the constants above, or else a summary of
// the answer.
func Outcome(a Answer) string {
	said := VisibleText(a.Body)
	switch {
	case a.Location == "/login?notice=ended": // this wrong code ends all attempts
		return OutcomeWrong
	case strings.HasPrefix(a.Location, "/login?"):
		return OutcomeEnded
	case a.Status == http.StatusSeeOther:
		return OutcomePassed
	case strings.Contains(said, "That code didn’t match."), strings.Contains(said, "Those codes didn’t match."):
		return OutcomeWrong
	case strings.Contains(said, "After wrong codes we ask for two in a row. Enter the code you see now"):
		return OutcomeTwoCodes
	case strings.Contains(said, "There were too many wrong codes today."):
		return OutcomeNoMore
	}
	return Summary(a)
}

// CheckUsedUp fails the test unless ada's account has used up its five single codes of the day,
// so that the page demands two codes even after a right one.
func CheckUsedUp(t *testing.T, p *Portal, phone *Phone, when string) {
	t.Helper()
	if got := UnitsUsed(t, p, "ada", "code"); got != 5 {
		t.Errorf("%s, the ledger has %d units of codes, want 5", when, got)
	}
	if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", phone.Code(0)); got != OutcomeTwoCodes {
		t.Errorf("%s, a right single code gets %s, want %s", when, got, OutcomeTwoCodes)
	}
}

// UseUp submits wrong codes for ada's account until its five single codes of the day are used up.
func UseUp(t *testing.T, p *Portal, phones ...*Phone) {
	t.Helper()
	for range 5 {
		if got := TryCode(PendingSignIn(t, p, "ada"), "/login/code", "code", WrongCode(phones...)); got != OutcomeWrong {
			t.Fatalf("submit a wrong code: %s, want %s", got, OutcomeWrong)
		}
	}
}

// OpenLetIn opens a let-in link in a browser. It fails the test if the link isn't accepted.
func OpenLetIn(t *testing.T, b *Browser, ticket string) {
	t.Helper()
	if a := b.Post("/setup", "ticket", ticket); a.Location != "/login?notice=let_in" {
		t.Fatalf("open a let-in link: %s, want the notice let_in", Summary(a))
	}
}

var shownTicket = regexp.MustCompile(`/setup\?ticket=([\w-]+)`)

// LetInTicket returns the ticket of the link that "Allow another browser" shows.
func LetInTicket(t *testing.T, b *Browser) string {
	t.Helper()
	found := shownTicket.FindStringSubmatch(b.Post("/settings/sessions/let-in").Body)
	if found == nil {
		t.Fatalf("the answer to a request for a let-in link has none: %s", Summary(b.Last))
	}
	return found[1]
}

// LeadsTo returns a function that reports whether an answer redirects to a location that begins
// with path. For the path "/" it doesn't accept /login.
func LeadsTo(path string) func(Answer) bool {
	return func(a Answer) bool {
		return a.Status == http.StatusSeeOther && strings.HasPrefix(a.Location, path) && (path != "/" || !strings.HasPrefix(a.Location, "/login"))
	}
}

// ShowsCodes reports whether a page shows a whole set of backup codes.
func ShowsCodes(a Answer) bool {
	return a.Status == http.StatusOK && len(ShownCodes(a.Body)) == 10
}
