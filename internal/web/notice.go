package web

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/page"
)

// notices has the notices that a redirect can select by a name in its query. Pages show nothing
// else that a query contains.
var notices = map[string]struct {
	kind string
	text *locale.Message
}{
	"account_created":   {"ok", locale.Say("notice.account_created")},
	"password_set":      {"ok", locale.Say("notice.password_set")},
	"email_asked":       {"ok", locale.Say("notice.email_asked")},
	"email_confirmed":   {"ok", locale.Say("notice.email_confirmed")},
	"email_restored":    {"ok", locale.Say("notice.email_restored")},
	"mail_sent":         {"ok", locale.Say("notice.mail_sent")},
	"signed_out":        {"ok", locale.Say("notice.signed_out")},
	"expired":           {"warn", locale.Say("login.expired")},
	"confirmed":         {"ok", locale.Say("notice.confirmed")},
	"confirmed_form":    {"ok", locale.Say("notice.confirmed_form")},
	"link":              {"ok", locale.Say("notice.link")},
	"sign_in_cancelled": {"ok", locale.Say("notice.sign_in_cancelled")},
	"added":             {"ok", locale.Say("notice.added")},
	"renamed":           {"ok", locale.Say("notice.renamed")},
	"removed":           {"ok", locale.Say("notice.removed")},
	"must_keep":         {"warn", locale.Say("notice.must_keep")},
	"suspect":           {"warn", locale.Say("notice.suspect")},
	"disabled":          {"ok", locale.Say("notice.disabled")},
	"password_changed":  {"ok", locale.Say("notice.password_changed")},
	"profile_saved":     {"ok", locale.Say("notice.profile_saved")},
	"revoked":           {"ok", locale.Say("notice.revoked")},
	"role":              {"warn", locale.Say("notice.role")},
	"required":          {"warn", locale.Say("notice.required")},
	"already_confirmed": {"warn", locale.Say("notice.already_confirmed")},
	"locked":            {"warn", locale.Say("notice.locked")},
	"cancelled":         {"ok", locale.Say("notice.cancelled")},
	"wizard_expired":    {"warn", locale.Say("wizard.expired")},
	"wizard_limit":      {"warn", locale.Say("wizard.limit")},
	"codes_limit":       {"warn", locale.Say("security.codes_limit")},
	"others_revoked":    {"ok", locale.Say("notice.revoked_others")},
	"ended":             {"warn", locale.Say("login.ended")},
	"let_in":            {"ok", locale.Say("notice.let_in")},
	"forgotten":         {"ok", locale.Say("notice.forgotten")},
	"pass_revoked":      {"ok", locale.Say("notice.pass_revoked")},
}

func (s *server) noticeOf(req *page.Request) *page.Notice {
	name := req.URL.Query().Get("notice")
	if name == "backup_code_used" && req.TwoFactor {
		return &page.Notice{ // if few codes are left, a banner also asks for new ones
			Kind: "info", Text: locale.Say("notice.backup_code_used", "n", req.CodesLeft),
			LinkURL: "/settings/security#two-factor", LinkText: locale.Say("notice.new_phone"),
		}
	}
	if panel := s.panelRequiringTwoFactor(req); name == "required" && panel != nil {
		return requiredBy(panel)
	}
	n, ok := notices[name]
	if !ok {
		return nil
	}
	if reason := weaknessMessage(password.Reason(s.Cookie(req.Request, weakCookie))); reason != nil {
		s.SetCookie(req.W, weakCookie, "", 0)
		weak := &page.Notice{Kind: "warn", Text: locale.Say("notice.weak", "done", n.text, "why", reason)}
		if req.IsSignedIn() {
			weak.LinkURL, weak.LinkText = changePasswordForm, locale.Say("frame.change_password")
		}
		return weak
	}
	return &page.Notice{Kind: n.kind, Text: n.text}
}

// requiredBy returns the notice that the panel requires two-factor authentication.
func requiredBy(panel *access.Panel) *page.Notice {
	return &page.Notice{Kind: "warn", Text: locale.Say("notice.required_panel", "panel", panel.Name)}
}

// linkNotice returns the notice that the user can set up two-factor authentication, by an
// operator's link.
func linkNotice() *page.Notice { return &page.Notice{Kind: "ok", Text: locale.Say("notice.link")} }
