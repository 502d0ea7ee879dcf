package web

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/ticket"
)

// getSetup shows the page of a one-time link, but doesn't redeem the link. If it is an operator's
// link for the wizard, getSetup moves its token from the URL into a cookie, until the wizard uses it.
func (s setUp) getSetup(req *page.Request) error {
	token := req.URL.Query().Get("ticket")
	opened, err := s.Manage.Links.Open(req.Context(), token)
	if err != nil {
		return err
	}
	if opened.Kind == ticket.LetIn {
		data := letInPageOf(opened, token)
		return s.Render(req, http.StatusOK, "let-in", &data)
	}
	if opened.Kind == ticket.Enroll && !opened.NewPassword {
		s.SetCookie(req.W, ticketCookie, token, ticketCookieLife)
		s.redirect(req, newAuthenticatorPath)
		return nil
	}
	data := s.setupPage(opened, token)
	return s.Render(req, http.StatusOK, "setup", &data)
}

func letInPageOf(opened manage.Link, token string) letInPage {
	data := letInPage{Frame: page.Frame{Title: locale.Say("let_in.title")}, Ticket: token, AsksName: opened.AsksName}
	if !data.AsksName {
		data.Username = opened.Account.Name
	}
	return data
}

func (s setUp) setupPage(opened manage.Link, token string) setupPage {
	data := setupPage{
		Frame: page.Frame{Title: locale.Say("setup.title_invitation")}, newPassword: s.newPassword(opened.Account),
		Ticket: token, Username: opened.Account.Name, Email: opened.Account.Email,
	}
	switch opened.Kind {
	case ticket.Setup:
		data.Title, data.First = locale.Say("setup.title_first"), true
	case ticket.Enroll:
		data.Title, data.Reset = locale.Say("new_password.title"), true
	}
	return data
}

func (s setUp) postSetup(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	link, username, email, typed := form.Value("ticket"), form.Value("username"), form.Value("email"), form.Value("new_password")
	opened, err := s.Manage.Links.Open(req.Context(), link)
	if err != nil {
		return err
	}
	if opened.Kind == ticket.LetIn {
		token, err := s.Manage.Links.RedeemLetIn(req.Context(), link, username, req.From)
		if errors.Is(err, manage.ErrOtherName) {
			data := letInPageOf(opened, link)
			data.Username, data.Error = username, locale.Say("let_in.wrong_name")
			return s.Render(req, http.StatusUnprocessableEntity, "let-in", &data)
		}
		if err != nil {
			return err
		}
		s.rememberDevice(req, token)
		s.SetCookie(req.W, nameCookie, url.QueryEscape(opened.Account.Name), nameCookieLife)
		s.redirect(req, "/login", "notice", "let_in")
		return nil
	}
	data := s.setupPage(opened, link)
	if data.First {
		data.Username, data.Email = username, email
	}
	token, err := s.Manage.Links.Redeem(req.Context(), link, manage.NewOwner{Name: username, Email: email, Password: typed}, req.From)
	switch {
	case err == nil:
		owner := opened.Account
		if data.First {
			owner = account.Account{Name: username, Email: email}
		}
		s.setWeakCookie(req, owner, typed)
		s.rememberDevice(req, token)
		s.SetCookie(req.W, nameCookie, url.QueryEscape(owner.Name), nameCookieLife)
		if data.Reset {
			s.SetCookie(req.W, ticketCookie, link, ticketCookieLife)
			s.redirect(req, "/login", "return", newAuthenticatorPath, "notice", "password_set")
			return nil
		}
		s.redirect(req, "/login", "notice", "account_created")
		return nil
	case errors.Is(err, account.ErrNameInvalid):
		data.Error = locale.Say("setup.name_invalid")
	case errors.Is(err, account.ErrNameTaken):
		data.Error = locale.Say("setup.name_taken")
	case errors.Is(err, account.ErrEmailInvalid):
		data.Error = locale.Say("setup.email_invalid")
	case errors.Is(err, account.ErrEmailTaken):
		data.Error = locale.Say("setup.email_taken")
	default:
		if data.Error = s.passwordMessage(err); data.Error == nil {
			return err
		}
	}
	return s.Render(req, http.StatusUnprocessableEntity, "setup", &data)
}
