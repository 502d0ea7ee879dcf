package access

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
)

// TestEveryPairOfRolesAndEveryAction checks rule D-I7 (docs/threat-model.md): a role acts only on
// the accounts that it may act on. For each role and action, the table lists the roles of these
// accounts.
func TestEveryPairOfRolesAndEveryAction(t *testing.T) {
	var (
		all     = account.Roles()
		members = []account.Role{account.Member}
	)
	may := map[account.Role]map[Action][]account.Role{
		account.Member:  {},
		account.Auditor: {See: all},
		account.HelpDesk: {
			See: all, Disable: members, Enable: members, EndSessions: members, Unlock: members, ResetTwoFactor: members, SendReset: members,
		},
		account.Administrator: {
			See: all, Disable: all, Enable: all, EndSessions: all, Unlock: all, ResetTwoFactor: all, SendReset: all, SetRole: all, Remove: all,
		},
	}
	for _, role := range append(all, "", "later") {
		for _, targetRole := range all {
			for do := Action(-1); do <= Remove+1; do++ {
				want := false
				for _, one := range may[role][do] {
					want = want || one == targetRole
				}
				actor, target := account.Account{ID: "actor", Role: role}, account.Account{ID: "target", Role: targetRole}
				if got := May(actor, do, target); got != want {
					t.Errorf("May(%s, %d, %s) = %v, want %v", role, do, targetRole, got, want)
				}
				target.DisabledAt = time.Unix(1, 0)
				if got := May(actor, do, target); got != want {
					t.Errorf("May(%s, %d, disabled %s) = %v, want %v", role, do, targetRole, got, want)
				}
			}
		}
		for do := Action(-1); do <= Remove+1; do++ {
			self := account.Account{ID: "actor", Role: role}
			if got, want := May(self, do, self), do == See && len(may[role][See]) > 0; got != want {
				t.Errorf("May(%s, %d, itself) = %v, want %v", role, do, got, want)
			}
			disabled := account.Account{ID: "actor", Role: role, DisabledAt: time.Unix(1, 0)}
			if May(disabled, do, account.Account{ID: "target", Role: account.Member}) {
				t.Errorf("May(disabled %s, %d, member) = true, want false", role, do)
			}
			if do != See && May(self, do, account.Account{}) || May(account.Account{Role: role}, do, account.Account{ID: "target", Role: account.Member}) {
				t.Errorf("%s, %d: an account without id acts, or is acted on", role, do)
			}
		}
	}
}
