package panels

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// A change that another process makes, such as the command line, ends the visits that
// this process keeps in its cache. The clock stands still, so no entry expires.
func TestAttack103ChangesByAnotherProcessEndVisits(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		other, err := server.Open(t.Context(), p.Config, p.Clock.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { other.Close() })
		if err := other.Manage.Groups.Add(t.Context(), manage.CommandLine(), "ops"); err != nil {
			t.Fatal(err)
		}
		const page = panels.Radio + "/ops/x"
		for name, change := range map[string]func(ctx context.Context, s *manage.Service, a account.Account) error{
			"bob": func(ctx context.Context, s *manage.Service, a account.Account) error {
				return s.Accounts.Disable(ctx, manage.CommandLine(), a)
			},
			"eve": func(ctx context.Context, s *manage.Service, a account.Account) error {
				return s.Groups.Leave(ctx, manage.CommandLine(), a, "ops")
			},
			"joe": func(ctx context.Context, s *manage.Service, a account.Account) error {
				return s.Accounts.Remove(ctx, manage.CommandLine(), a)
			},
			"kim": func(ctx context.Context, s *manage.Service, a account.Account) error {
				return s.Passwords.Set(ctx, manage.CommandLine(), a, "a longer password of kim's own")
			},
			"zoe": func(ctx context.Context, s *manage.Service, _ account.Account) error {
				return s.Groups.Remove(ctx, manage.CommandLine(), "ops")
			},
		} {
			t.Run(name, func(t *testing.T) {
				a := p.AddAccount(t, name)
				if err := other.Manage.Groups.Add(t.Context(), manage.CommandLine(), "ops"); err != nil && err != account.ErrGroupTaken {
					t.Fatal(err)
				}
				if err := other.Manage.Groups.Join(t.Context(), manage.CommandLine(), a, "ops"); err != nil {
					t.Fatal(err)
				}
				b := panels.Visit(t, p, name, page)
				panels.KeepVisit(t, p, b, page)
				if err := change(t.Context(), other.Manage, a); err != nil {
					t.Fatal(err)
				}
				testkit.Until(t, "refusal", func() bool {
					return b.Do(http.MethodGet, page, nil, nil).Status != http.StatusOK
				})
			})
		}
	})
}

// A sign-out at one node ends the visit that another node keeps in its cache.
func TestAttack103SignOutOnAnotherNodeEndsVisits(t *testing.T) {
	t.Parallel()
	one := panels.StartPanel(t, "radio")
	nodes := portal.StartNodes(t, 2, "SALLYPORT_CONFIG="+panels.WriteConfig(t, "public_url: "+panels.PortalAt+"\npanels:\n  - url: "+panels.Radio+"\n    upstream: "+one.URL+"\n"))
	nodes[0].AddAccount(t, "ada")
	b := panels.Visit(t, nodes[0], "ada", panels.Radio+"/page")
	there := nodes[1].Browser(t)
	there.SetCookieAt(panels.Radio, "sallyport-visit", b.CookieAt(panels.Radio, "sallyport-visit"))
	panels.KeepVisit(t, nodes[1], there, panels.Radio+"/page")
	b.Post("/logout")
	if a := b.Do(http.MethodGet, panels.Radio+"/page", nil, nil); a.Status == http.StatusOK {
		t.Error("the node where ada signed out still admits her visit")
	}
	testkit.Until(t, "refusal", func() bool {
		return there.Do(http.MethodGet, panels.Radio+"/page", nil, nil).Status == http.StatusUnauthorized
	})
}

// While the database can't be reached, the gateway admits a visit for at most five seconds after it last
// read the visit (F1).
func TestAttack140CachedVisitsEndAfterFiveSeconds(t *testing.T) {
	behindGate(t, func(t *testing.T, p *portal.Portal) {
		p.AddAccount(t, "ada")
		b := panels.Visit(t, p, "ada", panels.Radio+"/page")
		panels.KeepVisit(t, p, b, panels.Radio+"/page")
		if err := p.DB.Close(); err != nil {
			t.Fatal(err)
		}
		panels.Received(t, b.Do(http.MethodGet, panels.Radio+"/page", nil, nil))
		p.Clock.Move(5 * time.Second)
		if a := b.Do(http.MethodGet, panels.Radio+"/page", nil, nil); a.Status != http.StatusServiceUnavailable {
			t.Errorf("a request five seconds after the database was closed: status %d, want 503", a.Status)
		}
	})
}
