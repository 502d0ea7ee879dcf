package operating

// The completeness of the audit log.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// auditWalk is an account with two-factor authentication, for one case of [webEvents].
type auditWalk struct {
	t     *testing.T
	p     *portal.Portal
	name  string
	owner *portal.Browser
	phone *portal.Phone
}

// pending returns another browser of the same network that submitted the account's password.
func (w *auditWalk) pending() *portal.Browser {
	b := w.p.Browser(w.t)
	b.Header = w.owner.Header.Clone()
	b.SignIn(w.name)
	return b
}

// webEvents has for each POST route the events that its success and its refusals leave, or the
// reason why there are no events.
var webEvents = map[string][]struct {
	do   func(w *auditWalk)
	want string // kind and outcome, "kind:outcome"
	id   bool   // whether the event names the phone
	none string // why there is no event
}{
	"/setup": {
		{do: func(w *auditWalk) { portal.OpenLetIn(w.t, w.owner, portal.LetInTicket(w.t, w.owner)) }, want: "let_in_used:done"},
	},
	"/forgot": {{do: func(w *auditWalk) { portal.MailedReset(w.t, w.p, w.owner, w.name) }, want: "reset_asked:done"}},
	"/reset": {{do: func(w *auditWalk) {
		w.owner.Post("/reset", "ticket", portal.MailedReset(w.t, w.p, w.owner, w.name), "new_password", "another long password")
	}, want: "password_reset:done"}},
	"/unlock": {{do: func(w *auditWalk) {
		w.owner.Post("/unlock", "ticket", portal.MailedUnlock(w.t, w.p, w.owner, w.name))
	}, want: "unlocked:done"}},
	"/unlock/ask": {{do: func(w *auditWalk) { portal.MailedUnlock(w.t, w.p, w.owner, w.name) }, want: "unlock_asked:done"}},
	"/unlock/code": {{do: func(w *auditWalk) {
		ticket := portal.MailedUnlock(w.t, w.p, w.owner, w.name)
		w.owner.Post("/unlock/code", "unlock_code", portal.UnlockCode(w.t, w.p.Browser(w.t), ticket))
	}, want: "unlocked:done"}},
	"/settings/profile/email":         {{do: func(w *auditWalk) { portal.MailedVerification(w.t, w.p, w.owner, w.name+"@example.org") }, want: "email_asked:done"}},
	"/settings/profile/email/confirm": {{do: func(w *auditWalk) { portal.ChangeEmail(w.t, w.p, w.owner, w.name+"@example.org") }, want: "email_changed:done"}},
	"/undo-email": {{do: func(w *auditWalk) {
		former := portal.VerifyEmail(w.t, w.p, w.name)
		portal.ChangeEmail(w.t, w.p, w.owner, w.name+"@example.org")
		_, _, link := portal.LastMail(w.t, w.p, former).Link()
		w.owner.Post("/undo-email", "ticket", link, "email", former)
	}, want: "email_restored:done"}},
	"/login": {
		{do: func(w *auditWalk) { w.owner.Post("/login", "username", w.name, "password", "wrong") }, want: "sign_in_failed:refused"},
	},
	"/login/code": {
		{do: func(w *auditWalk) { w.pending().Post("/login/code", "code", w.phone.Code(0)) }, want: "signed_in:done", id: true},
		{do: func(w *auditWalk) { w.pending().Post("/login/code", "code", portal.WrongCode(w.phone)) }, want: "code_failed:refused"},
		{do: func(w *auditWalk) { w.pending().Post("/login/code", "code", w.phone.Code(-totp.Period)) }, want: "code_reused:refused"},
	},
	"/login/backup-code": {
		{do: func(w *auditWalk) { w.pending().Post("/login/backup-code", "backup_code", w.phone.Codes[0]) }, want: "backup_code_used:done"},
		{do: func(w *auditWalk) { w.pending().Post("/login/backup-code", "backup_code", "AAAA-AAAA-AAAA") }, want: "backup_code_failed:refused"},
	},
	"/login/new-password": {
		{do: func(w *auditWalk) {
			portal.ChangeRows(w.t, w.p, `UPDATE passwords SET suspect_at = 1 WHERE account_id = (SELECT id FROM accounts WHERE name = $1)`, w.name)
			b := w.pending()
			b.Post("/login/code", "code", w.phone.Code(0))
			b.Post("/login/new-password", "new_password", "another long password")
		}, want: "password_changed:done"},
	},
	"/login/cancel": {{none: "cancelling an attempt changes no session"}},
	"/logout":       {{do: func(w *auditWalk) { w.owner.Post("/logout") }, want: "signed_out:done"}},
	"/reauthenticate": {
		{do: func(w *auditWalk) {
			w.owner.Post("/reauthenticate", "password", portal.Password, "code", w.phone.Code(0), "return", "/")
		}, want: "reauthenticated:done", id: true},
		{do: func(w *auditWalk) {
			w.owner.Post("/reauthenticate", "password", "wrong", "code", w.phone.Code(0), "return", "/")
		}, want: "sign_in_failed:refused"},
	},
	"/two-factor/later": {{none: "it changes when a page asks again, and nothing about signing in"}},
	"/settings/profile": {{do: func(w *auditWalk) { w.owner.Post("/settings/profile", "display_name", "Ada L.") }, want: "profile_changed:done"}},
	"/settings/sessions/{id}/revoke": {{do: func(w *auditWalk) {
		w.owner.Post("/settings/sessions/" + idOf(w, "sessions") + "/revoke")
	}, want: "session_ended:done"}},
	"/settings/sessions/revoke-others": {{do: func(w *auditWalk) {
		b := w.pending()
		b.Post("/login/code", "code", w.phone.Code(0))
		b.Post("/settings/sessions/revoke-others")
	}, want: "sessions_ended:done"}},
	"/settings/sessions/let-in": {{do: func(w *auditWalk) { portal.LetInTicket(w.t, w.owner) }, want: "let_in_issued:done"}},
	"/settings/devices/{id}/forget": {{do: func(w *auditWalk) {
		w.owner.Post("/settings/devices/" + idOf(w, "devices") + "/forget")
	}, want: "device_forgotten:done"}},
	"/settings/devices/forget-all": {{do: func(w *auditWalk) { w.owner.Post("/settings/devices/forget-all") }, want: "devices_forgotten:done"}},
	"/settings/security/password": {
		{do: func(w *auditWalk) {
			w.owner.Post("/settings/security/password", "password", portal.Password, "new_password", "another long password")
		}, want: "password_changed:done"},
		{do: func(w *auditWalk) {
			w.owner.Post("/settings/security/password", "password", "wrong", "new_password", "another long password")
		}, want: "sign_in_failed:refused"},
	},
	"/settings/security/disable":                 {{do: func(w *auditWalk) { w.owner.Post("/settings/security/disable") }, want: "two_factor_disabled:done"}},
	"/settings/security/backup-codes":            {{do: func(w *auditWalk) { w.owner.Post("/settings/security/backup-codes") }, want: "backup_codes_issued:done"}},
	"/settings/security/backup-codes/{id}/saved": {{none: "it changes what the Security tab advises, and nothing about signing in"}},
	"/settings/security/authenticators":          {{none: "an enrolment that is only begun changes nothing"}},
	"/settings/security/authenticators/{id}/confirm": {
		{do: func(w *auditWalk) { w.phone = w.owner.Enroll("Tablet") }, want: "authenticator_added:done", id: true},
		{do: func(w *auditWalk) {
			w.owner.Post("/settings/security/disable")
			w.phone = w.owner.Enroll("Tablet")
		}, want: "two_factor_enabled:done", id: true},
	},
	"/settings/security/authenticators/{id}/cancel": {{none: "an enrolment that is cancelled changes nothing"}},
	"/settings/security/authenticators/{id}/rename": {{do: func(w *auditWalk) {
		w.owner.Post("/settings/security/authenticators/"+w.phone.ID+"/rename", "name", "Old phone")
	}, want: "authenticator_renamed:done", id: true}},
	"/settings/security/authenticators/{id}/remove": {{do: func(w *auditWalk) {
		w.owner.Post("/settings/security/authenticators/" + w.phone.ID + "/remove")
	}, want: "authenticator_removed:done", id: true}},
	"/settings/security/passes": {{do: func(w *auditWalk) { panels.MakePass(w.t, w.owner, "backup") }, want: "pass_made:done"}},
	"/settings/security/passes/{id}/revoke": {{do: func(w *auditWalk) {
		panels.MakePass(w.t, w.owner, "backup")
		w.owner.Post("/settings/security/passes/" + idOf(w, "passes") + "/revoke")
	}, want: "pass_revoked:done"}},
}

// idOf returns the id of the account's only row in a table.
func idOf(w *auditWalk, table string) string {
	w.t.Helper()
	var id string
	err := db.One(context.Background(), w.p.DB.Reader(), `SELECT id FROM `+table+` WHERE account_id = (SELECT id FROM accounts WHERE name = $1)`, []any{w.name}, &id)
	testkit.Check(w.t, err)
	return id
}

// eventsOf returns an account's events, newest first. For an empty name it returns the events
// without an account.
func eventsOf(t *testing.T, p *portal.Portal, name string) []audit.Event {
	t.Helper()
	id := ""
	if name != "" {
		id = portal.MustAccount(t, p, name).ID
	}
	const all = 1000
	events, err := audit.List(context.Background(), p.DB.Reader(), id, audit.Cursor{}, all)
	testkit.Check(t, err)
	return events
}

// newEvents returns the events in later that aren't in earlier.
func newEvents(earlier, later []audit.Event) []audit.Event {
	return slices.DeleteFunc(later, func(e audit.Event) bool {
		return slices.ContainsFunc(earlier, func(old audit.Event) bool { return old.ID == e.ID })
	})
}

// find returns the first event with a kind and an outcome, "kind:outcome".
func find(events []audit.Event, want string) (audit.Event, bool) {
	for _, e := range events {
		if string(e.Kind)+":"+e.Outcome == want {
			return e, true
		}
	}
	return audit.Event{}, false
}

// TestAttack159EveryFormLeavesAnEvent checks the events of every POST route against webEvents. A
// new route needs an entry there.
func TestAttack159EveryFormLeavesAnEvent(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		n := 0
		for _, route := range portal.Routes(t) {
			if route.Method != http.MethodPost {
				continue
			}
			if len(webEvents[route.Path]) == 0 {
				t.Errorf("POST %s has no entry in webEvents; add the events that it leaves", route.Path)
			}
			for _, c := range webEvents[route.Path] {
				if c.none != "" {
					continue
				}
				n++
				w := &auditWalk{t: t, p: p, name: fmt.Sprint("account", n), owner: portal.FromNetwork(p.Browser(t), n)}
				p.AddAccount(t, w.name)
				w.owner.SignIn(w.name)
				w.phone = w.owner.Enroll("Phone")
				before, began := eventsOf(t, p, w.name), p.Clock.Now()
				c.do(w)
				e, found := find(newEvents(before, eventsOf(t, p, w.name)), c.want)
				if !found {
					t.Errorf("POST %s left no event %s; last answer %s", route.Path, c.want, portal.Summary(w.owner.Last))
					continue
				}
				if e.Actor != audit.ByOwner || e.Address != portal.NetworkAddress(n) || !strings.Contains(e.Browser, "Chrome") || e.At.Before(began) || e.At.After(p.Clock.Now()) {
					t.Errorf("POST %s left the event %+v, want the owner, the address, the browser and the time in it", route.Path, e)
				}
				if c.id && e.AuthenticatorID != w.phone.ID {
					t.Errorf("POST %s left an event with the authenticator %q, want %q", route.Path, e.AuthenticatorID, w.phone.ID)
				}
			}
		}
		// The export has one line for each event, with its time in UTC and all required fields.
		lines := strings.Split(strings.TrimSpace(call(t, environOf(p), "", "audit", "export")), "\n")
		for _, line := range lines {
			var e struct{ At, Event, Outcome, Actor, Account string }
			if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(e.At, "Z") || e.Event == "" || e.Outcome == "" || e.Actor == "" || e.Account == "" {
				t.Errorf("line of the export %.300s: %v, want a time in UTC, an event, an outcome, an actor and an account", line, err)
			}
		}
		if len(lines) < 3*n {
			t.Errorf("the export has %d lines for %d accounts, want at least %d", len(lines), n, 3*n)
		}
	}, append([]string{portal.BehindProxy, panels.PanelRadio(t)}, portal.WithMail...)...)
}

// environOf returns the environment of a command that uses the portal's files and database.
func environOf(p *portal.Portal) []string {
	return append(portal.DatabaseOf(p), "SALLYPORT_DATA_DIR="+p.Dir, "SALLYPORT_PUBLIC_URL="+p.Base, portal.NoConfig)
}

// call runs a command, fails the test unless it succeeds, and returns its output.
func call(t *testing.T, environ []string, input string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if status := cli.Main(args, cli.Streams{In: strings.NewReader(input), Out: &out, Err: &out}, environ); status != 0 {
		t.Errorf("sallyport %s: status %d, want 0\n%s", strings.Join(args, " "), status, out.String())
	}
	return out.String()
}

// TestAttack159FirstAccount checks that the events of the first account and of an invited one name
// the actor who created them.
func TestAttack159FirstAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		token, needed, err := p.Manage.Links.IssueSetup(context.Background(), manage.CommandLine())
		if err != nil || !needed {
			t.Fatalf("set-up ticket of an empty database: needed %v, %v; want true", needed, err)
		}
		p.Browser(t).Post("/setup", "ticket", token.Reveal(), "username", "root1", "new_password", "a long pass phrase")
		if e, found := find(eventsOf(t, p, "root1"), "account_created:done"); !found || e.Actor != audit.ByOwner {
			t.Errorf("event of the first account: %+v, want account_created by the owner", e)
		}
		token, _, err = p.Manage.Accounts.Invite(context.Background(), manage.CommandLine(), account.Account{Name: "bob"})
		testkit.Check(t, err)
		p.Browser(t).Post("/setup", "ticket", token.Reveal(), "new_password", "another long pass phrase")
		for want, actor := range map[string]string{"account_invited:done": audit.ByOperator, "password_changed:done": audit.ByOwner} {
			if e, found := find(eventsOf(t, p, "bob"), want); !found || e.Actor != actor {
				t.Errorf("event %s of an invited account: %+v, want the actor %s", want, e, actor)
			}
		}
	})
}
