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
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
)

// Passes creates and revokes machine passes.
type Passes struct{ *base }

// Create makes a machine pass for the account and returns its token. It uses the name, scope and
// end of p. A pass that the owner makes has the session's proofs; one that an operator makes needs
// no proofs. Create returns the errors of pass.Create, and authenticator.ErrNameInvalid. For an
// owner, it returns [login.ErrGone] if the session has ended, and a [*login.WaitError] after too
// many changes.
func (m Passes) Create(ctx context.Context, by Actor, a account.Account, p pass.Pass) (token secret.Text, err error) {
	err = m.editAs(ctx, by, access.None, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		if err := m.pace(ctx, tx, by, audit.PassMade); err != nil {
			return err
		}
		p.Proofs, p.ByOperator = by.me.Session.Proofs, by.as == audit.ByOperator
		if p.Name, err = authenticator.NormalizeName(p.Name); err != nil {
			return err
		}
		event := m.event(by, a.ID, audit.PassMade, p.Name)
		if token, err = pass.Create(ctx, tx, a, p, event.At); err != nil {
			return err
		}
		return m.login.Journal.Record(ctx, tx, event)
	})
	return token, err
}

// Revoke revokes one of the account's passes, or returns [login.ErrGone].
func (m Passes) Revoke(ctx context.Context, by Actor, a account.Account, id string) error {
	return m.editAs(ctx, by, access.None, a.ID, func(tx *db.Tx, by Actor, a account.Account) error {
		name, err := pass.NameOf(ctx, tx, a.ID, id)
		if errors.Is(err, db.ErrNotFound) {
			return login.ErrGone
		}
		if err != nil {
			return err
		}
		there, err := pass.Revoke(ctx, tx, a.ID, id)
		if err != nil {
			return err
		}
		if !there {
			return login.ErrGone
		}
		return m.login.Journal.Record(ctx, tx, m.event(by, a.ID, audit.PassRevoked, name))
	})
}
