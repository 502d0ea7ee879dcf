package entry

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
)

// Reasons why a pass is not accepted, besides the errors of access.Scope.Check. They may be shown
// to the client that sent the pass, since they concern only that pass.
var (
	errPassUnknown = errors.New("there is no such pass for this panel, or it was revoked")
	errPassExpired = errors.New("the pass has expired")
	errPassGroups  = errors.New("the pass's account has no access here")
	errPassPolicy  = errors.New("two-factor authentication is required of the pass's account, and its owner hasn't enabled it")
	errPassProofs  = errors.New("this page requires a newer or stronger sign-in than the one that the pass was made with")
)

// checkPass returns the visitor that the pass of r identifies. If the pass isn't accepted, refused
// says why.
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
	bearer := s.bearerOf(v)
	if bearer.MustEnroll() { // also on an open path
		return nil, errPassPolicy, nil
	}
	switch access.Check(demand, bearer, now) {
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
	v := newVisitor(Visitor{Pass: p, Owner: owner, Groups: groups, hash: hash}, panel, s.Life)
	s.Admissions.add(v, now, evictions)
	return v, nil
}
