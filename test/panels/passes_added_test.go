package panels

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Adding a further authenticator ends the account's other sessions, but neither its machine passes
// nor a stream that began with one. Adding the first authenticator ends the passes that were made
// with the password alone.
func TestPassesOutliveAnAddedAuthenticator(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		b, script := p.Browser(t), p.Browser(t)
		b.SignIn("ada")
		ask := func(token string) portal.Answer {
			return script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token))
		}
		weak, operators := panels.MakePass(t, b, "weak"), panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "")
		panels.Received(t, ask(weak))
		panels.Received(t, ask(operators))
		b.Enroll("Phone")
		if page := portal.VisibleText(b.Last.Body); !strings.Contains(page, "1 machine pass still works") || !strings.Contains(page, "of the operator") || strings.Contains(page, "weak") {
			t.Errorf("the page after the first enrolment doesn't list the operator's pass alone:\n%s", page)
		}
		passRefusal(t, "a pass made with the password alone, after the first enrolment", ask(weak))
		panels.Received(t, ask(operators))

		strong := panels.MakePass(t, b, "strong")
		panels.Received(t, ask(strong))
		conn := portal.Dial(t, p)
		fmt.Fprintf(conn, "GET /echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer %s\r\n\r\n", strong)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v; want status 101", resp, err)
		}
		tablet := b.Enroll("Tablet")
		panels.Received(t, ask(strong))
		panels.Received(t, ask(operators))
		fmt.Fprintf(conn, "still there\n")
		if line, err := reader.ReadString('\n'); err != nil || line != "still there\n" {
			t.Errorf("the WebSocket after another enrolment: %q, %v; want the echo", line, err)
		}
		b.Post("/settings/security/authenticators/" + tablet.ID + "/remove")
		for what, token := range map[string]string{"strong": strong, "of the operator": operators} {
			passRefusal(t, what+", after the removal", ask(token))
		}
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the WebSocket is still open after the removal: %v", err)
		}
	})
}

// An enrolment that spares machine passes runs at the same time as a change that ends them. In
// whichever order they run, a pass is valid afterwards only if the change didn't happen.
func TestAddedAuthenticatorRacesWithWhatEndsPasses(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ctx := t.Context()
		for what, change := range map[string]func(b *portal.Browser, phone *portal.Phone, a account.Account) bool{
			"password": func(b *portal.Browser, _ *portal.Phone, _ account.Account) bool {
				return b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill").Location == "/settings/security?notice=password_changed"
			},
			"removal": func(b *portal.Browser, phone *portal.Phone, _ account.Account) bool {
				return b.Post("/settings/security/authenticators/"+phone.ID+"/remove").Location == "/settings/security?notice=removed"
			},
			"operators-password": func(_ *portal.Browser, _ *portal.Phone, a account.Account) bool {
				testkit.Check(t, p.Manage.Passwords.Set(ctx, manage.CommandLine(), a, "set by the operator"))
				return true
			},
			"operators-disable": func(_ *portal.Browser, _ *portal.Phone, a account.Account) bool {
				testkit.Check(t, p.Manage.Accounts.Disable(ctx, manage.CommandLine(), a))
				return true
			},
		} {
			for i := range 5 {
				name := fmt.Sprint(what, "-", i)
				adding, phone := portal.WithTwoFactor(t, p, name)
				other := p.Browser(t)
				other.SignIn(name)
				other.Post("/login/backup-code", "backup_code", phone.Codes[0])
				a := portal.MustAccount(t, p, name)
				token := panels.OperatorsPass(t, p, a, panels.Radio, "/", "", "")
				script := p.Browser(t)
				panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)))
				wizard := adding.BeginEnroll()
				var added, changed bool
				testkit.Race(2, func(i int) string {
					if i == 0 {
						added = adding.Post("/settings/security/authenticators/"+wizard.ID+"/confirm", "code", wizard.Code(0), "name", "Tablet").Location == "/settings/security?notice=added"
					} else {
						changed = change(other, phone, a)
					}
					return ""
				})
				if !added && !changed {
					t.Errorf("%s: neither the enrolment nor the change happened", name)
				}
				last := script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token))
				if valid := last.Status == http.StatusOK; valid == changed {
					t.Errorf("%s: added %v, changed %v, and the pass is valid: %v, want %v", name, added, changed, valid, !changed)
				}
				left, err := pass.List(ctx, p.DB.Reader(), a.ID)
				testkit.Check(t, err)
				if (len(left) > 0) == changed {
					t.Errorf("%s: changed %v, and the account has the passes %+v; want a pass only without the change", name, changed, left)
				}
			}
		}
	})
}

// While authenticators are added, a new pass of an operator is valid, and no request with a pass is
// refused.
func TestPassesWorkWhileAuthenticatorsAreAdded(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		b, _ := portal.WithTwoFactor(t, p, "ada")
		token := panels.MakePass(t, b, "kept")
		var done atomic.Bool
		var asking sync.WaitGroup
		for range 3 {
			script := p.Browser(t)
			asking.Go(func() {
				for !done.Load() {
					if a := script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)); a.Status != http.StatusOK {
						t.Errorf("a request while authenticators are added: %s, want 200", portal.Summary(a))
						return
					}
				}
			})
		}
		for i := range 3 {
			wizard := b.BeginEnroll()
			var operators string
			testkit.Race(2, func(i int) string {
				if i == 0 {
					b.Post("/settings/security/authenticators/"+wizard.ID+"/confirm", "code", wizard.Code(0), "name", "Tablet")
				} else {
					operators = panels.OperatorsPass(t, p, portal.MustAccount(t, p, "ada"), panels.Radio, "/", "", "")
				}
				return ""
			})
			if b.Last.Location != "/settings/security?notice=added" {
				t.Errorf("enrolment %d: %s, want the notice added", i, portal.Summary(b.Last))
			}
			panels.Received(t, p.Browser(t).Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(operators)))
			testkit.Check(t, p.Manage.Passes.Revoke(t.Context(), manage.CommandLine(), portal.MustAccount(t, p, "ada"), panels.OnlyPass(t, p, "ada", "of the operator").ID))
		}
		done.Store(true)
		asking.Wait()
	})
}
