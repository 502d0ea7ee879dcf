package manage

import (
	"context"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Devices makes known browsers unknown.
type Devices struct{ *base }

// Remove makes one of the owner's known browsers unknown, or returns [login.ErrGone].
func (m Devices) Remove(ctx context.Context, me login.Me, id string) error {
	return m.edit(ctx, me, func(tx *db.Tx, me login.Me) error {
		there, err := device.Remove(ctx, tx, me.Account.ID, id)
		if err != nil {
			return err
		}
		if !there {
			return login.ErrGone
		}
		return m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, audit.DeviceForgotten))
	})
}

// RemoveAll makes all of the owner's known browsers unknown, including the one in use, and revokes
// the links that would make a browser known or let it in.
func (m Devices) RemoveAll(ctx context.Context, me login.Me) error {
	return m.edit(ctx, me, func(tx *db.Tx, me login.Me) error {
		links, err := ticket.Revoke(ctx, tx, ticket.LetIn, me.Account.ID)
		if err != nil {
			return err
		}
		mailed, err := ticket.Revoke(ctx, tx, ticket.Unlock, me.Account.ID)
		if err != nil {
			return err
		}
		browsers, err := device.RemoveOthers(ctx, tx, me.Account.ID, "")
		if err != nil || browsers+links+mailed == 0 {
			return err
		}
		return m.login.Journal.Record(ctx, tx, me.From.Event(m.login.Clock(), me.Account.ID, audit.DevicesForgotten))
	})
}
