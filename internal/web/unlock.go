package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// A shielded account accepts passwords from known browsers only. Another browser can ask for a
// mail to the account's owner, with a link that lets this browser in. The owner opens the link in
// this browser. If the owner opens the link on another device, it shows a code there, which the
// owner types in the browser that asked.

// postAskUnlock requests a mail with a link that lets the browser in. The answer is the same for
// every name.
func (s recoveries) postAskUnlock(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	// Keep an existing cookie, so that the browser can use an earlier link as well as the new one.
	asker := s.Cookie(req.Request, unlockCookie)
	if !secret.IsToken(asker) {
		asker = secret.NewToken().Reveal()
	}
	err := s.Recovery.AskUnlock(req.Context(), form.Value("username"), asker, req.From)
	var wait *login.WaitError
	switch {
	case errors.Is(err, recovery.ErrNoMail):
		return page.ErrNotFound
	case errors.As(err, &wait):
		data := signIn(s).loginPage(req, "")
		data.Username, data.Shielded, data.Error = form.Value("username"), true, locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "login", &data)
	case err != nil:
		return err
	}
	s.SetCookie(req.W, unlockCookie, asker, unlockCookieLife)
	s.redirect(req, "/unlock")
	return nil
}

// errUnlockLink means that a link that lets a browser in isn't valid. The user can ask for another.
var errUnlockLink = fmt.Errorf("link that lets a browser in: %w", ticket.ErrInvalid)

func unlockCode() unlockCodePage {
	return unlockCodePage{Frame: page.Frame{Title: locale.Say("unlock_code.title")}}
}

// getUnlock shows the page of a mailed link, but doesn't redeem the link. If the URL has no ticket,
// getUnlock shows the page with the form for the code.
func (s recoveries) getUnlock(req *page.Request) error {
	if !req.URL.Query().Has("ticket") {
		if !s.Recovery.HasMail() {
			return page.ErrNotFound
		}
		data := unlockCode()
		return s.Render(req, http.StatusOK, "unlock-code", &data)
	}
	return s.showUnlock(req, http.StatusOK, req.URL.Query().Get("ticket"))
}

func (s recoveries) showUnlock(req *page.Request, status int, token string) error {
	owner, code, err := s.Recovery.OpenUnlock(req.Context(), token, s.Cookie(req.Request, unlockCookie))
	if errors.Is(err, ticket.ErrInvalid) {
		err = errUnlockLink
	}
	if err != nil {
		return err
	}
	data := unlockPage{Frame: page.Frame{Title: locale.Say("let_in.title")}, Ticket: token, Username: owner.Name, Code: code}
	if code != "" {
		data.Title = locale.Say("unlock.elsewhere_title")
	}
	return s.Render(req, status, "unlock", &data)
}

// postUnlock lets the browser in if it is the one that asked for the link.
func (s recoveries) postUnlock(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	token := form.Value("ticket")
	device, owner, err := s.Recovery.Unlock(req.Context(), token, s.Cookie(req.Request, unlockCookie), req.From)
	switch {
	case errors.Is(err, recovery.ErrOtherBrowser):
		return s.showUnlock(req, http.StatusUnprocessableEntity, token)
	case errors.Is(err, ticket.ErrInvalid):
		return errUnlockLink
	case err != nil:
		return err
	}
	s.letIn(req, device, owner)
	return nil
}

// letIn redirects a browser that was just let in to the sign-in page.
func (s recoveries) letIn(req *page.Request, device secret.Text, owner account.Account) {
	s.rememberDevice(req, device)
	s.SetCookie(req.W, unlockCookie, "", 0)
	s.SetCookie(req.W, nameCookie, url.QueryEscape(owner.Name), nameCookieLife)
	s.redirect(req, "/login", "notice", "let_in")
}

// postUnlockCode lets the browser in with the code that the link showed in another browser.
func (s recoveries) postUnlockCode(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	if !s.Recovery.HasMail() {
		return page.ErrNotFound
	}
	device, owner, err := s.Recovery.UnlockByCode(req.Context(), s.Cookie(req.Request, unlockCookie), form.Value("unlock_code"), req.From)
	data := unlockCode()
	var wait *login.WaitError
	switch {
	case err == nil:
		s.letIn(req, device, owner)
		return nil
	case errors.Is(err, recovery.ErrWrongCode):
		data.Error = locale.Say("unlock_code.wrong")
		return s.Render(req, http.StatusUnprocessableEntity, "unlock-code", &data)
	case errors.As(err, &wait):
		data.Error = locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "unlock-code", &data)
	}
	return err
}
