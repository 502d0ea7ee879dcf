// Package notice decides which events are reported to an account's owner, and which facts a
// notice has. It consists of pure functions; other packages render and send notices. It owns no
// table.
package notice

import (
	"time"

	"github.com/sallyport/sallyport/internal/audit"
)

// Kind says what a notice reports.
type Kind string

// The kinds of notices that report an event. In every [Notice], Account, At and By are set and, if a
// browser acted, Address and Browser. The comment on a kind names the other fields that are set.
const (
	TwoFactorEnabled     Kind = "two_factor_enabled" // Name: of the authenticator
	TwoFactorDisabled    Kind = "two_factor_disabled"
	TwoFactorReset       Kind = "two_factor_reset"      // by an operator
	AuthenticatorAdded   Kind = "authenticator_added"   // Name
	AuthenticatorRemoved Kind = "authenticator_removed" // Name
	BackupCodesIssued    Kind = "backup_codes_issued"
	BackupCodeUsed       Kind = "backup_code_used" // Number: how many codes are still unused
	PasswordChanged      Kind = "password_changed" // by the owner, in a session or with a link
	PasswordSet          Kind = "password_set"     // by an operator
	EmailChanged         Kind = "email_changed"    // Former: the notice goes to the former address, not the new one
	NewBrowser           Kind = "new_browser"      // a sign-in from a browser that wasn't known
	WrongCodes           Kind = "wrong_codes"      // after a right password; Number: how many
	PasswordSuspected    Kind = "password_suspected"
	PassMade             Kind = "pass_made"        // Name: of the machine pass
	SessionsRevoked      Kind = "sessions_revoked" // by an operator
	AccountDisabled      Kind = "account_disabled"
	AccountEnabled       Kind = "account_enabled"
	AccountRemoved       Kind = "account_removed" // Name: of the account
	RoleChanged          Kind = "role_changed"
)

// kinds has all kinds, in the order in which operators see them listed.
var kinds = []Kind{
	TwoFactorEnabled, TwoFactorDisabled, TwoFactorReset, AuthenticatorAdded, AuthenticatorRemoved,
	BackupCodesIssued, BackupCodeUsed, PasswordChanged, PasswordSet, EmailChanged, NewBrowser,
	WrongCodes, PasswordSuspected, PassMade, SessionsRevoked, AccountDisabled, AccountEnabled, AccountRemoved, RoleChanged,
}

// Kinds returns all kinds.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }

// Notice is a report to an account's owner. The outbox stores it, and it is rendered when it is
// sent.
type Notice struct {
	Kind    Kind
	Event   string    // the id of the audit event
	Account string    // the id of the account that the event concerns
	At      time.Time // when the event happened
	By      string    // as [audit.Event.Actor]
	Address string    // IP address of the client; empty for the command line
	Browser string    // User-Agent of the client; empty for the command line
	Name    string    // see the kinds
	Number  int       // see the kinds
	Reason  string    // the operator's, or empty

	// Former means that the recipient is an address that the account no longer has.
	Former bool
	// Token is the secret of a link in the notice, for kinds that have one.
	Token string
	// More is how many other notices of the same kind this notice stands for, because they were
	// over a quota and not sent. It isn't stored with the notice.
	More int
}

// Facts are what a caller knows about an event that the audit log doesn't store.
type Facts struct {
	// NewBrowser: the sign-in was in a browser that the account didn't know.
	NewBrowser bool
	// FormerEmail is the address that the account had before the event changed it.
	FormerEmail string
	// FormerTold: another mail tells the former address about the change, with a link to undo it.
	FormerTold bool
}

// reported maps kinds of events to the notices that report them. The other conditions are in
// [Of].
var reported = map[audit.Kind]Kind{
	audit.TwoFactorEnabled:     TwoFactorEnabled,
	audit.TwoFactorDisabled:    TwoFactorDisabled,
	audit.TwoFactorReset:       TwoFactorReset,
	audit.AuthenticatorAdded:   AuthenticatorAdded,
	audit.AuthenticatorRemoved: AuthenticatorRemoved,
	audit.BackupCodesIssued:    BackupCodesIssued,
	audit.BackupCodeUsed:       BackupCodeUsed,
	audit.PasswordChanged:      PasswordChanged,
	audit.PasswordReset:        PasswordChanged,
	audit.PasswordSet:          PasswordSet,
	audit.EmailChanged:         EmailChanged,
	audit.EmailRestored:        EmailChanged,
	audit.SignedIn:             NewBrowser,
	audit.WrongCodesNoticed:    WrongCodes,
	audit.PasswordSuspected:    PasswordSuspected,
	audit.PassMade:             PassMade,
	audit.SessionEnded:         SessionsRevoked,
	audit.SessionsEnded:        SessionsRevoked,
	audit.AccountDisabled:      AccountDisabled,
	audit.AccountEnabled:       AccountEnabled,
	audit.AccountRemoved:       AccountRemoved,
	audit.RoleChanged:          RoleChanged,
}

// Of returns the notice that reports the event; ok is false if the event is not reported to an
// owner.
func Of(e audit.Event, f Facts) (n Notice, ok bool) {
	kind, ok := reported[e.Kind]
	switch {
	case !ok || e.AccountID == "" || e.Outcome == audit.Refused:
		return Notice{}, false
	case kind == NewBrowser && !f.NewBrowser:
		return Notice{}, false
	case kind == SessionsRevoked && e.Actor == audit.ByOwner:
		return Notice{}, false
	}
	if e.Actor == audit.ByAdministrator {
		e.Address, e.Browser = "", "" // they are the administrator's, and only for the audit log
	}
	return Notice{
		Kind: kind, Event: e.ID, Account: e.AccountID, At: e.At, By: e.Actor, Address: e.Address, Browser: e.Browser,
		Name: nameIn(e, kind), Number: e.Number, Reason: e.Reason,
	}, true
}

// nameIn returns the name of the thing that the event is about, or "". For events without a name,
// Detail is a word of the audit log.
func nameIn(e audit.Event, kind Kind) string {
	switch kind {
	case TwoFactorEnabled, AuthenticatorAdded, AuthenticatorRemoved, PassMade, AccountRemoved:
		return e.Detail
	}
	return ""
}

// IsDefence reports whether a notice of this kind says that something that protected the account is
// gone. Such a notice may be the only sign that a thief is taking the account over, so quotas
// neither delay it nor fold it into another one.
func (k Kind) IsDefence() bool {
	switch k {
	case AuthenticatorRemoved, TwoFactorDisabled, TwoFactorReset, PasswordChanged, PasswordSet, EmailChanged:
		return true
	}
	return false
}
