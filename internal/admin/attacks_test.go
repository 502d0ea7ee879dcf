package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// addPerson adds an account with a role and signs it in with two factors, just now.
func addPerson(t *testing.T, p *portal.Portal, name string, role account.Role) (account.Account, *portal.Browser) {
	t.Helper()
	a := p.AddAccount(t, name)
	testkit.Check(t, p.Manage.Accounts.SetRole(t.Context(), manage.CommandLine(), a, role))
	b := p.Browser(t)
	b.SignIn(name)
	b.Enroll("phone of " + name)
	a, err := account.ByID(t.Context(), p.DB.Reader(), a.ID)
	testkit.Check(t, err)
	return a, b
}

// submit submits the form of an action. It fills in every field that any action asks for.
func submit(b *portal.Browser, path string, target account.Account) portal.Answer {
	return b.Post(path, "reason", "a reason", "role", "auditor", "name", target.Name)
}

// state returns everything about an account that the actions could change.
func state(t *testing.T, p *portal.Portal, a account.Account) string {
	t.Helper()
	now, err := account.ByID(t.Context(), p.DB.Reader(), a.ID)
	testkit.Check(t, err)
	return fmt.Sprint(now.Role, now.DisabledAt, now.Stamp, now.TwoFactorAt, now.EnrollLocked,
		portal.CountRows(t, p, `SELECT COUNT(*) FROM sessions WHERE account_id = $1`, a.ID),
		portal.CountRows(t, p, `SELECT COUNT(*) FROM tickets WHERE account_id = $1`, a.ID))
}

// Cases D-11 and D-14: each person requests every route for every account. A request that
// access.May doesn't permit changes nothing.
func TestAttackD14EveryRoleAsksForEveryAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		type person struct {
			account.Account
			browser *portal.Browser
		}
		people := map[string]person{"nobody": {browser: p.Browser(t)}}
		for name, role := range map[string]account.Role{"member": account.Member, "other": account.Member, "auditor": account.Auditor, "helpdesk": account.HelpDesk, "root1": account.Administrator, "root2": account.Administrator} {
			a, b := addPerson(t, p, name, role)
			people[name] = person{a, b}
		}
		actions := map[string]bool{}
		for _, route := range admin.Routes() {
			method, pattern, _ := strings.Cut(route.Pattern, " ")
			actions[route.Action] = true
			for actor, by := range people {
				for name, target := range people {
					if name == "nobody" || actor == "root1" && name != "root1" && method == http.MethodPost {
						continue // permitted: the flow script does that
					}
					mayHelp := actor == "helpdesk" && (name == "member" || name == "other") && route.Action != "role" && route.Action != "remove"
					if mayHelp && method == http.MethodPost || actor == "root2" {
						continue
					}
					path := strings.TrimSuffix(strings.ReplaceAll(pattern, "{id}", target.ID), "{$}")
					before := state(t, p, target.Account)
					var got portal.Answer
					if method == http.MethodPost {
						got = submit(by.browser, path, target.Account)
					} else {
						got = by.browser.Get(path)
					}
					want := http.StatusForbidden
					switch {
					case actor == "nobody":
						want = http.StatusSeeOther
					case actor == "member" || actor == "other":
						want = http.StatusNotFound
					case pattern == "/admin/{$}" || pattern == "/admin":
						want = http.StatusSeeOther
					case route.Action == "" || mayHelp || actor == "root1" && name != "root1":
						want = http.StatusOK
					}
					if got.Status != want || actor == "nobody" && !strings.HasPrefix(got.Location, "/login?return=%2Fadmin") {
						t.Errorf("%s: %s %s of %s: %d %s, want %d", actor, method, pattern, name, got.Status, got.Location, want)
					}
					if after := state(t, p, target.Account); after != before {
						t.Errorf("%s: %s %s of %s changed %s into %s, want no change", actor, method, pattern, name, before, after)
					}
				}
			}
		}
		if len(actions) < 7 {
			t.Errorf("got %d actions, want at least 7", len(actions))
		}
		// Ids that name nothing.
		for _, id := range []string{"x", "AAAAAAAAAAAAAAAAAAAA", "%00", "..%2f", people["member"].ID + "x", strings.Repeat("a", 2000)} {
			for _, path := range []string{"", "/disable"} {
				if got := people["root1"].browser.Get("/admin/accounts/" + id + path); got.Status != http.StatusNotFound {
					t.Errorf("GET of the id %.30q%s: %d, want 404", id, path, got.Status)
				}
			}
		}
	})
}

// Case D-11: a request changes nothing unless it is a form that this person got and submits now.
func TestAttackD11ForgedStaleAndReplayedForms(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, root := addPerson(t, p, "root1", account.Administrator)
		ada, _ := addPerson(t, p, "ada", account.Member)
		path := "/admin/accounts/" + ada.ID + "/disable"
		before := state(t, p, ada)
		unchanged := func(what string, got portal.Answer, want int) {
			t.Helper()
			if now := state(t, p, ada); got.Status != want || now != before {
				t.Errorf("%s: %d %s, want %d; state %s, want %s", what, got.Status, got.Location, want, now, before)
			}
		}
		form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		for _, origin := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}} {
			for name, value := range form {
				origin[name] = value
			}
			unchanged("a form of another site", root.Do(http.MethodPost, path, strings.NewReader("reason=x"), origin), http.StatusForbidden)
		}
		unchanged("GET with the form's fields", root.Get(path+"?reason=x"), http.StatusOK)
		unchanged("HEAD", root.Do(http.MethodHead, path, nil, nil), http.StatusOK)
		unchanged("a field twice", root.Post(path, "reason", "x", "reason", "y"), http.StatusBadRequest)
		unchanged("no reason", root.Post(path), http.StatusUnprocessableEntity)
		unchanged("a reason of control characters", root.Post(path, "reason", "\x01\u202e\u200b"), http.StatusUnprocessableEntity)
		unchanged("a long reason", root.Post(path, "reason", strings.Repeat("ä", 201)), http.StatusUnprocessableEntity)
		p.Clock.Move(11 * time.Minute)
		got := submit(root, path, ada)
		unchanged("proofs of 11 minutes ago", got, http.StatusSeeOther)
		if want := "/reauthenticate?return=%2Fadmin%2Faccounts%2F" + ada.ID + "%2Fdisable"; got.Location != want {
			t.Errorf("proofs of 11 minutes ago: to %s, want %s", got.Location, want)
		}

		// Fresh proofs don't help once the role is gone: submit the same form after a demotion.
		root1, err := account.ByName(t.Context(), p.DB.Reader(), "root1")
		testkit.Check(t, err)
		testkit.Check(t, p.Manage.Accounts.SetRole(t.Context(), manage.CommandLine(), root1, account.Member))
		unchanged("a former administrator", submit(root, path, ada), http.StatusNotFound)
	})
}

// A session that has proven only a password can't use a role. If two-factor authentication is on,
// a password alone begins no session. If it is off, the pages of the role lead to the wizard that
// turns it on.
func TestARoleNeedsTwoFactors(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		a := p.AddAccount(t, "root1")
		ada := p.AddAccount(t, "ada")
		testkit.Check(t, p.Manage.Accounts.SetRole(t.Context(), manage.CommandLine(), a, account.Administrator))
		b := p.Browser(t)
		b.SignIn("root1")
		for _, path := range []string{"/admin/", "/admin/accounts", "/admin/accounts/" + ada.ID, "/admin/accounts/" + ada.ID + "/disable", "/admin/nothing"} {
			if got := b.Get(path); got.Location != "/settings/security/authenticators/new?notice=role" {
				t.Errorf("GET %s: %d %s, want the wizard", path, got.Status, got.Location)
			}
		}
		if got := submit(b, "/admin/accounts/"+ada.ID+"/disable", ada); got.Location != "/settings/security/authenticators/new?notice=role" {
			t.Errorf("POST: %d %s, want the wizard", got.Status, got.Location)
		}
		if now, err := account.ByID(t.Context(), p.DB.Reader(), ada.ID); err != nil || now.Disabled() {
			t.Errorf("ada: %+v, %v; want an enabled account", now, err)
		}
	})
}

// demoteEachOther lets administrators take each other's role away at the same time, each through
// a different node, and checks that one administrator is left.
func demoteEachOther(t *testing.T, nodes []*portal.Portal, rounds int) {
	const n = 3
	var browsers []*portal.Browser
	var people []account.Account
	for i := range n {
		a, b := addPerson(t, nodes[i%len(nodes)], fmt.Sprint("root", i), account.Administrator)
		browsers, people = append(browsers, b), append(people, a)
	}
	d := nodes[0].DB
	for round := range rounds {
		do := "role"
		if round == rounds-1 {
			do = "disable" // it ends sessions, so it comes last
		}
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				target := people[(i+1)%n]
				got := browsers[i].Post("/admin/accounts/"+target.ID+"/"+do, "reason", "race", "role", "member")
				if !portal.OneOf(got.Status, http.StatusSeeOther, http.StatusForbidden, http.StatusNotFound) {
					t.Errorf("round %d: %s of %s: %d, want 303, 403 or 404\n%s", round, do, target.Name, got.Status, got.Body)
				}
			})
		}
		all.Wait()
		left := portal.CountRows(t, nodes[0], `SELECT COUNT(*) FROM accounts WHERE role = 'operator' AND disabled_at IS NULL`)
		if left < 1 || left == n {
			t.Fatalf("round %d: %d administrators are left, want 1 or 2", round, left)
		}
		testkit.Check(t, d.Write(t.Context(), func(tx *db.Tx) error {
			for _, a := range people {
				if err := account.SetRole(t.Context(), tx, a.ID, account.Administrator); err != nil {
					return err
				}
				if err := account.SetDisabled(t.Context(), tx, a.ID, time.Time{}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// D-I8: administrators who demote each other at the same time can't remove the last one that is
// enabled.
func TestAdministratorsWhoDemoteEachOther(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		demoteEachOther(t, []*portal.Portal{portal.Start(t, "sqlite")}, 10)
	})
	t.Run("three nodes", func(t *testing.T) {
		t.Parallel()
		demoteEachOther(t, portal.StartNodes(t, 3), 10)
	})
}

// A form that is submitted twice, as by a second click, changes the account once, and its owner is
// told once.
func TestASecondClickChangesNothing(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		_, root := addPerson(t, p, "root1", account.Administrator)
		ada, _ := addPerson(t, p, "ada", account.Member)
		for _, do := range []string{"disable", "enable"} {
			path := "/admin/accounts/" + ada.ID + "/" + do
			first := submit(root, path, ada)
			after := state(t, p, ada)
			p.Clock.Move(time.Second)
			second := submit(root, path, ada)
			if second.Status != http.StatusSeeOther || second.Location != first.Location {
				t.Errorf("%s again: %d %s, want the answer of the first time, to %s", do, second.Status, second.Location, first.Location)
			}
			if now := state(t, p, ada); now != after {
				t.Errorf("%s again changed %s into %s, want no change", do, after, now)
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM events WHERE account_id = $1 AND kind = $2`, ada.ID, "account_"+do+"d"); n != 1 {
				t.Errorf("%s twice: %d events, want 1", do, n)
			}
		}
	})
}
