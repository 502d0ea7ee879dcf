package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/server"
)

type passes struct {
	Add    passAdd    `cmd:"" help:"Make a machine pass and print it. It can't be printed again." example:"sallyport pass add ada nightly --panel https://panel.example.com --path /api/"`
	List   passList   `cmd:"" help:"List the machine passes of an account." example:"sallyport pass list ada"`
	Revoke passRevoke `cmd:"" help:"Revoke a machine pass." example:"sallyport pass revoke ada nightly"`
}

type passAdd struct {
	accountArg
	Pass    string          `arg:"" help:"A name for the pass."`
	Panel   string          `required:"" placeholder:"URL" help:"The panel's url, as in the configuration."`
	Path    string          `default:"/" help:"The path that the pass opens: if it ends in a slash, everything below it, otherwise exactly this path."`
	Methods string          `default:"" placeholder:"LIST" help:"HTTP methods, such as GET,POST. Left out: all."`
	From    string          `default:"" placeholder:"LIST" help:"IP addresses or prefixes that may use the pass. Left out: any."`
	For     config.Duration `default:"90d" help:"How long the pass is valid, at most 366d."`
}

// Run prints only the pass to standard output, so that a script can store it. The pass opens
// the panel with the account's groups, whatever proofs the panel demands: the operator takes
// responsibility for that.
func (c passAdd) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		origin, err := panelAt(portal, c.Panel)
		if err != nil {
			return err
		}
		scope, err := access.NewScope(origin, c.Path, c.Methods, c.From)
		if err != nil {
			return err
		}
		ends := portal.Login.Clock().Add(time.Duration(c.For))
		token, err := portal.Manage.Passes.Create(r, manage.CommandLine(), a, pass.Pass{Name: c.Pass, Scope: scope, ExpiresAt: ends})
		if err != nil {
			return err
		}
		fmt.Fprintf(r.streams.Err, "This pass opens %s as %s until %s. It can't be shown again:\n", scope.Panel+scope.Path, a.Name, formatTime(ends))
		_, err = fmt.Fprintln(r.streams.Out, token.Reveal())
		return err
	})
}

// panelAt returns the origin of the configured panel with this URL.
func panelAt(portal *server.Portal, url string) (string, error) {
	var all []string
	for _, p := range portal.Config.Panels {
		all = append(all, p.URL.String())
		if p.URL.String() == strings.TrimSuffix(url, "/") {
			return p.URL.String(), nil
		}
	}
	return "", fmt.Errorf("no panel has the url %q; the panels are: %s", url, strings.Join(all, ", "))
}

type passList struct {
	accountArg
	listFlags
}

type passRow struct {
	Name      string     `json:"name"`
	Panel     string     `json:"panel"`
	Path      string     `json:"path"`
	Methods   string     `json:"methods,omitempty"` // empty: all
	From      string     `json:"from,omitempty"`    // empty: any address
	Until     time.Time  `json:"until"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	MadeBy    string     `json:"made_by"` // "owner" or "command line"
	ownerName string
}

// Values of made_by.
const (
	madeByOwner       = "owner"
	madeByCommandLine = "command line"
)

func (p passRow) cells() []string {
	by := p.MadeBy
	if by == madeByOwner {
		by = p.ownerName
	}
	return []string{p.Name, p.Panel + p.Path, allIfEmpty(p.Methods), allIfEmpty(p.From), formatTime(p.Until), timeOrNever(p.LastUsed), by}
}

func (c passList) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		all, err := pass.List(r, portal.DB.Reader(), a.ID)
		if err != nil {
			return err
		}
		to := c.newWriter(r.streams.Out, "PASS", "OPENS", "METHODS", "FROM", "UNTIL", "LAST USED", "MADE BY")
		for _, p := range all {
			one := passRow{
				Name: p.Name, Panel: p.Scope.Panel, Path: p.Scope.Path, Methods: p.Scope.MethodList(), From: p.Scope.AddressList(),
				Until: p.ExpiresAt.UTC(), LastUsed: timeOrNone(p.SeenAt), MadeBy: madeByOwner, ownerName: a.Name,
			}
			if p.ByOperator {
				one.MadeBy = madeByCommandLine
			}
			if err := to.add(one); err != nil {
				return err
			}
		}
		return to.end()
	})
}

func allIfEmpty(list string) string {
	if list == "" {
		return "all"
	}
	return list
}

type passRevoke struct {
	accountArg
	Pass string `arg:"" help:"The name of the pass."`
}

func (c passRevoke) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		all, err := pass.List(r, portal.DB.Reader(), a.ID)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Name == c.Pass {
				return printOnSuccess(r, portal.Manage.Passes.Revoke(r, manage.CommandLine(), a, p.ID), "Pass %s of %s is revoked.\n", p.Name, a.Name)
			}
		}
		return fmt.Errorf("%s has no pass %q; see \"sallyport pass list %s\"", a.Name, c.Pass, a.Name)
	})
}
