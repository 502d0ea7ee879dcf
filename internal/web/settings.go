package web

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/label"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
)

func (s *server) getSettings(req *request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s *server) profilePage(req *request) (profilePage, error) {
	me := req.me.Account
	groups, err := account.GroupsOf(req.Context(), s.Login.DB.Reader(), me.ID)
	return profilePage{
		Frame: s.frameOf(req, locale.Say("profile.title"), "profile"), Name: me.Name, DisplayName: me.DisplayName, Email: me.Email,
		Max: account.MaxDisplayNameRunes, Operator: me.Role == account.Operator, Groups: groups, CreatedAt: me.CreatedAt,
	}, err
}

func (s *server) getProfile(req *request) error {
	page, err := s.profilePage(req)
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "profile", &page)
}

func (s *server) postProfile(req *request) error {
	name, err := req.field("display_name")
	if err != nil {
		return err
	}
	err = s.Manage.Accounts.SetDisplayName(req.Context(), req.me, name)
	if errors.Is(err, account.ErrDisplayNameInvalid) {
		page, err := s.profilePage(req)
		if err != nil {
			return err
		}
		page.DisplayName, page.Error = name, nameMessage(err, account.MaxDisplayNameRunes)
		return s.views.Render(req.w, http.StatusUnprocessableEntity, "profile", &page)
	}
	if err != nil {
		return err
	}
	s.redirect(req, "/settings/profile", "notice", "profile_saved")
	return nil
}

func (s *server) securityPage(req *request) (securityPage, error) {
	ctx, q, me := req.Context(), s.Login.DB.Reader(), req.me.Account
	page := securityPage{Frame: s.frameOf(req, locale.Say("security.title"), "security"), newPassword: s.newPassword(me), Username: me.Name, TwoFactor: req.twoFactor}
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
	page.MaxName = authenticator.MaxNameRunes
	page.AtLimit = len(mine) >= authenticator.MaxPerAccount
	page.EnrollLocked = s.Manage.Authenticators.NeedsTicket(me, req.twoFactor) && s.cookie(req.Request, ticketCookie) == ""
	switch {
	case page.Wrong > 0:
		page.PasswordAdvice = locale.Say("security.password_known")
	case page.Notice != nil && page.Notice.Text.Concerns("notice.weak"):
		page.PasswordAdvice = locale.Say("security.password_weak") // shown once: the strength isn't stored
	default:
		page.StepsDone++
	}
	if len(mine) > 0 {
		page.TwoFactorSince = me.TwoFactorAt
		var confirmed bool
		if page.CodeSet, confirmed, err = backupcode.Current(ctx, q, me.ID); err != nil {
			return page, err
		}
		page.CodesUnconfirmed = !confirmed
		page.StepsDone++
		if page.CodesLeft > fewCodes && confirmed {
			page.StepsDone++
		}
	}
	return page, nil
}

// redirectToSecurity redirects to the Security tab. Its routes are addresses of forms' answers, which a
// browser may load again.
func (s *server) redirectToSecurity(req *request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s *server) getSecurity(req *request) error {
	if s.redirectedToPanel(req) {
		return nil
	}
	page, err := s.securityPage(req)
	if err != nil {
		return err
	}
	return s.views.Render(req.w, http.StatusOK, "security", &page)
}

func (s *server) postPasswordChange(req *request) error {
	f, err := req.fields("password", "new_password")
	if err != nil {
		return err
	}
	token, err := s.Manage.Passwords.Change(req.Context(), req.me, f[0], f[1])
	if err == nil {
		s.setWeakCookie(req, req.me.Account, f[1])
		s.redirectWithSession(req, token, "/settings/security", "notice", "password_changed")
		return nil
	}
	page, pageErr := s.securityPage(req)
	if pageErr != nil {
		return pageErr
	}
	var wait *login.WaitError
	switch {
	case errors.As(err, &wait):
		page.PasswordError = locale.Say("throttle.wait", "n", seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "security", &page)
	case errors.Is(err, login.ErrShielded):
		page.PasswordError = locale.Say("login.shielded")
		return s.views.Render(req.w, http.StatusTooManyRequests, "security", &page)
	case errors.Is(err, login.ErrRejected):
		page.PasswordError = locale.Say("password.wrong")
	default:
		if page.PasswordError = s.passwordMessage(err); page.PasswordError == nil {
			return err
		}
	}
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "security", &page)
}

func (s *server) postDisable(req *request) error {
	token, err := s.Manage.Authenticators.DisableTwoFactor(req.Context(), req.me)
	if errors.Is(err, manage.ErrSuspect) {
		s.redirect(req, "/settings/security", "notice", "suspect")
		return nil
	}
	if err != nil {
		return err
	}
	s.redirectWithSession(req, token, "/settings/security", "notice", "disabled")
	return nil
}

func (s *server) postBackupCodes(req *request) error {
	replaces, err := req.field("replaces")
	if err != nil {
		return err
	}
	set, err := s.Manage.Authenticators.IssueBackupCodes(req.Context(), req.me, replaces)
	if errors.Is(err, manage.ErrReplaced) {
		return s.redirectToSecurity(req) // the answer was reloaded: the codes that it showed stay valid
	}
	var wait *login.WaitError
	if errors.As(err, &wait) {
		s.redirect(req, "/settings/security", "notice", "codes_limit")
		return nil
	}
	if err != nil {
		return err
	}
	return s.showCodes(req, set, false)
}

// postCodesSaved answers the form on the page of new backup codes, and the one on the
// Security tab.
func (s *server) postCodesSaved(req *request) error {
	if err := s.Manage.Authenticators.ConfirmBackupCodes(req.Context(), req.me, req.id()); err != nil {
		return err
	}
	return s.redirectToSecurity(req)
}

// showCodes shows new backup codes. No other page shows them.
func (s *server) showCodes(req *request, set backupcode.Set, justEnabled bool) error {
	now := s.Login.Clock()
	name := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-' // not allowed in file names on some systems
		}
		return r
	}, s.SiteName+" "+req.me.Account.Name+" backup codes.txt")
	text := s.SiteName + " " + s.PublicURL + "\n" + req.me.Account.Name + "\n" + now.UTC().Format(page.DayLayout) + "\n\n" + strings.Join(set.Codes, "\n") + "\n"
	// The page has no menu and no tabs, since one click on them would lose the codes.
	return s.views.Render(req.w, http.StatusOK, "backup-codes", &backupCodesPage{
		Frame: page.Frame{Title: locale.Say("backup_codes.title")}, JustEnabled: justEnabled, CodeSet: set.ID(), Codes: set.Codes,
		URL: s.PublicURL, Username: req.me.Account.Name, At: now,
		Download: template.URL("data:text/plain;charset=utf-8," + url.PathEscape(text)), FileName: name,
	})
}

func (s *server) postRename(req *request) error {
	name, err := req.field("name")
	if err != nil {
		return err
	}
	err = s.Manage.Authenticators.Rename(req.Context(), req.me, req.id(), name)
	if err == nil {
		s.redirect(req, "/settings/security", "notice", "renamed")
		return nil
	}
	if !errors.Is(err, authenticator.ErrNameInvalid) {
		return err
	}
	page, pageErr := s.securityPage(req)
	if pageErr != nil {
		return pageErr
	}
	i := slices.IndexFunc(page.Authenticators, func(a authenticatorRow) bool { return a.ID == req.id() })
	if i < 0 {
		return login.ErrGone
	}
	page.Authenticators[i].Typed, page.Authenticators[i].Error = name, nameMessage(err, authenticator.MaxNameRunes)
	return s.views.Render(req.w, http.StatusUnprocessableEntity, "security", &page)
}

// nameMessage returns the message for a name that was refused with err. maxLength is the maximum
// length of such a name, in code points.
func nameMessage(err error, maxLength int) *locale.Message {
	var character *label.CharacterError
	switch {
	case errors.Is(err, label.ErrEmpty):
		return locale.Say("name.empty")
	case errors.As(err, &character):
		return locale.Say("name.character", "character", fmt.Sprintf("%U", character.Character))
	default:
		return locale.Say("name.long", "n", maxLength)
	}
}

func (s *server) postRemove(req *request) error {
	token, err := s.Manage.Authenticators.Remove(req.Context(), req.me, req.id())
	if errors.Is(err, manage.ErrSuspect) {
		s.redirect(req, "/settings/security", "notice", "suspect")
		return nil
	}
	if err != nil {
		return err
	}
	s.redirectWithSession(req, token, "/settings/security", "notice", "removed")
	return nil
}
