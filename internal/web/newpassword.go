package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
)

func (s signIn) newPasswordPage(w login.Prompt) newPasswordPage {
	return newPasswordPage{Frame: page.Frame{Title: locale.Say("new_password.title")}, newPassword: s.newPassword(w.Account), Username: w.Account.Name, Return: w.ReturnURL}
}

func (s signIn) getNewPassword(req *page.Request) error {
	_, attempt, err := s.attemptAt(req, login.StageNewPassword)
	if err != nil {
		return err
	}
	data := s.newPasswordPage(attempt)
	return s.Render(req, http.StatusOK, "new-password", &data)
}

func (s signIn) postNewPassword(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	typed, returnURL := form.Value("new_password"), form.Value("return")
	token, attempt, err := s.attemptAt(req, login.StageNewPassword)
	if err != nil {
		return err
	}
	progress, err := s.Login.SubmitNewPassword(req.Context(), token, typed, req.From)
	s.logOutcome(req, "new_password", progress, returnURL, err)
	if err == nil {
		s.setWeakCookie(req, attempt.Account, typed)
		return s.advanceToReturn(req, progress, returnURL, "notice", "password_set")
	}
	data := s.newPasswordPage(attempt)
	if data.Error = s.passwordMessage(err); data.Error == nil {
		return err
	}
	return s.Render(req, http.StatusUnprocessableEntity, "new-password", &data)
}

func (s *server) newPassword(owner account.Account) newPassword {
	words := strings.Join(s.Login.GuessableWords(owner), " ")
	return newPassword{MinLength: s.Login.MinRunes, MaxLength: password.MaxRunes, Words: words}
}

// setWeakCookie makes the next page warn the user if the password that was just set is weak. It
// says so in a cookie and not in the next page's URL, since proxies log URLs.
func (s *server) setWeakCookie(req *page.Request, owner account.Account, typed string) {
	if got := password.Strength(typed, s.Login.GuessableWords(owner)...); got.Level == password.Weak {
		s.SetCookie(req.W, weakCookie, string(got.Reason), weakCookieLife)
	}
}

// weaknessMessage returns the text that says why a password is easy to guess and what to do, or
// nil for an unknown reason.
func weaknessMessage(reason password.Reason) *locale.Message {
	switch reason {
	case password.Common:
		return locale.Say("strength.common")
	case password.Own:
		return locale.Say("strength.own")
	case password.Run:
		return locale.Say("strength.run")
	case password.Repeat:
		return locale.Say("strength.repeat")
	case password.Few:
		return locale.Say("strength.more")
	}
	return nil
}

// passwordMessage returns the message for a new password that can't be used. It returns nil if err
// isn't about the password.
func (s *server) passwordMessage(err error) *locale.Message {
	var common *password.CommonError
	switch {
	case errors.Is(err, password.ErrShort):
		return locale.Say("password.short", "n", s.Login.MinRunes)
	case errors.Is(err, password.ErrLong):
		return locale.Say("password.long", "n", password.MaxRunes)
	case errors.Is(err, password.ErrInvalid):
		return locale.Say("password.invalid")
	case errors.As(err, &common):
		return locale.Say("password.common", "why", weaknessMessage(common.Reason))
	case errors.Is(err, login.ErrSamePassword):
		return locale.Say("password.same")
	}
	return nil
}
