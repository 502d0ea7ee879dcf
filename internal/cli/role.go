package cli

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
)

type accountRole struct {
	accountArg
	Role string `arg:"" enum:"member,auditor,helpdesk,administrator" help:"member; auditor, who sees all accounts; helpdesk, who also helps members to sign in again; or administrator, who may do everything to others."`
}

func (c accountRole) Run(r *run) error {
	role, ok := account.RoleNamed(c.Role)
	if !ok {
		return usageError{fmt.Errorf("there is no role %q; the roles are member, auditor, helpdesk and administrator", c.Role)}
	}
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if err := portal.Manage.Accounts.SetRole(r, manage.CommandLine(), a, role); err != nil {
			return err
		}
		return printOnSuccess(r, warnIfNoAdministrator(r, portal, a), "The role of %s is %s.\n", a.Name, c.Role)
	})
}

// warnIfNoAdministrator prints a warning if the command's change of an account has left no enabled
// administrator. The parameter before is the account as it was before that change. No page can
// make such a change.
func warnIfNoAdministrator(r *run, portal *server.Portal, before account.Account) error {
	if before.Role != account.Administrator {
		return nil
	}
	some, err := account.AnyAdministrator(r, portal.DB.Reader())
	if err == nil && !some {
		fmt.Fprintln(r.streams.Err, "Warning: no enabled account is an administrator any more. To make one, run: sallyport account set-role NAME administrator")
	}
	return err
}
