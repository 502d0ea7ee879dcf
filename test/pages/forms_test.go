package pages

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Every route refuses a form that it can't read to its end, even if the fields before the fault are
// right. Otherwise the portal would act on a part of the form.
func TestFormsThatCannotBeReadChangeNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		p.AddAccount(t, "bob")
		owner, pending := p.Browser(t), p.Browser(t)
		pending.SignIn("bob")
		pending.Enroll("phone")
		pending = p.Browser(t)
		pending.SignIn("bob") // this attempt waits for a code
		owner.SignIn("ada")
		wizard := owner.BeginEnroll()
		forms := map[string]struct {
			b      *portal.Browser
			fields url.Values
		}{
			"/login":                      {p.Browser(t), url.Values{"username": {"ada"}, "password": {portal.Password}}},
			"/login/code":                 {pending, url.Values{"code": {"123456"}}},
			"/login/backup-code":          {pending, url.Values{"backup_code": {"AAAA-BBBB-CCCC"}}},
			"/login/new-password":         {pending, url.Values{"new_password": {"another long password"}}},
			"/setup":                      {p.Browser(t), url.Values{"username": {"eve"}, "new_password": {"another long password"}}},
			"/reauthenticate":             {owner, url.Values{"password": {portal.Password}, "return": {"/"}}},
			"/settings/profile":           {owner, url.Values{"display_name": {"Eve"}}},
			"/settings/security/password": {owner, url.Values{"password": {portal.Password}, "new_password": {"another long password"}}},
			"/settings/security/passes":   {owner, url.Values{"name": {"backup"}, "path": {"/"}}},
			"/settings/security/authenticators/" + wizard.ID + "/confirm": {owner, url.Values{"code": {wizard.Code(0)}, "name": {"phone"}}},
			"/settings/security/backup-codes":                             {owner, url.Values{"replaces": {""}}},
		}
		for path, form := range forms {
			for rest, want := range map[string]int{
				"&x=%zz":                         http.StatusBadRequest,
				"&x=1&x=2":                       http.StatusBadRequest,
				"&x=" + strings.Repeat("y", 1e5): http.StatusRequestEntityTooLarge,
			} {
				before := form.b.Cookie("sallyport")
				a := form.b.Do(http.MethodPost, path, strings.NewReader(form.fields.Encode()+rest), http.Header{
					"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {p.Base},
				})
				if a.Status != want {
					t.Errorf("POST %s with %.20s at the end: %s, want %d", path, rest, portal.Summary(a), want)
				}
				if form.b.Cookie("sallyport") != before {
					t.Errorf("POST %s with %.20s at the end changed the session's cookie", path, rest)
				}
			}
		}
		if page := owner.Get("/settings/profile").Body; strings.Contains(page, `value="Eve"`) {
			t.Error("a profile from a form that couldn't be read was saved")
		}
	})
}
