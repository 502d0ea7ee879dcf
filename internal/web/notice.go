package web

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator/password"
)

// notices are the notices that a redirect may select by a name in its query. No other text of
// a query is shown on a page.
var notices = map[string]struct {
	kind string
	text *message
}{
	"account_created":   {"ok", say("notice.account_created")},
	"password_set":      {"ok", say("notice.password_set")},
	"signed_out":        {"ok", say("notice.signed_out")},
	"expired":           {"warn", say("login.expired")},
	"confirmed":         {"ok", say("notice.confirmed")},
	"confirmed_form":    {"ok", say("notice.confirmed_form")},
	"link":              {"ok", say("notice.link")},
	"sign_in_cancelled": {"ok", say("notice.sign_in_cancelled")},
	"added":             {"ok", say("notice.added")},
	"renamed":           {"ok", say("notice.renamed")},
	"removed":           {"ok", say("notice.removed")},
	"suspect":           {"warn", say("notice.suspect")},
	"disabled":          {"ok", say("notice.disabled")},
	"password_changed":  {"ok", say("notice.password_changed")},
	"profile_saved":     {"ok", say("notice.profile_saved")},
	"revoked":           {"ok", say("notice.revoked")},
	"required":          {"warn", say("notice.required")},
	"already_confirmed": {"warn", say("notice.already_confirmed")},
	"locked":            {"warn", say("notice.locked")},
	"cancelled":         {"ok", say("notice.cancelled")},
	"wizard_expired":    {"warn", say("wizard.expired")},
	"wizard_limit":      {"warn", say("wizard.limit")},
	"codes_limit":       {"warn", say("security.codes_limit")},
	"others_revoked":    {"ok", say("notice.revoked_others")},
	"ended":             {"warn", say("login.ended")},
	"let_in":            {"ok", say("notice.let_in")},
	"forgotten":         {"ok", say("notice.forgotten")},
	"pass_revoked":      {"ok", say("notice.pass_revoked")},
}

func (s *server) noticeOf(req *request) *notice {
	name := req.URL.Query().Get("notice")
	if name == "backup_code_used" && req.twoFactor {
		return &notice{ // if few codes are left, a banner asks for new ones as well
			Kind: "info", Text: say("notice.backup_code_used", "n", req.codesLeft),
			LinkURL: "/settings/security#two-factor", LinkText: say("notice.new_phone"),
		}
	}
	if panel := s.panelRequiringTwoFactor(req); name == "required" && panel != nil {
		return requiredBy(panel)
	}
	n, ok := notices[name]
	if !ok {
		return nil
	}
	if reason := weaknessMessage(password.Reason(s.cookie(req.Request, weakCookie))); reason != nil {
		s.setCookie(req.w, weakCookie, "", 0)
		weak := &notice{Kind: "warn", Text: say("notice.weak", "done", n.text, "why", reason)}
		if req.isSignedIn() {
			weak.LinkURL, weak.LinkText = changePasswordForm, say("frame.change_password")
		}
		return weak
	}
	return &notice{Kind: n.kind, Text: n.text}
}

// requiredBy returns the notice that the panel requires two-factor authentication.
func requiredBy(panel *access.Panel) *notice {
	return &notice{Kind: "warn", Text: say("notice.required_panel", "panel", panel.Name)}
}
