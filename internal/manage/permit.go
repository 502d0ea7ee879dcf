package manage

import (
	"context"
	"errors"
	"slices"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/session"
)

// ErrNotPermitted means that the role of the actor doesn't permit the change.
var ErrNotPermitted = errors.New("the actor's role doesn't permit this change")

// permit returns [ErrNotPermitted] if an administrator's role doesn't permit the action on the
// account with this id. Owners and the command line need no permission here. permit must come first
// in tx: it locks the rows of both accounts, in the order of ids, and only then reads the session,
// the roles and the account, so that they can't change until tx ends. If two administrators demote
// each other at once, only the first succeeds. permit returns [login.ErrGone] if the session ended
// meanwhile, and [db.ErrNotFound] if the account was removed.
func (b *base) permit(ctx context.Context, tx *db.Tx, by Actor, action access.Action, id string) error {
	if by.as != audit.ByAdministrator {
		return nil
	}
	ids := []string{by.me.Account.ID, id}
	slices.Sort(ids)
	for _, one := range slices.Compact(ids) {
		err := account.Lock(ctx, tx, one)
		if errors.Is(err, db.ErrNotFound) && one != id {
			err = login.ErrGone
		}
		if err != nil {
			return err
		}
	}
	_, actor, err := session.ByToken(ctx, tx, by.me.From.Session, b.login.Life, b.login.Clock())
	if err != nil {
		return orGone(err)
	}
	target, err := account.ByID(ctx, tx, id)
	if err != nil {
		return err
	}
	if !access.May(actor, action, target) {
		return ErrNotPermitted
	}
	return nil
}
