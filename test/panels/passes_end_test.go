package panels

// Which rules a machine pass must satisfy, how long it is valid, and what ends it.

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// max_age and two_factor of a panel apply to a pass as to the session that made it. A pass
// that an operator makes satisfies both.
func TestPassHasTheAssuranceOfItsSession(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		script := p.Browser(t)
		ask := func(target, token string) portal.Answer {
			return script.Do(http.MethodGet, target, nil, panels.AsHeader(token))
		}
		p.AddAccount(t, "bob")
		bob := p.Browser(t)
		bob.SignIn("bob")
		one, two := panels.MakePass(t, bob, "one"), panels.MakePass(t, bob, "two", "panel", panels.Video)
		panels.Received(t, ask(panels.Radio+"/vault/", one))
		if reason := passRefusal(t, "one factor at video", ask(panels.Video+"/", two)); !strings.Contains(reason, "newer or stronger sign-in") {
			t.Errorf("a pass with one factor at video: the answer says %q, want a newer or stronger sign-in", reason)
		}
		ada, _ := portal.WithTwoFactor(t, p, "ada")
		hers := panels.MakePass(t, ada, "hers", "panel", panels.Video)
		if s := panels.Received(t, ask(panels.Video+"/", hers)); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("a pass with two factors at video: the panel got %v, want Remote-User ada", s.Header)
		}
		mine := panels.OperatorsPass(t, p, portal.MustAccount(t, p, "bob"), panels.Video, "/", "", "")
		panels.Received(t, ask(panels.Video+"/", mine))

		p.Clock.Move(time.Hour + time.Second)
		if reason := passRefusal(t, "an hour later", ask(panels.Radio+"/vault/", one)); !strings.Contains(reason, "newer or stronger sign-in") {
			t.Errorf("/vault/ an hour later: the answer says %q, want a newer or stronger sign-in", reason)
		}
		panels.Received(t, ask(panels.Radio+"/list", one))
		if reason := passRefusal(t, "the operator's, an hour later", ask(panels.Video+"/", mine)); reason != "the pass has expired" {
			t.Errorf("the operator's pass after its hour: the answer says %q, want that the pass has expired", reason)
		}
		// A pass outlives its session, until its own expiry.
		bob.Post("/logout")
		panels.Received(t, ask(panels.Radio+"/list", one))
		p.Clock.Move(90 * 24 * time.Hour)
		passRefusal(t, "90 days later", ask(panels.Radio+"/list", one))
	})
}

// A request may carry a visit and a pass. Where the visit suffices, the pass is ignored; where it
// doesn't, the pass counts.
func TestPassDoesNotWeakenAVisit(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		bob := p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "ada", panels.Radio+"/")
		valid := panels.OperatorsPass(t, p, bob, panels.Radio, "/", "", "")
		for what, token := range map[string]string{"unknown": "spp_x", "valid": valid, "none": ""} {
			if s := panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token))); s.Header.Get("Remote-User") != "ada" {
				t.Errorf("ada's visit with a pass that is %s: the panel got Remote-User %q, want ada", what, s.Header.Get("Remote-User"))
			}
		}
		// Where the visit doesn't suffice, a valid pass counts; with an invalid one a
		// navigation is redirected.
		p.Clock.Move(2 * time.Hour)
		stale := panels.AsHeader("spp_x")
		stale.Set("Sec-Fetch-Mode", "navigate")
		stale.Set("Sec-Fetch-Dest", "document")
		if a := b.Do(http.MethodGet, panels.Radio+"/vault/", nil, stale); a.Status != http.StatusSeeOther {
			t.Errorf("a navigation with an old proof and an unknown pass: %s, want a redirect", portal.Summary(a))
		}
		testkit.Check(t, p.Manage.Passes.Revoke(context.Background(), manage.CommandLine(), bob, panels.OnlyPass(t, p, "bob", "of the operator").ID))
		valid = panels.OperatorsPass(t, p, bob, panels.Radio, "/", "", "")
		if s := panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/vault/", nil, panels.AsHeader(valid))); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("an old proof with bob's pass: the panel got Remote-User %q, want bob", s.Header.Get("Remote-User"))
		}
	})
}

// A change that another process makes ends the passes that this process keeps in its
// cache, as with visits.
func TestAttack103ChangesByAnotherProcessEndPasses(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		other, err := server.Open(t.Context(), p.Config, p.Clock.Now, slog.New(slog.DiscardHandler))
		testkit.Check(t, err)
		t.Cleanup(func() { other.Close() })
		testkit.Check(t, other.Manage.Groups.Add(t.Context(), manage.CommandLine(), "ops"))
		for name, change := range map[string]func(ctx context.Context, s *manage.Service, a account.Account, id string) error{
			"ann": func(ctx context.Context, s *manage.Service, a account.Account, id string) error {
				return s.Passes.Revoke(ctx, manage.CommandLine(), a, id)
			},
			"bob": func(ctx context.Context, s *manage.Service, a account.Account, _ string) error {
				return s.Accounts.Disable(ctx, manage.CommandLine(), a)
			},
			"eve": func(ctx context.Context, s *manage.Service, a account.Account, _ string) error {
				return s.Groups.Leave(ctx, manage.CommandLine(), a, "ops")
			},
			"joe": func(ctx context.Context, s *manage.Service, a account.Account, _ string) error {
				return s.Accounts.Remove(ctx, manage.CommandLine(), a)
			},
			"kim": func(ctx context.Context, s *manage.Service, a account.Account, _ string) error {
				return s.Passwords.Set(ctx, manage.CommandLine(), a, "a longer password of kim's own")
			},
		} {
			t.Run(name, func(t *testing.T) {
				a := p.AddAccount(t, name)
				testkit.Check(t, other.Manage.Groups.Join(t.Context(), manage.CommandLine(), a, "ops"))
				token := panels.OperatorsPass(t, p, a, panels.Radio, "/", "", "")
				testkit.Until(t, "the cache to be current", func() bool { return p.DB.Current(p.Clock.Now()) })
				script := p.Browser(t)
				for range 2 {
					panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(token)))
				}
				testkit.Check(t, change(t.Context(), other.Manage, a, panels.OnlyPass(t, p, name, "of the operator").ID))
				testkit.Until(t, "refusal", func() bool {
					return script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(token)).Status == http.StatusUnauthorized
				})
			})
		}
	})
}

// A pass expires on time even while the database can't be reached.
func TestAttack140CachedPassesEndAfterFiveSeconds(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/", "", "")
		script := p.Browser(t)
		ask := func() portal.Answer { return script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)) }
		p.Clock.Move(time.Hour - 2*time.Second)
		testkit.Until(t, "the cache to be current", func() bool { return p.DB.Current(p.Clock.Now()) })
		panels.Received(t, ask())
		testkit.Check(t, p.DB.Close())
		panels.Received(t, ask())
		p.Clock.Move(2 * time.Second)
		if a := ask(); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "expired") {
			t.Errorf("a pass at its expiry: %s, want 401 with expired", portal.Summary(a))
		}
		p.Clock.Move(3 * time.Second)
		if a := ask(); a.Status != http.StatusServiceUnavailable {
			t.Errorf("a pass five seconds after the database was closed: %s, want 503", portal.Summary(a))
		}
	})
}

// Only requests that were admitted count as a use.
func TestLastUseOfAPassIsRecordedOnceAMinute(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/a/", "", "")
		used := func() time.Time {
			testkit.Check(t, p.Entry.WriteUses(t.Context()))
			return panels.OnlyPass(t, p, "ada", "of the operator").SeenAt
		}
		script := p.Browser(t)
		script.Do(http.MethodGet, panels.Radio+"/b/", nil, panels.AsHeader(token))
		if at := used(); !at.IsZero() {
			t.Errorf("after a refused request the last use is %v, want none", at)
		}
		first := p.Clock.Now()
		for range 5 {
			panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/a/", nil, panels.AsHeader(token)))
			if at := used(); !at.Equal(first) {
				t.Errorf("after a request at %v the last use is %v, want %v", p.Clock.Now(), at, first)
			}
			p.Clock.Move(12*time.Second - 10*time.Millisecond)
		}
		p.Clock.Move(time.Second)
		panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/a/", nil, panels.AsHeader(token)))
		if at := used(); !at.Equal(p.Clock.Now()) {
			t.Errorf("after a request a minute later the last use is %v, want %v", at, p.Clock.Now())
		}
	})
}

// A stream that began with a pass ends with the pass, even on an open path.
func TestStreamsEndWithTheirPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "")
		conn := portal.Dial(t, p)
		fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer %s\r\n\r\n", token)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v; want status 101", resp, err)
		}
		testkit.Check(t, p.Manage.Passes.Revoke(context.Background(), manage.CommandLine(), ada, panels.OnlyPass(t, p, "ada", "of the operator").ID))
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the WebSocket is still open after the pass was revoked: %v", err)
		}
	})
}

// A new stamp of the account ends its passes, though their rows are still there.
func TestAttackR17PassWithAnOldStampIsRefused(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/", "", "")
		script := p.Browser(t)
		panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)))
		testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
			_, err := account.Restamp(t.Context(), tx, portal.MustAccount(t, p, "ada").ID)
			return err
		}))
		passRefusal(t, "a pass with an old stamp", script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)))
	})
}

// Disabling an account and creating a pass at the same time must run one after the other:
// the pass either isn't created or ends with the account's sessions.
func TestEndedSessionCreatesNoPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		for range 10 {
			a := portal.MustAccount(t, p, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			testkit.Race(2, func(i int) string {
				if i == 0 {
					return portal.Summary(b.Post("/settings/security/passes", panels.PassFields("kept")...))
				}
				testkit.Check(t, p.Manage.Accounts.Disable(context.Background(), manage.CommandLine(), a))
				return "disabled"
			})
			left, err := pass.List(t.Context(), p.DB.Reader(), a.ID)
			testkit.Check(t, err)
			if len(left) > 0 {
				t.Fatalf("after the account was disabled it has the passes %+v, want none", left)
			}
			testkit.Check(t, p.Manage.Accounts.Enable(t.Context(), manage.CommandLine(), a))
			p.Clock.Move(time.Minute)
		}
	})
}

// The panel's scripts share the portal's origin, so the form for a new pass asks for
// password and code. The pass opens the panel, but not the portal on the same host.
func TestPassOnASharedHostOpensOnlyThePanel(t *testing.T) {
	onSharedHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := htmlBrowser(t, p)
		b.SignIn("ada")
		fields := panels.PassFields("backup", "panel", sharedHost)
		if a := b.Post("/settings/security/passes", fields...); a.Status != http.StatusOK || panels.ShownPass.MatchString(a.Body) || !strings.Contains(a.Body, `name="methods"`) {
			t.Errorf("a new pass without the password: %s, want the form again\n%s", portal.Summary(a), a.Body)
		}
		token := panels.ShownPass.FindString(b.Post("/settings/security/passes", append(fields, "password", portal.Password)...).Body)
		script := p.Browser(t)
		if s := panels.Received(t, script.Do(http.MethodGet, sharedHost+"/rack", nil, panels.AsBearer(token))); s.Header.Get("Remote-User") != "ada" || s.Header.Get("Authorization") != "" {
			t.Errorf("with the pass the panel got %+v, want Remote-User ada and no Authorization", s)
		}
		for _, page := range []string{"/", "/settings/security", sharedHost + "/.sallyport/session?for=/"} {
			if a := script.Do(http.MethodGet, page, nil, withHeader(panels.AsHeader(token), "Accept", "text/html")); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
				t.Errorf("the pass opens %s: %s", page, portal.Summary(a))
			}
		}
	})
}
