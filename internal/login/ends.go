package login

import (
	"context"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/ticket"
)

// EndOthers ends everything that could still act for the account. It sets a new stamp, which
// it returns. It deletes all attempts and machine passes, all sessions and their pending
// enrolments except those of exceptSession, and all known browsers except the one with the
// cookie exceptDevice. An empty exception spares none. It also revokes let-in links, since a
// thief may have issued one in a session that ends now. The account's row stays locked until
// tx ends.
func EndOthers(ctx context.Context, tx *db.Tx, accountID, exceptSession, exceptDevice string) (stamp string, err error) {
	if stamp, err = account.Restamp(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := revokeAttempts(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := pass.RevokeAll(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := authenticator.RemovePending(ctx, tx, accountID, exceptSession); err != nil {
		return "", err
	}
	if _, err := session.RevokeOthers(ctx, tx, accountID, exceptSession); err != nil {
		return "", err
	}
	// First the links, then the browsers that they made known: a link redeemed in between
	// would leave a known browser behind.
	if _, err := ticket.Revoke(ctx, tx, ticket.LetIn, accountID); err != nil {
		return "", err
	}
	_, err = device.RemoveOthers(ctx, tx, accountID, exceptDevice)
	return stamp, err
}
