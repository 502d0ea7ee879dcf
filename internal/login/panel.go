package login

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// Request is a request for a panel, as its door read it.
type Request struct {
	Target string     // path and query as they were sent
	Method string     // as access.MethodOf says; only passes ask
	From   netip.Addr // of the client; invalid where it isn't known; only passes ask
	Visit  string     // token of the visit, or ""
	Pass   string     // token of the pass, or ""
}

// Admission is the answer to a request for a panel. Who is there comes by a visit
// or a pass; of both the IDs are empty where it is nobody.
type Admission struct {
	Verdict access.Verdict
	Visit   session.Visit
	Pass    pass.Pass
	Owner   account.Account // of either
	Groups  []string        // of the owner
	Refused error           // why the pass that came along opens nothing; its holder may read it

	hash tokenHash
}

// Bearer returns the id of the visit or pass that names who is there, or "".
func (a Admission) Bearer() string { return a.Visit.ID + a.Pass.ID }

func (a Admission) bearer() access.Bearer {
	b := access.Bearer{SignedIn: a.Bearer() != "", Proofs: a.Visit.Session.Proofs, TwoFactor: !a.Owner.TwoFactorAt.IsZero(), Groups: a.Groups}
	if a.Pass.ID != "" {
		b.Proofs, b.Vouched = a.Pass.Proofs, a.Pass.ByOperator
	}
	return b
}

// Identify sets the identity headers that tell the panel who is there: all four,
// empty where nobody visits.
func (a Admission) Identify(h http.Header) {
	name := ""
	if a.Owner.ID != "" {
		name = a.Owner.Called()
	}
	values := []string{a.Owner.Name, name, a.Owner.Email, strings.Join(a.Groups, ",")}
	h[access.UserHeader], h[access.NameHeader] = values[0:1:1], values[1:2:2]
	h[access.EmailHeader], h[access.GroupsHeader] = values[2:3:3], values[3:4:4]
}

// Admit holds a request against what the panel demands of its path. The path
// decides before anybody is looked at, so that what can't be read the one way is
// denied to everybody (R22). A visit that is admitted needs no pass, and whatever
// comes of the pass takes nothing from a visit.
func (s *Service) Admit(ctx context.Context, panel *access.Panel, r Request) (Admission, error) {
	demand, ok := panel.DemandOf(r.Target)
	if !ok {
		return Admission{Verdict: access.Deny}, nil
	}
	a, err := s.visit(ctx, panel, r.Visit)
	if err != nil {
		return Admission{}, err
	}
	a.Verdict = access.Check(demand, a.bearer(), s.Clock())
	if r.Pass == "" || a.Visit.ID != "" && a.Verdict == access.Admit {
		return a, nil
	}
	b, refused, err := s.byPass(ctx, panel, demand, r)
	if err != nil {
		return Admission{}, err
	}
	if refused != nil {
		a.Refused = refused
		return a, nil
	}
	return b, nil
}

func (s *Service) visit(ctx context.Context, panel *access.Panel, token string) (Admission, error) {
	if token == "" {
		return Admission{}, nil
	}
	now, hash := s.Clock(), tokenHash(secret.Hash(token))
	if a, ok := s.Admissions.get(hash, now); ok && a.Visit.Panel == panel.Origin && a.Visit.Live(s.Life, now) {
		return a, nil
	}
	drops := s.Admissions.begin()
	v, err := s.readVisit(ctx, panel, token, now)
	if errors.Is(err, db.ErrNotFound) {
		return Admission{}, nil
	}
	if err != nil {
		return Admission{}, err
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), v.Owner.ID)
	if err != nil {
		return Admission{}, err
	}
	a := Admission{Visit: v, Owner: v.Owner, Groups: groups, hash: hash}
	s.Admissions.put(a, now, drops)
	return a, nil
}

// readVisit returns the visit with this token, or [db.ErrNotFound]. Where the
// portal is on the panel's host the session is the visit.
func (s *Service) readVisit(ctx context.Context, panel *access.Panel, token string, now time.Time) (session.Visit, error) {
	if !panel.Shared {
		return session.VisitByToken(ctx, s.DB.Reader(), token, panel.Origin, s.Life, now)
	}
	held, owner, err := session.ByToken(ctx, s.DB.Reader(), token, s.Life, now)
	return session.Visit{ID: held.ID, Panel: panel.Origin, Session: held, Owner: owner}, err
}

// MayEnter holds the session of somebody at the portal against what the panel
// demands of a path.
func (s *Service) MayEnter(ctx context.Context, me Me, panel *access.Panel, rawPath string) (access.Verdict, error) {
	demand, ok := panel.DemandOf(rawPath)
	if !ok {
		return access.Deny, nil
	}
	if demand.Requirement == access.Public {
		demand.Requirement = access.Session // whoever came here wants to be known
	}
	if me.Session.ID == "" {
		return access.SignIn, nil
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), me.Account.ID)
	if err != nil {
		return access.Deny, err
	}
	bearer := access.Bearer{
		SignedIn: true, Proofs: me.Session.Proofs, TwoFactor: !me.Account.TwoFactorAt.IsZero(), Groups: groups,
	}
	return access.Check(demand, bearer, s.Clock()), nil
}

// HandOff carries my session to a panel: the token is for the browser that
// holds state there, and for the path returnURL.
func (s *Service) HandOff(ctx context.Context, me Me, panel *access.Panel, state, returnURL string) (token secret.Text, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		token, err = session.HandOff(ctx, tx, me.Session, panel.Origin, state, returnURL, s.Clock())
		return err
	})
	return token, err
}

// Enter spends a handoff at the panel's host and begins a visit; see
// [session.Enter].
func (s *Service) Enter(ctx context.Context, panel *access.Panel, handoff, state string) (visit secret.Text, returnURL string, err error) {
	// Whoever makes handoffs up takes no turn of those who write.
	if err := session.IsHandoff(ctx, s.DB.Reader(), handoff); err != nil {
		return visit, "", err
	}
	var outcome error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		visit, returnURL, outcome = session.Enter(ctx, tx, handoff, panel.Origin, state, s.Clock())
		if errors.Is(outcome, session.ErrHandoff) || errors.Is(outcome, session.ErrState) {
			return nil // it is spent
		}
		return outcome
	})
	if err == nil {
		err = outcome
	}
	return visit, returnURL, err
}

// LeavePanel signs the session out that a panel's visit belongs to, and so closes
// every panel of it.
func (s *Service) LeavePanel(ctx context.Context, panel *access.Panel, token string, from Browser) error {
	a, err := s.visit(ctx, panel, token)
	if err != nil || a.Visit.ID == "" {
		return err
	}
	err = s.revoke(ctx, Me{Session: a.Visit.Session, Account: a.Owner, From: from}, a.Visit.Session.ID, audit.SignedOut)
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
