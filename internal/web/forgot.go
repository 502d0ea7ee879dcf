package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/ticket"
)

func (s recoveries) forgotPage() forgotPage {
	return forgotPage{Frame: page.Frame{Title: locale.Say("forgot.title")}}
}

func (s recoveries) getForgot(req *page.Request) error {
	if !s.Recovery.HasMail() {
		return page.ErrNotFound
	}
	data := s.forgotPage()
	data.Username = signIn(s).linkedName(req)
	return s.Render(req, http.StatusOK, "forgot", &data)
}

// postForgot requests a mail with a link to set a new password. The answer is the same for every
// name.
func (s recoveries) postForgot(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	if !s.Recovery.HasMail() {
		return page.ErrNotFound
	}
	data := s.forgotPage()
	data.Username = form.Value("username")
	if strings.TrimSpace(data.Username) == "" {
		data.Error = locale.Say("forgot.empty")
		return s.Render(req, http.StatusUnprocessableEntity, "forgot", &data)
	}
	err := s.Recovery.AskReset(req.Context(), data.Username, req.From)
	var wait *login.WaitError
	if errors.As(err, &wait) {
		data.Error = locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "forgot", &data)
	}
	if err != nil {
		return err
	}
	s.redirect(req, "/login", "notice", "mail_sent")
	return nil
}

func (s recoveries) resetPage(owner account.Account, token string) resetPage {
	return resetPage{
		Frame: page.Frame{Title: locale.Say("new_password.title")}, newPassword: s.newPassword(owner), Ticket: token, Username: owner.Name,
	}
}

// errResetLink means that a link to set a new password isn't valid. The user can ask for a new link.
var errResetLink = fmt.Errorf("link to a new password: %w", ticket.ErrInvalid)

// openReset returns the account whose password the mailed link sets. If the link isn't valid, the
// error is [errResetLink].
func (s recoveries) openReset(req *page.Request, token string) (account.Account, error) {
	owner, err := s.Recovery.OpenReset(req.Context(), token)
	if errors.Is(err, ticket.ErrInvalid) && s.Recovery.HasMail() {
		err = errResetLink
	}
	return owner, err
}

// getReset shows the form for a new password if the mailed link is valid. It doesn't redeem the link.
func (s recoveries) getReset(req *page.Request) error {
	token := req.URL.Query().Get("ticket")
	owner, err := s.openReset(req, token)
	if err != nil {
		return err
	}
	data := s.resetPage(owner, token)
	return s.Render(req, http.StatusOK, "reset", &data)
}

func (s recoveries) postReset(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	token, typed := form.Value("ticket"), form.Value("new_password")
	owner, err := s.openReset(req, token)
	if err != nil {
		return err
	}
	err = s.Recovery.Reset(req.Context(), token, typed, req.From)
	if err == nil {
		s.setWeakCookie(req, owner, typed)
		s.SetCookie(req.W, nameCookie, url.QueryEscape(owner.Name), nameCookieLife)
		s.redirect(req, "/login", "notice", "password_set")
		return nil
	}
	data := s.resetPage(owner, token)
	if data.Error = s.passwordMessage(err); data.Error == nil {
		return err
	}
	return s.Render(req, http.StatusUnprocessableEntity, "reset", &data)
}
