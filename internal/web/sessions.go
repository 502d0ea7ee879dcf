package web

import (
	"net/http"

	"github.com/mileusna/useragent"

	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/session"
)

func (s *server) getSessions(req *request) error {
	all, err := session.List(req.Context(), s.Login.DB.Reader(), req.me.Account, s.Login.Life, s.Login.Clock())
	if err != nil {
		return err
	}
	page := sessionsPage{Frame: s.frameOf(req, locale.Say("sessions.title"), "sessions"), Others: len(all) - 1}
	for _, one := range all {
		row := sessionRow{
			ID: one.ID, Phone: isPhone(one.Browser), Browser: s.browser(one.Browser), Address: one.Address, How: signInMessage(login.ProofsName(one.Proofs)),
			SignedInAt: one.CreatedAt, LastSeenAt: one.SeenAt, Current: one.ID == req.me.Session.ID,
		}
		if row.Current {
			page.Sessions = append([]sessionRow{row}, page.Sessions...)
		} else {
			page.Sessions = append(page.Sessions, row)
		}
	}
	devices, err := device.List(req.Context(), s.Login.DB.Reader(), req.me.Account.ID, s.Login.Clock())
	if err != nil {
		return err
	}
	here, err := device.ByCookie(req.Context(), s.Login.DB.Reader(), req.from.Device, req.me.Account.ID, s.Login.Clock())
	if err != nil {
		return err
	}
	for _, one := range devices {
		page.Devices = append(page.Devices, deviceRow{
			ID: one.ID, Phone: isPhone(one.Browser), Browser: s.browser(one.Browser), Address: one.Address, UsedAt: one.UsedAt, Current: one.ID == here.ID,
		})
	}
	return s.views.Render(req.w, http.StatusOK, "sessions", &page)
}

// postLetIn shows a new link that makes another browser known. No other page shows it.
func (s *server) postLetIn(req *request) error {
	token, err := s.Manage.Links.LetIn(req.Context(), manage.Owner(req.me), req.me.Account)
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "let-in-link", &letInLinkPage{
		Frame: s.frameOf(req, locale.Say("let_in.link_title"), "sessions"), Link: s.PublicURL + "/setup?ticket=" + token.Reveal(),
	})
}

func (s *server) postForget(req *request) error {
	if err := s.Manage.Devices.Remove(req.Context(), req.me, req.id()); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

func (s *server) postForgetAll(req *request) error {
	if err := s.Manage.Devices.RemoveAll(req.Context(), req.me); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

// browser returns a description of a User-Agent, such as "Chrome on Linux". An unknown system is
// left out; for an unknown browser the result is "".
func (s *server) browser(userAgent string) string {
	ua := useragent.Parse(userAgent)
	switch {
	case ua.Name != "" && ua.OS != "":
		return s.views.Catalogue().Sentence(locale.Say("sessions.browser", "browser", ua.Name, "system", ua.OS))
	default:
		return ua.Name
	}
}

// isPhone reports whether a User-Agent is that of a phone or a tablet.
func isPhone(userAgent string) bool {
	ua := useragent.Parse(userAgent)
	return ua.Mobile || ua.Tablet
}

func (s *server) postRevoke(req *request) error {
	id := req.id()
	if err := s.Manage.Sessions.Revoke(req.Context(), req.me, id); err != nil {
		return err
	}
	if id == req.me.Session.ID {
		s.setCookie(req.w, sessionCookie, "", 0)
		s.redirect(req, "/login", "notice", "signed_out")
		return nil
	}
	s.redirect(req, "/settings/sessions", "notice", "revoked")
	return nil
}

func (s *server) postRevokeOthers(req *request) error {
	if _, err := s.Manage.Sessions.RevokeOthers(req.Context(), req.me); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "others_revoked")
	return nil
}
