package web

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mileusna/useragent"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/session"
)

func (s *server) getSettings(req *request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s *server) profilePage(req *request) (profilePage, error) {
	me := req.me.Account
	groups, err := account.GroupsOf(req.Context(), s.Login.DB.Reader(), me.ID)
	return profilePage{
		frame: s.frameOf(req, say("profile.title"), "profile"), Name: me.Name, DisplayName: me.DisplayName, Email: me.Email,
		Operator: me.Role == account.Operator, Groups: groups, CreatedAt: me.CreatedAt,
	}, err
}

func (s *server) getProfile(req *request) error {
	page, err := s.profilePage(req)
	if err != nil {
		return err
	}
	return s.views.page(req.w, http.StatusOK, "profile", page)
}

func (s *server) postProfile(req *request) error {
	name, err := req.field("display_name")
	if err != nil {
		return err
	}
	err = s.Login.SetDisplayName(req.Context(), req.me, name)
	if errors.Is(err, account.ErrDisplayNameInvalid) {
		page, err := s.profilePage(req)
		if err != nil {
			return err
		}
		page.DisplayName, page.Error = name, say("profile.display_name_invalid")
		return s.views.page(req.w, http.StatusUnprocessableEntity, "profile", page)
	}
	if err != nil {
		return err
	}
	s.redirect(req, "/settings/profile", "notice", "profile_saved")
	return nil
}

func (s *server) securityPage(req *request) (securityPage, error) {
	ctx, q, me := req.Context(), s.Login.DB.Reader(), req.me.Account
	page := securityPage{frame: s.frameOf(req, say("security.title"), "security"), newPassword: s.newPassword(me), Username: me.Name, TwoFactor: req.twoFactor}
	var err error
	if page.PasswordChangedAt, err = password.ChangedAt(ctx, q, me.ID); err != nil {
		return page, err
	}
	mine, err := authenticator.List(ctx, q, me.ID)
	if err != nil {
		return page, err
	}
	for _, a := range mine {
		page.Authenticators = append(page.Authenticators, authenticatorRow{
			ID: a.ID, Name: a.Name, AddedAt: a.ConfirmedAt, LastUsedAt: a.LastUsedAt, Only: len(mine) == 1,
		})
	}
	page.SomePanel = len(s.Panels) > 0
	if page.Passes, err = s.passRows(req); err != nil {
		return page, err
	}
	page.AtLimit = len(mine) >= authenticator.MaxPerAccount
	page.EnrollLocked = s.Login.NeedsTicket(me, req.twoFactor) && s.cookie(req.Request, ticketCookie) == ""
	switch {
	case page.Wrong > 0:
		page.PasswordAdvice = say("security.password_known")
	case page.Notice != nil && page.Notice.Text.about("notice.weak"):
		page.PasswordAdvice = say("security.password_weak") // said once: how strong it is isn't kept
	default:
		page.StepsDone++
	}
	if len(mine) > 0 {
		page.TwoFactorSince = me.TwoFactorAt
		if page.CodeSet, err = backupcode.SetID(ctx, q, me.ID); err != nil {
			return page, err
		}
		page.StepsDone++
		if page.CodesLeft > fewCodes {
			page.StepsDone++
		}
	}
	return page, nil
}

// toSecurity answers for the address of a form's answer that is opened again.
func (s *server) toSecurity(req *request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s *server) getSecurity(req *request) error {
	if s.onward(req) {
		return nil
	}
	page, err := s.securityPage(req)
	if err != nil {
		return err
	}
	return s.views.page(req.w, http.StatusOK, "security", page)
}

func (s *server) postPasswordChange(req *request) error {
	f, err := req.fields("password", "new_password")
	if err != nil {
		return err
	}
	token, err := s.Login.ChangePassword(req.Context(), req.me, f[0], f[1])
	if err == nil {
		s.noteWeak(req, req.me.Account, f[1])
		s.land(req, token, "/settings/security", "notice", "password_changed")
		return nil
	}
	page, pageErr := s.securityPage(req)
	if pageErr != nil {
		return pageErr
	}
	var wait *login.WaitError
	switch {
	case errors.As(err, &wait):
		page.PasswordError = say("throttle.wait", "n", seconds(wait.RetryAfter))
		return s.tooMany(req, wait, "security", page)
	case errors.Is(err, login.ErrShielded):
		page.PasswordError = say("login.shielded")
		return s.views.page(req.w, http.StatusTooManyRequests, "security", page)
	case errors.Is(err, login.ErrRejected):
		page.PasswordError = say("password.wrong")
	default:
		if page.PasswordError = s.passwordMessage(err); page.PasswordError == nil {
			return err
		}
	}
	return s.views.page(req.w, http.StatusUnprocessableEntity, "security", page)
}

func (s *server) postDisable(req *request) error {
	token, err := s.Login.DisableTwoFactor(req.Context(), req.me)
	if err != nil {
		return err
	}
	s.land(req, token, "/settings/security", "notice", "disabled")
	return nil
}

func (s *server) postBackupCodes(req *request) error {
	replaces, err := req.field("replaces")
	if err != nil {
		return err
	}
	codes, err := s.Login.IssueBackupCodes(req.Context(), req.me, replaces)
	if errors.Is(err, login.ErrReplaced) {
		return s.toSecurity(req) // the answer was reloaded: the set that was shown stays
	}
	var wait *login.WaitError
	if errors.As(err, &wait) {
		s.redirect(req, "/settings/security", "notice", "codes_limit")
		return nil
	}
	if err != nil {
		return err
	}
	return s.showCodes(req, codes, false)
}

// showCodes writes the one page on which backup codes ever stand.
func (s *server) showCodes(req *request, codes []string, justEnabled bool) error {
	now := s.Login.Clock()
	f := s.frameOf(req, say("backup_codes.title"), "security")
	f.FewCodes = false
	name := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-' // not allowed in file names somewhere
		}
		return r
	}, s.SiteName+" "+req.me.Account.Name+" backup codes.txt")
	text := s.SiteName + " " + s.PublicURL + "\n" + req.me.Account.Name + "\n" + now.UTC().Format(dayLayout) + "\n\n" + strings.Join(codes, "\n") + "\n"
	return s.views.page(req.w, http.StatusOK, "backup-codes", backupCodesPage{
		frame: f, JustEnabled: justEnabled, Codes: codes, Username: req.me.Account.Name, At: now,
		Download: template.URL("data:text/plain;charset=utf-8," + url.PathEscape(text)), FileName: name,
	})
}

func (s *server) postAuthenticator(req *request) error {
	id, err := s.Login.BeginEnrollment(req.Context(), req.me, s.cookie(req.Request, ticketCookie))
	switch {
	case errors.Is(err, login.ErrLocked):
		s.setCookie(req.w, ticketCookie, "", 0)
		s.redirect(req, "/settings/security", "notice", "locked")
	case errors.Is(err, authenticator.ErrLimit):
		s.redirect(req, "/settings/security", "notice", "wizard_limit")
	case err != nil:
		return err
	default:
		s.redirect(req, "/settings/security/authenticators/"+id)
	}
	return nil
}

func (s *server) wizardPage(req *request, id string) (wizardPage, error) {
	enrollment, err := s.Login.Enrollment(req.Context(), req.me, id)
	if err != nil {
		return wizardPage{}, err
	}
	svg, err := totp.QR(enrollment.KeyURI.Reveal(), s.views.sentence(say("wizard.qr")))
	if err != nil {
		return wizardPage{}, err
	}
	page := wizardPage{
		frame: s.frameOf(req, say("wizard.title_more"), "security"), First: enrollment.First, ID: id, Owner: req.me.Account.Name,
		QR: template.HTML(svg), Key: enrollment.Key.Reveal(), KeyURI: template.URL(enrollment.KeyURI.Reveal()),
		Name: s.views.sentence(say("wizard.default_name")),
	}
	if page.First {
		page.Title = say("wizard.title_first")
	}
	for key := page.Key; key != ""; {
		n := min(4, len(key))
		page.Groups = append(page.Groups, key[:n])
		key = key[n:]
	}
	return page, nil
}

// wizardGone answers for a wizard that isn't open in this session: it was
// confirmed, it expired, or it never was ours.
func (s *server) wizardGone(req *request, id string) error {
	if s.confirmedAuthenticator(req, id) {
		s.redirect(req, "/settings/security", "notice", "already_confirmed")
	} else {
		s.redirect(req, "/settings/security", "notice", "wizard_expired")
	}
	return nil
}

func (s *server) getAuthenticator(req *request) error {
	id := req.id()
	page, err := s.wizardPage(req, id)
	if errors.Is(err, login.ErrGone) {
		return s.wizardGone(req, id)
	}
	if err != nil {
		return err
	}
	return s.views.page(req.w, http.StatusOK, "wizard", page)
}

func (s *server) postConfirm(req *request) error {
	f, err := req.fields("code", "name")
	if err != nil {
		return err
	}
	id := req.id()
	confirmed, err := s.Login.ConfirmEnrollment(req.Context(), req.me, id, f[0], f[1], s.cookie(req.Request, ticketCookie))
	if errors.Is(err, login.ErrClock) {
		s.logOutcome(req, "confirm", login.Progress{}, err) // no sign-in else
	}
	switch {
	case err == nil && len(confirmed.Codes) > 0:
		s.rememberDevice(req, confirmed.Device)
		s.setCookie(req.w, sessionCookie, confirmed.Session.Reveal(), s.Login.Life.Absolute)
		s.setCookie(req.w, ticketCookie, "", 0)
		return s.showCodes(req, confirmed.Codes, true)
	case err == nil:
		s.rememberDevice(req, confirmed.Device)
		s.land(req, confirmed.Session, "/settings/security", "notice", "added")
		return nil
	case errors.Is(err, login.ErrGone):
		return s.wizardGone(req, id)
	case errors.Is(err, login.ErrLocked):
		s.setCookie(req.w, ticketCookie, "", 0)
		s.redirect(req, "/settings/security", "notice", "locked")
		return nil
	case errors.Is(err, authenticator.ErrLimit):
		s.redirect(req, "/settings/security", "notice", "wizard_limit")
		return nil
	}
	page, pageErr := s.wizardPage(req, id)
	if pageErr != nil {
		return pageErr
	}
	page.Name = f[1]
	if page.Error = codeMessage(err); page.Error == nil {
		if !errors.Is(err, authenticator.ErrNameInvalid) {
			return err
		}
		page.Error = say("wizard.name_invalid")
	}
	return s.views.page(req.w, http.StatusUnprocessableEntity, "wizard", page)
}

func (s *server) postCancelEnrollment(req *request) error {
	if err := s.Login.CancelEnrollment(req.Context(), req.me, req.id()); err != nil && !errors.Is(err, login.ErrGone) {
		return err
	}
	s.redirect(req, "/settings/security", "notice", "cancelled")
	return nil
}

func (s *server) postRename(req *request) error {
	name, err := req.field("name")
	if err != nil {
		return err
	}
	err = s.Login.Rename(req.Context(), req.me, req.id(), name)
	switch {
	case errors.Is(err, authenticator.ErrNameInvalid):
		s.redirect(req, "/settings/security", "notice", "name_invalid")
	case err != nil:
		return err
	default:
		s.redirect(req, "/settings/security", "notice", "renamed")
	}
	return nil
}

func (s *server) postRemove(req *request) error {
	token, err := s.Login.RemoveAuthenticator(req.Context(), req.me, req.id())
	if err != nil {
		return err
	}
	s.land(req, token, "/settings/security", "notice", "removed")
	return nil
}

func (s *server) getSessions(req *request) error {
	all, err := session.List(req.Context(), s.Login.DB.Reader(), req.me.Account, s.Login.Life, s.Login.Clock())
	if err != nil {
		return err
	}
	page := sessionsPage{frame: s.frameOf(req, say("sessions.title"), "sessions"), Others: len(all) - 1}
	for _, one := range all {
		row := sessionRow{
			ID: one.ID, Browser: s.browser(one.Browser), Address: one.Address, How: how(login.How(one.Proofs)),
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
	here, err := device.Known(req.Context(), s.Login.DB.Reader(), req.from.Device, req.me.Account.ID, s.Login.Clock())
	if err != nil {
		return err
	}
	for _, one := range devices {
		page.Devices = append(page.Devices, deviceRow{
			ID: one.ID, Browser: s.browser(one.Browser), Address: one.Address, UsedAt: one.UsedAt, Current: one.ID == here.ID,
		})
	}
	return s.views.page(req.w, http.StatusOK, "sessions", page)
}

// postLetIn shows a link, this once, that makes another browser known.
func (s *server) postLetIn(req *request) error {
	token, err := s.Login.LetIn(req.Context(), req.me)
	if err != nil {
		return err
	}
	return s.views.page(req.w, http.StatusOK, "let-in-link", letInLinkPage{
		frame: s.frameOf(req, say("let_in.link_title"), "sessions"), Link: s.PublicURL + "/setup?ticket=" + token.Reveal(),
	})
}

func (s *server) postForget(req *request) error {
	if err := s.Login.ForgetDevice(req.Context(), req.me, req.id()); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

func (s *server) postForgetAll(req *request) error {
	if err := s.Login.ForgetDevices(req.Context(), req.me); err != nil {
		return err
	}
	s.setCookie(req.w, deviceCookie, "", 0)
	s.redirect(req, "/settings/sessions", "notice", "forgotten")
	return nil
}

// how names the ways of signing in, for the sentences that say so.
func how(name string) *message {
	switch name {
	case "password_totp":
		return say("how.password_totp")
	case "password_backup_code":
		return say("how.password_backup_code")
	default:
		return say("how.password")
	}
}

// browser puts a User-Agent into words, "Chrome on Linux"; what it doesn't
// know it leaves out.
func (s *server) browser(userAgent string) string {
	ua := useragent.Parse(userAgent)
	switch {
	case ua.Name != "" && ua.OS != "":
		return s.views.sentence(say("sessions.browser", "browser", ua.Name, "system", ua.OS))
	default:
		return ua.Name
	}
}

func (s *server) postRevoke(req *request) error {
	id := req.id()
	if err := s.Login.RevokeSession(req.Context(), req.me, id); err != nil {
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
	if _, err := s.Login.RevokeOthers(req.Context(), req.me); err != nil {
		return err
	}
	s.redirect(req, "/settings/sessions", "notice", "others_revoked")
	return nil
}

// activityPageSize is how many events fill a page that one still scrolls.
const activityPageSize = 30

func (s *server) getActivity(req *request) error {
	// One more than fits tells whether there is an older page.
	events, err := audit.List(req.Context(), s.Login.DB.Reader(), req.me.Account.ID, cursor(req.URL.Query().Get("before")), activityPageSize+1)
	if err != nil {
		return err
	}
	page := activityPage{frame: s.frameOf(req, say("activity.title"), "activity")}
	if len(events) > activityPageSize {
		events = events[:activityPageSize]
		last := events[len(events)-1]
		page.Older = "/settings/activity?before=" + strconv.FormatInt(last.At.UnixMilli(), 10) + "." + url.QueryEscape(last.ID)
	}
	for _, e := range events {
		page.Events = append(page.Events, activityRow{
			Text: say("activity."+string(e.Kind), "how", how(e.Detail), "name", e.Detail, "n", e.Number),
			At:   e.At, Address: e.Address, Browser: s.browser(e.Browser), Alarm: e.Kind.Alarming(),
		})
	}
	return s.views.page(req.w, http.StatusOK, "activity", page)
}

// cursor reads "milliseconds.id"; what can't be read is the first page.
func cursor(text string) audit.Cursor {
	at, id, _ := strings.Cut(text, ".")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !secret.IsID(id) {
		return audit.Cursor{}
	}
	return audit.Cursor{At: time.UnixMilli(ms), ID: id}
}
