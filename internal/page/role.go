package page

import (
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/locale"
)

// RoleMessage returns the name of a role on pages.
func RoleMessage(r account.Role) *locale.Message {
	switch r {
	case account.Administrator:
		return locale.Say("role.administrator")
	case account.HelpDesk:
		return locale.Say("role.helpdesk")
	case account.Auditor:
		return locale.Say("role.auditor")
	}
	return locale.Say("role.member")
}
