package manage

import (
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/login"
)

// Actor is the party that makes a change. Audit events name it, and limits for owners don't apply
// to operators. It isn't a permission: callers have checked that the actor may make the change.
type Actor struct {
	as string   // as in [audit.Event]
	me login.Me // of an owner
}

// Owner returns the account's owner, acting in a session.
func Owner(me login.Me) Actor { return Actor{as: audit.ByOwner, me: me} }

// CommandLine returns an operator on the command line.
func CommandLine() Actor { return Actor{as: audit.ByOperator} }

// event returns the audit event of a change that the actor asks for.
func (b *base) event(by Actor, accountID string, kind audit.Kind, detail string) audit.Event {
	e := audit.Event{At: b.login.Clock(), AccountID: accountID, Actor: by.as, Kind: kind}
	if by.as == audit.ByOwner {
		e = by.me.From.Event(e.At, accountID, kind)
	}
	e.Detail = detail
	return e
}
