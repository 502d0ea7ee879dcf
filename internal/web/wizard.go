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
	"github.com/sallyport/sallyport/internal/page"
)

// newAuthenticatorPath is the page that starts a new wizard.
const newAuthenticatorPath = "/settings/security/authenticators/new"

// getNewAuthenticator shows the page to which a panel, an administrator's link or a sign-in
// redirects a browser to set up two-factor authentication. The page has a button that starts the
// enrolment. The page itself doesn't start it, since another site can make a browser load any page.
// If a panel shares the portal's host, getNewAuthenticator redirects to the Security tab, whose form
// starts the enrolment and asks for proofs.
func (s security) getNewAuthenticator(req *page.Request) error {
	hasLink := s.Cookie(req.Request, ticketCookie) != ""
	required := s.mustEnroll(req)
	switch {
	case s.redirectedBack(req):
		return nil
	case s.isShared() && hasLink && !required: // if required, the Security tab isn't open
		s.redirect(req, "/settings/security#two-factor", "notice", "link")
		return nil
	case s.isShared() && !required:
		s.redirect(req, "/settings/security#two-factor", "notice", "required")
		return nil
	}
	tab := "security"
	if required {
		tab = "" // the tabs would only lead back here
	}
	data := newAuthenticatorPage{Frame: s.frameOf(req, locale.Say("wizard.title_more"), tab), First: !req.TwoFactor, Required: required}
	data.NeedsLink = s.Manage.Authenticators.NeedsTicket(req.Me.Account, req.Policy, req.TwoFactor) && !hasLink
	if data.First {
		data.Title = locale.Say("wizard.title_first")
	}
	switch panel := s.panelRequiringTwoFactor(req); {
	case panel != nil && !required:
		data.Notice = requiredBy(panel)
	case hasLink:
		data.Notice = linkNotice()
	}
	return s.Render(req, http.StatusOK, "new-authenticator", &data)
}

func (s security) postAuthenticator(req *page.Request) error {
	id, err := s.Manage.Authenticators.BeginEnrollment(req.Context(), req.Me, s.Cookie(req.Request, ticketCookie))
	switch {
	case errors.Is(err, manage.ErrLocked):
		s.SetCookie(req.W, ticketCookie, "", 0)
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

func (s security) wizardPage(req *page.Request, id string) (wizardPage, error) {
	enrollment, err := s.Manage.Authenticators.Enrollment(req.Context(), req.Me, id)
	if err != nil {
		return wizardPage{}, err
	}
	svg, err := totp.QR(enrollment.KeyURI.Reveal(), req.Text(locale.Say("wizard.qr")))
	if err != nil {
		return wizardPage{}, err
	}
	data := wizardPage{
		Frame: s.frameOf(req, locale.Say("wizard.title_more"), "security"), First: enrollment.First, ID: id, Owner: req.Me.Account.Name,
		QR: template.HTML(svg), Key: enrollment.Key.Reveal(), KeyURI: template.URL(enrollment.KeyURI.Reveal()),
		Name: req.Text(locale.Say("wizard.default_name")), Max: authenticator.MaxNameRunes,
	}
	if data.First {
		data.Title = locale.Say("wizard.title_first")
		if panel := s.panelRequiringTwoFactor(req); panel != nil && !s.mustEnroll(req) {
			data.Notice = requiredBy(panel)
		}
	}
	for key := data.Key; key != ""; {
		n := min(4, len(key))
		data.Groups = append(data.Groups, key[:n])
		key = key[n:]
	}
	return data, nil
}

// answerClosedWizard answers a request for an enrolment that isn't open in this session, because it
// was confirmed, has expired, or belongs to another session.
func (s security) answerClosedWizard(req *page.Request, id string) error {
	if s.isConfirmedAuthenticator(req, id) {
		s.redirect(req, "/settings/security", "notice", "already_confirmed")
	} else {
		s.redirect(req, "/settings/security", "notice", "wizard_expired")
	}
	return nil
}

func (s security) getAuthenticator(req *page.Request) error {
	id := req.ID()
	data, err := s.wizardPage(req, id)
	if errors.Is(err, login.ErrGone) {
		return s.answerClosedWizard(req, id)
	}
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "wizard", &data)
}

func (s security) postConfirm(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	id := req.ID()
	confirmed, err := s.Manage.Authenticators.ConfirmEnrollment(req.Context(), req.Me, manage.Confirmation{ID: id, Code: form.Value("code"), Name: form.Value("name"), Ticket: s.Cookie(req.Request, ticketCookie)})
	if errors.Is(err, login.ErrClock) {
		s.logOutcome(req, "confirm", login.Progress{}, "", err) // the other outcomes aren't logged as sign-ins
	}
	switch {
	case err == nil && len(confirmed.BackupCodes.Codes) > 0:
		s.rememberDevice(req, confirmed.Device)
		s.SetCookie(req.W, page.SessionCookie, confirmed.Session.Reveal(), s.Login.Life.Absolute)
		s.SetCookie(req.W, ticketCookie, "", 0)
		return s.showCodes(req, confirmed.BackupCodes, true, s.passesInForce(req))
	case err == nil:
		s.rememberDevice(req, confirmed.Device)
		s.redirectWithSession(req, confirmed.Session, "/settings/security", "notice", "added")
		return nil
	case errors.Is(err, login.ErrGone):
		return s.answerClosedWizard(req, id)
	case errors.Is(err, manage.ErrLocked):
		s.SetCookie(req.W, ticketCookie, "", 0)
		s.redirect(req, "/settings/security", "notice", "locked")
		return nil
	case errors.Is(err, authenticator.ErrLimit):
		s.redirect(req, "/settings/security", "notice", "wizard_limit")
		return nil
	}
	data, pageErr := s.wizardPage(req, id)
	if errors.Is(pageErr, login.ErrGone) {
		return s.answerClosedWizard(req, id)
	}
	if pageErr != nil {
		return pageErr
	}
	data.Name = form.Value("name")
	if data.Error = codeMessage(err); data.Error == nil {
		if !errors.Is(err, authenticator.ErrNameInvalid) {
			return err
		}
		data.Error = nameMessage(err, authenticator.MaxNameRunes)
	}
	return s.Render(req, http.StatusUnprocessableEntity, "wizard", &data)
}

func (s security) postCancelEnrollment(req *page.Request) error {
	if err := s.Manage.Authenticators.CancelEnrollment(req.Context(), req.Me, req.ID()); err != nil && !errors.Is(err, login.ErrGone) {
		return err
	}
	s.redirect(req, "/settings/security", "notice", "cancelled")
	return nil
}

// isConfirmedAuthenticator reports whether the signed-in account has a confirmed authenticator with
// this id.
func (s security) isConfirmedAuthenticator(req *page.Request, id string) bool {
	_, err := authenticator.ByID(req.Context(), s.Login.DB.Reader(), req.Me.Account.ID, id)
	return err == nil
}
