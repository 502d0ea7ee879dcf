package cli

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/server"
)

type accountVerify struct {
	accountArg
	Send bool `help:"Don't confirm it, but mail a link with which the owner does."`
}

func (c accountVerify) Run(r *run) error {
	return c.withAccount(r, func(portal *server.Portal, a account.Account) error {
		if a.Email == "" {
			return fmt.Errorf("account %s has no email address; see \"sallyport account set-email\"", a.Name)
		}
		if c.Send {
			err := portal.Recovery.SendVerification(r, a)
			switch {
			case errors.Is(err, recovery.ErrNoMail):
				err = errors.New("no mail is configured; see mail.url in \"sallyport config default\"")
			case errors.Is(err, account.ErrDisabled):
				err = fmt.Errorf("account %s is disabled, so its owner couldn't use the link; see \"sallyport account enable\"", a.Name)
			}
			return printOnSuccess(r, err, "A running server mails a link to %s. It works once, for 24 hours, in a browser where %s is signed in.\n", a.Email, a.Name)
		}
		return printOnSuccess(r, portal.Manage.Accounts.VerifyEmail(r, manage.CommandLine(), a), "The email address %s of %s is confirmed.\n", a.Email, a.Name)
	})
}

// States of an email address. Mails to a confirmed address reach the owner. The mail server
// refuses mails to a refused address.
const (
	emailConfirmed   = "confirmed"
	emailUnconfirmed = "unconfirmed"
	emailRefused     = "refused"
)

func emailStateOf(a account.Account) string {
	switch {
	case a.Email == "":
		return ""
	case !a.EmailRefusedAt.IsZero():
		return emailRefused
	case a.EmailReachesOwner():
		return emailConfirmed
	}
	return emailUnconfirmed
}

// emailInWords returns the address, and says if the mail server refuses mails to it.
func (a accountRow) emailInWords() string {
	if a.EmailState == emailRefused {
		return a.Email + " (refused)"
	}
	return a.Email
}

// emailInDetail returns the address with its state.
func (one accountDetail) emailInDetail() string {
	switch {
	case one.Email == "":
		return ""
	case one.EmailRefusedAt != nil:
		return fmt.Sprintf("%s, refused by the mail server %s", one.Email, formatTime(*one.EmailRefusedAt))
	}
	return one.Email + ", " + one.EmailState
}
