package panels

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/ticket"
)

// After an operator's reset the owner can sign in with the password alone. Neither this new session nor
// a visit from before the reset opens a panel that requires two factors (F15).
func TestAttack65AfterAResetPanelsThatRequireTwoFactorsStayClosed(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		old, _ := portal.WithTwoFactor(t, p, "ada")
		if s := panels.Received(t, panels.Navigate(old, panels.Video+"/")); s.Panel != "video" {
			t.Fatalf("before the reset, the request reached %+v, want panel video", s)
		}
		ada := portal.MustAccount(t, p, "ada")
		if _, err := p.Manage.Authenticators.ResetTwoFactor(t.Context(), manage.CommandLine(), ada, ticket.MinLife); err != nil {
			t.Fatal(err)
		}
		if a := old.Do(http.MethodGet, panels.Video+"/", nil, nil); a.Status != http.StatusUnauthorized {
			t.Errorf("request panel video in a visit from before the reset: status %d, want 401", a.Status)
		}
		again := p.Browser(t)
		again.SignIn("ada")
		portal.CheckSignedIn(t, again, "password after the reset", true)
		a := panels.Navigate(again, panels.Video+"/")
		if strings.Contains(a.Body, `"Panel":"video"`) || !strings.Contains(a.Body, "video.test requires two-factor authentication") {
			t.Errorf("request panel video in a new session with the password alone: status %d, want the page that says that the panel requires two-factor authentication\n%s", a.Status, a.Body)
		}
	})
}
