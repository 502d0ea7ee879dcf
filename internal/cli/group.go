package cli

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/server"
)

type groups struct {
	Add    groupAdd    `cmd:"" help:"Create a group." example:"sallyport group add ops"`
	Remove groupRemove `cmd:"" help:"Delete a group. Its accounts stay." example:"sallyport group remove ops"`
	List   groupList   `cmd:"" help:"List the groups." example:"sallyport group list"`
	Join   groupJoin   `cmd:"" help:"Put an account into a group." example:"sallyport group join ops ada"`
	Leave  groupLeave  `cmd:"" help:"Take an account out of a group." example:"sallyport group leave ops ada"`
}

type groupAdd struct {
	Group string `arg:"" help:"The group's name: letters, digits, \"-\", \"_\", \".\"."`
}

func (c groupAdd) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	return printOnSuccess(r, portal.Manage.Groups.Add(r, manage.CommandLine(), c.Group), "Group %s was added.\n", c.Group)
}

type groupRemove struct {
	Group string `arg:"" help:"The group's name."`
}

func (c groupRemove) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	err = portal.Manage.Groups.Remove(r, manage.CommandLine(), c.Group)
	if errors.Is(err, login.ErrGone) {
		err = noGroupError(c.Group)
	}
	return printOnSuccess(r, err, "Group %s was removed.\n", c.Group)
}

func noGroupError(name string) error {
	return fmt.Errorf("there is no group %q; see \"sallyport group list\", or add it: sallyport group add NAME", name)
}

type groupList struct{ listFlags }

type groupRow struct {
	Name     string `json:"name"`
	Accounts int    `json:"accounts"`
}

func (g groupRow) cells() []string { return []string{g.Name, fmt.Sprint(g.Accounts)} }

func (c groupList) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	all, err := account.ListGroups(r, portal.DB.Reader())
	if err != nil {
		return err
	}
	to := c.newWriter(r.streams.Out, "GROUP", "ACCOUNTS")
	for _, g := range all {
		if err := to.add(groupRow{g.Name, g.Members}); err != nil {
			return err
		}
	}
	return to.end()
}

type groupJoin struct {
	Group string `arg:"" help:"The group."`
	accountArg
}

func (c groupJoin) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		err := portal.Manage.Groups.Join(r, manage.CommandLine(), a, c.Group)
		if errors.Is(err, login.ErrGone) {
			err = noGroupError(c.Group)
		}
		return printOnSuccess(r, err, "%s is in group %s.\n", a.Name, c.Group)
	})
}

type groupLeave struct {
	Group string `arg:"" help:"The group."`
	accountArg
}

func (c groupLeave) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		return printOnSuccess(r, portal.Manage.Groups.Leave(r, manage.CommandLine(), a, c.Group), "%s is not in group %s.\n", a.Name, c.Group)
	})
}
