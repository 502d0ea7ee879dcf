package login

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
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
	access.Request
	From  netip.Addr // of the client; invalid where it isn't known; read only where there is a pass
	Visit string     // token of the visit, or ""
	Pass  string     // token of the pass, or ""
}

// Admission is the answer to a request for a panel.
type Admission struct {
	Verdict access.Verdict
	*Visitor
	Open    bool  // the panel demands nothing of anybody there
	Denied  error // why the request is denied; nil where it isn't
	Refused error // why the pass that came along opens nothing; its holder may read it
}

// Username returns the name of the account that asks, or "".
func (a Admission) Username() string {
	if a.Visitor == nil {
		return ""
	}
	return a.Owner.Name
}

// NotAdmittedError: the account may not enter the panel, whatever it proves.
type NotAdmittedError struct {
	Panel    *access.Panel
	Username string // of the account
}

// Error names neither: the log knows the request.
func (e *NotAdmittedError) Error() string { return "the panel doesn't admit the account" }

// AboutError is why a request for a panel wasn't served, with what the log names besides:
// the panel, and the account where one is known.
type AboutError struct {
	Panel    *access.Panel
	Username string // of the account; may be empty
	Err      error
}

func (e *AboutError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *AboutError) Unwrap() error { return e.Err }

// Visitor is who asks for a panel, by a visit or a pass; of both the IDs are empty
// where it is nobody. It is shared by all who ask and must not be changed.
type Visitor struct {
	Visit  session.Visit
	Pass   pass.Pass
	Owner  account.Account // of either
	Groups []string        // of the owner

	hash     tokenHash
	identity [4][]string // values of the identity headers
}

var nobodyThere = newVisitor(Visitor{}, &access.Panel{})

// newVisitor returns a visitor whose identity headers are as the panel wants them.
func newVisitor(v Visitor, panel *access.Panel) *Visitor {
	name := ""
	if v.Owner.ID != "" {
		name = v.Owner.ShownName()
	}
	groups := slices.Clone(v.Groups)
	values := [...]string{v.Owner.Name, name, v.Owner.Email, ""}
	if panel.PercentIdentity {
		for i := range values {
			values[i] = url.PathEscape(values[i])
		}
		for i := range groups {
			groups[i] = url.PathEscape(groups[i])
		}
	}
	values[3] = strings.Join(groups, ",")
	for i, value := range values {
		v.identity[i] = []string{value}
	}
	return &v
}

// AdmitNobody is the admission of what passes whoever sent it.
func AdmitNobody() Admission {
	return Admission{Verdict: access.Admit, Visitor: nobodyThere, Open: true}
}

// Bearer returns the id of the visit or pass that names who is there, or "".
func (v *Visitor) Bearer() string { return v.Visit.ID + v.Pass.ID }

func (v *Visitor) bearer() access.Bearer {
	b := access.Bearer{SignedIn: v.Bearer() != "", Proofs: v.Visit.Session.Proofs, TwoFactor: !v.Owner.TwoFactorAt.IsZero(), Groups: v.Groups}
	if v.Pass.ID != "" {
		b.Proofs, b.Vouched = v.Pass.Proofs, v.Pass.ByOperator
	}
	return b
}

// Identify sets the identity headers that tell the panel who is there: all four,
// empty where nobody visits.
func (v *Visitor) Identify(h http.Header) {
	h[access.UserHeader], h[access.NameHeader] = v.identity[0], v.identity[1]
	h[access.EmailHeader], h[access.GroupsHeader] = v.identity[2], v.identity[3]
}

// Admit holds a request against what the panel demands of its path. The path
// decides before anybody is looked at, so that what can't be read the one way is
// denied to everybody (R22). A visit that is admitted needs no pass, and whatever
// comes of the pass takes nothing from a visit.
func (s *Service) Admit(ctx context.Context, panel *access.Panel, r Request) (Admission, error) {
	a, err := s.admit(ctx, panel, r)
	if s.Metrics.Checked != nil {
		s.Metrics.Checked(a.Verdict, err)
	}
	return a, err
}

func (s *Service) admit(ctx context.Context, panel *access.Panel, r Request) (Admission, error) {
	demand, err := panel.DemandFor(r.Request)
	if err != nil {
		return Admission{Verdict: access.Deny, Visitor: nobodyThere, Denied: err}, nil
	}
	open := demand.Requirement == access.Public
	now := s.Clock()
	v, err := s.visit(ctx, panel, r.Visit, now)
	if err != nil {
		return Admission{}, err
	}
	a := Admission{Verdict: access.Check(demand, v.bearer(), now), Visitor: v, Open: open}
	if a.Verdict == access.Deny {
		a.Denied = &NotAdmittedError{panel, v.Owner.Name}
	}
	if r.Pass == "" || v.Visit.ID != "" && a.Verdict == access.Admit {
		return a, nil
	}
	by, refused, err := s.byPass(ctx, panel, demand, r, now)
	switch {
	case err != nil:
		return Admission{}, err
	case refused != nil:
		a.Refused = refused
		return a, nil
	default:
		return Admission{Verdict: access.Admit, Visitor: by, Open: open}, nil
	}
}

func (s *Service) visit(ctx context.Context, panel *access.Panel, token string, now time.Time) (*Visitor, error) {
	if token == "" {
		return nobodyThere, nil
	}
	hash := tokenHash(secret.Hash(token))
	if v := s.Admissions.get(hash, now); v != nil && v.Visit.Panel == panel.Origin && v.Visit.IsLive(s.Life, now) {
		return v, nil
	}
	drops := s.Admissions.begin()
	read, err := s.readVisit(ctx, s.DB.Reader(), panel, token, now)
	if errors.Is(err, db.ErrNotFound) || err == nil && read.Ended {
		return nobodyThere, nil
	}
	if err != nil {
		return nil, err
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), read.Owner.ID)
	if err != nil {
		return nil, err
	}
	v := newVisitor(Visitor{Visit: read, Owner: read.Owner, Groups: groups, hash: hash}, panel)
	s.Admissions.put(v, now, drops)
	return v, nil
}

// readVisit returns the visit with this token, or [db.ErrNotFound]. Where the
// portal is on the panel's host the session is the visit.
func (s *Service) readVisit(ctx context.Context, q db.Querier, panel *access.Panel, token string, now time.Time) (session.Visit, error) {
	if !panel.Shared {
		return session.VisitByToken(ctx, q, token, panel.Origin, s.Life, now)
	}
	held, owner, err := session.ByToken(ctx, q, token, s.Life, now)
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
// holds state there, and for the path returnURL. If my session ended or got a new
// token meanwhile, it returns [ErrGone].
func (s *Service) HandOff(ctx context.Context, me Me, panel *access.Panel, state, returnURL string) (token secret.Text, err error) {
	err = s.holding(ctx, &me, func(tx *db.Tx) (err error) {
		token, err = session.HandOff(ctx, tx, me.Session, panel.Origin, state, returnURL, s.Clock())
		return err
	})
	return token, err
}

// Entry is a visit to a panel that has begun.
type Entry struct {
	Token   secret.Text // of the visit
	Account string      // id of the account that visits
}

// Enter spends a handoff at the panel's host and begins a visit; see
// [session.Enter].
func (s *Service) Enter(ctx context.Context, panel *access.Panel, handoff, state string) (entry Entry, returnURL string, err error) {
	// Whoever makes handoffs up takes no turn of those who write.
	accountID, err := session.HandoffAccount(ctx, s.DB.Reader(), handoff)
	if err != nil {
		return Entry{}, "", err
	}
	var outcome error
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		// A change of the account ends the visit, or finds the handoff and ends that.
		if err := account.Lock(ctx, tx, accountID); errors.Is(err, db.ErrNotFound) {
			outcome = session.ErrHandoff
			return nil
		} else if err != nil {
			return err
		}
		entry.Token, returnURL, outcome = session.Enter(ctx, tx, handoff, panel.Origin, state, s.Clock())
		if errors.Is(outcome, session.ErrHandoff) || errors.Is(outcome, session.ErrState) {
			return nil // it is spent
		}
		return outcome
	})
	if err == nil {
		err = outcome
	}
	if err != nil {
		return Entry{}, returnURL, err
	}
	v, err := s.visit(ctx, panel, entry.Token.Reveal(), s.Clock())
	if err != nil {
		return Entry{}, "", err
	}
	entry.Account = v.Owner.ID
	return entry, returnURL, nil
}

// LeavePanel signs the session out that a panel's visit belongs to, and so closes
// every panel of it. A visit that has ended will do.
func (s *Service) LeavePanel(ctx context.Context, panel *access.Panel, token string, from Browser) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		v, err := s.readVisit(ctx, tx, panel, token, s.Clock())
		if err != nil {
			return err
		}
		if err := account.Lock(ctx, tx, v.Owner.ID); err != nil {
			return err
		}
		return s.revokeIn(ctx, tx, Me{Session: v.Session, Account: v.Owner, From: from}, v.Session.ID, audit.SignedOut)
	})
	if errors.Is(err, ErrGone) || errors.Is(err, db.ErrNotFound) {
		return nil // it has ended already
	}
	return err
}
