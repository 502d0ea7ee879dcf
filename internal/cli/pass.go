package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/server"
)

type passes struct {
	Add    passAdd    `cmd:"" help:"Make a machine pass and print it, this once."`
	List   passList   `cmd:"" help:"List the machine passes of an account."`
	Revoke passRevoke `cmd:"" help:"End a machine pass."`
}

type passAdd struct {
	named
	Pass    string          `arg:"" help:"What to call the pass."`
	Panel   string          `required:"" placeholder:"URL" help:"The panel, as its url in the configuration."`
	Path    string          `default:"/" help:"Ending in a slash: everything below; else exactly this path."`
	Methods string          `default:"" placeholder:"LIST" help:"Such as GET,POST; all if it isn't given."`
	From    string          `default:"" placeholder:"LIST" help:"Addresses or prefixes that it may come from; any if it isn't given."`
	For     config.Duration `default:"90d" help:"How long it lives, at most 366d."`
}

// Run prints the pass alone to the standard output, for a script to keep. It
// opens the panel for the account's groups, whatever proofs the panel asks for:
// the operator vouches.
func (c passAdd) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		origin, err := declared(portal, c.Panel)
		if err != nil {
			return err
		}
		scope, err := access.NewScope(origin, c.Path, c.Methods, c.From)
		if err != nil {
			return err
		}
		ends := portal.Login.Clock().Add(time.Duration(c.For))
		token, err := portal.Login.IssuePass(r, a, pass.Pass{Name: c.Pass, Scope: scope, ExpiresAt: ends})
		if err != nil {
			return err
		}
		fmt.Fprintf(r.streams.Err, "This pass opens %s as %s until %s. It won't be shown again:\n", scope.Panel+scope.Path, a.Name, at(ends))
		_, err = fmt.Fprintln(r.streams.Out, token.Reveal())
		return err
	})
}

// declared returns the origin of the panel that is declared at url.
func declared(portal *server.Portal, url string) (string, error) {
	var all []string
	for _, p := range portal.Config.Panels {
		all = append(all, p.URL.String())
		if p.URL.String() == strings.TrimSuffix(url, "/") {
			return p.URL.String(), nil
		}
	}
	return "", fmt.Errorf("no panel is declared at %q; there are: %s", url, strings.Join(all, ", "))
}

type passList struct{ named }

func (c passList) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		all, err := pass.List(r, portal.DB.Reader(), a.ID)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "PASS\tOPENS\tMETHODS\tFROM\tUNTIL\tLAST USED\tMADE BY")
		for _, p := range all {
			by := a.Name
			if p.ByOperator {
				by = "command line"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Scope.Panel+p.Scope.Path,
				orAll(p.Scope.MethodList()), orAll(p.Scope.AddressList()), at(p.ExpiresAt), at(p.SeenAt), by)
		}
		return table.Flush()
	})
}

func orAll(list string) string {
	if list == "" {
		return "all"
	}
	return list
}

type passRevoke struct {
	named
	Pass string `arg:"" help:"What the pass is called."`
}

func (c passRevoke) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		all, err := pass.List(r, portal.DB.Reader(), a.ID)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Name == c.Pass {
				return report(r, portal.Login.WithdrawPass(r, a, p.ID), "Pass %s of %s opens nothing any more.\n", p.Name, a.Name)
			}
		}
		return fmt.Errorf("%s has no pass %q; see \"sallyport pass list %s\"", a.Name, c.Pass, a.Name)
	})
}
