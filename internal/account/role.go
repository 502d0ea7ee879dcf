package account

import (
	"context"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/db"
)

// Role is the stored text of an account's role. access.May decides what an account with a role
// may do with other accounts.
type Role string

// The roles. Reading an account with any other role is an error (F3).
const (
	Member        Role = "member"
	Auditor       Role = "auditor"
	HelpDesk      Role = "helpdesk"
	Administrator Role = "operator" // the text of version 0.1, where the role was called operator
)

// Roles returns all roles; each has the rights of those before it.
func Roles() []Role { return []Role{Member, Auditor, HelpDesk, Administrator} }

// Name returns the name of the role in commands and the audit log.
func (r Role) Name() string {
	if r == Administrator {
		return "administrator"
	}
	return string(r)
}

// RoleNamed returns the role with that name; ok is false for an unknown name.
func RoleNamed(name string) (role Role, ok bool) {
	for _, r := range Roles() {
		if r.Name() == name {
			return r, true
		}
	}
	return "", false
}

// isKnown reports whether r is the stored text of a role, which isn't always the role's name.
func (r Role) isKnown() bool { return slices.Contains(Roles(), r) }

// IsNew reports whether programs of schema version 17 and earlier can't read the role.
func (r Role) IsNew() bool { return r == Auditor || r == HelpDesk }

// SetRole changes the account's role. If [Role.IsNew] is true for the role, the caller must call
// cluster.Use afterwards, in the same transaction.
func SetRole(ctx context.Context, tx *db.Tx, id string, role Role) error {
	if !role.isKnown() {
		return fmt.Errorf("there is no role %q", string(role))
	}
	return changeOne(ctx, tx, id, `UPDATE accounts SET role = $2 WHERE id = $1`, id, string(role))
}

// AnyAdministrator reports whether an enabled administrator exists.
func AnyAdministrator(ctx context.Context, q db.Querier) (bool, error) {
	var some bool
	err := db.One(ctx, q, `SELECT EXISTS (SELECT 1 FROM accounts WHERE role <> 'member' AND role = 'operator' AND disabled_at IS NULL)`, nil, &some)
	return some, err
}
