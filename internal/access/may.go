package access

import "github.com/sallyport/sallyport/internal/account"

// Action is what a person with a role does on the pages below /admin.
type Action int

// The actions. The zero value isn't an action, and no role may take it (F5).
const (
	_              Action = iota
	See                   // an account and its events, the lists, the audit log
	Disable               // keep an account from signing in
	Enable                // let it sign in again
	EndSessions           // sign it out everywhere
	Unlock                // make a browser of its owner known
	ResetTwoFactor        // remove its second factor
	SendReset             // let its owner choose a new password
	SetRole               // give it another role
	Remove                // delete it
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{See, Disable, Enable, EndSessions, Unlock, ResetTwoFactor, SendReset, SetRole, Remove}
}

// May reports whether actor may take an action on target, below /admin:
//
//   - A disabled account and a member may do nothing there.
//   - Everybody else may see every account, including their own.
//   - Nobody may change their own account there: Settings ask for what a change of one's own
//     account takes.
//   - The help desk may help members. What decides who has which rights, and what can't be undone,
//     is for administrators.
//   - Administrators may do everything to others. So an enabled administrator is always left, the
//     one who acts, provided that the caller has locked both accounts (account.Lock): of two who
//     demote each other at once, the second isn't an administrator any more.
//
// The command line doesn't ask May.
func May(actor account.Account, do Action, target account.Account) bool {
	switch {
	case actor.ID == "" || actor.Disabled() || do < See || do > Remove:
		return false
	case do == See:
		return actor.Role == account.Auditor || actor.Role == account.HelpDesk || actor.Role == account.Administrator
	case target.ID == "" || target.ID == actor.ID:
		return false
	case actor.Role == account.Administrator:
		return true
	case actor.Role == account.HelpDesk:
		return target.Role == account.Member && do != SetRole && do != Remove
	}
	return false
}
