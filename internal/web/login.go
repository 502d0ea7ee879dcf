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

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
)

// loginPage returns the sign-in page for a return URL. If the return URL is a panel's, the page's
// title names the panel, so that users see what the password is for. Otherwise it names the site.
func (s signIn) loginPage(req *page.Request, returnURL string) loginPage {
	data := loginPage{Frame: page.Frame{Title: locale.Say("login.title"), Notice: s.noticeOf(req)}, Return: login.CheckReturn(returnURL), HasMail: s.Recovery.HasMail()}
	if panel := s.panelOfReturn(data.Return); panel != nil {
		data.Title, data.ForPanel = locale.Say("login.title_panel", "panel", panel.Name), true
	}
	return data
}

func (s signIn) getLogin(req *page.Request) error {
	data := s.loginPage(req, req.URL.Query().Get("return"))
	if req.IsSignedIn() {
		s.redirect(req, data.Return, s.noticeForSignedIn(req)...) // another tab finished the sign-in, or it was a double click
		return nil
	}
	data.Username = s.linkedName(req)
	if s.Cookie(req.Request, cookiesCookie) == "" {
		s.SetCookie(req.W, cookiesCookie, "1", cookiesCookieLife)
	}
	return s.Render(req, http.StatusOK, "login", &data)
}

// noticeForSignedIn returns the part of a query with the notice that the sign-in page was to show, if
// the notice also concerns a user who is signed in, such as one who asked for a new password.
func (s signIn) noticeForSignedIn(req *page.Request) []string {
	switch name := req.URL.Query().Get("notice"); name {
	case "mail_sent", "password_set", "email_restored":
		return []string{"notice", name}
	}
	return nil
}

// linkedName returns the name of the account whose one-time link this browser just used, or "".
func (s signIn) linkedName(req *page.Request) string {
	name, err := url.QueryUnescape(s.Cookie(req.Request, nameCookie))
	if err != nil || !utf8.ValidString(name) {
		return ""
	}
	return name
}

func (s signIn) postPassword(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	username, typed, returnURL := form.Value("username"), form.Value("password"), form.Value("return")
	data := s.loginPage(req, returnURL)
	data.Username = username
	if strings.TrimSpace(username) == "" || typed == "" {
		data.Error = locale.Say("login.empty")
		return s.Render(req, http.StatusUnprocessableEntity, "login", &data)
	}
	progress, err := s.Login.SubmitPassword(req.Context(), login.Credentials{Username: username, Password: typed, ReturnURL: returnURL}, req.From)
	s.logOutcome(req, "password", progress, returnURL, err)
	var wait *login.WaitError
	switch {
	case errors.Is(err, login.ErrRejected):
		data.Error = locale.Say("login.wrong")
		return s.Render(req, http.StatusUnprocessableEntity, "login", &data)
	case errors.As(err, &wait):
		data.Error = locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "login", &data)
	case errors.Is(err, login.ErrShielded):
		data.Error, data.Shielded = locale.Say("login.shielded"), data.HasMail
		if data.Shielded {
			data.Error = locale.Say("login.shielded_mail")
		}
		return s.Render(req, http.StatusTooManyRequests, "login", &data)
	case errors.Is(err, login.ErrPasswordEnded):
		data.Error = locale.Say("login.password_ended")
		return s.Render(req, http.StatusUnprocessableEntity, "login", &data)
	case err != nil:
		return err
	}
	if progress.Stage == login.StageDone { // the password was enough
		if err := s.remind(req, &progress); err != nil {
			return err
		}
	}
	return s.advance(req, progress)
}

// showTooMany shows the form again, with status 429 and the time to wait before the next try.
func (s *server) showTooMany(req *page.Request, wait *login.WaitError, name string, data page.Page) error {
	req.W.Header().Set("Retry-After", strconv.Itoa(page.Seconds(wait.RetryAfter)))
	return s.Render(req, http.StatusTooManyRequests, name, data)
}

// advanceToReturn is like [signIn.advance], but uses the return URL of the form. The return URL in
// p can be another tab's: if that tab started a sign-in after this one, the browser's attempt
// cookie belongs to that sign-in.
func (s signIn) advanceToReturn(req *page.Request, p login.Progress, returnURL string, query ...string) error {
	if checked := login.CheckReturn(returnURL); checked == returnURL {
		p.ReturnURL = checked
	}
	return s.advance(req, p, query...)
}

// advance redirects the browser to the page of its attempt's stage. After the last stage, it
// redirects to the return URL, to which it adds query, in pairs of name and value.
func (s signIn) advance(req *page.Request, p login.Progress, query ...string) error {
	if p.Stage != login.StageDone {
		s.SetCookie(req.W, attemptCookie, p.Attempt.Reveal(), attemptCookieLife)
		s.redirect(req, stagePath(p.Stage))
		return nil
	}
	s.SetCookie(req.W, attemptCookie, "", 0)
	if s.Cookie(req.Request, nameCookie) != "" {
		s.SetCookie(req.W, nameCookie, "", 0)
	}
	s.rememberDevice(req, p.Device)
	if s.isShared() {
		me, err := s.meWith(req, p.Session)
		if err != nil {
			return err
		}
		s.forgetPreviousAccount(req, s.Panels[0], me.Account.ID)
	}
	if p.CodesLeft >= 0 {
		query = []string{"notice", "backup_code_used"}
	}
	s.redirectWithSession(req, p.Session, login.CheckReturn(p.ReturnURL), query...)
	return nil
}

// rememberDevice sets the browser's device cookie.
func (s *server) rememberDevice(req *page.Request, token secret.Text) {
	s.SetCookie(req.W, page.DeviceCookie, token.Reveal(), device.Life)
}

// stagePath returns the path of the page for a stage other than [login.StageDone].
func stagePath(stage login.Stage) string {
	switch stage {
	case login.StageSecond:
		return "/login/code"
	case login.StageNewPassword:
		return "/login/new-password"
	default: // StageFirst, StageLink
		return "/login" // the first form, which permits the least
	}
}

// otherStageError means that the attempt isn't at the stage that the page is for.
type otherStageError struct{ stage login.Stage }

func (e *otherStageError) Error() string { return "attempt is at another stage" }

// attemptAt returns the token of the browser's attempt, and what the page of the given stage
// shows. It returns a [*otherStageError] if the attempt isn't at that stage.
func (s signIn) attemptAt(req *page.Request, stage login.Stage) (string, login.Prompt, error) {
	token := s.Cookie(req.Request, attemptCookie)
	attempt, err := s.Login.AttemptPrompt(req.Context(), token, req.From)
	if err == nil && attempt.Stage != stage {
		err = &otherStageError{attempt.Stage}
	}
	return token, attempt, err
}

func (s signIn) codePage(req *page.Request, w login.Prompt, two bool) codePage {
	var names []string
	if len(w.Authenticators) > 1 {
		names = w.Authenticators
	}
	return codePage{
		Frame: page.Frame{Title: codeTitle(w.Format), Notice: s.noticeOf(req)}, Entry: w.Account.Name, Names: names,
		Two: two || w.TwoCodes, Seconds: secondsOf(w.Format), TwoOnly: w.TwoCodes, HasCodes: w.CodesLeft > 0, Return: w.ReturnURL,
	}
}

// codeTitle returns the title of the form for a code. It names the number of digits unless the
// account has codes of several lengths.
func codeTitle(f login.CodeFormat) *locale.Message {
	if len(f.Digits) != 1 {
		return locale.Say("code.title_any")
	}
	return locale.Say("code.title", "n", f.Digits[0])
}

// secondsOf returns after how many seconds, at most, an app of the account shows the next code.
func secondsOf(f login.CodeFormat) int { return int(f.Period.Seconds()) }

func (s signIn) getCode(req *page.Request) error {
	_, attempt, err := s.attemptAt(req, login.StageSecond)
	if err != nil {
		return err
	}
	if !attempt.HasTOTP() {
		s.redirect(req, "/login/backup-code")
		return nil
	}
	data := s.codePage(req, attempt, req.URL.Query().Get("two") == "1")
	return s.Render(req, http.StatusOK, "code", &data)
}

func (s signIn) postCode(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	returnURL := form.Value("return")
	token := s.Cookie(req.Request, attemptCookie)
	progress, err := s.Login.SubmitCode(req.Context(), token, form.Value("code"), form.Value("next_code"), req.From)
	s.logOutcome(req, "code", progress, returnURL, err)
	if err == nil {
		return s.advanceToReturn(req, progress, returnURL)
	}
	refusal := codeMessage(err)
	if refusal == nil {
		return err
	}
	_, attempt, err := s.attemptAt(req, login.StageSecond)
	if err != nil {
		return err
	}
	if !attempt.HasTOTP() {
		data := newBackupCodePage(attempt)
		data.Return, data.Error = returnURLOfForm(returnURL, attempt), locale.Say("code.none")
		return s.Render(req, http.StatusUnprocessableEntity, "backup-code", &data)
	}
	data := s.codePage(req, attempt, form.Value("next_code") != "")
	data.Return, data.Error = returnURLOfForm(returnURL, attempt), refusal
	return s.Render(req, http.StatusUnprocessableEntity, "code", &data)
}

// returnURLOfForm returns the return URL for a form that is shown again. That is the value of the
// form's field or, if the field is empty, the return URL of the attempt.
func returnURLOfForm(field string, w login.Prompt) string {
	if field != "" {
		return login.CheckReturn(field)
	}
	return w.ReturnURL
}

// logOutcome logs the outcome of one step of a sign-in or reauthentication. If the request isn't
// for a panel's host, the logged panel is that of p's return URL or, without one, of returnURL.
// The log has nothing that the user typed, not even a name, since users type passwords into the
// wrong field. Only after a right password does it name the account.
func (s *server) logOutcome(req *page.Request, step string, p login.Progress, returnURL string, err error) {
	outcome := login.OutcomeOf(err)
	level := slog.LevelInfo
	if outcome == login.OutcomeClock {
		level = slog.LevelError // the operator must correct the server's clock
	}
	panel := s.panelAtHost(req.Host)
	if panel == nil {
		panel = s.panelOfReturn(cmp.Or(p.ReturnURL, returnURL))
	}
	line := append([]any{"request", page.Reference(req.Request), "step", step, "outcome", string(outcome), "done", err == nil && p.Stage == login.StageDone},
		logFields(req.Host, panel, cmp.Or(p.Username, req.Me.Account.Name))...)
	s.Log.Log(req.Context(), level, "sign-in", append(line, "address", req.From.Address.String())...)
}

// codeMessage returns the message for a code that wasn't accepted. It returns nil if err isn't about
// the code.
func codeMessage(err error) *locale.Message {
	var code *login.CodeError
	switch {
	case errors.Is(err, login.ErrNeedTwoCodes):
		return locale.Say("code.two_needed")
	case errors.Is(err, login.ErrNoTOTP):
		return locale.Say("code.none")
	case errors.Is(err, login.ErrClock):
		return locale.Say("code.clock")
	case errors.Is(err, login.ErrNoMoreCodes):
		return locale.Say("code.two_limit")
	case !errors.As(err, &code):
		return nil
	case code.Malformed && len(code.Format.Digits) == 1:
		return locale.Say("code.malformed", "n", code.Format.Digits[0])
	case code.Malformed:
		return locale.Say("code.malformed_any")
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
		return locale.Say("code.two_wrong", "n", secondsOf(code.Format))
	}
	return locale.Say("code.wrong")
}

func newBackupCodePage(w login.Prompt) backupCodePage {
	return backupCodePage{Frame: page.Frame{Title: locale.Say("backup_code.title")}, Left: w.CodesLeft, NoTOTP: !w.HasTOTP(), Return: w.ReturnURL}
}

func (s signIn) getBackupCode(req *page.Request) error {
	_, attempt, err := s.attemptAt(req, login.StageSecond)
	if err != nil {
		return err
	}
	data := newBackupCodePage(attempt)
	return s.Render(req, http.StatusOK, "backup-code", &data)
}

func (s signIn) postBackupCode(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	typed, returnURL := form.Value("backup_code"), form.Value("return")
	token := s.Cookie(req.Request, attemptCookie)
	progress, err := s.Login.SubmitBackupCode(req.Context(), token, typed, req.From)
	s.logOutcome(req, "backup_code", progress, returnURL, err)
	if err == nil {
		return s.advanceToReturn(req, progress, returnURL)
	}
	refusal, wait := backupCodeMessage(err)
	if refusal == nil {
		return err
	}
	_, attempt, err := s.attemptAt(req, login.StageSecond)
	if err != nil {
		return err
	}
	data := newBackupCodePage(attempt)
	data.Return, data.Error = returnURLOfForm(returnURL, attempt), refusal
	if wait != nil {
		return s.showTooMany(req, wait, "backup-code", &data)
	}
	return s.Render(req, http.StatusUnprocessableEntity, "backup-code", &data)
}

// backupCodeMessage returns the message for a backup code that wasn't accepted, or nil if err isn't
// about the code. If err demands a wait, it also returns the [*login.WaitError].
func backupCodeMessage(err error) (*locale.Message, *login.WaitError) {
	var wait *login.WaitError
	switch {
	case errors.As(err, &wait):
		return locale.Say("throttle.backup_wait", "n", page.Seconds(wait.RetryAfter)), wait
	case errors.Is(err, login.ErrMalformedBackupCode):
		return locale.Say("backup_code.malformed"), nil
	case errors.Is(err, login.ErrRejected):
		return locale.Say("backup_code.wrong"), nil
	}
	return nil, nil
}

func (s signIn) postCancel(req *page.Request) error {
	if err := s.Login.Cancel(req.Context(), s.Cookie(req.Request, attemptCookie)); err != nil {
		return err
	}
	s.SetCookie(req.W, attemptCookie, "", 0)
	s.redirect(req, "/login", "notice", "sign_in_cancelled")
	return nil
}

func (s signIn) postLogout(req *page.Request) error {
	if req.IsSignedIn() {
		if err := s.Manage.Sessions.SignOut(req.Context(), req.Me); err != nil && !errors.Is(err, login.ErrGone) {
			return err
		}
	}
	// The next user of the browser must not be led to pages of this one.
	for _, name := range []string{page.SessionCookie, page.ReturnCookie, onwardCookie} {
		s.SetCookie(req.W, name, "", 0)
	}
	if s.isShared() && s.Panels[0].ForgetAtSignOut {
		forgetPanel(req.W.Header(), req.Request)
	}
	s.redirect(req, "/login", "notice", "signed_out")
	return nil
}
