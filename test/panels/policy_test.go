package panels

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// withPolicy returns the setting of a configuration with radio behind the gateway, video behind
// another proxy, and these items of policy.
func withPolicy(t *testing.T, items string) (setting string) {
	t.Helper()
	return "SALLYPORT_CONFIG=" + panels.WriteConfig(t, fmt.Sprintf(`public_url: %s
site_time_zone: Europe/Berlin
trusted_proxies: [127.0.0.1]
policy:
%spanels:
  - url: %s
    upstream: %s
    rules:
      - {path: /status/, require: nothing}
  - url: %s
`, panels.PortalAt, items, panels.Radio, panels.StartPanel(t, "radio").URL, panels.Video))
}

// addToGroup adds an account that is in a new group.
func addToGroup(t *testing.T, p *portal.Portal, name, group string) {
	t.Helper()
	a := p.AddAccount(t, name)
	testkit.Check(t, p.Manage.Groups.Add(t.Context(), manage.CommandLine(), group))
	testkit.Check(t, p.Manage.Groups.Join(t.Context(), manage.CommandLine(), a, group))
}

// scripted returns the status of a script's request with the browser's visit to radio.
func scripted(b *portal.Browser, path string) int {
	return b.Do(http.MethodGet, panels.Radio+path, nil, http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}).Status
}

const required = "  - groups: [ops]\n    two_factor: required\n    from: 2026-11-24\n" // from 23:00 UTC of the 23rd on

// At its date, a policy takes effect even for visits that are in the cache.
func TestAttack166PolicyDateComesForCachedVisits(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		addToGroup(t, p, "ada", "ops")
		bob := p.AddAccount(t, "bob")
		b := p.Browser(t)
		panels.Navigate(b, panels.Radio+"/page")
		panels.SignInAtPage(t, b, "ada")
		if !strings.Contains(b.Last.Body, "From 24 Nov 2026 on") {
			t.Fatalf("the sign-in leads to %s, want the page with the date\n%s", portal.Summary(b.Last), b.Last.Body)
		}
		b.Post("/two-factor/later")
		if s := panels.Received(t, b.Follow()); s.URI != "/page" || s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("after \"Later\" radio got %+v, want /page by ada", s)
		}
		other := panels.Visit(t, p, "bob", panels.Radio+"/page")

		p.Clock.Move(11*time.Hour - time.Millisecond)
		panels.KeepVisit(t, p, b, panels.Radio+"/page")
		panels.KeepVisit(t, p, other, panels.Radio+"/page")
		if s := panels.Received(t, b.Get(panels.Radio+"/status/now")); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("before the date, on an open path: Remote-User %q, want ada", s.Header.Get("Remote-User"))
		}
		p.Clock.Move(time.Millisecond)
		if got := scripted(b, "/page"); got != http.StatusUnauthorized {
			t.Errorf("a script at the date: %d, want 401", got)
		}
		if a := panels.Navigate(b, panels.Radio+"/page?x=1"); !strings.Contains(a.Body, "Until it’s on, nothing else opens here.") {
			t.Errorf("a page, once the policy's date has passed: %s, want the start of the wizard\n%s", portal.Summary(a), a.Body)
		}
		if s := panels.Received(t, b.Get(panels.Radio+"/status/now")); s.Header.Get("Remote-User") != "" {
			t.Errorf("at the date, on an open path: Remote-User %q, want none", s.Header.Get("Remote-User"))
		}
		if got := scripted(other, "/page"); got != http.StatusOK {
			t.Errorf("an account outside of the group: %d, want 200", got)
		}

		// The policy applies to an account as soon as it joins the group, and ends as soon as it leaves.
		testkit.Check(t, p.Manage.Groups.Join(t.Context(), manage.CommandLine(), bob, "ops"))
		testkit.Until(t, "refusal", func() bool { return scripted(other, "/page") == http.StatusUnauthorized })
		testkit.Check(t, p.Manage.Groups.Leave(t.Context(), manage.CommandLine(), bob, "ops"))
		testkit.Until(t, "admission", func() bool { return scripted(other, "/page") == http.StatusOK })
		testkit.Check(t, p.Manage.Groups.Join(t.Context(), manage.CommandLine(), bob, "ops"))
		testkit.Until(t, "refusal", func() bool { return scripted(other, "/page") == http.StatusUnauthorized })

		// The wizard leads back to the page.
		b.SignIn("ada")
		panels.Navigate(b, panels.Radio+"/page?x=1")
		b.Enroll("Phone")
		b.Get("/settings/security")
		if s := panels.Received(t, b.Follow()); s.URI != "/page?x=1" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("after the wizard radio got %+v, want /page?x=1 by ada", s)
		}
	}, withPolicy(t, required))
}

// At its date, a policy takes effect on all nodes at the same moment, even if their clocks are wrong.
func TestAttack166PolicyDateComesOnAllNodesAtOnce(t *testing.T) {
	t.Parallel()
	items := required + "  - groups: [summer]\n    two_factor: required\n    from: 2027-03-28\n  - groups: [after]\n    two_factor: required\n    from: 2027-03-29\n"
	nodes := portal.StartNodes(t, 3, withPolicy(t, items))
	for i, wrong := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		nodes[i].Ahead.Store(int64(wrong))
		nodes[i].Clock.Set(wrong)
		testkit.Check(t, nodes[i].WatchClock(t.Context()))
	}
	wait := func(d time.Duration) {
		nodes[0].Clock.Move(d) // moves the high-water mark too, by the right clock
		for _, p := range nodes[1:] {
			p.Clock.Set(d)
			testkit.Check(t, p.WatchClock(t.Context()))
		}
	}
	for _, test := range []struct {
		name, group string
		at          string // the moment of the date
	}{
		{"ada", "ops", "2026-11-23T23:00:00Z"},
		{"eve", "summer", "2027-03-27T23:00:00Z"}, // midnight before the night in which summer time begins
		{"joe", "after", "2027-03-28T22:00:00Z"},  // the midnight after it
	} {
		at, err := time.Parse(time.RFC3339, test.at)
		testkit.Check(t, err)
		wait(at.Add(-time.Minute).Sub(nodes[0].Clock.Now()))
		addToGroup(t, nodes[0], test.name, test.group)
		b := nodes[0].Browser(t)
		b.SignIn(test.name)
		panels.Navigate(b, panels.Radio+"/page")
		visit := b.CookieAt(panels.Radio, "sallyport-visit")
		verdicts := func() (all []int) {
			for _, p := range nodes {
				there := p.Browser(t)
				there.SetCookieAt(panels.Radio, "sallyport-visit", visit)
				all = append(all, scripted(there, "/page"))
			}
			return all
		}
		wait(time.Minute - time.Millisecond)
		if got := fmt.Sprint(verdicts()); got != "[200 200 200]" {
			t.Errorf("%s, before %s: %s, want 200 on each node", test.name, test.at, got)
		}
		wait(time.Millisecond)
		if got := fmt.Sprint(verdicts()); got != "[401 401 401]" {
			t.Errorf("%s, at %s: %s, want 401 on each node", test.name, test.at, got)
		}
	}
}

// A stream that is open when the date comes ends within seconds.
func TestPolicyEndsStreams(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite", withPolicy(t, required))
	addToGroup(t, p, "ada", "ops")
	b := p.Browser(t)
	b.SignIn("ada")
	panels.Navigate(b, panels.Radio+"/page")
	stream := openWebSocket(t, p, b, "/echo")
	p.Clock.Move(11 * time.Hour)
	if _, err := io.Copy(io.Discard, stream); err != nil && testkit.IsTimeout(err) {
		t.Error("the stream is still open after the date")
	}
}

// With forward-auth, a policy has the same effect as with the gateway: a navigation leads to the wizard,
// and a script gets JSON.
func TestPolicyInForwardAuth(t *testing.T) {
	t.Parallel()
	p := portal.Start(t, "sqlite", withPolicy(t, required))
	addToGroup(t, p, "ada", "ops")
	b := p.Browser(t)
	b.SignIn("ada")
	panels.Navigate(b, panels.Video+"/.sallyport/start?return=/page")
	if a := panels.SendVerify(b, "caddy", "/page", nil); a.Status != http.StatusOK {
		t.Fatalf("verify request before the date: %s, want 200", portal.Summary(a))
	}
	p.Clock.Move(11 * time.Hour)
	if a := panels.SendVerify(b, "caddy", "/page", panels.NavigationHeaders()); a.Status != http.StatusSeeOther || a.Location != panels.Video+"/.sallyport/start?return=%2Fpage" {
		t.Errorf("a navigation at the date: %s, want a redirect to the start of a sign-in", portal.Summary(a))
	}
	b.Get(b.Last.Location)
	if a := b.Follow(); !strings.Contains(a.Body, "Until it’s on, nothing else opens here.") {
		t.Errorf("the start of the sign-in leads to %s, want the start of the wizard", portal.Summary(a))
	}
	script := http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
	if a := panels.SendVerify(b, "caddy", "/page", script); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, `"login":"`+panels.Video+"/.sallyport/start") {
		t.Errorf("a script at the date: %s, want 401 with the address of a sign-in\n%s", portal.Summary(a), a.Body)
	}
}

// A reload puts a policy into force, and another one ends it.
func TestReloadChangesThePolicy(t *testing.T) {
	t.Parallel()
	setting := withPolicy(t, required)
	_, file, _ := strings.Cut(setting, "=")
	p := portal.Start(t, "sqlite", setting)
	for _, line := range []string{"group ops has no accounts, so a policy for it asks nothing of anybody", "policy: of the accounts in ops, 0 have no two-factor authentication: from 2026-11-24 on"} {
		testkit.Until(t, "the log of the start has "+line, func() bool { return strings.Contains(p.Logs.String(), line) })
	}
	addToGroup(t, p, "ada", "ops")
	b := p.Browser(t)
	b.SignIn("ada")
	panels.Navigate(b, panels.Radio+"/page")
	panels.KeepVisit(t, p, b, panels.Radio+"/page")
	text, err := os.ReadFile(file)
	testkit.Check(t, err)
	for from, want := range map[string]int{"from: 2026-11-23": http.StatusUnauthorized, "from: 2026-11-25": http.StatusOK} {
		testkit.WriteFile(t, file, strings.Replace(string(text), "from: 2026-11-24", from, 1))
		testkit.Check(t, p.Reload(config.Load(file, []string{"SALLYPORT_LISTEN=" + p.At, "SALLYPORT_DATA_DIR=" + p.Dir})))
		if got := scripted(b, "/page"); got != want {
			t.Errorf("after a reload with %s: %d, want %d", from, got, want)
		}
	}
}

// On a shared host, the wizard opens although the Security tab doesn't.
func TestSharedHostLeadsThroughTheWizardOfAPolicy(t *testing.T) {
	file := panels.WriteConfig(t, fmt.Sprintf("public_url: %s\nshared_host: true\npolicy:\n  - {groups: ['*'], two_factor: required}\npanels:\n  - url: %[1]s\n    upstream: %s\n", sharedHost, panels.StartPanel(t, "radio").URL))
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		panels.Navigate(b, sharedHost+"/rack?a=1")
		panels.SignInAtPage(t, b, "ada")
		if !strings.Contains(b.Last.Body, "Until it’s on, nothing else opens here.") {
			t.Fatalf("the sign-in leads to %s, want the start of the wizard\n%s", portal.Summary(b.Last), b.Last.Body)
		}
		enrollShared(t, p, b)
		b.Get("/settings/security")
		if s := panels.Received(t, b.Follow()); s.URI != "/rack?a=1" || s.Header.Get("Remote-User") != "ada" {
			t.Errorf("after the wizard the panel got %+v, want /rack?a=1 by ada", s)
		}
	}, "SALLYPORT_CONFIG="+file)
}
