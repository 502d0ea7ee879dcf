package web

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/ticket"
)

func (s *server) getHome(req *request) error {
	page := homePage{Frame: s.frameOf(req, locale.Say("home.title"), ""), Name: req.me.Account.ShownName(), TwoFactor: req.twoFactor}
	mine, err := s.myPanels(req)
	if err != nil {
		return err
	}
	for _, panel := range mine {
		page.Title = locale.Say("home.panels")
		page.Panels = append(page.Panels, panelLink{URL: panel.Origin + "/", Name: panel.Name, Icon: s.views.PanelIcon(panel.Origin)})
	}
	return s.views.Render(req.w, http.StatusOK, "home", &page)
}

// loginPage returns the sign-in page for a return URL. Its title names the panel of the return
// URL, so that users see what the password is for, or otherwise the site.
func (s *server) loginPage(req *request, returnURL string) loginPage {
	page := loginPage{Frame: page.Frame{Title: locale.Say("login.title"), Notice: s.noticeOf(req)}, Return: login.CheckReturn(returnURL)}
	if panel := s.panelOfReturn(page.Return); panel != nil {
		page.Title, page.ForPanel = locale.Say("login.title_panel", "panel", panel.Name), true
	}
	return page
}

func (s *server) getLogin(req *request) error {
	page := s.loginPage(req, req.URL.Query().Get("return"))
	if req.isSignedIn() {
		s.redirect(req, page.Return) // another tab finished the sign-in, or it was a double click
		return nil
	}
	page.Username = s.linkedName(req)
	if s.cookie(req.Request, cookiesCookie) == "" {
		s.setCookie(req.w, cookiesCookie, "1", cookiesCookieLife)
	}
	return s.views.Render(req.w, http.StatusOK, "login", &page)
}

// linkedName returns the name of the account whose one-time link this browser just used, or "".
func (s *server) linkedName(req *request) string {
	name, err := url.QueryUnescape(s.cookie(req.Request, nameCookie))
	if err != nil || !utf8.ValidString(name) {
		return ""
	}
	return name
}

func (s *server) postPassword(req *request) error {
	f, err := req.fields("username", "password", "return")
	if err != nil {
		return err
	}
	username, typed, returnURL := f[0], f[1], f[2]
	page := s.loginPage(req, returnURL)
	page.Username = username
	if strings.TrimSpace(username) == "" || typed == "" {
		page.Error = locale.Say("login.empty")
		return s.views.Render(req.w, http.StatusUnprocessableEntity, "login", &page)
	}
	progress, err := s.Login.SubmitPassword(req.Context(), login.Credentials{Username: username, Password: typed, ReturnURL: returnURL}, req.from)
	s.logOutcome(req, "password", progress, returnURL, err)
	var wait *login.WaitError
	switch {
	case errors.Is(err, login.ErrRejected):
		page.Error = locale.Say("login.wrong")
		return s.views.Render(req.w, http.StatusUnprocessableEntity, "login", &page)
	case errors.As(err, &wait):
		page.Error = locale.Say("throttle.wait", "n", seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "login", &page)
	case errors.Is(err, login.ErrShielded):
		page.Error = locale.Say("login.shielded")
		return s.views.Render(req.w, http.StatusTooManyRequests, "login", &page)
	case errors.Is(err, login.ErrPasswordEnded):
		page.Error = locale.Say("login.password_ended")
		return s.views.Render(req.w, http.StatusUnprocessableEntity, "login", &page)
	case err != nil:
		return err
	}
	return s.advance(req, progress)
}

// showTooMany shows the form again, with status 429 and the time after which it will be accepted.
func (s *server) showTooMany(req *request, wait *login.WaitError, name string, page page.Page) error {
	req.w.Header().Set("Retry-After", strconv.Itoa(seconds(wait.RetryAfter)))
	return s.views.Render(req.w, http.StatusTooManyRequests, name, page)
}

// advanceToReturn is like [server.advance], but uses the return URL of the form. In the
// meantime another tab may have started a sign-in with another return URL, to which the
// browser's attempt cookie belongs.
func (s *server) advanceToReturn(req *request, p login.Progress, returnURL string, query ...string) error {
	if checked := login.CheckReturn(returnURL); checked == returnURL {
		p.ReturnURL = checked
	}
	return s.advance(req, p, query...)
}

// advance redirects the browser to the page of its attempt's stage, or after the last stage to
// the return URL, with the pairs of names and values in query.
func (s *server) advance(req *request, p login.Progress, query ...string) error {
	if p.Stage != login.StageDone {
		s.setCookie(req.w, attemptCookie, p.Attempt.Reveal(), attemptCookieLife)
		s.redirect(req, stagePath(p.Stage))
		return nil
	}
	s.setCookie(req.w, attemptCookie, "", 0)
	if s.cookie(req.Request, nameCookie) != "" {
		s.setCookie(req.w, nameCookie, "", 0)
	}
	s.rememberDevice(req, p.Device)
	if s.isShared() {
		_, owner, err := session.ByToken(req.Context(), s.Login.DB.Reader(), p.Session.Reveal(), s.Login.Life, s.Login.Clock())
		if err != nil {
			return err
		}
		s.forgetPreviousAccount(req, s.Panels[0], owner.ID)
	}
	if p.CodesLeft >= 0 {
		query = []string{"notice", "backup_code_used"}
	}
	s.redirectWithSession(req, p.Session, login.CheckReturn(p.ReturnURL), query...)
	return nil
}

// rememberDevice sets the browser's device cookie.
func (s *server) rememberDevice(req *request, token secret.Text) {
	s.setCookie(req.w, deviceCookie, token.Reveal(), device.Life)
}

// stagePath returns the path of the page for a stage other than [login.StageDone].
func stagePath(stage login.Stage) string {
	switch stage {
	case login.StageCode:
		return "/login/code"
	case login.StageNewPassword:
		return "/login/new-password"
	default:
		return "/login"
	}
}

// otherStageError means that the attempt is at another stage than that of the page.
type otherStageError struct{ stage login.Stage }

func (e *otherStageError) Error() string { return "attempt is at another stage" }

// attemptAt returns the token of the browser's attempt, and what the page of its stage shows.
// The error is a [*otherStageError] if the attempt isn't at the given stage.
func (s *server) attemptAt(req *request, stage login.Stage) (string, login.Prompt, error) {
	token := s.cookie(req.Request, attemptCookie)
	attempt, err := s.Login.AttemptPrompt(req.Context(), token, req.from)
	if err == nil && attempt.Stage != stage {
		err = &otherStageError{attempt.Stage}
	}
	return token, attempt, err
}

func (s *server) codePage(req *request, w login.Prompt, two bool) codePage {
	names := ""
	if len(w.Authenticators) > 1 {
		names = strings.Join(w.Authenticators, ", ")
	}
	return codePage{
		Frame: page.Frame{Title: locale.Say("code.title"), Notice: s.noticeOf(req)}, Entry: w.Account.Name, Names: names,
		Two: two || w.TwoCodes, TwoOnly: w.TwoCodes, HasCodes: w.CodesLeft > 0, Return: w.ReturnURL,
	}
}

func (s *server) getCode(req *request) error {
	_, attempt, err := s.attemptAt(req, login.StageCode)
	if err != nil {
		return err
	}
	page := s.codePage(req, attempt, req.URL.Query().Get("two") == "1")
	return s.views.Render(req.w, http.StatusOK, "code", &page)
}

func (s *server) postCode(req *request) error {
	f, err := req.fields("code", "next_code", "return")
	if err != nil {
		return err
	}
	token := s.cookie(req.Request, attemptCookie)
	progress, err := s.Login.SubmitCode(req.Context(), token, f[0], f[1], req.from)
	s.logOutcome(req, "code", progress, f[2], err)
	if err == nil {
		return s.advanceToReturn(req, progress, f[2])
	}
	refusal := codeMessage(err)
	if refusal == nil {
		return err
	}
	_, attempt, err := s.attemptAt(req, login.StageCode)
	if err != nil {
		return err
	}
	page := s.codePage(req, attempt, f[1] != "")
	page.Return, page.Error = returnURLOfForm(f[2], attempt), refusal
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "code", &page)
}

// returnURLOfForm returns the return URL for a form that is shown again: that of the form's field,
// or otherwise that of the attempt.
func returnURLOfForm(field string, w login.Prompt) string {
	if field != "" {
		return login.CheckReturn(field)
	}
	return w.ReturnURL
}

// logOutcome logs the outcome of one step of a sign-in or reauthentication. The panel is that
// of p's return URL, or otherwise of returnURL. The log has nothing that the user typed, not even
// the account's name, since users type passwords into the wrong field. It names the account
// after a correct password.
func (s *server) logOutcome(req *request, step string, p login.Progress, returnURL string, err error) {
	outcome := login.OutcomeOf(err)
	level := slog.LevelInfo
	if outcome == login.OutcomeClock {
		level = slog.LevelError // the operator must correct the server's clock
	}
	panel := s.panelAtHost(req.Host)
	if panel == nil {
		panel = s.panelOfReturn(cmp.Or(p.ReturnURL, returnURL))
	}
	line := append([]any{"request", reference(req.Request), "step", step, "outcome", string(outcome), "done", err == nil && p.Stage == login.StageDone},
		logFields(req.Host, panel, cmp.Or(p.Username, req.me.Account.Name))...)
	s.Log.Log(req.Context(), level, "sign-in", append(line, "address", req.from.Address.String())...)
}

// codeMessage returns the message for a code that wasn't accepted, or nil if err has another
// cause.
func codeMessage(err error) *locale.Message {
	var code *login.CodeError
	switch {
	case errors.Is(err, login.ErrNeedTwoCodes):
		return locale.Say("code.two_needed")
	case errors.Is(err, login.ErrClock):
		return locale.Say("code.clock")
	case errors.Is(err, login.ErrNoMoreCodes):
		return locale.Say("code.two_limit")
	case !errors.As(err, &code):
		return nil
	case code.Malformed:
		return locale.Say("code.malformed")
	}
	switch code.Result {
	case totp.Slow:
		return locale.Say("code.slow", "n", code.Minutes)
	case totp.Fast:
		return locale.Say("code.fast", "n", code.Minutes)
	case totp.Reused:
		return locale.Say("code.reused")
	case totp.SetBack:
		return locale.Say("code.set_back", "n", code.Minutes)
	case totp.ClockChanged:
		return locale.Say("code.clock_changed")
	}
	if code.Pair {
		return locale.Say("code.two_wrong")
	}
	return locale.Say("code.wrong")
}

func (s *server) getBackupCode(req *request) error {
	_, attempt, err := s.attemptAt(req, login.StageCode)
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "backup-code", &backupCodePage{Frame: page.Frame{Title: locale.Say("backup_code.title")}, Left: attempt.CodesLeft, Return: attempt.ReturnURL})
}

func (s *server) postBackupCode(req *request) error {
	f, err := req.fields("backup_code", "return")
	if err != nil {
		return err
	}
	typed := f[0]
	token := s.cookie(req.Request, attemptCookie)
	progress, err := s.Login.SubmitBackupCode(req.Context(), token, typed, req.from)
	s.logOutcome(req, "backup_code", progress, f[1], err)
	if err == nil {
		return s.advanceToReturn(req, progress, f[1])
	}
	refusal, wait := backupCodeMessage(err)
	if refusal == nil {
		return err
	}
	_, attempt, err := s.attemptAt(req, login.StageCode)
	if err != nil {
		return err
	}
	page := backupCodePage{Frame: page.Frame{Title: locale.Say("backup_code.title")}, Left: attempt.CodesLeft, Return: returnURLOfForm(f[1], attempt), Error: refusal}
	if wait != nil {
		return s.showTooMany(req, wait, "backup-code", &page)
	}
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "backup-code", &page)
}

// backupCodeMessage returns the message for a backup code that wasn't accepted, or nil if err
// has another cause, and the time to wait if there is one.
func backupCodeMessage(err error) (*locale.Message, *login.WaitError) {
	var wait *login.WaitError
	switch {
	case errors.As(err, &wait):
		return locale.Say("throttle.backup_wait", "n", seconds(wait.RetryAfter)), wait
	case errors.Is(err, login.ErrMalformedBackupCode):
		return locale.Say("backup_code.malformed"), nil
	case errors.Is(err, login.ErrRejected):
		return locale.Say("backup_code.wrong"), nil
	}
	return nil, nil
}

func (s *server) postCancel(req *request) error {
	if err := s.Login.Cancel(req.Context(), s.cookie(req.Request, attemptCookie)); err != nil {
		return err
	}
	s.setCookie(req.w, attemptCookie, "", 0)
	s.redirect(req, "/login", "notice", "sign_in_cancelled")
	return nil
}

func (s *server) postLogout(req *request) error {
	if req.isSignedIn() {
		if err := s.Manage.Sessions.SignOut(req.Context(), req.me); err != nil && !errors.Is(err, login.ErrGone) {
			return err
		}
	}
	s.setCookie(req.w, sessionCookie, "", 0)
	if s.isShared() && s.Panels[0].ForgetAtSignOut {
		forgetPanel(req.w.Header(), req.Request)
	}
	s.redirect(req, "/login", "notice", "signed_out")
	return nil
}

func (s *server) getChangePassword(req *request) error {
	http.Redirect(req.w, req.Request, s.PublicURL+changePasswordForm, http.StatusFound)
	return nil
}

// getSetup shows the page of a one-time link, which stays unused. The token of an operator's
// link for the wizard moves from the address into a cookie, until the wizard uses it.
func (s *server) getSetup(req *request) error {
	token := req.URL.Query().Get("ticket")
	opened, err := s.Manage.Links.Open(req.Context(), token)
	if err != nil {
		return err
	}
	if opened.Kind == ticket.LetIn {
		return s.views.Render(req.w, http.StatusOK, "let-in", &letInPage{
			Frame: page.Frame{Title: locale.Say("let_in.title")}, Ticket: token, Username: opened.Account.Name,
		})
	}
	if opened.Kind == ticket.Enroll && !opened.NewPassword {
		s.setCookie(req.w, ticketCookie, token, ticketCookieLife)
		s.redirect(req, newAuthenticatorPath)
		return nil
	}
	page := s.setupPage(opened, token)
	return s.views.Render(req.w, http.StatusOK, "setup", &page)
}

func (s *server) setupPage(opened manage.Link, token string) setupPage {
	page := setupPage{
		Frame: page.Frame{Title: locale.Say("setup.title_invitation")}, newPassword: s.newPassword(opened.Account),
		Ticket: token, Username: opened.Account.Name, Email: opened.Account.Email,
	}
	switch opened.Kind {
	case ticket.Setup:
		page.Title, page.First = locale.Say("setup.title_first"), true
	case ticket.Enroll:
		page.Title, page.Reset = locale.Say("new_password.title"), true
	}
	return page
}

func (s *server) postSetup(req *request) error {
	f, err := req.fields("ticket", "username", "email", "new_password")
	if err != nil {
		return err
	}
	opened, err := s.Manage.Links.Open(req.Context(), f[0])
	if err != nil {
		return err
	}
	if opened.Kind == ticket.LetIn {
		token, err := s.Manage.Links.RedeemLetIn(req.Context(), f[0], req.from)
		if err != nil {
			return err
		}
		s.rememberDevice(req, token)
		s.setCookie(req.w, nameCookie, url.QueryEscape(opened.Account.Name), nameCookieLife)
		s.redirect(req, "/login", "notice", "let_in")
		return nil
	}
	page := s.setupPage(opened, f[0])
	if page.First {
		page.Username, page.Email = f[1], f[2]
	}
	token, err := s.Manage.Links.Redeem(req.Context(), f[0], manage.NewOwner{Name: f[1], Email: f[2], Password: f[3]}, req.from)
	switch {
	case err == nil:
		owner := opened.Account
		if page.First {
			owner = account.Account{Name: f[1], Email: f[2]}
		}
		s.setWeakCookie(req, owner, f[3])
		s.rememberDevice(req, token)
		s.setCookie(req.w, nameCookie, url.QueryEscape(owner.Name), nameCookieLife)
		if page.Reset {
			s.setCookie(req.w, ticketCookie, f[0], ticketCookieLife)
			s.redirect(req, "/login", "return", newAuthenticatorPath, "notice", "password_set")
			return nil
		}
		s.redirect(req, "/login", "notice", "account_created")
		return nil
	case errors.Is(err, account.ErrNameInvalid):
		page.Error = locale.Say("setup.name_invalid")
	case errors.Is(err, account.ErrNameTaken):
		page.Error = locale.Say("setup.name_taken")
	case errors.Is(err, account.ErrEmailInvalid):
		page.Error = locale.Say("setup.email_invalid")
	case errors.Is(err, account.ErrEmailTaken):
		page.Error = locale.Say("setup.email_taken")
	default:
		if page.Error = s.passwordMessage(err); page.Error == nil {
			return err
		}
	}
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "setup", &page)
}
