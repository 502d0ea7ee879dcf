package web

import (
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// route is one route of the portal, with the requirement that a request must meet before the
// handler gets it.
type route struct {
	pattern string
	needs   access.Requirement
	handle  func(*page.Request) error
}

// changesSignIn reports whether the route changes how the account signs in. The route that
// confirms an enrolment isn't one of them, since the start of the enrolment required the proofs.
func (r route) changesSignIn() bool {
	return r.needs == access.Fresh && strings.HasPrefix(r.pattern, "POST ") && !strings.HasSuffix(r.pattern, "/confirm")
}

// routes returns all routes of the portal, with their requirements. A handler reads a form,
// calls one function, and shows a page or redirects.
func (s *server) routes() []route {
	return []route{
		{"GET /{$}", access.Session, s.getHome},
		{"GET /continue", access.Session, s.getContinue},
		{"GET /enter", access.Session, s.getEnter}, // compares the session with the panel's demand

		{"GET /setup", access.Public, s.getSetup},
		{"POST /setup", access.Public, s.postSetup},
		{"GET /login", access.Public, s.getLogin},
		{"POST /login", access.Public, s.postPassword},
		{"GET /login/code", access.Public, s.getCode},
		{"POST /login/code", access.Public, s.postCode},
		{"GET /login/backup-code", access.Public, s.getBackupCode},
		{"POST /login/backup-code", access.Public, s.postBackupCode},
		{"GET /login/new-password", access.Public, s.getNewPassword},
		{"POST /login/new-password", access.Public, s.postNewPassword},
		{"POST /login/cancel", access.Public, s.postCancel},
		{"POST /logout", access.Public, s.postLogout},
		{"GET /reauthenticate", access.Session, s.getReauthenticate},
		{"POST /reauthenticate", access.Session, s.postReauthenticate},
		{"GET /.well-known/change-password", access.Public, s.getChangePassword},

		{"GET /settings", access.Session, s.getSettings},
		{"GET /settings/profile", access.Session, s.getProfile},
		{"POST /settings/profile", access.Session, s.postProfile},
		{"GET /settings/sessions", access.Session, s.getSessions},
		{"POST /settings/sessions/{id}/revoke", access.Session, s.postRevoke},
		{"POST /settings/sessions/revoke-others", access.Session, s.postRevokeOthers},
		{"POST /settings/sessions/let-in", access.Fresh, s.postLetIn},
		{"POST /settings/devices/{id}/forget", access.Session, s.postForget},
		{"POST /settings/devices/forget-all", access.Session, s.postForgetAll},
		{"GET /settings/activity", access.Session, s.getActivity},

		// Every change of how the account signs in requires fresh proofs (R14).
		{"GET /settings/security", access.Session, s.getSecurity},
		{"GET /settings/security/{answer...}", access.Session, s.redirectToSecurity},
		{"POST /settings/security/password", access.Fresh, s.postPasswordChange},
		{"POST /settings/security/disable", access.Fresh, s.postDisable},
		{"POST /settings/security/backup-codes", access.Fresh, s.postBackupCodes},
		{"POST /settings/security/backup-codes/{id}/saved", access.Session, s.postCodesSaved},
		{"POST /settings/security/authenticators", access.Fresh, s.postAuthenticator},
		{"GET /settings/security/authenticators/new", access.Fresh, s.getNewAuthenticator},
		{"GET /settings/security/authenticators/{id}", access.Fresh, s.getAuthenticator},
		{"POST /settings/security/authenticators/{id}/confirm", access.Fresh, s.postConfirm},
		{"POST /settings/security/authenticators/{id}/cancel", access.Session, s.postCancelEnrollment},
		{"POST /settings/security/authenticators/{id}/rename", access.Fresh, s.postRename},
		{"POST /settings/security/authenticators/{id}/remove", access.Fresh, s.postRemove},
		{"GET /settings/security/passes/new", access.Fresh, s.getNewPass},
		{"POST /settings/security/passes", access.Fresh, s.postPass},
		{"POST /settings/security/passes/{id}/revoke", access.Fresh, s.postRevokePass},
	}
}
