package mail

import (
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/notice"
)

// wording has the keys of a mail's sentences in the catalogue.
type wording struct {
	subject, lead string
	advice        string // what to do if someone else did it; the sentence has the gap url
	isOfOperator  bool   // only an operator can have done it, so the mail doesn't say "If this was you"
}

// wordings has the wording of each kind of notice.
var wordings = map[notice.Kind]wording{
	notice.TwoFactorEnabled:     {"mail.two_factor_enabled.subject", "mail.two_factor_enabled.lead", "mail.advice.added", false},
	notice.TwoFactorDisabled:    {"mail.two_factor_disabled.subject", "mail.two_factor_disabled.lead", "mail.advice.removed", false},
	notice.TwoFactorReset:       {"mail.two_factor_reset.subject", "mail.two_factor_reset.lead", adviceOfOperator, true},
	notice.AuthenticatorAdded:   {"mail.authenticator_added.subject", "mail.authenticator_added.lead", "mail.advice.added", false},
	notice.AuthenticatorRemoved: {"mail.authenticator_removed.subject", "mail.authenticator_removed.lead", "mail.advice.removed", false},
	notice.BackupCodesIssued:    {"mail.backup_codes_issued.subject", "mail.backup_codes_issued.lead", "mail.advice.codes", false},
	notice.BackupCodeUsed:       {"mail.backup_code_used.subject", "mail.backup_code_used.lead", "mail.advice.codes", false},
	notice.PasswordChanged:      {"mail.password_changed.subject", "mail.password_changed.lead", "mail.advice.lost", false},
	notice.PasswordSet:          {"mail.password_set.subject", "mail.password_set.lead", adviceOfOperator, true},
	notice.EmailChanged:         {"mail.email_changed.subject", "mail.email_changed.lead", "mail.advice.lost", false},
	notice.NewBrowser:           {"mail.new_browser.subject", "mail.new_browser.lead", "mail.advice.guessed", false},
	notice.WrongCodes:           {"mail.wrong_codes.subject", "mail.wrong_codes.lead", "mail.advice.guessed", false},
	notice.PasswordSuspected:    {"mail.password_suspected.subject", "mail.password_suspected.lead", "mail.advice.suspected", true},
	notice.PassMade:             {"mail.pass_made.subject", "mail.pass_made.lead", "mail.advice.pass", false},
	notice.SessionsRevoked:      {"mail.sessions_revoked.subject", "mail.sessions_revoked.lead", adviceOfOperator, true},
	notice.AccountDisabled:      {"mail.account_disabled.subject", "mail.account_disabled.lead", adviceOfOperator, true},
	notice.AccountEnabled:       {"mail.account_enabled.subject", "mail.account_enabled.lead", adviceOfOperator, true},
	notice.AccountRemoved:       {"mail.account_removed.subject", "mail.account_removed.lead", adviceOfOperator, true},
	notice.RoleChanged:          {"mail.role_changed.subject", "mail.role_changed.lead", adviceOfOperator, true},
}

const adviceOfOperator = "mail.advice.operator"

// leadFormer is the lead of [notice.EmailChanged] in the mail to the former address.
const leadFormer = "mail.email_changed.lead_former"

// wordingOf returns the wording of a notice; ok is false for an unknown kind.
func wordingOf(n notice.Notice) (w wording, ok bool) {
	w, ok = wordings[n.Kind]
	if n.Former {
		w.lead = leadFormer
	}
	if n.By == audit.ByOperator || n.By == audit.ByAdministrator {
		w.advice, w.isOfOperator = adviceOfOperator, true
	}
	return w, ok
}

// LinkKind says what the link in a mail is for.
type LinkKind string

// The kinds of links.
const (
	Reset       LinkKind = "reset"        // chooses a new password
	Unlock      LinkKind = "unlock"       // lets the browser that asked try passwords
	VerifyEmail LinkKind = "verify_email" // confirms the address that the mail goes to
	UndoEmail   LinkKind = "undo_email"   // sent to the former address: restores it
	Invitation  LinkKind = "invitation"   // chooses the first password
	Enrollment  LinkKind = "enrollment"   // opens the wizard
	LetIn       LinkKind = "let_in"       // makes the browser that opens it known
)

// LinkKinds returns all kinds of links.
func LinkKinds() []LinkKind {
	return []LinkKind{Reset, Unlock, VerifyEmail, UndoEmail, Invitation, Enrollment, LetIn}
}

// Link is a mail with a link. Opening the link changes nothing, since programs of mail servers
// open every link: its page has a form that needs more than the link.
type Link struct {
	Kind LinkKind
	URL  string
	Life time.Duration // of the link, from when the mail is sent
	At   time.Time     // when the link was requested

	// Address and Browser are those of the client that asked; empty if an operator did.
	Address, Browser string
}

// linkWording has the keys of the sentences of a mail with a link.
type linkWording struct {
	subject, lead string
	button        string // the link's text
	after         string // what to do if the owner didn't ask; may be empty
	footer        string
}

var linkWordings = map[LinkKind]linkWording{
	Reset:       {"mail.reset.subject", "mail.reset.lead", "mail.reset.go", "mail.link.ignore", "mail.footer_link"},
	Unlock:      {"mail.unlock.subject", "mail.unlock.lead", "mail.unlock.go", "mail.link.ignore", "mail.footer_link"},
	VerifyEmail: {"mail.verify_email.subject", "mail.verify_email.lead", "mail.verify_email.go", "mail.link.ignore", "mail.footer_link"},
	UndoEmail:   {"mail.undo_email.subject", "mail.undo_email.lead", "mail.undo_email.go", "mail.if_you", "mail.footer_former"},
	Invitation:  {"mail.invitation.subject", "mail.invitation.lead", "mail.invitation.go", "", "mail.footer_operator"},
	Enrollment:  {"mail.enrollment.subject", "mail.enrollment.lead", "mail.enrollment.go", "", "mail.footer_operator"},
	LetIn:       {"mail.let_in.subject", "mail.let_in.lead", "mail.let_in.go", "", "mail.footer_operator"},
}

const day = 24 * time.Hour

// lifeOf returns the sentence that says how long a link works.
func lifeOf(life time.Duration) *locale.Message {
	switch {
	case life >= 2*day && life%day == 0:
		return locale.Say("mail.link.days", "n", int(life/day))
	case life >= 2*time.Hour && life%time.Hour == 0:
		return locale.Say("mail.link.hours", "n", int(life/time.Hour))
	}
	return locale.Say("mail.link.minutes", "n", int(life/time.Minute))
}
