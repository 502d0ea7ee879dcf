package login

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
)

// AddPass makes a machine pass for the owner and returns its token. It uses the name, scope
// and end of p. If the session has ended it returns [ErrGone]; otherwise the errors of
// pass.Create, authenticator.ErrNameInvalid or a [*WaitError].
func (s *Service) AddPass(ctx context.Context, me Me, p pass.Pass) (token secret.Text, err error) {
	err = s.editAccountPaced(ctx, &me, audit.PassMade, func(tx *db.Tx) (err error) {
		p.Proofs, p.ByOperator = me.Session.Proofs, false
		token, err = addPass(ctx, tx, me.Account, p, me.From.Event(s.Clock(), me.Account.ID, audit.PassMade))
		return err
	})
	return token, err
}

// IssuePass makes a machine pass for an account, on behalf of an operator on the command
// line.
func (s *Service) IssuePass(ctx context.Context, a account.Account, p pass.Pass) (token secret.Text, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, a.ID); err != nil {
			return err
		}
		owner, err := account.ByID(ctx, tx, a.ID)
		if err != nil {
			return err
		}
		p.Proofs, p.ByOperator = nil, true
		token, err = addPass(ctx, tx, owner, p, s.byOperator(a.ID, audit.PassMade, ""))
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

// RevokePass revokes one of the owner's passes, or returns [ErrGone].
func (s *Service) RevokePass(ctx context.Context, me Me, id string) error {
	return s.editAccount(ctx, &me, func(tx *db.Tx) error {
		return revokePass(ctx, tx, id, me.From.Event(s.Clock(), me.Account.ID, audit.PassRevoked))
	})
}

// WithdrawPass is [Service.RevokePass] for an operator on the command line.
func (s *Service) WithdrawPass(ctx context.Context, a account.Account, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error { return revokePass(ctx, tx, id, s.byOperator(a.ID, audit.PassRevoked, "")) })
}

func revokePass(ctx context.Context, tx *db.Tx, id string, event audit.Event) error {
	p, err := pass.ByID(ctx, tx, event.AccountID, id)
	if errors.Is(err, db.ErrNotFound) {
		return ErrGone
	}
	if err != nil {
		return err
	}
	there, err := pass.Revoke(ctx, tx, event.AccountID, id)
	if err != nil {
		return err
	}
	if !there {
		return ErrGone
	}
	event.Detail = p.Name
	return audit.Append(ctx, tx, event)
}
