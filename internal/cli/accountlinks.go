package cli

// The commands in this file issue a link to another user's account. If mail is configured, the link
// is mailed to the account's address, and the operator sees it only on demand: a link that opens an
// account is worth as much as the account's password.

import (
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/server"
	"github.com/sallyport/sallyport/internal/ticket"
)

// showLink is the flag of these commands.
type showLink struct {
	ShowLink bool `help:"Print the link, also where mail is configured, and record that it was shown."`
}

// byMail reports whether the command mails its link.
func (s showLink) byMail(portal *server.Portal) bool { return portal.Recovery.HasMail() && !s.ShowLink }

// handOver is the end of the advice that is given if a link wasn't mailed.
const handOver = "or give the link to the owner yourself: add --show-link"

// explainUnmailed adds advice to err if err says why no link was mailed to the account, and
// returns any other error unchanged. If no link was mailed, nothing was changed.
func explainUnmailed(a account.Account, err error) error {
	switch {
	case errors.Is(err, account.ErrDisabled):
		return fmt.Errorf("account %s is disabled, so no link is mailed: enable it first, %s", a.Name, handOver)
	case errors.Is(err, account.ErrNoEmail):
		return fmt.Errorf("account %s has no email address to which the link could be mailed: see \"sallyport account set-email\" and \"sallyport account verify-email\", %s", a.Name, handOver)
	case errors.Is(err, account.ErrEmailUnverified):
		return fmt.Errorf("the email address %s of %s isn't confirmed, so no link is mailed: if you know that it reaches the owner, run \"sallyport account verify-email %s\" first, %s", a.Email, a.Name, a.Name, handOver)
	case errors.Is(err, account.ErrEmailRefused):
		return fmt.Errorf("a mail server said that there is no mailbox %s: correct the address with \"sallyport account set-email\" or, if it is right, confirm it with \"sallyport account verify-email\", %s", a.Email, handOver)
	case errors.Is(err, recovery.ErrPasswordMailed):
		until := a.PasswordMailedAt.Add(account.MailPause)
		return fmt.Errorf("a mailed link set the password of %s less than 7 days ago. Until %s no mail may replace the second factor too, since anybody who reads the mailbox would have both. "+
			"Make sure that you speak to the owner, and give the link to the owner yourself: add --show-link", a.Name, formatTime(until))
	case errors.Is(err, recovery.ErrPasswordSuspect):
		return fmt.Errorf("the password of %s counts as known to another person, so the link would replace the password and the second factor, and mail may not replace both. "+
			"Make sure that you speak to the owner, and give the link to the owner yourself: add --show-link", a.Name)
	case errors.Is(err, cluster.ErrNotYet):
		return fmt.Errorf("%w, %s", err, handOver)
	}
	return err
}

type accountInvite struct {
	Name          string `arg:"" help:"Name to sign in with; no spaces, no @."`
	Email         string `help:"Email address, to which the link is mailed where mail is configured." placeholder:"ADDRESS"`
	Administrator bool   `aliases:"operator" help:"Make it an administrator."`
	showLink
}

func (c accountInvite) Run(r *run) error {
	portal, err := r.openPortal()
	if err != nil {
		return err
	}
	defer portal.Close()
	var (
		to      string
		token   secret.Text
		again   bool
		byMail  = c.byMail(portal)
		invited = accountAdd{Name: c.Name, Email: c.Email, Administrator: c.Administrator}.account()
	)
	if byMail {
		to, again, err = portal.Manage.Accounts.InviteByMail(r, manage.CommandLine(), invited)
	} else {
		token, again, err = portal.Manage.Accounts.Invite(r, manage.CommandLine(), invited)
	}
	switch {
	case errors.Is(err, account.ErrNoEmail):
		return fmt.Errorf("mail is configured, so the link is mailed: add --email ADDRESS, %s", handOver)
	case errors.Is(err, manage.ErrOtherEmail):
		return fmt.Errorf("account %s exists, but not with the email address %s: see \"sallyport account set-email\", then invite again without --email", c.Name, c.Email)
	case err != nil:
		if there, unread := account.ByName(r, portal.DB.Reader(), c.Name); unread == nil {
			invited = there
		}
		return explainUnmailed(invited, err)
	}
	if again {
		fmt.Fprintf(r.streams.Out, "%s was invited before; the earlier link no longer works.\n", c.Name)
	}
	if byMail {
		return printOnSuccess(r, nil, "A running server mails %s a link to %s. It works once, for %s.\n", c.Name, to, lifeInWords(recovery.InvitationLife))
	}
	return printOnSuccess(r, nil, "Give this link to %s. It works once, within 72 hours:\n%s\n", c.Name, portal.TicketLink(token))
}

type accountUnlock struct {
	accountArg
	showLink
}

func (c accountUnlock) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if c.byMail(portal) {
			to, err := portal.Manage.Links.LetInByMail(r, manage.CommandLine(), a)
			return printOnSuccess(r, explainUnmailed(a, err), "A running server mails a link to %s, to open in the browser that should sign in. It works once, for %s.\n", to, lifeInWords(recovery.LetInLife))
		}
		token, err := portal.Manage.Links.LetIn(r, manage.CommandLine(), a)
		return printOnSuccess(r, err, "Give this link to %s, to open in the browser that should sign in. It works once, within 15 minutes:\n%s\n", a.Name, portal.TicketLink(token))
	})
}

type accountReset struct {
	accountArg
	LinkLife *time.Duration `help:"How long a printed link works, from 15m to 168h (7 days); without it: 15m. A mailed link works for 24 hours." placeholder:"15m"`
	showLink
}

func (c accountReset) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if c.byMail(portal) {
			if c.LinkLife != nil {
				return usageError{fmt.Errorf("a mailed link works for %s: leave --link-life out, %s", lifeInWords(recovery.EnrollLife), handOver)}
			}
			to, err := portal.Manage.Authenticators.ResetTwoFactorByMail(r, manage.CommandLine(), a)
			return printOnSuccess(r, explainUnmailed(a, err), "Two-factor authentication of %s is off, and the account's sessions have ended.\n"+
				"A running server mails a link to %s, to sign in and turn it on again. It works once, for %s.\n", a.Name, to, lifeInWords(recovery.EnrollLife))
		}
		life := ticket.MinLife
		if c.LinkLife != nil {
			life = *c.LinkLife
		}
		token, err := portal.Manage.Authenticators.ResetTwoFactor(r, manage.CommandLine(), a, life)
		return printOnSuccess(r, err, "Two-factor authentication of %s is off, and the account's sessions have ended.\n"+
			"Give this link to the owner, to sign in and turn it on again. It works once, within %s:\n%s\n", a.Name, lifeInWords(life), portal.TicketLink(token))
	})
}

// lifeInWords returns how long a link works, in whole hours or minutes.
func lifeInWords(life time.Duration) string {
	if hours := int(life.Hours()); life >= 2*time.Hour {
		return fmt.Sprint(hours, " hours")
	}
	return fmt.Sprint(int(life.Minutes()), " minutes")
}
