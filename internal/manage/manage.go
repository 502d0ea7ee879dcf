package manage

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/mail"
)

// Service gives access to all changes. Each field has the changes of one kind of thing. A Service is
// safe for concurrent use.
type Service struct {
	Accounts       Accounts
	Authenticators Authenticators
	Devices        Devices
	Groups         Groups
	Links          Links
	Messages       Messages
	Passes         Passes
	Passwords      Passwords
	Sessions       Sessions
}

// Options are the parameters of [New].
type Options struct {
	Login *login.Service
	Entry *entry.Service
	// EnrollByTicket requires an operator's link for every account's first authenticator, not only
	// after a reset or where the account's policy asks for one.
	EnrollByTicket bool
	// MailLink mails an operator's link to an account, see recovery.Service.MailLink.
	MailLink func(ctx context.Context, tx *db.Tx, kind mail.LinkKind, owner account.Account, now time.Time) error
}

// New returns a service that changes the accounts that o.Login signs in.
func New(o Options) *Service {
	b := &base{o.Login, o.Entry, o.EnrollByTicket, o.MailLink}
	return &Service{
		Accounts{b}, Authenticators{b}, Devices{b}, Groups{b}, Links{b}, Messages{b}, Passes{b}, Passwords{b}, Sessions{b},
	}
}

// base is what all types of changes share.
type base struct {
	login          *login.Service
	entry          *entry.Service
	enrollByTicket bool
	mailLink       func(ctx context.Context, tx *db.Tx, kind mail.LinkKind, owner account.Account, now time.Time) error
}

// Errors that callers answer with a page, besides those of package login.
var (
	// ErrReplaced means that the set of backup codes that the page showed was replaced since.
	ErrReplaced = errors.New("backup codes were replaced already")
	// ErrSuspect means that the owner must change the suspect password first.
	ErrSuspect = errors.New("the suspect password must be changed first")
	// ErrRequired means that the account must keep an authenticator, since its policy requires
	// two-factor authentication.
	ErrRequired = errors.New("two-factor authentication is required of the account")
	// ErrLocked means that the account can enrol only with an operator's link.
	ErrLocked = errors.New("enrolment needs an administrator's link")
	// ErrOtherName means that the typed name isn't that of the link's account.
	ErrOtherName = errors.New("the link is for another account")
)
