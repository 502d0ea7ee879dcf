package manage

import (
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/login"
)

// Actor is who makes a change: an owner, an administrator or the command line. Audit events name
// the actor. Some limits apply only to owners. An owner can change only their own account, and the
// command line can change everything. What an administrator can change depends on the roles, see
// permit; a function that doesn't call permit is only for owners and the command line.
type Actor struct {
	as     string   // as in [audit.Event]
	me     login.Me // of an owner or an administrator
	reason string   // of an administrator
}

// Owner returns the actor for the account's owner, acting in a session.
func Owner(me login.Me) Actor { return Actor{as: audit.ByOwner, me: me} }

// CommandLine returns the actor for an operator on the command line.
func CommandLine() Actor { return Actor{as: audit.ByOperator} }

// Administrator returns the actor for a person whose account has a role and who acts on another
// account, in a session and for the given reason.
func Administrator(me login.Me, reason string) Actor {
	return Actor{as: audit.ByAdministrator, me: me, reason: reason}
}

// event returns the audit event of a change that the actor makes.
func (b *base) event(by Actor, accountID string, kind audit.Kind, detail string) audit.Event {
	e := audit.Event{At: b.login.Clock(), AccountID: accountID, Actor: by.as, Kind: kind}
	switch by.as {
	case audit.ByOwner:
		e = by.me.From.Event(e.At, accountID, kind)
	case audit.ByAdministrator:
		e = by.me.From.Event(e.At, accountID, kind)
		e.Actor, e.ActorID, e.Reason = by.as, by.me.Account.ID, by.reason
	}
	e.Detail = detail
	return e
}
