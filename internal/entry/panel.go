package entry

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
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/pass"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

// Service decides on requests to panels. In memory it keeps only the visitors of the last
// seconds and their last uses that aren't written yet. Callers set every exported field; only
// Checked may be nil. It is safe for concurrent use.
type Service struct {
	DB         *db.DB
	Admissions *Admissions // cache of visits and passes
	Clock      func() time.Time
	Life       session.Life
	Policy     policy.Book // what the configuration asks of accounts

	// PolicyClock is Clock, but never earlier than the high-water mark: a clock that was set back
	// must not end what a policy requires.
	PolicyClock func() time.Time

	// Checked is called for each request to a panel with the verdict. err is not nil if the
	// database was unavailable.
	Checked func(verdict access.Verdict, err error)

	lastUses lastUses
}

// ErrSessionEnded means that the session ended or got a new token before it could be handed to
// a panel.
var ErrSessionEnded = errors.New("the session has ended")

// Request is a request to a panel, as the gateway or forward-auth read it.
type Request struct {
	access.Request
	From  netip.Addr // of the client; invalid if unknown; used only with a pass
	Visit string     // token of the visit, or empty
	Pass  string     // token of the machine pass, or empty
}

// Admission is the decision on a request to a panel.
type Admission struct {
	Verdict access.Verdict
	*Visitor
	Open    bool  // the panel's rules make this path public
	Denied  error // the reason if Verdict is access.Deny, else nil
	Refused error // why the given pass wasn't accepted; its holder may read it

	at time.Time // of the decision; zero if it needed no visitor
}

// Username returns the name of the account that sent the request, or "".
func (a Admission) Username() string {
	if a.Visitor == nil {
		return ""
	}
	return a.Owner.Name
}

// NotAdmittedError means that the panel doesn't admit the account, whatever the account proves.
type NotAdmittedError struct {
	Panel    *access.Panel
	Username string // of the account
}

// Error names neither the panel nor the account: the log adds both.
func (e *NotAdmittedError) Error() string { return "the panel doesn't admit the account" }

// AboutError is the reason why a request to a panel wasn't served, with what the log adds:
// the panel and, if known, the account.
type AboutError struct {
	Panel    *access.Panel
	Username string // of the account; may be empty
	Err      error
}

func (e *AboutError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *AboutError) Unwrap() error { return e.Err }

// Visitor is the sender of a request to a panel, identified by a visit or a pass. The ids of
// both are empty for an anonymous visitor. Concurrent requests share a Visitor, so it must not
// be changed.
type Visitor struct {
	// Each request reads these fields, which are derived from the others. They are adjacent,
	// since with many visitors most aren't in the processor's caches: then reading the fields
	// and strings behind them would cost more time than the rest of the decision.
	readAt   time.Time // lower bound of the time at which it was read; set by [Admissions]
	endsAt   time.Time // see [session.Visit.EndsAt]
	bearer   access.Bearer
	identity [4][]string // values of the identity headers

	Visit  session.Visit
	Pass   pass.Pass
	Owner  account.Account // the account of the visit or pass
	Groups []string        // the owner's groups

	hash tokenHash
}

var anonymous = newVisitor(Visitor{}, &access.Panel{}, session.Life{})

// newVisitor returns v with the fields that are derived from the others. The identity headers
// are encoded as the panel expects.
func newVisitor(v Visitor, panel *access.Panel, life session.Life) *Visitor {
	v.endsAt = v.Visit.EndsAt(life)
	v.bearer = access.Bearer{SignedIn: v.BearerID() != "", Proofs: v.Visit.Session.Proofs, TwoFactor: !v.Owner.TwoFactorAt.IsZero(), Groups: v.Groups}
	if v.Pass.ID != "" {
		v.bearer.Proofs, v.bearer.Vouched = v.Pass.Proofs, v.Pass.ByOperator
	}
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
	together := strings.Join(values[:], "") // one string in memory, for the reason given at Visitor
	for i, value := range values {
		values[i], together = together[:len(value)], together[len(value):]
		v.identity[i] = values[i : i+1 : i+1]
	}
	return &v
}

// AdmitPublic returns the admission for requests that need no visitor.
func AdmitPublic() Admission {
	return Admission{Verdict: access.Admit, Visitor: anonymous, Open: true}
}

// BearerID returns the id of the visit or pass that identifies the visitor, or "".
func (v *Visitor) BearerID() string { return v.Visit.ID + v.Pass.ID }

// Requires reports whether a policy now requires two-factor authentication.
func (s *Service) Requires(p policy.Policy) bool {
	return p.TwoFactor == policy.Required && p.Requires(s.PolicyClock())
}

// bearerOf returns what access.Check must know about the visitor. The policy is asked for each
// request, since its date may have come after a visitor in the cache was read.
func (s *Service) bearerOf(v *Visitor) access.Bearer {
	b := v.bearer
	if b.TwoFactor && authenticator.AAL(b.Proofs) >= 2 {
		return b // satisfies every policy
	}
	b.Required = s.Requires(s.Policy.Of(b.Groups))
	return b
}

// PolicyOf returns the policy of an account. If no policy is in force, it returns the zero policy
// without a query.
func (s *Service) PolicyOf(ctx context.Context, q db.Querier, accountID string) (policy.Policy, error) {
	if s.Policy.IsEmpty() {
		return policy.Policy{}, nil
	}
	groups, err := account.GroupsOf(ctx, q, accountID)
	return s.Policy.Of(groups), err
}

// Identify sets the four identity headers that name the visitor to the panel. For an anonymous
// visitor they are empty, so that a client can't set them itself.
func (v *Visitor) Identify(h http.Header) {
	h[access.UserHeader], h[access.NameHeader] = v.identity[0], v.identity[1]
	h[access.EmailHeader], h[access.GroupsHeader] = v.identity[2], v.identity[3]
}

// Admit decides on a request by what the panel demands for its path. The path is checked
// before the visitor, so that an ambiguous path is denied to all visitors (R22). An admitted
// visit needs no pass, and an invalid pass doesn't harm a visit.
func (s *Service) Admit(ctx context.Context, panel *access.Panel, r Request) (Admission, error) {
	a, err := s.admit(ctx, panel, r)
	if s.Checked != nil {
		s.Checked(a.Verdict, err)
	}
	return a, err
}

func (s *Service) admit(ctx context.Context, panel *access.Panel, r Request) (Admission, error) {
	demand, err := panel.DemandFor(r.Request)
	if err != nil {
		return Admission{Verdict: access.Deny, Visitor: anonymous, Denied: err}, nil
	}
	open := demand.Requirement == access.Public
	now := s.Clock()
	v, err := s.visitorByVisit(ctx, panel, r.Visit, now)
	if err != nil {
		return Admission{}, err
	}
	bearer := s.bearerOf(v)
	if open && bearer.MustEnroll() {
		v, bearer = anonymous, access.Bearer{} // an open path is all that the account may see, so the panel doesn't get its name
	}
	a := Admission{Verdict: access.Check(demand, bearer, now), Visitor: v, Open: open, at: now}
	if a.Verdict == access.Deny {
		a.Denied = &NotAdmittedError{panel, v.Owner.Name}
	}
	if r.Pass == "" || v.Visit.ID != "" && a.Verdict == access.Admit {
		return a, nil
	}
	by, refused, err := s.checkPass(ctx, panel, demand, r, now)
	switch {
	case err != nil:
		return Admission{}, err
	case refused != nil:
		a.Refused = refused
		return a, nil
	default:
		return Admission{Verdict: access.Admit, Visitor: by, Open: open, at: now}, nil
	}
}

func (s *Service) visitorByVisit(ctx context.Context, panel *access.Panel, token string, now time.Time) (*Visitor, error) {
	if token == "" {
		return anonymous, nil
	}
	hash := tokenHash(secret.Hash(token))
	if v := s.Admissions.get(hash, now); v != nil && v.Visit.Panel == panel.Origin && now.Before(v.endsAt) {
		return v, nil
	}
	evictions := s.Admissions.evictionCount()
	read, err := s.readVisit(ctx, s.DB.Reader(), panel, token, now)
	if errors.Is(err, db.ErrNotFound) || err == nil && read.Ended {
		return anonymous, nil
	}
	if err != nil {
		return nil, err
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), read.Owner.ID)
	if err != nil {
		return nil, err
	}
	v := newVisitor(Visitor{Visit: read, Owner: read.Owner, Groups: groups, hash: hash}, panel, s.Life)
	s.Admissions.add(v, now, evictions)
	return v, nil
}

// VisitByToken returns the visit with this token to the panel, or [db.ErrNotFound]. If the
// portal and the panel share a host, the session serves as the visit.
func (s *Service) VisitByToken(ctx context.Context, q db.Querier, panel *access.Panel, token string) (session.Visit, error) {
	return s.readVisit(ctx, q, panel, token, s.Clock())
}

func (s *Service) readVisit(ctx context.Context, q db.Querier, panel *access.Panel, token string, now time.Time) (session.Visit, error) {
	if !panel.Shared {
		return session.VisitByToken(ctx, q, token, panel.Origin, s.Life, now)
	}
	held, owner, err := session.ByToken(ctx, q, token, s.Life, now)
	return session.Visit{ID: held.ID, Panel: panel.Origin, Session: held, Owner: owner}, err
}

// MayEnter decides whether owner's session at the portal, held, may enter the panel. It decides by
// what the panel demands for a path. For an empty session it returns access.SignIn.
func (s *Service) MayEnter(ctx context.Context, held session.Session, owner account.Account, panel *access.Panel, rawPath string) (access.Verdict, error) {
	demand, ok := panel.DemandOf(rawPath)
	if !ok {
		return access.Deny, nil
	}
	if demand.Requirement == access.Public {
		demand.Requirement = access.Session // a browser comes to the portal in order to sign in
	}
	if held.ID == "" {
		return access.SignIn, nil
	}
	groups, err := account.GroupsOf(ctx, s.DB.Reader(), owner.ID)
	if err != nil {
		return access.Deny, err
	}
	bearer := access.Bearer{
		SignedIn: true, Proofs: held.Proofs, TwoFactor: !owner.TwoFactorAt.IsZero(), Groups: groups, Required: s.Requires(s.Policy.Of(groups)),
	}
	return access.Check(demand, bearer, s.Clock()), nil
}

// HandOff makes a handoff that carries owner's session to a panel, and returns its token. The
// session's token is sessionToken. The handoff is valid only in the browser that holds
// destination.State on the panel's host. If the session ended or got a new token in between,
// HandOff returns [ErrSessionEnded].
func (s *Service) HandOff(ctx context.Context, sessionToken string, owner account.Account, destination session.Destination) (token secret.Text, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := account.Lock(ctx, tx, owner.ID); err != nil {
			return err
		}
		held, _, err := session.ByToken(ctx, tx, sessionToken, s.Life, s.Clock())
		if err != nil {
			return err
		}
		token, err = session.HandOff(ctx, tx, held, destination, s.Clock())
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		err = ErrSessionEnded
	}
	return token, err
}

// NewVisit is a visit to a panel that has just started.
type NewVisit struct {
	Token   secret.Text // of the visit
	Account string      // id of the visiting account
}

// Enter redeems a handoff on the panel's host and starts a visit; see [session.Enter].
func (s *Service) Enter(ctx context.Context, panel *access.Panel, handoff, state string) (visit NewVisit, returnURL string, err error) {
	// Read the handoff's account before the transaction, so that requests with invented handoffs
	// don't wait for the write lock.
	accountID, err := session.HandoffAccount(ctx, s.DB.Reader(), handoff)
	if err != nil {
		return NewVisit{}, "", err
	}
	var entered session.Entered
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		// With the lock, a concurrent change of the account ends the visit or the handoff.
		if err := account.Lock(ctx, tx, accountID); errors.Is(err, db.ErrNotFound) {
			entered.Refused = session.ErrHandoff
			return nil
		} else if err != nil {
			return err
		}
		entered, err = session.Enter(ctx, tx, session.Arrival{Handoff: handoff, Panel: panel.Origin, State: state}, s.Clock())
		return err
	})
	if err == nil {
		err = entered.Refused
	}
	if err != nil {
		return NewVisit{}, entered.ReturnURL, err
	}
	v, err := s.visitorByVisit(ctx, panel, entered.Visit.Reveal(), s.Clock())
	if err != nil {
		return NewVisit{}, "", err
	}
	return NewVisit{Token: entered.Visit, Account: v.Owner.ID}, entered.ReturnURL, nil
}
