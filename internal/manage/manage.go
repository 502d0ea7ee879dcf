package manage

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/entry"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// Service gives access to the changes, a type a noun. It is safe for concurrent use.
type Service struct {
	Accounts       Accounts
	Authenticators Authenticators
	Devices        Devices
	Groups         Groups
	Links          Links
	Passes         Passes
	Passwords      Passwords
	Sessions       Sessions
}

// The nouns.
type (
	Accounts       struct{ *base }
	Authenticators struct{ *base } // with the backup codes and the wizard of an enrolment
	Devices        struct{ *base } // known browsers
	Groups         struct{ *base }
	Links          struct{ *base } // one-time links: to set up, to invite, to let a browser in
	Passes         struct{ *base } // machine passes
	Passwords      struct{ *base }
	Sessions       struct{ *base }
)

// Options are the parameters of [New].
type Options struct {
	Login *login.Service
	Entry *entry.Service
	// EnrollByTicket requires an operator's link for every account's first authenticator,
	// not only after a reset.
	EnrollByTicket bool
}

// New returns the changes of the accounts that o.Login signs in.
func New(o Options) *Service {
	b := &base{o.Login, o.Entry, o.EnrollByTicket}
	return &Service{
		Accounts{b}, Authenticators{b}, Devices{b}, Groups{b}, Links{b}, Passes{b}, Passwords{b}, Sessions{b},
	}
}

// base is what all nouns share.
type base struct {
	login          *login.Service
	entry          *entry.Service
	enrollByTicket bool
}

// Errors that callers answer with a page, besides those of package login.
var (
	// ErrReplaced means that the set of backup codes was replaced in between.
	ErrReplaced = errors.New("backup codes were replaced already")
	// ErrSuspect means that the owner must change the suspect password first.
	ErrSuspect = errors.New("the suspect password must be changed first")
	// ErrLocked means that the account can enrol only with an operator's link.
	ErrLocked = errors.New("enrolment needs an administrator's link")
)

// edit runs edit in a transaction that has locked the account's row, so that changes of
// one account run one after the other. It reads session and account again, because the
// session may have ended or got a new token while the request waited. In that case, or if
// edit returns db.ErrNotFound, it returns [login.ErrGone].
func (b *base) edit(ctx context.Context, me *login.Me, edit func(tx *db.Tx) error) error {
	err := b.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, me.Account.ID); err != nil {
			return err
		}
		held, owner, err := session.ByToken(ctx, tx, me.From.Session, b.login.Life, b.login.Clock())
		if err != nil {
			return err
		}
		me.Session, me.Account = held, owner
		return edit(tx)
	})
	if errors.Is(err, db.ErrNotFound) {
		return login.ErrGone
	}
	return err
}

// editPaced is edit for changes that an owner may repeat and that write
// an event or a row each time. A limit per account and kind of change keeps them from filling
// the disk. Past the limit nothing is changed and it returns a [*login.WaitError].
func (b *base) editPaced(ctx context.Context, me *login.Me, kind audit.Kind, edit func(tx *db.Tx) error) error {
	return b.edit(ctx, me, func(tx *db.Tx) error {
		try := throttle.Try{Key: throttle.Key{Account: me.Account.ID, Bucket: throttle.Change, Subject: string(kind)}, Units: 1}
		verdict, err := b.login.Ledger.Spend(ctx, tx, try)
		if err != nil {
			return err
		}
		if err := b.login.RefusalError(verdict); err != nil {
			return err
		}
		return edit(tx)
	})
}

// editCredentials runs a change of the owner's credentials and returns the session's new token.
// edit changes the rows and returns the proofs that the session keeps. Afterwards everything
// else of the account ends, except the browser with the cookie me.From.Device, which edit may
// have replaced. The session's visits to panels end too: a thief who copied the old session
// cookie may have started them.
func (b *base) editCredentials(ctx context.Context, me *login.Me, edit func(tx *db.Tx) ([]authenticator.Proof, error)) (secret.Text, error) {
	var token secret.Text
	err := b.edit(ctx, me, func(tx *db.Tx) error {
		proofs, err := edit(tx)
		if err != nil {
			return err
		}
		stamp, err := b.login.EndOthers(ctx, tx, me.Account.ID, me.Session.ID, me.From.Device)
		if err != nil {
			return err
		}
		if err := session.RevokeVisits(ctx, tx, me.Session.ID); err != nil {
			return err
		}
		token, err = session.Renew(ctx, tx, me.Session, me.From.Session, stamp, proofs, time.Time{}, b.login.Clock())
		return err
	})
	return token, err
}

// byOperator returns an audit event with the operator as its actor.
func (b *base) byOperator(accountID string, kind audit.Kind, detail string) audit.Event {
	return audit.Event{At: b.login.Clock(), AccountID: accountID, Actor: audit.ByOperator, Kind: kind, Detail: detail}
}
