package web

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/ticket"
)

func (s recoveries) emailPage(req *page.Request) emailPage {
	return emailPage{Frame: s.frameOf(req, locale.Say("email.title"), "profile"), Present: req.Me.Account.Email}
}

func (s recoveries) getEmail(req *page.Request) error {
	if !s.Recovery.HasMail() {
		return page.ErrNotFound
	}
	data := s.emailPage(req)
	return s.Render(req, http.StatusOK, "email", &data)
}

// postEmail mails a link to the address that the owner typed. The account keeps its present address
// until the link is confirmed.
func (s recoveries) postEmail(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	data := s.emailPage(req)
	data.Email = form.Value("email")
	err := s.Recovery.AskEmail(req.Context(), req.Me, data.Email)
	var wait *login.WaitError
	switch {
	case err == nil:
		s.redirect(req, "/settings/profile", "notice", "email_asked")
		return nil
	case errors.Is(err, recovery.ErrNoMail):
		return page.ErrNotFound
	case errors.Is(err, account.ErrEmailInvalid):
		data.Error = locale.Say("email.invalid")
		return s.Render(req, http.StatusUnprocessableEntity, "email", &data)
	case errors.As(err, &wait):
		data.Error = locale.Say("email.limit")
		return s.showTooMany(req, wait, "email", &data)
	}
	return err
}

// getConfirmEmail shows the page of a link that confirms an address. It doesn't redeem the link.
func (s recoveries) getConfirmEmail(req *page.Request) error {
	token := req.URL.Query().Get("ticket")
	address, err := s.Recovery.OpenVerification(req.Context(), req.Me, token)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "confirm-email", &confirmEmailPage{
		Frame: page.Frame{Title: locale.Say("confirm_email.title")}, Ticket: token, Email: address, Username: req.Me.Account.Name,
	})
}

func (s recoveries) postConfirmEmail(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	err := s.Recovery.Verify(req.Context(), req.Me, form.Value("ticket"))
	if errors.Is(err, account.ErrEmailTaken) {
		err = ticket.ErrInvalid // the address belongs to another account by now
	}
	if err != nil {
		return err
	}
	s.redirect(req, "/settings/profile", "notice", "email_confirmed")
	return nil
}

func (s recoveries) undoPage(owner account.Account, token string) undoEmailPage {
	return undoEmailPage{Frame: page.Frame{Title: locale.Say("undo_email.title")}, Ticket: token, Username: owner.Name}
}

// getUndoEmail shows the page of a link that restores a former address. It doesn't redeem the link.
func (s recoveries) getUndoEmail(req *page.Request) error {
	token := req.URL.Query().Get("ticket")
	owner, err := s.Recovery.OpenUndo(req.Context(), token)
	if err != nil {
		return err
	}
	data := s.undoPage(owner, token)
	return s.Render(req, http.StatusOK, "undo-email", &data)
}

func (s recoveries) postUndoEmail(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	token, typed := form.Value("ticket"), form.Value("email")
	owner, err := s.Recovery.OpenUndo(req.Context(), token)
	if err != nil {
		return err
	}
	data := s.undoPage(owner, token)
	data.Email = typed
	err = s.Recovery.Undo(req.Context(), token, typed, req.From)
	switch {
	case err == nil:
		s.redirect(req, "/login", "notice", "email_restored")
		return nil
	case errors.Is(err, recovery.ErrOtherAddress):
		data.Error = locale.Say("undo_email.wrong")
	case errors.Is(err, account.ErrEmailTaken):
		data.Error = locale.Say("undo_email.taken")
	default:
		return err
	}
	return s.Render(req, http.StatusUnprocessableEntity, "undo-email", &data)
}
