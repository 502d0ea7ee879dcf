package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// Passwords changes passwords.
type Passwords struct{ *base }

// Change sets the new password typed if current is the right password, and returns the session's new
// token. Tries count against the same budget as at sign-in. It returns [login.ErrWrongPassword],
// [login.ErrSamePassword] or an error of password.Check.
func (m Passwords) Change(ctx context.Context, me login.Me, current, typed string) (secret.Text, error) {
	if err := m.login.CheckNew(me.Account, typed); err != nil {
		return secret.Text{}, err
	}
	reservation, err := m.login.VerifyPassword(ctx, me, current)
	if err != nil {
		return secret.Text{}, err
	}
	phc, err := m.login.HashNew(ctx, me.Account, typed)
	// Give the reservation back now: the current password was right even if the change fails. The
	// transaction below must not change a network's row of the ledger; see [db.DB.WriteTogether].
	if err := errors.Join(err, m.login.GiveBack(ctx, reservation)); err != nil {
		return secret.Text{}, err
	}
	return m.editCredentials(ctx, me, func(tx *db.Tx, me login.Me) (kept, error) {
		now := m.login.Clock()
		if err := password.Set(ctx, tx, m.login.Ring, me.Account.ID, phc, now); err != nil {
			return kept{}, err
		}
		fresh := []authenticator.Proof{{Kind: authenticator.Password, At: now}}
		keep := kept{proofs: authenticator.Merge(me.Session.Proofs, fresh), device: me.From.Device}
		return keep, m.login.Journal.Record(ctx, tx, me.From.Event(now, me.Account.ID, audit.PasswordChanged))
	})
}

// Set sets an account's password and ends all its sessions. The new password may be the same as
// the current one.
func (m Passwords) Set(ctx context.Context, by Actor, a account.Account, typed string) error {
	if err := m.login.CheckNew(a, typed); err != nil {
		return err
	}
	phc, err := m.login.HashNew(ctx, account.Account{}, typed)
	if err != nil {
		return err
	}
	return m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := login.EndOthers(ctx, tx, a.ID, login.Spared{}); err != nil {
			return err
		}
		// Otherwise a person with an invitation link could replace this password.
		if _, err := ticket.Revoke(ctx, tx, ticket.Invitation, a.ID); err != nil {
			return err
		}
		if err := password.Set(ctx, tx, m.login.Ring, a.ID, phc, m.login.Clock()); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.PasswordSet, ""))
	})
}
