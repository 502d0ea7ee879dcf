package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/throttle"
)

// edit runs the function change in a transaction that has locked the account's row, so that changes
// of one account run one after the other. It reads the session and the account again and passes them
// to change. If the session ended or got a new token while the request waited, or if change returns
// db.ErrNotFound, edit returns [login.ErrGone].
func (b *base) edit(ctx context.Context, me login.Me, change func(tx *db.Tx, me login.Me) error) error {
	err := b.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, me.Account.ID); err != nil {
			return err
		}
		return b.editLocked(ctx, tx, me, change)
	})
	return orGone(err)
}

// editTogether is edit for a function change that ends sessions or visits, which other nodes must
// be told. That function must follow the rules of [db.DB.WriteTogether].
func (b *base) editTogether(ctx context.Context, me login.Me, change func(tx *db.Tx, me login.Me) error) error {
	err := account.Change(ctx, b.login.DB, me.Account.ID, func(tx *db.Tx) error { return b.editLocked(ctx, tx, me, change) })
	return orGone(err)
}

// editLocked does what edit does once the account's row is locked.
func (b *base) editLocked(ctx context.Context, tx *db.Tx, me login.Me, change func(tx *db.Tx, me login.Me) error) error {
	held, owner, err := session.ByToken(ctx, tx, me.From.Session, b.login.Life, b.login.Clock())
	if err != nil {
		return err
	}
	return change(tx, login.Me{Session: held, Account: owner, From: me.From})
}

// orGone returns err, or [login.ErrGone] if err is [db.ErrNotFound].
func orGone(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return login.ErrGone
	}
	return err
}

// editPaced is edit with a limit on how often the owner makes a change of this kind; see pace.
func (b *base) editPaced(ctx context.Context, me login.Me, kind audit.Kind, change func(tx *db.Tx, me login.Me) error) error {
	return b.edit(ctx, me, func(tx *db.Tx, me login.Me) error {
		if err := b.pace(ctx, tx, Owner(me), kind); err != nil {
			return err
		}
		return change(tx, me)
	})
}

// editAs is edit for a change that the owner, an operator, or a person whose role permits the action
// can make. It reads the actor and the account in the transaction and passes them to the function
// change. It returns [login.ErrGone] if an owner acts on another account, and [db.ErrNotFound] if an
// operator acts on an account that was removed.
func (b *base) editAs(ctx context.Context, by Actor, action access.Action, accountID string, change func(tx *db.Tx, by Actor, a account.Account) error) error {
	if by.as == audit.ByOwner {
		if by.me.Account.ID != accountID {
			return login.ErrGone
		}
		return b.edit(ctx, by.me, func(tx *db.Tx, me login.Me) error { return change(tx, Owner(me), me.Account) })
	}
	return b.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := b.permit(ctx, tx, by, action, accountID); err != nil {
			return err
		}
		if err := account.Lock(ctx, tx, accountID); err != nil {
			return err
		}
		a, err := account.ByID(ctx, tx, accountID)
		if err != nil {
			return err
		}
		return change(tx, by, a)
	})
}

// pace limits how often an owner can make a change that adds an event or a row every time, so that
// owners can't fill the disk. The limit is per account and kind of change, and doesn't apply to
// operators. Over the limit, pace returns a [*login.WaitError], and the caller must not make the
// change.
func (b *base) pace(ctx context.Context, tx *db.Tx, by Actor, kind audit.Kind) error {
	if by.as != audit.ByOwner {
		return nil
	}
	try := throttle.Try{Key: throttle.Key{Account: by.me.Account.ID, Bucket: throttle.Change, Subject: string(kind)}, Units: 1}
	verdict, err := b.login.Ledger.Spend(ctx, tx, try)
	if err != nil {
		return err
	}
	return b.login.RefusalError(verdict)
}

// kept is what outlives a change of credentials.
type kept struct {
	proofs []authenticator.Proof // the proofs that stay in the session that made the change
	device string                // cookie of the browser that stays known
	// strongPasses keeps the machine passes for which pass.Pass.IsStrong returns true.
	strongPasses bool
}

// editCredentials runs a change of the owner's credentials and returns the session's new token. The
// function change makes the change and returns what is kept; it must follow the rules of
// [db.DB.WriteTogether]. Everything else that could act for the account ends. The session's visits
// to panels end too, since a thief who copied the old session cookie may have started them.
func (b *base) editCredentials(ctx context.Context, me login.Me, change func(tx *db.Tx, me login.Me) (kept, error)) (secret.Text, error) {
	var token secret.Text
	err := b.editTogether(ctx, me, func(tx *db.Tx, me login.Me) error {
		keep, err := change(tx, me)
		if err != nil {
			return err
		}
		stamp, err := login.EndOthers(ctx, tx, me.Account.ID, login.Spared{Session: me.Session.ID, Device: keep.device, StrongPasses: keep.strongPasses})
		if err != nil {
			return err
		}
		if err := session.RevokeVisits(ctx, tx, me.Session.ID); err != nil {
			return err
		}
		token, err = session.Renew(ctx, tx, me.Session, session.Renewal{Old: me.From.Session, Stamp: stamp, Proofs: keep.proofs}, b.login.Clock())
		return err
	})
	return token, err
}
