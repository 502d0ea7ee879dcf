package web

import (
	"errors"
	"html/template"
	"net/http"

	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
)

// newAuthenticatorPath is the page that starts a new wizard.
const newAuthenticatorPath = "/settings/security/authenticators/new"

// getNewAuthenticator shows the page to which a panel, an administrator's link or a sign-in
// redirects a browser to set up two-factor authentication. The enrolment starts with a button of
// the page rather than with the page, since another site can make a browser load any page. If a
// panel shares the portal's host, the form of the Security tab starts it, with fields for proofs.
func (s *server) getNewAuthenticator(req *request) error {
	hasLink := s.cookie(req.Request, ticketCookie) != ""
	switch {
	case s.redirectedToPanel(req):
		return nil
	case s.isShared() && hasLink:
		s.redirect(req, "/settings/security#two-factor", "notice", "link")
		return nil
	case s.isShared():
		s.redirect(req, "/settings/security#two-factor", "notice", "required")
		return nil
	}
	page := newAuthenticatorPage{Frame: s.frameOf(req, locale.Say("wizard.title_more"), "security"), First: !req.twoFactor}
	if page.First {
		page.Title = locale.Say("wizard.title_first")
	}
	switch panel := s.panelRequiringTwoFactor(req); {
	case panel != nil:
		page.Notice = requiredBy(panel)
	case hasLink:
		page.Notice = linkNotice()
	}
	return s.views.Render(req.w, http.StatusOK, "new-authenticator", &page)
}

func (s *server) postAuthenticator(req *request) error {
	id, err := s.Manage.Authenticators.BeginEnrollment(req.Context(), req.me, s.cookie(req.Request, ticketCookie))
	switch {
	case errors.Is(err, manage.ErrLocked):
		s.setCookie(req.w, ticketCookie, "", 0)
		s.redirect(req, "/settings/security", "notice", "locked")
	case errors.Is(err, authenticator.ErrLimit):
		s.redirect(req, "/settings/security", "notice", "wizard_limit")
	case err != nil:
		return err
	default:
		s.redirect(req, "/settings/security/authenticators/"+id)
	}
	return nil
}

func (s *server) wizardPage(req *request, id string) (wizardPage, error) {
	enrollment, err := s.Manage.Authenticators.Enrollment(req.Context(), req.me, id)
	if err != nil {
		return wizardPage{}, err
	}
	svg, err := totp.QR(enrollment.KeyURI.Reveal(), s.views.Catalogue().Sentence(locale.Say("wizard.qr")))
	if err != nil {
		return wizardPage{}, err
	}
	page := wizardPage{
		Frame: s.frameOf(req, locale.Say("wizard.title_more"), "security"), First: enrollment.First, ID: id, Owner: req.me.Account.Name,
		QR: template.HTML(svg), Key: enrollment.Key.Reveal(), KeyURI: template.URL(enrollment.KeyURI.Reveal()),
		Name: s.views.Catalogue().Sentence(locale.Say("wizard.default_name")), Max: authenticator.MaxNameRunes,
	}
	if page.First {
		page.Title = locale.Say("wizard.title_first")
		if panel := s.panelRequiringTwoFactor(req); panel != nil {
			page.Notice = requiredBy(panel)
		}
	}
	for key := page.Key; key != ""; {
		n := min(4, len(key))
		page.Groups = append(page.Groups, key[:n])
		key = key[n:]
	}
	return page, nil
}

// answerClosedWizard answers a request for an enrolment that isn't open in this session: it was
// confirmed, has expired, or belongs to another session.
func (s *server) answerClosedWizard(req *request, id string) error {
	if s.isConfirmedAuthenticator(req, id) {
		s.redirect(req, "/settings/security", "notice", "already_confirmed")
	} else {
		s.redirect(req, "/settings/security", "notice", "wizard_expired")
	}
	return nil
}

func (s *server) getAuthenticator(req *request) error {
	id := req.id()
	page, err := s.wizardPage(req, id)
	if errors.Is(err, login.ErrGone) {
		return s.answerClosedWizard(req, id)
	}
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "wizard", &page)
}

func (s *server) postConfirm(req *request) error {
	f, err := req.fields("code", "name")
	if err != nil {
		return err
	}
	id := req.id()
	confirmed, err := s.Manage.Authenticators.ConfirmEnrollment(req.Context(), req.me, manage.Confirmation{ID: id, Code: f[0], Name: f[1], Ticket: s.cookie(req.Request, ticketCookie)})
	if errors.Is(err, login.ErrClock) {
		s.logOutcome(req, "confirm", login.Progress{}, "", err) // other outcomes aren't logged as sign-ins
	}
	switch {
	case err == nil && len(confirmed.BackupCodes.Codes) > 0:
		s.rememberDevice(req, confirmed.Device)
		s.setCookie(req.w, sessionCookie, confirmed.Session.Reveal(), s.Login.Life.Absolute)
		s.setCookie(req.w, ticketCookie, "", 0)
		return s.showCodes(req, confirmed.BackupCodes, true)
	case err == nil:
		s.rememberDevice(req, confirmed.Device)
		s.redirectWithSession(req, confirmed.Session, "/settings/security", "notice", "added")
		return nil
	case errors.Is(err, login.ErrGone):
		return s.answerClosedWizard(req, id)
	case errors.Is(err, manage.ErrLocked):
		s.setCookie(req.w, ticketCookie, "", 0)
		s.redirect(req, "/settings/security", "notice", "locked")
		return nil
	case errors.Is(err, authenticator.ErrLimit):
		s.redirect(req, "/settings/security", "notice", "wizard_limit")
		return nil
	}
	page, pageErr := s.wizardPage(req, id)
	if pageErr != nil {
		return pageErr
	}
	page.Name = f[1]
	if page.Error = codeMessage(err); page.Error == nil {
		if !errors.Is(err, authenticator.ErrNameInvalid) {
			return err
		}
		page.Error = nameMessage(err, authenticator.MaxNameRunes)
	}
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "wizard", &page)
}

func (s *server) postCancelEnrollment(req *request) error {
	if err := s.Manage.Authenticators.CancelEnrollment(req.Context(), req.me, req.id()); err != nil && !errors.Is(err, login.ErrGone) {
		return err
	}
	s.redirect(req, "/settings/security", "notice", "cancelled")
	return nil
}
