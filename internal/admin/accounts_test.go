package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// signInAdministrator returns a browser in which an administrator has just proven two factors.
func signInAdministrator(t *testing.T, p *portal.Portal) *portal.Browser {
	t.Helper()
	root := p.AddAccount(t, "root")
	testkit.Check(t, p.Manage.Accounts.SetRole(t.Context(), manage.CommandLine(), root, account.Administrator))
	b := p.Browser(t)
	b.SignIn("root")
	b.Enroll("phone")
	return b
}

var (
	accountLink = regexp.MustCompile(`href="[^"]*/admin/accounts/([^"?]+)"`)
	nextLink    = regexp.MustCompile(`href="[^"]*(/admin/accounts\?[^"]*after=[^"]*)"`)
)

// The links from page to page lead to every account, even in a search that finds each account both
// by its name and by its address.
func TestListsLeadToEveryAccount(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b := signInAdministrator(t, p)
		const n = 120
		testkit.Check(t, p.DB.Write(t.Context(), func(tx *db.Tx) error {
			for i := range n {
				name := fmt.Sprintf("user%03d", i)
				if _, err := account.Create(context.Background(), tx, account.Account{Name: name, Email: name + "@example.test"}, testkit.Start); err != nil {
					return err
				}
			}
			return nil
		}))
		for query, want := range map[string]int{"": n + 1, "?q=user": n, "?q=user&show=one_factor": n} {
			seen := map[string]bool{}
			at := "/admin/accounts" + query
			for range 20 {
				page := b.Get(at)
				for _, found := range accountLink.FindAllStringSubmatch(page.Body, -1) {
					seen[found[1]] = true
				}
				next := nextLink.FindStringSubmatch(page.Body)
				if next == nil {
					break
				}
				at = strings.ReplaceAll(next[1], "&amp;", "&")
			}
			if len(seen) != want {
				t.Errorf("the list %q leads to %d accounts, want %d", query, len(seen), want)
			}
		}
	})
}

// No query string makes a list answer with a server error.
func TestListsAnswerEveryQuery(t *testing.T) {
	portal.OnBothEngines(t, func(t *testing.T, p *portal.Portal) {
		b := signInAdministrator(t, p)
		for _, show := range []string{"", "one_factor", "disabled", "invited", "role", "nonsense"} {
			for _, text := range []string{"\x00", "a\x00b", "\xff", "\xed\xa0\x80", "%", "_", `\`, "'", "\u202eroot", strings.Repeat("ä", 3000), "\U0010FFFF"} {
				for _, name := range []string{"q", "after", "before"} {
					values := url.Values{"show": {show}, name: {text}}
					if got := b.Get("/admin/accounts?" + values.Encode()); got.Status != http.StatusOK && got.Status != http.StatusNotFound {
						t.Errorf("%s: %s, want 200 or 404", values.Encode(), portal.Summary(got))
					}
				}
			}
		}
	})
}
