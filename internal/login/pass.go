package login

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
)

// Reasons why a pass is not accepted, besides the errors of access.Scope.Check. They may be
// shown to the client that sent the pass, since they say nothing about anything else.
var (
	errPassUnknown = errors.New("there is no such pass for this panel, or it was revoked")
	errPassExpired = errors.New("the pass has expired")
	errPassGroups  = errors.New("the pass's account has no access here")
	errPassProofs  = errors.New("this page requires a newer or stronger sign-in than the one that the pass was made with")
)

// checkPass returns the visitor that the pass identifies, or in refused why it isn't accepted.
func (s *Service) checkPass(ctx context.Context, panel *access.Panel, demand access.Demand, r Request, now time.Time) (v *Visitor, refused, err error) {
	v, err = s.visitorByPass(ctx, panel, r.Pass, now)
	switch {
	case err != nil:
		return nil, nil, err
	case v.Pass.ID == "":
		return nil, errPassUnknown, nil
	case v.Pass.Expired(now):
		return nil, errPassExpired, nil
	}
	if refused := v.Pass.Scope.Check(r.Request, r.From); refused != nil {
		return nil, refused, nil
	}
	switch access.Check(demand, v.accessBearer(), now) {
	case access.Admit:
		return v, nil, nil
	case access.Deny:
		return nil, errPassGroups, nil
	default:
		return nil, errPassProofs, nil
	}
}

// visitorByPass returns the visitor with this pass to the panel, or the anonymous visitor if
// there is no such pass.
func (s *Service) visitorByPass(ctx context.Context, panel *access.Panel, token string, now time.Time) (*Visitor, error) {
	hash := tokenHash(secret.Hash(token))
	if v := s.Admissions.get(hash, now); v != nil && v.Pass.ID != "" && v.Pass.Scope.Panel == panel.Origin && v.Pass.IsValidFor(v.Owner) {
		return v, nil
	}
	evictions := s.Admissions.evictionCount()
	p, owner, err := pass.ByToken(ctx, s.DB.Reader(), token, panel.Origin)
	if errors.Is(err, db.ErrNotFound) {
		return anonymous, nil
	}
	if err != nil {
		return nil, err
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return nil, err
	}
	v := newVisitor(Visitor{Pass: p, Owner: owner, Groups: groups, hash: hash}, panel)
	s.Admissions.add(v, now, evictions)
	return v, nil
}

// AddPass makes a machine pass for the owner and returns its token. It uses the name, scope
// and end of p. If the session has ended it returns [ErrGone]; otherwise the errors of
// pass.Create, authenticator.ErrNameInvalid or a [*WaitError].
func (s *Service) AddPass(ctx context.Context, me Me, p pass.Pass) (token secret.Text, err error) {
	err = s.editAccountPaced(ctx, &me, audit.PassMade, func(tx *db.Tx) (err error) {
		p.Proofs, p.ByOperator = me.Session.Proofs, false
		token, err = addPass(ctx, tx, me.Account, p, me.From.event(s.Clock(), me.Account.ID, audit.PassMade))
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
		return revokePass(ctx, tx, id, me.From.event(s.Clock(), me.Account.ID, audit.PassRevoked))
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
