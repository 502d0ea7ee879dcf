package manage

import (
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/login"
)

// Actor is the party behind a change. Audit events name it, and limits for owners don't apply to
// others. An owner changes only the own account. What an administrator may change depends on the
// roles, see permit: a function that doesn't call it is for owners and the command line, which may
// change everything.
type Actor struct {
	as     string   // as in [audit.Event]
	me     login.Me // of an owner or an administrator
	reason string   // of an administrator
}

// Owner returns the account's owner, acting in a session.
func Owner(me login.Me) Actor { return Actor{as: audit.ByOwner, me: me} }

// CommandLine returns an operator on the command line.
func CommandLine() Actor { return Actor{as: audit.ByOperator} }

// Administrator returns an account with a role, which acts on another account in a session, with the
// reason that it gave.
func Administrator(me login.Me, reason string) Actor {
	return Actor{as: audit.ByAdministrator, me: me, reason: reason}
}

// event returns the audit event of a change that the actor asks for.
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
