package web

import (
	"net/http"

	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/session"
)

func (s sessions) getSessions(req *page.Request) error {
	all, err := session.List(req.Context(), s.Login.DB.Reader(), req.Me.Account, s.Login.Life, s.Login.Clock())
	if err != nil {
		return err
	}
	data := sessionsPage{Frame: s.frameOf(req, locale.Say("sessions.title"), "sessions"), Others: len(all) - 1}
	for _, one := range all {
		row := sessionRow{
			ID: one.ID, Phone: page.IsPhone(one.Browser), Browser: req.BrowserName(one.Browser), Address: one.Address, How: page.SignInMessage(login.ProofsName(one.Proofs)),
			SignedInAt: one.CreatedAt, LastSeenAt: one.SeenAt, Current: one.ID == req.Me.Session.ID,
		}
		if row.Current {
			data.Sessions = append([]sessionRow{row}, data.Sessions...)
		} else {
			data.Sessions = append(data.Sessions, row)
		}
	}
	devices, err := device.List(req.Context(), s.Login.DB.Reader(), req.Me.Account.ID, s.Login.Clock())
	if err != nil {
		return err
	}
	here, err := device.ByCookie(req.Context(), s.Login.DB.Reader(), req.From.Device, req.Me.Account.ID, s.Login.Clock())
	if err != nil {
		return err
	}
	for _, one := range devices {
		data.Devices = append(data.Devices, deviceRow{
			ID: one.ID, Phone: page.IsPhone(one.Browser), Browser: req.BrowserName(one.Browser), Address: one.Address, UsedAt: one.UsedAt, Current: one.ID == here.ID,
		})
	}
	return s.Render(req, http.StatusOK, "sessions", &data)
}

// postLetIn shows a new link that makes another browser known. No other page shows it.
func (s sessions) postLetIn(req *page.Request) error {
	token, err := s.Manage.Links.LetIn(req.Context(), manage.Owner(req.Me), req.Me.Account)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "let-in-link", &letInLinkPage{
		Frame: s.frameOf(req, locale.Say("let_in.link_title"), "sessions"), Link: s.PublicURL + "/setup?ticket=" + token.Reveal(),
	})
}

func (s sessions) postForget(req *page.Request) error {
	if err := s.Manage.Devices.Remove(req.Context(), req.Me, req.ID()); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

func (s sessions) postForgetAll(req *page.Request) error {
	if err := s.Manage.Devices.RemoveAll(req.Context(), req.Me); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

func (s sessions) postRevoke(req *page.Request) error {
	id := req.ID()
	if err := s.Manage.Sessions.Revoke(req.Context(), req.Me, id); err != nil {
		return err
	}
	if id == req.Me.Session.ID {
		s.SetCookie(req.W, page.SessionCookie, "", 0)
		s.redirect(req, "/login", "notice", "signed_out")
		return nil
	}
	s.redirect(req, "/settings/sessions", "notice", "revoked")
	return nil
}

func (s sessions) postRevokeOthers(req *page.Request) error {
	if _, err := s.Manage.Sessions.RevokeOthers(req.Context(), req.Me); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "others_revoked")
	return nil
}
