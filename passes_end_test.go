package sallyport_test

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
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// TestPassesProveWhatTheirSessionDid: panels' max_age and two_factor hold for a
// pass as for the session that made it; an operator's word stands for both.
func TestPassesProveWhatTheirSessionDid(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		script := p.Browser(t)
		ask := func(target, token string) portal.Answer {
			return script.Do(http.MethodGet, target, nil, asHeader(token))
		}
		p.AddAccount(t, "bob")
		bob := p.Browser(t)
		bob.SignIn("bob")
		one, two := makePass(t, bob, "one"), makePass(t, bob, "two", "panel", video)
		got(t, ask(radio+"/vault/", one))
		if said := refusal(t, "one factor at video", ask(video+"/", two)); !strings.Contains(said, "newer or stronger sign-in") {
			t.Errorf("one factor at video: says %q", said)
		}
		ada, _ := withTwoFactor(t, p, "ada")
		hers := makePass(t, ada, "hers", "panel", video)
		if s := got(t, ask(video+"/", hers)); s.Header.Get("Remote-User") != "ada" {
			t.Errorf("two factors: %v", s.Header)
		}
		mine := operatorsPass(t, p, mustAccount(t, p, "bob"), video, "/", "", "")
		got(t, ask(video+"/", mine))

		p.Clock.Move(time.Hour + time.Second)
		if said := refusal(t, "an hour later", ask(radio+"/vault/", one)); !strings.Contains(said, "newer or stronger sign-in") {
			t.Errorf("an hour later: says %q", said)
		}
		got(t, ask(radio+"/list", one))
		if said := refusal(t, "the operator's, an hour later", ask(video+"/", mine)); said != "the pass has expired" {
			t.Errorf("expired: says %q", said)
		}
		// Its session may end: the pass goes on, as long as it says.
		bob.Post("/logout")
		got(t, ask(radio+"/list", one))
		p.Clock.Move(90 * 24 * time.Hour)
		refusal(t, "90 days later", ask(radio+"/list", one))
	})
}

// TestVisitIsntWeakenedByAPass: what comes of a pass takes nothing from a visit
// that came along, and adds to one that isn't enough.
func TestVisitIsntWeakenedByAPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		bob := p.AddAccount(t, "bob")
		b := visit(t, p, "ada", radio+"/")
		valid := operatorsPass(t, p, bob, radio, "/", "", "")
		for what, token := range map[string]string{"unknown": "spp_x", "valid": valid, "none": ""} {
			if s := got(t, b.Do(http.MethodGet, radio+"/x", nil, asHeader(token))); s.Header.Get("Remote-User") != "ada" {
				t.Errorf("with a pass that is %s the panel saw %q", what, s.Header.Get("Remote-User"))
			}
		}
		// Where the visit isn't enough, the pass counts, or the person is led on.
		p.Clock.Move(2 * time.Hour)
		stale := asHeader("spp_x")
		stale.Set("Sec-Fetch-Mode", "navigate")
		stale.Set("Sec-Fetch-Dest", "document")
		if a := b.Do(http.MethodGet, radio+"/vault/", nil, stale); a.Status != http.StatusSeeOther {
			t.Errorf("a person with an old proof and a pass of nobody: %s", short(a))
		}
		check(t, p.Login.WithdrawPass(context.Background(), bob, onlyPass(t, p, "bob", "of the operator").ID))
		valid = operatorsPass(t, p, bob, radio, "/", "", "")
		if s := got(t, b.Do(http.MethodGet, radio+"/vault/", nil, asHeader(valid))); s.Header.Get("Remote-User") != "bob" {
			t.Errorf("the panel saw %q", s.Header.Get("Remote-User"))
		}
	})
}

// TestAttack103PassesEndedByAnotherProcess: as for visits, what is kept in memory
// ends with what another process changes.
func TestAttack103PassesEndedByAnotherProcess(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		other, err := server.Open(t.Context(), p.Config, p.Clock.Now, slog.New(slog.DiscardHandler))
		check(t, err)
		t.Cleanup(func() { other.Close() })
		check(t, other.Login.AddGroup(t.Context(), "ops"))
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
				check(t, other.Login.Join(t.Context(), a, "ops"))
				token := operatorsPass(t, p, a, radio, "/", "", "")
				testkit.Until(t, "hearing of changes", func() bool { return p.DB.Current(p.Clock.Now()) })
				script := p.Browser(t)
				for range 2 {
					got(t, script.Do(http.MethodGet, radio+"/ops/", nil, asHeader(token)))
				}
				check(t, change(t.Context(), other.Login, a, onlyPass(t, p, name, "of the operator").ID))
				testkit.Until(t, "refusal", func() bool {
					return script.Do(http.MethodGet, radio+"/ops/", nil, asHeader(token)).Status == http.StatusUnauthorized
				})
			})
		}
	})
}

// TestAttack140PassesAreKeptForSecondsOnly: and what ends with time ends though
// the database is away.
func TestAttack140PassesAreKeptForSecondsOnly(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := operatorsPass(t, p, p.AddAccount(t, "ada"), radio, "/", "", "")
		script := p.Browser(t)
		ask := func() portal.Answer { return script.Do(http.MethodGet, radio+"/x", nil, asHeader(token)) }
		p.Clock.Move(time.Hour - 2*time.Second)
		testkit.Until(t, "hearing of changes", func() bool { return p.DB.Current(p.Clock.Now()) })
		got(t, ask())
		check(t, p.DB.Close())
		got(t, ask())
		p.Clock.Move(2 * time.Second)
		if a := ask(); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "expired") {
			t.Errorf("at its end: %s", short(a))
		}
		p.Clock.Move(3 * time.Second)
		if a := ask(); a.Status != http.StatusServiceUnavailable {
			t.Errorf("five seconds later: %s", short(a))
		}
	})
}

// TestLastUseOfAPassIsNotedOnceAMinute: by whatever it is used.
func TestLastUseOfAPassIsNotedOnceAMinute(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := operatorsPass(t, p, p.AddAccount(t, "ada"), radio, "/a/", "", "")
		used := func() time.Time {
			check(t, p.Login.WriteUses(t.Context()))
			return onlyPass(t, p, "ada", "of the operator").SeenAt
		}
		script := p.Browser(t)
		script.Do(http.MethodGet, radio+"/b/", nil, asHeader(token))
		if at := used(); !at.IsZero() {
			t.Errorf("refused, and used at %v", at)
		}
		first := p.Clock.Now()
		for range 5 {
			got(t, script.Do(http.MethodGet, radio+"/a/", nil, asHeader(token)))
			if at := used(); !at.Equal(first) {
				t.Errorf("at %v: last used at %v, want %v", p.Clock.Now(), at, first)
			}
			p.Clock.Move(12*time.Second - 10*time.Millisecond)
		}
		p.Clock.Move(time.Second)
		got(t, script.Do(http.MethodGet, radio+"/a/", nil, asHeader(token)))
		if at := used(); !at.Equal(p.Clock.Now()) {
			t.Errorf("a minute later: last used at %v", at)
		}
	})
}

// TestStreamsEndWithTheirPass: on paths that are open to all too.
func TestStreamsEndWithTheirPass(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		token := operatorsPass(t, p, ada, radio, "/", "", "")
		conn := dial(t, p)
		fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer %s\r\n\r\n", token)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v", resp, err)
		}
		check(t, p.Login.WithdrawPass(context.Background(), ada, onlyPass(t, p, "ada", "of the operator").ID))
		if _, err := reader.ReadString('\n'); err == nil || isTimeout(err) {
			t.Errorf("the upgraded connection goes on: %v", err)
		}
	})
}

// TestAttackR17PassOfAnotherStamp: even where its row is there.
func TestAttackR17PassOfAnotherStamp(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		token := operatorsPass(t, p, p.AddAccount(t, "ada"), radio, "/", "", "")
		script := p.Browser(t)
		got(t, script.Do(http.MethodGet, radio+"/x", nil, asHeader(token)))
		check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
			_, err := account.Restamp(t.Context(), tx, mustAccount(t, p, "ada").ID)
			return err
		}))
		refusal(t, "another stamp", script.Do(http.MethodGet, radio+"/x", nil, asHeader(token)))
	})
}

// TestPassIsntMadeByASessionThatEnded: a change of how one signs in and the making
// of a pass come one after the other.
func TestPassIsntMadeByASessionThatEnded(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		for range 10 {
			a := mustAccount(t, p, "ada")
			b := p.Browser(t)
			b.SignIn("ada")
			testkit.Race(2, func(i int) string {
				if i == 0 {
					return short(b.Post("/settings/security/passes", passFields("kept")...))
				}
				check(t, p.Login.Disable(context.Background(), a))
				return "disabled"
			})
			left, err := pass.List(t.Context(), p.DB.Reader(), a.ID)
			check(t, err)
			if len(left) > 0 {
				t.Fatalf("a pass was made by a session that had ended: %+v", left)
			}
			check(t, p.Login.Enable(t.Context(), a))
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
		fields := passFields("backup", "panel", sharedHost)
		if a := b.Post("/settings/security/passes", fields...); a.Status != http.StatusOK || shownPass.MatchString(a.Body) || !strings.Contains(a.Body, `name="methods"`) {
			t.Errorf("without a proof: %s\n%s", short(a), a.Body)
		}
		token := shownPass.FindString(b.Post("/settings/security/passes", append(fields, "password", portal.Password)...).Body)
		script := p.Browser(t)
		if s := got(t, script.Do(http.MethodGet, sharedHost+"/rack", nil, asBearer(token))); s.Header.Get("Remote-User") != "ada" || s.Header.Get("Authorization") != "" {
			t.Errorf("the panel got %+v", s)
		}
		for _, page := range []string{"/", "/settings/security", sharedHost + "/.sallyport/session?for=/"} {
			if a := script.Do(http.MethodGet, page, nil, with(asHeader(token), "Accept", "text/html")); a.Status == http.StatusOK || a.Status == http.StatusNoContent {
				t.Errorf("the pass opens %s: %s", page, short(a))
			}
		}
	})
}
