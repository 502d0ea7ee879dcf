package web

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

// The configuration can demand two-factor authentication of accounts (see package policy). Before
// the day from which it is required, a page after the sign-in asks the user to enable it. From that
// day on, every page leads to the wizard. In both cases onwardCookie holds the page from which the
// browser was kept.

// reminderPath is the page that asks to enable two-factor authentication.
const reminderPath = "/two-factor"

// mustEnroll reports whether the account must enable two-factor authentication before anything but
// the wizard and the sign-out is open to it.
func (s *server) mustEnroll(req *page.Request) bool {
	return !req.TwoFactor && s.Entry.Requires(req.Policy)
}

// redirectToEnrollment redirects to the page that starts the wizard. After the wizard, the browser
// returns to the requested page. If that page was to show a notice, the page of the wizard shows it.
func (s *server) redirectToEnrollment(req *page.Request) {
	var query []string
	if name := req.URL.Query().Get("notice"); name != "" {
		query = []string{"notice", name}
	} else {
		s.SetCookie(req.W, onwardCookie, returnPathOf(req.Request), page.ReturnCookieLife)
	}
	s.redirect(req, newAuthenticatorPath, query...)
}

// remind asks the user to enable two-factor authentication, if that is due: it makes the sign-in
// continue on the page that asks. It is for sign-ins that needed only the password.
func (s signIn) remind(req *page.Request, p *login.Progress) error {
	if s.Entry.Policy.IsEmpty() {
		return nil
	}
	me, err := s.meWith(req, p.Session)
	if err != nil {
		return err
	}
	asked, err := s.Entry.PolicyOf(req.Context(), s.Login.DB.Reader(), me.Account.ID)
	if err != nil || !asked.Reminds(me.Account.TwoFactorPostponedAt, s.Login.Clock()) {
		return err
	}
	s.SetCookie(req.W, onwardCookie, login.CheckReturn(p.ReturnURL), page.ReturnCookieLife)
	p.ReturnURL = reminderPath
	return nil
}

func (s security) getReminder(req *page.Request) error {
	if req.TwoFactor || !req.Policy.Reminds(req.Me.Account.TwoFactorPostponedAt, s.Login.Clock()) {
		s.redirectOnward(req)
		return nil
	}
	data := reminderPage{
		Frame: page.Frame{Title: locale.Say("reminder.title")}, From: req.Policy.From,
		NeedsLink: s.Manage.Authenticators.NeedsTicket(req.Me.Account, req.Policy, false) && s.Cookie(req.Request, ticketCookie) == "",
	}
	return s.Render(req, http.StatusOK, "reminder", &data)
}

// postLater postpones the enrolment and continues the sign-in.
func (s security) postLater(req *page.Request) error {
	if err := s.Manage.Authenticators.Postpone(req.Context(), req.Me); err != nil {
		return err
	}
	s.redirectOnward(req)
	return nil
}

// redirectOnward redirects to the page from which a policy kept the browser, or to the first page.
func (s *server) redirectOnward(req *page.Request) {
	path := s.Cookie(req.Request, onwardCookie)
	s.SetCookie(req.W, onwardCookie, "", 0)
	s.redirect(req, login.CheckReturn(path))
}
