package panels

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// Frameworks read the path from these headers instead of the request line. They would
// serve a path that the gateway hasn't checked.
func TestAttack87HeadersCannotReplaceTheRequestLine(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, name := range []string{
			"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix",
			"X-Forwarded-Port", "X-Forwarded-User", "X-Real-IP", "X_Original_URL", "x.rewrite.url", "X_Real_IP",
		} {
			s := panels.Received(t, p.Browser(t).Do(http.MethodGet, panels.Radio+"/status/", nil, http.Header{name: {"/ops/"}}))
			if values := s.Header.Values(name); s.URI != "/status/" || len(values) != 0 {
				t.Errorf("a request with %s: the panel got path %s and the header's values %q, want /status/ and none", name, s.URI, values)
			}
		}
		s := panels.Received(t, p.Browser(t).Do(http.MethodGet, panels.Radio+"/status/", nil, http.Header{"X_Forwarded_For": {"9.9.9.9"}, "X_Forwarded_Proto": {"https"}}))
		for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X_forwarded_for": "", "X_forwarded_proto": ""} {
			if got := strings.Join(s.Header[name], ","); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if s := panels.Received(t, p.Browser(t).Get(panels.Radio+"/status/?p=a.git;a=log&x=%zz")); s.URI != "/status/?p=a.git;a=log&x=%zz" {
			t.Errorf("the panel got %s, want the query as it was sent", s.URI)
		}
	})
}

// The CGI interface of some servers replaces each character that is neither a letter nor
// a digit by "_", so that these names become one.
func TestAttack90AliasesOfIdentityHeadersAreRefused(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, sign := range "_.!#$%&'*+^`|~" {
			name := "Remote" + string(sign) + "User"
			conn := portal.Dial(t, p)
			fmt.Fprintf(conn, "GET /status/ HTTP/1.1\r\nHost: radio.example\r\n%s: root\r\n\r\n", name)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("a request with header %s: status %d, want 403", name, resp.StatusCode)
			}
		}
	})
}

// After an upgrade to HTTP/2 a stranger could request every path with forged identity
// headers, since the gateway forwards the bytes unread.
func TestAttack94OnlyWebSocketUpgradesReachPanels(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		for _, lines := range []string{
			"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
			"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n",
			"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
			"Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
			"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
		} {
			conn := portal.Dial(t, p)
			fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\n%s\r\n", lines)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("a request with %q: status %d, want 200 as without these lines", lines, resp.StatusCode)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || strings.Contains(string(body), `"Upgrade"`) {
				t.Errorf("a request with %q: the panel got %s (error %v), want no Upgrade", lines, body, err)
			}
		}
	})
}

// The path is open to everyone, but the WebSocket began with the name of a user, who then signs
// out.
func TestWebSocketOnAnOpenPathEndsWithItsVisit(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "bob")
		b := panels.Visit(t, p, "bob", panels.Radio+"/")
		conn := portal.Dial(t, p)
		fmt.Fprintf(conn, "GET /status/echo HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: sallyport-visit=%s\r\n\r\n",
			b.CookieAt(panels.Radio, "sallyport-visit"))
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %v, %v; want status 101", resp, err)
		}
		b.Post(panels.Radio + "/.sallyport/logout")
		if _, err := reader.ReadString('\n'); err == nil || testkit.IsTimeout(err) {
			t.Errorf("the WebSocket is still open after the sign-out: %v", err)
		}
	})
}

// A thief who copied the session's cookie may have opened these visits.
func TestPasswordChangeEndsTheVisitsOfItsSession(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		ada := p.AddAccount(t, "ada")
		b := panels.Visit(t, p, "ada", panels.Radio+"/")
		thief := p.Browser(t)
		thief.SetCookie(portal.SessionCookie, b.Cookie(portal.SessionCookie))
		if s := panels.Received(t, panels.Navigate(thief, panels.Radio+"/")); s.Header.Get("Remote-User") != "ada" {
			t.Fatalf("the copied session doesn't open the panel: %+v", s)
		}
		token := thief.Cookie(portal.SessionCookie)
		_, owner, err := session.ByToken(t.Context(), p.DB.Reader(), token, p.Login.Life, p.Clock.Now())
		testkit.Check(t, err)
		at := &access.Panel{Origin: panels.Radio}
		state := strings.Repeat("s", 43)
		to := session.Destination{Panel: at.Origin, State: state, ReturnURL: "/"}
		handoff, err := p.Entry.HandOff(t.Context(), token, owner, to)
		testkit.Check(t, err)
		// A reauthentication ends no visit.
		b.Post("/reauthenticate", "password", portal.Password)
		if a := thief.Get(panels.Radio + "/"); a.Status != http.StatusOK {
			t.Errorf("the thief's visit after a reauthentication: %s, want 200", portal.Summary(a))
		}
		b.Post("/settings/security/password", "password", portal.Password, "new_password", "seven lamps on a sill")
		if a := thief.Get(panels.Radio + "/"); a.Status == http.StatusOK {
			t.Error("a visit from before the change of the password still opens the panel")
		}
		if _, _, err := p.Entry.Enter(t.Context(), at, handoff.Reveal(), state); !errors.Is(err, session.ErrHandoff) {
			t.Errorf("a handoff from before the change of the password: %v, want ErrHandoff", err)
		}
		if _, err := p.Entry.HandOff(t.Context(), token, owner, to); !errors.Is(err, entry.ErrSessionEnded) {
			t.Errorf("a new handoff by a request that read the session before the change: %v, want ErrSessionEnded", err)
		}
		// The owner's next visit needs only redirects. A sign-out at a panel ends the session
		// even if the change of the password has ended the visit there.
		if s := panels.Received(t, panels.Navigate(b, panels.Radio+"/")); s.Header.Get("Remote-User") != ada.Name {
			t.Errorf("the owner's panel after the change got %+v, want Remote-User %s", s, ada.Name)
		}
		b.Post("/settings/security/password", "password", "seven lamps on a sill", "new_password", portal.Password)
		if b.Post(panels.Radio + "/.sallyport/logout"); b.SignedIn() {
			t.Error("the session is open after a sign-out at a panel whose visit had ended, want it ended")
		}
	})
}

// Handoffs that are issued and redeemed while the password changes leave no visit.
func TestNoHandoffOutlivesAPasswordChange(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := panels.Visit(t, p, "ada", panels.Radio+"/")
		at, state := &access.Panel{Origin: panels.Radio}, strings.Repeat("s", 43)
		to := session.Destination{Panel: at.Origin, State: state, ReturnURL: "/"}
		passwords := []string{portal.Password, "seven lamps on a sill"}
		for round := range 6 {
			token := b.Cookie(portal.SessionCookie)
			_, owner, err := session.ByToken(t.Context(), p.DB.Reader(), token, p.Login.Life, p.Clock.Now())
			testkit.Check(t, err)
			testkit.Race(5, func(i int) string {
				if i == 0 {
					return portal.Summary(b.Post("/settings/security/password", "password", passwords[round%2], "new_password", passwords[1-round%2]))
				}
				for range 5 {
					handoff, err := p.Entry.HandOff(context.Background(), token, owner, to)
					if err == nil {
						_, _, err = p.Entry.Enter(context.Background(), at, handoff.Reveal(), state)
					}
					if err != nil && !errors.Is(err, entry.ErrSessionEnded) && !errors.Is(err, session.ErrHandoff) {
						t.Error(err)
					}
				}
				return ""
			})
			if a := b.Last; a.Location != "/settings/security?notice=password_changed" {
				t.Fatalf("round %d: change the password: %s, want the notice password_changed", round, portal.Summary(a))
			}
			if n := portal.CountRows(t, p, `SELECT COUNT(*) FROM visits WHERE NOT ended`) + portal.CountRows(t, p, `SELECT COUNT(*) FROM handoffs`); n != 0 {
				t.Fatalf("round %d: %d visits and handoffs outlived the change", round, n)
			}
		}
	})
}
