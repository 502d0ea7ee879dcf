package web

import (
	"html/template"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

// sample is a page in one state.
type sample struct {
	name  string // the template's name
	state string
	data  page.Page
}

// samples returns every page in every state that changes its markup. person is used wherever a
// page shows text that users enter, so that a test can choose hostile text.
func samples(person string) []sample {
	at := time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC)
	chosen := newPassword{MinLength: 10, MaxLength: 256, Words: "Streaming panel " + person}
	outside := func(title string) page.Frame { return page.Frame{Title: locale.Say(title)} }
	inside := func(title, tab string) page.Frame {
		return page.Frame{Title: locale.Say(title), Account: person, Tab: tab}
	}
	few := inside("security.title", "security")
	few.FewCodes, few.CodesLeft, few.Clock = true, 3, locale.Say("frame.clock_slow", "n", 30)
	none := few
	none.CodesLeft = 0
	many := inside("security.title", "security")
	many.CodesLeft = 10
	many.Notice = &page.Notice{Kind: "ok", Text: locale.Say("notice.added")}
	toPanel := page.Frame{Title: locale.Say("login.title_panel", "panel", person)}
	signedOut := outside("login.title")
	signedOut.Notice = &page.Notice{Kind: "ok", Text: locale.Say("notice.signed_out")}
	used := inside("home.title", "")
	used.Notice = &page.Notice{
		Kind: "warn", Text: locale.Say("notice.backup_code_used", "n", 7),
		LinkURL: "/settings/security#two-factor", LinkText: locale.Say("notice.new_phone"),
	}
	// A stand-in as large as the QR code of a usual key URI.
	qr := template.HTML(`<svg class="qr" role="img" aria-label="QR code" viewBox="0 0 57 57"><rect width="57" height="57" fill="#fff"/></svg>`)
	groups := strings.Fields("JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP")
	wizard := wizardPage{
		Frame: inside("wizard.title_first", "security"), First: true, Owner: person, ID: "a1", QR: qr, Groups: groups,
		Key: strings.Join(groups, ""), KeyURI: "otpauth://totp/a?secret=b", Name: "Phone",
	}
	wizardMore := wizard
	wizardMore.Frame, wizardMore.First, wizardMore.Name = inside("wizard.title_more", "security"), false, person
	wizardMore.Error = locale.Say("code.wrong")
	wizard.Notice = &page.Notice{Kind: "warn", Text: locale.Say("notice.required_panel", "panel", person)}
	wizardSlow := wizard
	wizardSlow.Error = locale.Say("code.slow", "n", 3)
	on := securityPage{
		Frame: few, newPassword: chosen, Username: person, PasswordChangedAt: at, TwoFactor: true, TwoFactorSince: at, StepsDone: 2,
		Authenticators: []authenticatorRow{{ID: "a1", Name: person, AddedAt: at, LastUsedAt: at}, {ID: "a2", Name: "Tablet at home", AddedAt: at}},
	}
	on.CodeSet, on.CodesUnconfirmed = "c1", true
	on.SomePanel = true
	on.Passes = []passRow{
		{"p1", person, "https://panel.example.com/api/", "GET, POST", "192.0.2.7, 10.0.0.0/8", at, at, false, false},
		{"p2", "nightly backup", "https://panel.example.com/", "", "", at, time.Time{}, true, true},
	}
	only := on
	only.Frame, only.StepsDone, only.AtLimit, only.CodesUnconfirmed = many, 3, true, false
	only.Authenticators = []authenticatorRow{{ID: "a1", Name: person, AddedAt: at, LastUsedAt: at, Only: true}}
	only.PasswordError = locale.Say("password.wrong")
	mustKeep := only
	mustKeep.Required, mustKeep.PasswordError = true, nil
	renamed := on
	renamed.Authenticators = []authenticatorRow{{ID: "a1", Name: person, AddedAt: at, Typed: person, Error: locale.Say("name.character", "character", "U+202E")}}
	spent := on
	spent.Frame, spent.EnrollLocked = none, true
	off := securityPage{Frame: inside("security.title", "security"), newPassword: chosen, Username: person, PasswordChangedAt: at, StepsDone: 1}
	weak := off
	weak.Notice = &page.Notice{Kind: "warn", Text: locale.Say("notice.weak", "done", locale.Say("notice.password_changed"), "why", locale.Say("strength.own")), LinkURL: "/settings/security#change-password", LinkText: locale.Say("frame.change_password")}
	weak.PasswordAdvice, weak.StepsDone = locale.Say("security.password_weak"), 0
	weak.PasswordError = locale.Say("password.common", "why", locale.Say("strength.run"))
	locked := off
	locked.EnrollLocked, locked.PasswordChangedAt, locked.StepsDone = true, time.Time{}, 0
	profile := profilePage{Frame: inside("profile.title", "profile"), Name: person, DisplayName: person, Role: locale.Say("role.member"), CreatedAt: at}
	profileWrong := profile
	profileWrong.HasMail, profileWrong.Verified, profileWrong.Role = true, true, locale.Say("role.administrator")
	profileWrong.Email, profileWrong.Administrator, profileWrong.Groups = person, true, []string{person, "ops"}
	profileWrong.Error = locale.Say("name.long", "n", 80)
	profileRefused := profileWrong
	profileRefused.RefusedAt, profileRefused.Error = at, nil
	sessions := []sessionRow{
		{"s1", false, "Chrome on Linux", "203.0.113.7", locale.Say("how.password_totp"), at, at, true},
		{"s2", true, person, "2001:db8::7", locale.Say("how.password"), at, at, false},
		{"s3", false, "", "198.51.100.4", locale.Say("how.password_backup_code"), at, at, false},
	}
	devices := []deviceRow{{"d1", false, "Chrome on Linux", "203.0.113.7", at, true}, {"d2", true, person, "2001:db8::7", at, false}, {"d3", false, "", "198.51.100.4", at, false}}
	told := inside("sessions.title", "sessions")
	told.Wrong = 4
	events := []activityRow{
		{locale.Say("activity.signed_in", "how", locale.Say("how.password_totp")), at, "203.0.113.7", "Chrome on Linux", false, false},
		{locale.Say("activity.code_failed"), at, "2001:db8::7", person, true, false},
		{locale.Say("activity.authenticator_added", "name", person), at, "", "", false, false},
		{locale.Say("activity.backup_code_used", "n", 1), at, "203.0.113.7", "", false, true},
	}
	days := []activityDay{{at, events}, {at.AddDate(0, 0, -1), events[:1]}}
	return []sample{
		{"home", "off", &homePage{inside("home.title", ""), person, false, nil}},
		{"home", "on", &homePage{used, person, true, []panelLink{{"https://panel.example.com/", person, ""}, {"https://wiki.example.com/", "Wiki", "/static/wiki.0123456789ab.svg"}}}},
		{"panel-logout", "first", &panelLogoutPage{outside("panel_logout.title"), person, "/.sallyport/logout", "/"}},
		{"continue", "first", &continuePage{outside("continue.title"), "", "https://auth.example.com/settings/security"}},
		{"continue", "panel", &continuePage{outside("continue.title"), person, "https://auth.example.com/enter?panel=x"}},
		{"panel-keep", "first", &panelKeepPage{toPanel, "https://panel.example.com/.sallyport/start?return=%2Fexplore", "https://panel.example.com/.sallyport/start?return=x", "/explore"}},
		{"panel-back", "first", &panelBackPage{outside("panel_back.title"), person, "https://panel.example.com/explore"}},
		{"panel-sign-in", "form", &panelSignInPage{toPanel, person, "https://panel.example.com/.sallyport/start", true}},
		{"panel-sign-in", "frame", &panelSignInPage{toPanel, person, "https://panel.example.com/.sallyport/start", false}},
		{"panel-signed-out", "first", &continuePage{outside("panel_signed_out.title"), "", "https://auth.example.com/login"}},
		{"panel-signed-in", "first", &panelSignedInPage{outside("panel_signed_in.title"), panelLink{"https://panel.example.com/", person, ""}, scriptPath}},
		{"login", "first", &loginPage{Frame: outside("login.title"), Return: person}},
		{"login", "signed-out", &loginPage{Frame: signedOut}},
		{"login", "panel", &loginPage{Frame: toPanel, ForPanel: true, Return: person}},
		{"login", "wrong", &loginPage{outside("login.title"), false, person, "/x", locale.Say("login.wrong"), false, false}},
		{"login", "mail", &loginPage{Frame: outside("login.title"), HasMail: true}},
		{"login", "shielded", &loginPage{Frame: outside("login.title"), Username: person, Error: locale.Say("login.shielded_mail"), HasMail: true, Shielded: true}},
		{"unlock-code", "first", &unlockCodePage{outside("unlock_code.title"), nil}},
		{"unlock-code", "wrong", &unlockCodePage{outside("unlock_code.title"), locale.Say("unlock_code.wrong")}},
		{"unlock", "here", &unlockPage{outside("let_in.title"), "t", person, ""}},
		{"unlock", "elsewhere", &unlockPage{outside("unlock.elsewhere_title"), "t", person, "7K3M-9QXT"}},
		{"forgot", "first", &forgotPage{outside("forgot.title"), "", nil}},
		{"forgot", "wait", &forgotPage{outside("forgot.title"), person, locale.Say("throttle.wait", "n", 30)}},
		{"email", "first", &emailPage{inside("email.title", "profile"), person, "", nil}},
		{"email", "wrong", &emailPage{inside("email.title", "profile"), person, person, locale.Say("email.invalid")}},
		{"confirm-email", "first", &confirmEmailPage{outside("confirm_email.title"), "t", person, person}},
		{"undo-email", "first", &undoEmailPage{outside("undo_email.title"), "t", person, "", nil}},
		{"undo-email", "other", &undoEmailPage{outside("undo_email.title"), "t", person, person, locale.Say("undo_email.wrong")}},
		{"reset", "first", &resetPage{outside("new_password.title"), chosen, "t", person, nil}},
		{"reset", "short", &resetPage{outside("new_password.title"), chosen, "t", person, locale.Say("password.short", "n", 10)}},
		{"code", "first", &codePage{Frame: page.Frame{Title: codeTitle(login.StandardFormat())}, Entry: person}},
		{"code", "slow", &codePage{Frame: outside("code.title_any"), HasCodes: true, Error: locale.Say("code.slow", "n", 3)}},
		{"code", "two", &codePage{Frame: outside("code.title_any"), Two: true, Seconds: 60, HasCodes: true}},
		{"code", "several", &codePage{Frame: outside("code.title_any"), Entry: person, Names: []string{person, "Tablet"}}},
		{"code", "two-only", &codePage{outside("code.title_any"), person, []string{person, "Tablet"}, true, 30, true, true, "/x", locale.Say("code.two_wrong", "n", 30)}},
		{"backup-code", "first", &backupCodePage{outside("backup_code.title"), 7, false, "/x", nil}},
		{"backup-code", "only", &backupCodePage{outside("backup_code.title"), 7, true, "/x", nil}},
		{"backup-code", "wrong", &backupCodePage{outside("backup_code.title"), 1, false, "/x", locale.Say("backup_code.wrong")}},
		{"new-password", "first", &newPasswordPage{outside("new_password.title"), chosen, person, "/x", nil}},
		{"new-password", "short", &newPasswordPage{outside("new_password.title"), chosen, person, "/x", locale.Say("password.short", "n", 10)}},
		{"reauthenticate", "password", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: reauthenticatePath, Return: "/settings/security"}},
		{"reauthenticate", "panel", &reauthenticatePage{Frame: page.Frame{Title: locale.Say("reauthenticate.title_panel", "panel", person)}, Panel: person, Username: person, Action: reauthenticatePath, Return: person}},
		{"reauthenticate", "code", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: reauthenticatePath, Return: person, TwoFactor: true, CodeLabel: codeLabel(login.StandardFormat()), Ways: []proofChoice{{askBackupCode, locale.Say("code.use_backup")}, {askTwoCodes, locale.Say("code.use_two")}}, Error: locale.Say("code.wrong")}},
		{"reauthenticate", "two", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: reauthenticatePath, Return: person, TwoFactor: true, Two: true, Seconds: 60, Ways: []proofChoice{{"", locale.Say("code.use_one")}}, Error: locale.Say("password.wrong")}},
		{"reauthenticate", "two-only", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: reauthenticatePath, TwoFactor: true, Two: true, Seconds: 30, Ways: []proofChoice{{askBackupCode, locale.Say("code.use_backup")}}}},
		{"reauthenticate", "backup", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: reauthenticatePath, Return: person, TwoFactor: true, BackupCode: true, Ways: []proofChoice{{"", locale.Say("backup_code.use_app")}}, Error: locale.Say("backup_code.wrong")}},
		{"reauthenticate", "in-form", &reauthenticatePage{Frame: outside("reauthenticate.title"), Username: person, Action: "/settings/security/proven", InForm: true, Carried: []carriedField{{"name", person}}, TwoFactor: true, CodeLabel: codeLabel(login.CodeFormat{}), Ways: []proofChoice{{askTwoCodes, locale.Say("code.use_two")}}}},
		{"profile", "first", &profile},
		{"profile", "wrong", &profileWrong},
		{"profile", "refused", &profileRefused},
		{"security", "off", &off},
		{"security", "weak", &weak},
		{"security", "locked", &locked},
		{"security", "on", &on},
		{"security", "only", &only},
		{"security", "spent", &spent},
		{"security", "must-keep", &mustKeep},
		{"security", "renamed", &renamed},
		{"new-authenticator", "required", &newAuthenticatorPage{Frame: wizard.Frame, First: true}},
		{"new-authenticator", "policy", &newAuthenticatorPage{Frame: inside("wizard.title_first", ""), First: true, Required: true}},
		{"new-authenticator", "link", &newAuthenticatorPage{Frame: inside("wizard.title_first", ""), First: true, Required: true, NeedsLink: true}},
		{"reminder", "nudge", &reminderPage{Frame: outside("reminder.title")}},
		{"reminder", "date", &reminderPage{Frame: outside("reminder.title"), From: at}},
		{"reminder", "link", &reminderPage{Frame: outside("reminder.title"), From: at, NeedsLink: true}},
		{"new-authenticator", "more", &newAuthenticatorPage{Frame: inside("wizard.title_more", "security")}},
		{"wizard", "first", &wizard},
		{"wizard", "more", &wizardMore},
		{"wizard", "slow", &wizardSlow},
		{"backup-codes", "first", &backupCodesPage{
			outside("backup_codes.title"), true, on.Passes, "c1",
			strings.Fields("K7QP-3M9X-TW2D 0ZRC-8VHN-4BJE Q5XA-DG71-MKT9 9WFS-YE3H-2PNV 6CBT-RX0Q-J8DM MZ4K-7HVA-5GWE E1YN-Q9SB-XC3F 3TJD-KP6R-0HZA VB8G-2WME-7QXS H5RA-NC4T-9FKY"),
			"https://auth.example.com", person, at, "data:text/plain;charset=utf-8,codes", "backup-codes-ada.txt",
		}},
		{"sessions", "several", &sessionsPage{told, sessions, 2, devices}},
		{"sessions", "one", &sessionsPage{inside("sessions.title", "sessions"), sessions[:1], 0, nil}},
		{"new-pass", "first", &newPassPage{Frame: inside("passes.new", "security"), Panels: []panelChoice{{"https://panel.example.com", "https://panel.example.com"}, {"https://" + person, person}}, Path: "/", Methods: "GET", Days: 90, Lives: passLives}},
		{"new-pass", "wrong", &newPassPage{
			inside("passes.new", "security"), []panelChoice{{person, person}}, person, person, person, person, person, 7, passLives, locale.Say("passes.addresses_invalid"),
		}},
		{"new-pass", "none", &newPassPage{Frame: inside("passes.new", "security")}},
		{"pass", "first", &passPage{inside("passes.made", "security"), person, "https://panel.example.com/api/", "GET", "192.0.2.7", at, "spp_" + strings.Repeat("x", 43), "curl -H 'Sallyport-Pass: spp_x' 'https://panel.example.com/api/'"}},
		{"let-in", "first", &letInPage{outside("let_in.title"), "t", false, person, nil}},
		{"let-in", "mailed", &letInPage{outside("let_in.title"), "t", true, "", nil}},
		{"let-in", "other", &letInPage{outside("let_in.title"), "t", true, person, locale.Say("let_in.wrong_name")}},
		{"let-in-link", "first", &letInLinkPage{inside("let_in.link_title", "sessions"), "https://auth.example.com/setup?ticket=" + strings.Repeat("x", 43)}},
		{"activity", "several", &activityPage{inside("activity.title", "activity"), days, "/settings/activity?before=7"}},
		{"activity", "none", &activityPage{inside("activity.title", "activity"), nil, ""}},
		{"setup", "first", &setupPage{Frame: outside("setup.title_first"), Ticket: person, newPassword: chosen, First: true}},
		{"setup", "invitation", &setupPage{Frame: outside("setup.title_invitation"), Username: person, newPassword: chosen, Email: person}},
		{"setup", "reset", &setupPage{Frame: outside("new_password.title"), Username: person, newPassword: chosen, Reset: true}},
		{"setup", "name", &setupPage{outside("setup.title_first"), chosen, "t", true, false, person, person, locale.Say("setup.name_taken")}},
		{"setup", "email", &setupPage{outside("setup.title_first"), chosen, "t", true, false, person, person, locale.Say("setup.email_invalid")}},
		{"setup", "short", &setupPage{outside("setup.title_first"), chosen, "t", true, false, person, person, locale.Say("password.short", "n", 10)}},
		{"error", "outside", &page.ErrorPage{Frame: outside("error.link_invalid.heading"), Advice: locale.Say("error.link_invalid.advice"), Reference: person}},
		{"error", "inside", &page.ErrorPage{Frame: page.Frame{Title: locale.Say("error.not_found.heading"), Account: person}, Advice: locale.Say("error.not_found.advice"), LinkURL: "/", LinkText: locale.Say("error.home"), Reference: "7f3k2m"}},
		{"error", "forbidden", &page.ErrorPage{Frame: page.Frame{Title: locale.Say("error.not_admitted.heading", "panel", person)}, Advice: locale.Say("error.not_admitted.advice", "name", person), LinkURL: "/", LinkText: locale.Say("home.panels"), SignOut: "/logout"}},
		{"error", "down", &page.ErrorPage{Frame: page.Frame{Title: locale.Say("error.panel_down.heading", "panel", person)}, Advice: locale.Say("error.panel_down.advice"), LinkURL: "https://panel.example.com/a", LinkText: locale.Say("error.again"), HomeURL: "https://auth.example.com/"}},
		{"error", "proxy", &page.ErrorPage{Frame: outside("error.untrusted_proxy.heading"), Advice: locale.Say("error.untrusted_proxy.advice", "address", person, "line", "trusted_proxies: [203.0.113.7/32]")}},
	}
}
