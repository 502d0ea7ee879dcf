package panels

// What a machine pass is held against, how long it counts, and where it doesn't.

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
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestPassesProveWhatTheirSessionDid: panels' max_age and two_factor hold for a
// pass as for the session that made it; an operator's word stands for both.
func TestPassesProveWhatTheirSessionDid(t *testing.T) {
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
		if said := refusal(t, "one factor at video", ask(panels.Video+"/", two)); !strings.Contains(said, "newer or stronger sign-in") {
			t.Errorf("one factor at video: says %q", said)
		}
		ada, _ := portal.WithTwoFactor(t, p, "ada")
		hers := panels.MakePass(t, ada, "hers", "panel", panels.Video)
		if s := panels.Received(t, ask(panels.Video+"/", hers)); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("two factors: %v", s.Header)
		}
		mine := panels.OperatorsPass(t, p, portal.MustAccount(t, p, "bob"), panels.Video, "/", "", "")
		panels.Received(t, ask(panels.Video+"/", mine))

		p.Clock.Move(time.Hour + time.Second)
		if said := refusal(t, "an hour later", ask(panels.Radio+"/vault/", one)); !strings.Contains(said, "newer or stronger sign-in") {
			t.Errorf("an hour later: says %q", said)
		}
		panels.Received(t, ask(panels.Radio+"/list", one))
		if said := refusal(t, "the operator's, an hour later", ask(panels.Video+"/", mine)); said != "the pass has expired" {
			t.Errorf("expired: says %q", said)
		}
		// Its session may end: the pass goes on, as long as it says.
		bob.Post("/logout")
		panels.Received(t, ask(panels.Radio+"/list", one))
		p.Clock.Move(90 * 24 * time.Hour)
		refusal(t, "90 days later", ask(panels.Radio+"/list", one))
	})
}

// TestVisitIsntWeakenedByAPass: what comes of a pass takes nothing from a visit
// that came along, and adds to one that isn't enough.
func TestVisitIsntWeakenedByAPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		bob := p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "ada", panels.Radio+"/")
		valid := panels.OperatorsPass(t, p, bob, panels.Radio, "/", "", "")
		for what, token := range map[string]string{"unknown": "spp_x", "valid": valid, "none": ""} {
			if s := panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token))); s.Header.Get("Remote-User") != "ada" {
				t.Errorf("with a pass that is %s the panel saw %q", what, s.Header.Get("Remote-User"))
			}
		}
		// Where the visit isn't enough, the pass counts, or the person is led on.
		p.Clock.Move(2 * time.Hour)
		stale := panels.AsHeader("spp_x")
		stale.Set("Sec-Fetch-Mode", "navigate")
		stale.Set("Sec-Fetch-Dest", "document")
		if a := b.Do(http.MethodGet, panels.Radio+"/vault/", nil, stale); a.Status != http.StatusSeeOther {
			t.Errorf("a person with an old proof and a pass of nobody: %s", portal.Summary(a))
		}
		testkit.Check(t, p.Login.WithdrawPass(context.Background(), bob, panels.OnlyPass(t, p, "bob", "of the operator").ID))
		valid = panels.OperatorsPass(t, p, bob, panels.Radio, "/", "", "")
		if s := panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/vault/", nil, panels.AsHeader(valid))); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("the panel saw %q", s.Header.Get("Remote-User"))
		}
	})
}

// TestAttack103PassesEndedByAnotherProcess: as for visits, what is kept in memory
// ends with what another process changes.
func TestAttack103PassesEndedByAnotherProcess(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		other, err := server.Open(t.Context(), p.Config, p.Clock.Now, slog.New(slog.DiscardHandler))
		testkit.Check(t, err)
		t.Cleanup(func() { other.Close() })
		testkit.Check(t, other.Login.AddGroup(t.Context(), "ops"))
		for name, change := range map[string]func(ctx context.Context, s *login.Service, a account.Account, id string) error{
			"ann": func(ctx context.Context, s *login.Service, a account.Account, id string) error {
				return s.WithdrawPass(ctx, a, id)
			},
			"bob": func(ctx context.Context, s *login.Service, a account.Account, _ string) error {
				return s.Disable(ctx, a)
			},
			"eve": func(ctx context.Context, s *login.Service, a account.Account, _ string) error {
				return s.Leave(ctx, a, "ops")
			},
			"joe": func(ctx context.Context, s *login.Service, a account.Account, _ string) error {
				return s.Remove(ctx, a)
			},
			"kim": func(ctx context.Context, s *login.Service, a account.Account, _ string) error {
				return s.SetPassword(ctx, a, "a longer password of kim's own")
			},
		} {
			t.Run(name, func(t *testing.T) {
				a := p.AddAccount(t, name)
				testkit.Check(t, other.Login.Join(t.Context(), a, "ops"))
				token := panels.OperatorsPass(t, p, a, panels.Radio, "/", "", "")
				testkit.Until(t, "hearing of changes", func() bool { return p.DB.Current(p.Clock.Now()) })
				script := p.Browser(t)
				for range 2 {
					panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(token)))
				}
				testkit.Check(t, change(t.Context(), other.Login, a, panels.OnlyPass(t, p, name, "of the operator").ID))
				testkit.Until(t, "refusal", func() bool {
					return script.Do(http.MethodGet, panels.Radio+"/ops/", nil, panels.AsHeader(token)).Status == http.StatusUnauthorized
				})
			})
		}
	})
}

// TestAttack140PassesAreKeptForSecondsOnly: and what ends with time ends though
// the database is away.
func TestAttack140PassesAreKeptForSecondsOnly(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/", "", "")
		script := p.Browser(t)
		ask := func() portal.Answer { return script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)) }
		p.Clock.Move(time.Hour - 2*time.Second)
		testkit.Until(t, "hearing of changes", func() bool { return p.DB.Current(p.Clock.Now()) })
		panels.Received(t, ask())
		testkit.Check(t, p.DB.Close())
		panels.Received(t, ask())
		p.Clock.Move(2 * time.Second)
		if a := ask(); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "expired") {
			t.Errorf("at its end: %s", portal.Summary(a))
		}
		p.Clock.Move(3 * time.Second)
		if a := ask(); a.Status != http.StatusServiceUnavailable {
			t.Errorf("five seconds later: %s", portal.Summary(a))
		}
	})
}

// TestLastUseOfAPassIsNotedOnceAMinute: by whatever it is used.
func TestLastUseOfAPassIsNotedOnceAMinute(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/a/", "", "")
		used := func() time.Time {
			testkit.Check(t, p.Login.WriteUses(t.Context()))
			return panels.OnlyPass(t, p, "ada", "of the operator").SeenAt
		}
		script := p.Browser(t)
		script.Do(http.MethodGet, panels.Radio+"/b/", nil, panels.AsHeader(token))
		if at := used(); !at.IsZero() {
			t.Errorf("refused, and used at %v", at)
		}
		first := p.Clock.Now()
		for range 5 {
			panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/a/", nil, panels.AsHeader(token)))
			if at := used(); !at.Equal(first) {
				t.Errorf("at %v: last used at %v, want %v", p.Clock.Now(), at, first)
			}
			p.Clock.Move(12*time.Second - 10*time.Millisecond)
		}
		p.Clock.Move(time.Second)
		panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/a/", nil, panels.AsHeader(token)))
		if at := used(); !at.Equal(p.Clock.Now()) {
			t.Errorf("a minute later: last used at %v", at)
		}
	})
}

// TestStreamsEndWithTheirPass: on paths that are open to all too.
func TestStreamsEndWithTheirPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := panels.OperatorsPass(t, p, ada, panels.Radio, "/", "", "")
		conn := portal.Dial(t, p)
		fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer %s\r\n\r\n", token)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v", resp, err)
		}
		testkit.Check(t, p.Login.WithdrawPass(context.Background(), ada, panels.OnlyPass(t, p, "ada", "of the operator").ID))
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the upgraded connection goes on: %v", err)
		}
	})
}

// TestAttackR17PassOfAnotherStamp: even where its row is there.
func TestAttackR17PassOfAnotherStamp(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := panels.OperatorsPass(t, p, p.AddAccount(t, "ada"), panels.Radio, "/", "", "")
		script := p.Browser(t)
		panels.Received(t, script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)))
		testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
			_, err := account.Restamp(t.Context(), tx, portal.MustAccount(t, p, "ada").ID)
			return err
		}))
		refusal(t, "another stamp", script.Do(http.MethodGet, panels.Radio+"/x", nil, panels.AsHeader(token)))
	})
}

// TestPassIsntMadeByASessionThatEnded: a change of how one signs in and the making
// of a pass come one after the other.
func TestPassIsntMadeByASessionThatEnded(t *testing.T) {
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
				testkit.Check(t, p.Login.Disable(context.Background(), a))
				return "disabled"
			})
			left, err := pass.List(t.Context(), p.DB.Reader(), a.ID)
			testkit.Check(t, err)
			if len(left) > 0 {
				t.Fatalf("a pass was made by a session that had ended: %+v", left)
			}
			testkit.Check(t, p.Login.Enable(t.Context(), a))
			p.Clock.Move(time.Minute)
		}
	})
}

// TestPassOnThePortalsOwnHost: it is made with password and code in its form, since
// the panel's scripts share the origin, and opens the panel, not the portal beside it.
func TestPassOnThePortalsOwnHost(t *testing.T) {
	onPanelsHost(t, "", func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := person(t, p)
		b.SignIn("ada")
		fields := panels.PassFields("backup", "panel", sharedHost)
		if a := b.Post("/settings/security/passes", fields...); a.Status != http.StatusOK || panels.ShownPass.MatchString(a.Body) || !strings.Contains(a.Body, `name="methods"`) {
			t.Errorf("without a proof: %s\n%s", portal.Summary(a), a.Body)
		}
		token := panels.ShownPass.FindString(b.Post("/settings/security/passes", append(fields, "password", portal.Password)...).Body)
		script := p.Browser(t)
		if s := panels.Received(t, script.Do(http.MethodGet, sharedHost+"/rack", nil, panels.AsBearer(token))); s.Header.Get("Remote-User") != "ada" || s.Header.Get("Authorization") != "" {
			t.Errorf("the panel got %+v", s)
		}
		for _, page := range []string{"/", "/settings/security", sharedHost + "/.sallyport/session?for=/"} {
			if a := script.Do(http.MethodGet, page, nil, with(panels.AsHeader(token), "Accept", "text/html")); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
				t.Errorf("the pass opens %s: %s", page, portal.Summary(a))
			}
		}
	})
}
