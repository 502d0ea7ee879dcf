package web

import (
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// route is one route of the portal. A request must meet the requirement before the handler gets
// the request.
type route struct {
	pattern string
	needs   access.Requirement
	handle  func(*page.Request) error
}

// changesSignIn reports whether the route changes how the account signs in, so that it requires
// proofs. It returns false for the route that confirms an enrolment, since the start of the
// enrolment required the proofs.
func (r route) changesSignIn() bool {
	return r.needs == access.Fresh && strings.HasPrefix(r.pattern, "POST ") && !strings.HasSuffix(r.pattern, "/confirm")
}

// leadsToTwoFactor reports whether the route is a step towards two-factor authentication. If an
// account must enable two-factor authentication first, only such routes are open to it, and the
// public routes, such as the sign-out.
func (r route) leadsToTwoFactor() bool {
	switch _, path, _ := strings.Cut(r.pattern, " "); path {
	case reauthenticatePath, newAuthenticatorPath, "/settings/security/authenticators", "/settings/security/authenticators/{id}",
		"/settings/security/authenticators/{id}/confirm", "/settings/security/authenticators/{id}/cancel":
		return true
	}
	return false
}

// routes returns all routes of the portal. A handler reads a form, calls one function, and shows a
// page or redirects.
func (s *server) routes() []route {
	return []route{
		{"GET /{$}", access.Session, panels{s}.getHome},
		{"GET /continue", access.Session, panels{s}.getContinue},
		{"GET /enter", access.Session, panels{s}.getEnter}, // compares the session with the panel's demand

		{"GET /two-factor", access.Session, security{s}.getReminder},
		{"POST /two-factor/later", access.Session, security{s}.postLater},

		{"GET /setup", access.Public, setUp{s}.getSetup},
		{"POST /setup", access.Public, setUp{s}.postSetup},
		{"GET /login", access.Public, signIn{s}.getLogin},
		{"POST /login", access.Public, signIn{s}.postPassword},
		{"GET /login/code", access.Public, signIn{s}.getCode},
		{"POST /login/code", access.Public, signIn{s}.postCode},
		{"GET /login/backup-code", access.Public, signIn{s}.getBackupCode},
		{"POST /login/backup-code", access.Public, signIn{s}.postBackupCode},
		{"GET /login/new-password", access.Public, signIn{s}.getNewPassword},
		{"POST /login/new-password", access.Public, signIn{s}.postNewPassword},
		{"POST /login/cancel", access.Public, signIn{s}.postCancel},
		{"POST /logout", access.Public, signIn{s}.postLogout},
		{"GET /forgot", access.Public, recoveries{s}.getForgot},
		{"POST /forgot", access.Public, recoveries{s}.postForgot},
		{"GET /reset", access.Public, recoveries{s}.getReset},
		{"POST /reset", access.Public, recoveries{s}.postReset},
		{"GET /unlock", access.Public, recoveries{s}.getUnlock},
		{"POST /unlock", access.Public, recoveries{s}.postUnlock},
		{"POST /unlock/ask", access.Public, recoveries{s}.postAskUnlock},
		{"POST /unlock/code", access.Public, recoveries{s}.postUnlockCode},
		{"GET /undo-email", access.Public, recoveries{s}.getUndoEmail},
		{"POST /undo-email", access.Public, recoveries{s}.postUndoEmail},
		{"GET /reauthenticate", access.Session, signIn{s}.getReauthenticate},
		{"POST /reauthenticate", access.Session, signIn{s}.postReauthenticate},
		{"GET /.well-known/change-password", access.Public, security{s}.getChangePassword},

		{"GET /settings", access.Session, security{s}.getSettings},
		{"GET /settings/profile", access.Session, security{s}.getProfile},
		{"POST /settings/profile", access.Session, security{s}.postProfile},
		{"GET /settings/profile/email", access.Fresh, recoveries{s}.getEmail},
		{"POST /settings/profile/email", access.Fresh, recoveries{s}.postEmail},
		{"GET /settings/profile/email/confirm", access.Session, recoveries{s}.getConfirmEmail},
		{"POST /settings/profile/email/confirm", access.Session, recoveries{s}.postConfirmEmail},
		{"GET /settings/sessions", access.Session, sessions{s}.getSessions},
		{"POST /settings/sessions/{id}/revoke", access.Session, sessions{s}.postRevoke},
		{"POST /settings/sessions/revoke-others", access.Session, sessions{s}.postRevokeOthers},
		{"POST /settings/sessions/let-in", access.Fresh, sessions{s}.postLetIn},
		{"POST /settings/devices/{id}/forget", access.Session, sessions{s}.postForget},
		{"POST /settings/devices/forget-all", access.Session, sessions{s}.postForgetAll},
		{"GET /settings/activity", access.Session, sessions{s}.getActivity},

		// Every change of how the account signs in requires fresh proofs (R14).
		{"GET /settings/security", access.Session, security{s}.getSecurity},
		{"GET /settings/security/{answer...}", access.Session, security{s}.redirectToSecurity},
		{"POST /settings/security/password", access.Fresh, security{s}.postPasswordChange},
		{"POST /settings/security/disable", access.Fresh, security{s}.postDisable},
		{"POST /settings/security/backup-codes", access.Fresh, security{s}.postBackupCodes},
		{"POST /settings/security/backup-codes/{id}/saved", access.Session, security{s}.postCodesSaved},
		{"POST /settings/security/authenticators", access.Fresh, security{s}.postAuthenticator},
		{"GET /settings/security/authenticators/new", access.Fresh, security{s}.getNewAuthenticator},
		{"GET /settings/security/authenticators/{id}", access.Fresh, security{s}.getAuthenticator},
		{"POST /settings/security/authenticators/{id}/confirm", access.Fresh, security{s}.postConfirm},
		{"POST /settings/security/authenticators/{id}/cancel", access.Session, security{s}.postCancelEnrollment},
		{"POST /settings/security/authenticators/{id}/rename", access.Fresh, security{s}.postRename},
		{"POST /settings/security/authenticators/{id}/remove", access.Fresh, security{s}.postRemove},
		{"GET /settings/security/passes/new", access.Fresh, passes{s}.getNewPass},
		{"POST /settings/security/passes", access.Fresh, passes{s}.postPass},
		{"POST /settings/security/passes/{id}/revoke", access.Fresh, passes{s}.postRevokePass},
	}
}
