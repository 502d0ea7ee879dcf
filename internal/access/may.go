package access

import "github.com/sallyport/sallyport/internal/account"

// Action is what a person with a role does on the pages below /admin.
type Action int

// The actions.
const (
	None           Action = iota // no role permits it, so a change without an action is refused (F5)
	See                          // an account and its events, the lists, the audit log
	Disable                      // keep an account from signing in
	Enable                       // let the account sign in again
	EndSessions                  // sign the account out everywhere
	Unlock                       // make a browser of the account's owner known
	ResetTwoFactor               // remove the account's second factor
	SendReset                    // let the account's owner choose a new password
	SetRole                      // give the account another role
	Remove                       // delete the account
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{See, Disable, Enable, EndSessions, Unlock, ResetTwoFactor, SendReset, SetRole, Remove}
}

// May reports whether actor may take an action on target, below /admin:
//
//   - A disabled account and a member may take no action.
//   - All other roles may see every account, including their own.
//   - No role permits a change of one's own account there: that is for the Settings pages, which
//     ask for proofs.
//   - The help desk may help members. Changes of roles, and changes that can't be undone, are for
//     administrators.
//   - Administrators may take every action on other accounts. So at least one enabled
//     administrator always remains: the one that acts. The caller must have locked both accounts
//     (account.Lock): if two administrators demote each other at the same time, the second one no
//     longer is an administrator when its change begins.
//
// The command line doesn't call May.
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
