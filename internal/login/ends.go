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

// Spared is what [EndOthers] doesn't end. With the zero value it ends everything.
type Spared struct {
	Session string // id of a session, which keeps its pending enrolments
	Device  string // the cookie of a known browser

	// StrongPasses spares the machine passes for which pass.Pass.IsStrong returns true. The
	// caller must have locked the account's row: EndOthers compares the passes' stamps with the
	// account's, which it reads before it locks the row itself.
	StrongPasses bool
}

// EndOthers ends everything that could still act for the account, except what is spared. It sets
// a new stamp, which it returns and gives to the machine passes that it spares. It deletes
// attempts, the other machine passes, sessions, pending enrolments and known browsers. It also
// revokes mailed links that set a password or make a browser known. And it revokes let-in links
// and links to confirm an address, since a thief may have issued one in a session that ends now.
// A link that restores a former address stays valid: otherwise a thief who changed the address
// could end that link by changing the password. The account's row stays locked until tx ends.
func EndOthers(ctx context.Context, tx *db.Tx, accountID string, spared Spared) (stamp string, err error) {
	var before account.Account
	if spared.StrongPasses {
		if before, err = account.ByID(ctx, tx, accountID); err != nil {
			return "", err
		}
	}
	if stamp, err = account.Restamp(ctx, tx, accountID); err != nil {
		return "", err
	}
	if err := revokeAttempts(ctx, tx, accountID); err != nil {
		return "", err
	}
	if spared.StrongPasses {
		err = pass.RevokeWeak(ctx, tx, before, stamp)
	} else {
		err = pass.RevokeAll(ctx, tx, accountID)
	}
	if err != nil {
		return "", err
	}
	if err := authenticator.RemovePending(ctx, tx, accountID, spared.Session); err != nil {
		return "", err
	}
	if _, err := session.RevokeOthers(ctx, tx, accountID, spared.Session); err != nil {
		return "", err
	}
	// End the links first, and then the browsers that they made known. In the other order, a link
	// that is redeemed in between would leave a known browser behind.
	if _, err := ticket.Revoke(ctx, tx, ticket.LetIn, accountID); err != nil {
		return "", err
	}
	if err := EndMailedLinks(ctx, tx, accountID); err != nil {
		return "", err
	}
	_, err = device.RemoveOthers(ctx, tx, accountID, spared.Device)
	return stamp, err
}

// EndMailedLinks ends the links to reset a password, to let a browser in and to confirm an address
// that were mailed to the account's owner, and the access of browsers that such a link let in. It
// is for when the address changes or when EndOthers runs. A link that restores a former address
// stays.
func EndMailedLinks(ctx context.Context, tx *db.Tx, accountID string) error {
	for _, kind := range []ticket.Kind{ticket.Reset, ticket.Unlock, ticket.VerifyEmail} {
		if _, err := ticket.Revoke(ctx, tx, kind, accountID); err != nil {
			return err
		}
	}
	return device.EndLetIn(ctx, tx, accountID)
}
