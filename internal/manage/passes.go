package manage

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
)

// Add makes a machine pass for the owner and returns its token. It uses the name, scope
// and end of p. If the session has ended it returns [login.ErrGone]; otherwise the errors of
// pass.Create, authenticator.ErrNameInvalid or a [*login.WaitError].
func (m Passes) Add(ctx context.Context, me login.Me, p pass.Pass) (token secret.Text, err error) {
	err = m.editPaced(ctx, &me, audit.PassMade, func(tx *db.Tx) (err error) {
		p.Proofs, p.ByOperator = me.Session.Proofs, false
		token, err = addPass(ctx, tx, me.Account, p, me.From.Event(m.login.Clock(), me.Account.ID, audit.PassMade))
		return err
	})
	return token, err
}

// Issue makes a machine pass for an account, on behalf of an operator on the command
// line.
func (m Passes) Issue(ctx context.Context, a account.Account, p pass.Pass) (token secret.Text, err error) {
	err = m.login.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, a.ID); err != nil {
			return err
		}
		owner, err := account.ByID(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		p.Proofs, p.ByOperator = nil, true
		token, err = addPass(ctx, tx, owner, p, m.byOperator(a.ID, audit.PassMade, ""))
		return err
	})
	return token, err
}

func addPass(ctx context.Context, tx *db.Tx, owner account.Account, p pass.Pass, event audit.Event) (secret.Text, error) {
	var err error
	if p.Name, err = authenticator.NormalizeName(p.Name); err != nil {
		return secret.Text{}, err
	}
	token, err := pass.Create(ctx, tx, owner, p, event.At)
	if err != nil {
		return secret.Text{}, err
	}
	event.Detail = p.Name
	return token, audit.Append(ctx, tx, event)
}

// Revoke revokes one of the owner's passes, or returns [login.ErrGone].
func (m Passes) Revoke(ctx context.Context, me login.Me, id string) error {
	return m.edit(ctx, &me, func(tx *db.Tx) error {
		return revokePass(ctx, tx, id, me.From.Event(m.login.Clock(), me.Account.ID, audit.PassRevoked))
	})
}

// Withdraw is [Passes.Revoke] for an operator on the command line.
func (m Passes) Withdraw(ctx context.Context, a account.Account, id string) error {
	return m.login.DB.Write(ctx, func(tx *db.Tx) error { return revokePass(ctx, tx, id, m.byOperator(a.ID, audit.PassRevoked, "")) })
}

func revokePass(ctx context.Context, tx *db.Tx, id string, event audit.Event) error {
	p, err := pass.ByID(ctx, tx, event.AccountID, id)
	if errors.Is(err, db.ErrNotFound) {
		return login.ErrGone
	}
	if err != nil {
		return err
	}
	there, err := pass.Revoke(ctx, tx, event.AccountID, id)
	if err != nil {
		return err
	}
	if !there {
		return login.ErrGone
	}
	event.Detail = p.Name
	return audit.Append(ctx, tx, event)
}
