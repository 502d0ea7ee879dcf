package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
)

// Groups changes groups and their members.
type Groups struct{ *base }

// Add creates a group. It returns the errors of account.AddGroup.
func (m Groups) Add(ctx context.Context, by Actor, group string) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.AddGroup(ctx, tx, group, m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, "", audit.GroupAdded, group))
	})
}

// Remove removes a group, or returns [login.ErrGone] if it doesn't exist.
func (m Groups) Remove(ctx context.Context, by Actor, group string) error {
	err := m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.RemoveGroup(ctx, tx, group); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, "", audit.GroupRemoved, group))
	})
	if errors.Is(err, db.ErrNotFound) {
		return login.ErrGone
	}
	return err
}

// Join adds an account to a group. It returns [login.ErrGone] if the group doesn't exist, and
// [db.ErrNotFound] if the account was removed.
func (m Groups) Join(ctx context.Context, by Actor, a account.Account, group string) error {
	return m.changeMembers(ctx, m.event(by, a.ID, audit.GroupJoined, group), account.Join)
}

// Leave removes an account from a group. It returns [db.ErrNotFound] if the account was removed.
func (m Groups) Leave(ctx context.Context, by Actor, a account.Account, group string) error {
	return m.changeMembers(ctx, m.event(by, a.ID, audit.GroupLeft, group), account.Leave)
}

// changeMembers calls the function change with the group and the account that event names, and
// records event if change reports a change.
func (m Groups) changeMembers(ctx context.Context, event audit.Event, change func(context.Context, *db.Tx, string, string) (bool, error)) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, event.AccountID); err != nil {
			return err
		}
		changed, err := change(ctx, tx, event.Detail, event.AccountID)
		if errors.Is(err, db.ErrNotFound) {
			return login.ErrGone
		}
		if err != nil || !changed {
			return err
		}
		event.At = m.login.Clock()
		return m.login.Journal.Record(ctx, tx, event)
	})
}
