package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
)

type accounts struct {
	Add      accountAdd      `cmd:"" help:"Create an account with a password." example:"sallyport account add bob --password-stdin < password.txt"`
	Invite   accountInvite   `cmd:"" help:"Create an account, and mail its owner a link to choose the password, or print the link." example:"sallyport account invite ada --email ada@example.com"`
	Setup    accountSetup    `cmd:"" name:"setup-link" help:"Print a link that creates the first account." example:"sallyport account setup-link"`
	List     accountList     `cmd:"" help:"List the accounts." example:"sallyport account list --json | jq .name"`
	Show     accountShow     `cmd:"" help:"Show one account." example:"sallyport account show ada"`
	Disable  accountDisable  `cmd:"" help:"Keep an account from signing in. Ends its sessions and machine passes." example:"sallyport account disable bob"`
	Enable   accountEnable   `cmd:"" help:"Let a disabled account sign in again." example:"sallyport account enable bob"`
	Remove   accountRemove   `cmd:"" help:"Delete an account and everything that belongs to it." example:"sallyport account remove bob"`
	Password accountPassword `cmd:"" name:"set-password" help:"Set an account's password. Ends its sessions and machine passes." example:"sallyport account set-password bob --password-stdin < password.txt"`
	Email    accountEmail    `cmd:"" name:"set-email" help:"Set an account's email address. An empty one (\"\") removes it." example:"sallyport account set-email ada ada@example.com"`
	Verify   accountVerify   `cmd:"" name:"verify-email" help:"Confirm by your word that an account's email address reaches its owner, who then can choose a new password by mail." example:"sallyport account verify-email ada"`
	Role     accountRole     `cmd:"" name:"set-role" help:"Set what an account may do with other accounts." example:"sallyport account set-role ada helpdesk"`
	Unlock   accountUnlock   `cmd:"" help:"Mail or print a link that lets an account's owner sign in with a new browser, even after too many wrong passwords." example:"sallyport account unlock ada"`
	Reset    accountReset    `cmd:"" name:"reset-two-factor" help:"Turn an account's two-factor authentication off, and mail or print the only link that lets its owner turn it on again." example:"sallyport account reset-two-factor ada --show-link --link-life 168h"`
}

// accountArg is the argument of commands on one account.
type accountArg struct {
	Name string `arg:"" help:"The account's name or email address."`
}

// withAccount opens the portal and calls change with the account. If change returns
// [db.ErrNotFound], another command removed the account after it was read.
func (n accountArg) withAccount(r *run, change func(*server.Portal, account.Account) error) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	found, err := account.ByName(r, portal.DB.Reader(), n.Name)
	if err == nil {
		err = change(portal, found)
	}
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no account %q; see \"sallyport account list\"", n.Name)
	}
	return err
}

type accountAdd struct {
	Name          string `arg:"" help:"Name to sign in with; no spaces, no @."`
	Email         string `help:"Email address." placeholder:"ADDRESS"`
	Administrator bool   `aliases:"operator" help:"Make it an administrator."`
	passwordInput
}

func (c accountAdd) account() account.Account {
	a := account.Account{Name: c.Name, Email: c.Email}
	if c.Administrator {
		a.Role = account.Administrator
	}
	return a
}

func (c accountAdd) Run(r *run) error {
	typed, err := c.read(r)
	if err != nil {
		return err
	}
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	added, err := portal.Manage.Accounts.Add(r, manage.CommandLine(), c.account(), typed)
	if err != nil {
		return explainPassword(portal, err)
	}
	warnIfWeak(r, portal, added, typed)
	_, err = fmt.Fprintf(r.streams.Out, "Account %s was added.\n", added.Name)
	return err
}

type accountSetup struct{}

func (accountSetup) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	link, err := portal.SetupLink(r)
	if err == nil && link == "" {
		err = errors.New("the first account exists already; to add another, run: sallyport account invite NAME --administrator")
	}
	return printOnSuccess(r, err, "This link creates the first account, an administrator. It works once, within 15 minutes:\n%s\n", link)
}

type accountDisable struct{ accountArg }

func (c accountDisable) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if err := portal.Manage.Accounts.Disable(r, manage.CommandLine(), a); err != nil {
			return err
		}
		return printOnSuccess(r, warnIfNoAdministrator(r, portal, a), "Account %s is disabled, and its sessions have ended.\n", a.Name)
	})
}

type accountEnable struct{ accountArg }

func (c accountEnable) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		return printOnSuccess(r, portal.Manage.Accounts.Enable(r, manage.CommandLine(), a), "Account %s is enabled.\n", a.Name)
	})
}

type accountRemove struct {
	accountArg
	Yes bool `help:"Don't ask for confirmation. Scripts need this."`
}

func (c accountRemove) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if err := c.confirm(r, a); err != nil {
			return err
		}
		if err := portal.Manage.Accounts.Remove(r, manage.CommandLine(), a); err != nil {
			return err
		}
		return printOnSuccess(r, warnIfNoAdministrator(r, portal, a), "Account %s was removed.\n", a.Name)
	})
}

// confirm asks for confirmation at a terminal, since removing an account can't be undone.
// Without a terminal it returns an error.
func (c accountRemove) confirm(r *run, a account.Account) error {
	if c.Yes {
		return nil
	}
	if !isTerminal(r.streams.In) {
		return usageError{fmt.Errorf("removing account %s can't be undone, and there is no terminal to confirm it at: add --yes", a.Name)}
	}
	fmt.Fprintf(r.streams.Err, "Remove account %s and everything that belongs to it? This can't be undone. Type its name to remove it: ", a.Name)
	return readConfirmation(r.streams.In, a.Name)
}

// readConfirmation reads a line and returns an error unless the line is name.
func readConfirmation(in io.Reader, name string) error {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return errors.New("that isn't the account's name; nothing was removed")
	}
	return nil
}

type accountPassword struct {
	accountArg
	passwordInput
}

func (c accountPassword) Run(r *run) error {
	typed, err := c.read(r)
	if err != nil {
		return err
	}
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if err := portal.Manage.Passwords.Set(r, manage.CommandLine(), a, typed); err != nil {
			return explainPassword(portal, err)
		}
		warnIfWeak(r, portal, a, typed)
		return printOnSuccess(r, nil, "The password of %s was set, and the account's sessions have ended.\n", a.Name)
	})
}

type accountEmail struct {
	accountArg
	Email string `arg:"" help:"Email address, or \"\"."`
}

func (c accountEmail) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		return printOnSuccess(r, portal.Manage.Accounts.SetEmail(r, manage.CommandLine(), a, c.Email), "The email address of %s was changed.\n", a.Name)
	})
}

// printOnSuccess prints the formatted text if err is nil, and returns err otherwise.
func printOnSuccess(r *run, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, format, args...)
	return err
}
