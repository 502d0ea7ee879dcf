package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/session"
)

type accounts struct {
	Add      accountAdd      `cmd:"" help:"Create an account."`
	Invite   accountInvite   `cmd:"" help:"Create an account and print a link where its owner chooses the password."`
	Setup    accountSetup    `cmd:"" name:"setup-link" help:"Print a link that creates the first account."`
	List     accountList     `cmd:"" help:"List the accounts."`
	Show     accountShow     `cmd:"" help:"Show one account."`
	Disable  accountDisable  `cmd:"" help:"Keep an account from signing in; ends its sessions and machine passes."`
	Enable   accountEnable   `cmd:"" help:"Let a disabled account sign in again."`
	Remove   accountRemove   `cmd:"" help:"Delete an account and all that belongs to it."`
	Password accountPassword `cmd:"" name:"set-password" help:"Set an account's password; ends its sessions and machine passes."`
	Email    accountEmail    `cmd:"" name:"set-email" help:"Set an account's e-mail address; \"\" removes it."`
	Unlock   accountUnlock   `cmd:"" help:"Print a link that lets one more browser of an account's owner in, whatever strangers tried."`
	Reset    accountReset    `cmd:"" name:"reset-two-factor" help:"Turn an account's two-factor authentication off, and print the link that alone lets its owner turn it on again."`
}

// named is a command on one account.
type named struct {
	Name string `arg:"" help:"Its name or e-mail address."`
}

// on opens the portal and hands change the account.
func (n named) on(r *run, change func(*server.Portal, account.Account) error) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	found, err := account.ByName(r, portal.DB.Reader(), n.Name)
	if errors.Is(err, db.ErrNotFound) {
		return fmt.Errorf("there is no account %q; see \"sallyport account list\"", n.Name)
	}
	if err != nil {
		return err
	}
	return change(portal, found)
}

type accountAdd struct {
	Name     string `arg:"" help:"Name to sign in with; no spaces, no @."`
	Email    string `help:"E-mail address."`
	Operator bool   `help:"Make it an operator."`
	passwordFrom
}

func (c accountAdd) account() account.Account {
	a := account.Account{Name: c.Name, Email: c.Email}
	if c.Operator {
		a.Role = account.Operator
	}
	return a
}

func (c accountAdd) Run(r *run) error {
	typed, err := c.read(r)
	if err != nil {
		return err
	}
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	added, err := portal.Login.AddAccount(r, c.account(), typed)
	if err != nil {
		return explain(portal, err)
	}
	noteWeak(r, portal, added, typed)
	_, err = fmt.Fprintf(r.streams.Out, "Account %s was added.\n", added.Name)
	return err
}

type accountInvite struct {
	Name     string `arg:"" help:"Name to sign in with; no spaces, no @."`
	Email    string `help:"E-mail address."`
	Operator bool   `help:"Make it an operator."`
}

func (c accountInvite) Run(r *run) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	token, err := portal.Login.Invite(r, accountAdd{Name: c.Name, Email: c.Email, Operator: c.Operator}.account())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, "Give this link to %s. It works once, within 72 hours:\n%s\n", c.Name, portal.TicketLink(token))
	return err
}

type accountSetup struct{}

func (accountSetup) Run(r *run) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	link, err := portal.SetupLink(r)
	if err == nil && link == "" {
		err = errors.New("there is an account already; for another one run: sallyport account invite NAME --administrator")
	}
	return report(r, err, "This link creates the first account, an administrator. It works once, within 15 minutes:\n%s\n", link)
}

type accountList struct{}

func (accountList) Run(r *run) error {
	portal, err := r.open()
	if err != nil {
		return err
	}
	defer portal.Close()
	return listAccounts(r, portal.DB.Reader(), r.streams.Out)
}

// listAccounts prints a table of all accounts. It asks the database once for
// each page of them, and once for all that have two-factor authentication on.
func listAccounts(ctx context.Context, q db.Querier, out io.Writer) error {
	on, err := authenticator.Owners(ctx, q)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tE-MAIL\tROLE\tSTATE\tTWO-FACTOR")
	for after := ""; ; {
		page, err := account.List(ctx, q, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return table.Flush()
		}
		for _, a := range page {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", a.Name, a.Email, a.Role, state(a), onOff(on[a.ID]))
			after = a.Name
		}
	}
}

func state(a account.Account) string {
	if a.Disabled() {
		return "disabled"
	}
	return "enabled"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

type accountShow struct{ named }

func (c accountShow) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		q := portal.DB.Reader()
		changed, err := password.ChangedAt(r, q, a.ID)
		if err != nil {
			return err
		}
		have, err := authenticator.List(r, q, a.ID)
		if err != nil {
			return err
		}
		_, codes, err := portal.Login.SecondFactor(r, a)
		if err != nil {
			return err
		}
		sessions, err := session.List(r, q, a, portal.Login.Life, portal.Login.Clock())
		if err != nil {
			return err
		}
		groups, err := account.GroupsOf(r, q, a.ID)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(r.streams.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "Name\t%s\nDisplay name\t%s\nE-mail\t%s\nRole\t%s\nState\t%s\n", a.Name, a.DisplayName, a.Email, a.Role, state(a))
		fmt.Fprintf(table, "Created\t%s\nPassword set\t%s\nGroups\t%s\n", at(a.CreatedAt), at(changed), strings.Join(groups, ", "))
		fmt.Fprintf(table, "Sessions\t%d\nTwo-factor\t%s\n", len(sessions), onOff(len(have) > 0))
		for _, one := range have {
			fmt.Fprintf(table, "Authenticator\t%s, added %s, last used %s\n", one.Name, at(one.ConfirmedAt), at(one.LastUsedAt))
		}
		if len(have) > 0 {
			fmt.Fprintf(table, "Backup codes left\t%d\n", codes)
		}
		if a.EnrollLocked {
			fmt.Fprintf(table, "Enrolment\tonly through an operator's link\n")
		}
		return table.Flush()
	})
}

func at(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type accountDisable struct{ named }

func (c accountDisable) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		return report(r, portal.Login.Disable(r, a), "Account %s is disabled; its sessions have ended.\n", a.Name)
	})
}

type accountEnable struct{ named }

func (c accountEnable) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		return report(r, portal.Login.Enable(r, a), "Account %s is enabled.\n", a.Name)
	})
}

type accountRemove struct{ named }

func (c accountRemove) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		return report(r, portal.Login.Remove(r, a), "Account %s was removed.\n", a.Name)
	})
}

type accountPassword struct {
	named
	passwordFrom
}

func (c accountPassword) Run(r *run) error {
	typed, err := c.read(r)
	if err != nil {
		return err
	}
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		if err := portal.Login.SetPassword(r, a, typed); err != nil {
			return explain(portal, err)
		}
		noteWeak(r, portal, a, typed)
		return report(r, nil, "The password of %s is set; its sessions have ended.\n", a.Name)
	})
}

type accountEmail struct {
	named
	Email string `arg:"" help:"E-mail address, or \"\"."`
}

func (c accountEmail) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		return report(r, portal.Login.SetEmail(r, a, c.Email), "The e-mail address of %s is changed.\n", a.Name)
	})
}

type accountUnlock struct{ named }

func (c accountUnlock) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		token, err := portal.Login.Unlock(r, a)
		return report(r, err, "Give this link to %s, who opens it in the browser to sign in with; it works once, within 15 minutes:\n%s\n", a.Name, portal.TicketLink(token))
	})
}

type accountReset struct {
	named
	LinkLife time.Duration `default:"15m" help:"How long the link works, from 15m to 168h (7 days)."`
}

func (c accountReset) Run(r *run) error {
	return c.on(r, func(portal *server.Portal, a account.Account) error {
		token, err := portal.Login.ResetTwoFactor(r, a, c.LinkLife)
		return report(r, err, "Two-factor authentication of %s is off and its sessions have ended.\n"+
			"Give this link to its owner, who signs in and turns it on again; it works once, within %s:\n%s\n", a.Name, lifeInWords(c.LinkLife), portal.TicketLink(token))
	})
}

// lifeInWords says how long a link works.
func lifeInWords(life time.Duration) string {
	if hours := int(life.Hours()); life >= 2*time.Hour {
		return fmt.Sprint(hours, " hours")
	}
	return fmt.Sprint(int(life.Minutes()), " minutes")
}

// report prints what was done, or returns why it wasn't.
func report(r *run, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.streams.Out, format, args...)
	return err
}
