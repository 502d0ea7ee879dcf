package web

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/backupcode"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/label"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/secret"
)

func (s security) getSettings(req *page.Request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s security) profilePage(req *page.Request) (profilePage, error) {
	me := req.Me.Account
	groups, err := account.GroupsOf(req.Context(), s.Login.DB.Reader(), me.ID)
	return profilePage{
		Frame: s.frameOf(req, locale.Say("profile.title"), "profile"), Name: me.Name, DisplayName: me.DisplayName, Email: me.Email,
		Max: account.MaxDisplayNameRunes, Role: page.RoleMessage(me.Role), Administrator: me.Role == account.Administrator, Groups: groups, CreatedAt: me.CreatedAt,
		Verified: me.EmailReachesOwner(), RefusedAt: me.EmailRefusedAt, HasMail: s.Recovery.HasMail(),
	}, err
}

func (s security) getProfile(req *page.Request) error {
	data, err := s.profilePage(req)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "profile", &data)
}

func (s security) postProfile(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	name := form.Value("display_name")
	err := s.Manage.Accounts.SetDisplayName(req.Context(), req.Me, name)
	if errors.Is(err, account.ErrDisplayNameInvalid) {
		data, err := s.profilePage(req)
		if err != nil {
			return err
		}
		data.DisplayName, data.Error = name, nameMessage(err, account.MaxDisplayNameRunes)
		return s.Render(req, http.StatusUnprocessableEntity, "profile", &data)
	}
	if err != nil {
		return err
	}
	s.redirect(req, "/settings/profile", "notice", "profile_saved")
	return nil
}

func (s security) securityPage(req *page.Request) (securityPage, error) {
	ctx, q, me := req.Context(), s.Login.DB.Reader(), req.Me.Account
	data := securityPage{Frame: s.frameOf(req, locale.Say("security.title"), "security"), newPassword: s.newPassword(me), Username: me.Name, TwoFactor: req.TwoFactor}
	var err error
	if data.PasswordChangedAt, err = password.ChangedAt(ctx, q, me.ID); err != nil {
		return data, err
	}
	mine, err := authenticator.List(ctx, q, me.ID)
	if err != nil {
		return data, err
	}
	for _, a := range mine {
		used, err := totp.UsedAt(ctx, q, a)
		if err != nil {
			return data, err
		}
		data.Authenticators = append(data.Authenticators, authenticatorRow{
			ID: a.ID, Name: a.Name, AddedAt: a.ConfirmedAt, LastUsedAt: used, Only: len(mine) == 1,
		})
	}
	data.SomePanel = len(s.Panels) > 0
	data.Passes, err = passes(s).passRows(req)
	if err != nil {
		return data, err
	}
	data.Required = s.Entry.Requires(req.Policy)
	data.MaxName = authenticator.MaxNameRunes
	data.AtLimit = len(authenticator.OfKind(mine, authenticator.TOTP)) >= authenticator.MaxTOTP
	data.EnrollLocked = s.Manage.Authenticators.NeedsTicket(me, req.Policy, req.TwoFactor) && s.Cookie(req.Request, ticketCookie) == ""
	switch {
	case data.Wrong > 0:
		data.PasswordAdvice = locale.Say("security.password_known")
	case data.Notice != nil && data.Notice.Text.Concerns("notice.weak"):
		data.PasswordAdvice = locale.Say("security.password_weak") // shown only once, since the strength isn't stored
	default:
		data.StepsDone++
	}
	if len(mine) > 0 {
		data.TwoFactorSince = me.TwoFactorAt
		var confirmed bool
		if data.CodeSet, confirmed, err = backupcode.Current(ctx, q, me.ID); err != nil {
			return data, err
		}
		data.CodesUnconfirmed = !confirmed
		data.StepsDone++
		if data.CodesLeft > page.FewCodes && confirmed {
			data.StepsDone++
		}
	}
	return data, nil
}

// redirectToSecurity redirects to the Security tab. It also answers GET requests for the paths to
// which forms are submitted, since browsers sometimes load the answer to a form again.
func (s security) redirectToSecurity(req *page.Request) error {
	s.redirect(req, "/settings/security")
	return nil
}

func (s security) getSecurity(req *page.Request) error {
	if s.redirectedBack(req) {
		return nil
	}
	data, err := s.securityPage(req)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "security", &data)
}

func (s security) postPasswordChange(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	typed := form.Value("new_password")
	token, err := s.Manage.Passwords.Change(req.Context(), req.Me, form.Value("password"), typed)
	if err == nil {
		s.setWeakCookie(req, req.Me.Account, typed)
		s.redirectWithSession(req, token, "/settings/security", "notice", "password_changed")
		return nil
	}
	data, pageErr := s.securityPage(req)
	if pageErr != nil {
		return pageErr
	}
	var wait *login.WaitError
	switch {
	case errors.As(err, &wait):
		data.PasswordError = locale.Say("throttle.wait", "n", page.Seconds(wait.RetryAfter))
		return s.showTooMany(req, wait, "security", &data)
	case errors.Is(err, login.ErrShielded):
		data.PasswordError = locale.Say("login.shielded")
		return s.Render(req, http.StatusTooManyRequests, "security", &data)
	case errors.Is(err, login.ErrRejected):
		data.PasswordError = locale.Say("password.wrong")
	default:
		if data.PasswordError = s.passwordMessage(err); data.PasswordError == nil {
			return err
		}
	}
	return s.Render(req, http.StatusUnprocessableEntity, "security", &data)
}

func (s security) postDisable(req *page.Request) error {
	token, err := s.Manage.Authenticators.DisableTwoFactor(req.Context(), req.Me)
	return s.answerRemoval(req, token, err, "disabled")
}

func (s security) postBackupCodes(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	set, err := s.Manage.Authenticators.IssueBackupCodes(req.Context(), req.Me, form.Value("replaces"))
	if errors.Is(err, manage.ErrReplaced) {
		return s.redirectToSecurity(req) // the user reloaded the page with the codes, which stay valid
	}
	var wait *login.WaitError
	if errors.As(err, &wait) {
		s.redirect(req, "/settings/security", "notice", "codes_limit")
		return nil
	}
	if err != nil {
		return err
	}
	return s.showCodes(req, set, false, nil)
}

// postCodesSaved answers the form with which the owner confirms that the backup codes are saved.
// The page of new backup codes and the Security tab have this form.
func (s security) postCodesSaved(req *page.Request) error {
	if err := s.Manage.Authenticators.ConfirmBackupCodes(req.Context(), req.Me, req.ID()); err != nil {
		return err
	}
	return s.redirectToSecurity(req)
}

// showCodes shows new backup codes, which no other page shows, and the machine passes inForce.
func (s security) showCodes(req *page.Request, set backupcode.Set, justEnabled bool, inForce []passRow) error {
	now := s.Login.Clock()
	name := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1 // drops invisible characters, such as marks for the direction of text
		}
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-' // not allowed in file names on some systems
		}
		return r
	}, req.Text(locale.Say("backup_codes.file", "name", req.Me.Account.Name))+".txt")
	text := s.SiteName + " " + s.PublicURL + "\n" + req.Me.Account.Name + "\n" + req.Catalogue.Day(now.UTC()) + "\n\n" + strings.Join(set.Codes, "\n") + "\n"
	// The page has no menu and no tabs, since one click there would lose the codes.
	return s.Render(req, http.StatusOK, "backup-codes", &backupCodesPage{
		Frame: page.Frame{Title: locale.Say("backup_codes.title")}, JustEnabled: justEnabled, Passes: inForce, CodeSet: set.ID(), Codes: set.Codes,
		URL: s.PublicURL, Username: req.Me.Account.Name, At: now,
		Download: template.URL("data:text/plain;charset=utf-8," + url.PathEscape(text)), FileName: name,
	})
}

func (s security) postRename(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	name := form.Value("name")
	err := s.Manage.Authenticators.Rename(req.Context(), req.Me, req.ID(), name)
	if err == nil {
		s.redirect(req, "/settings/security", "notice", "renamed")
		return nil
	}
	if !errors.Is(err, authenticator.ErrNameInvalid) {
		return err
	}
	data, pageErr := s.securityPage(req)
	if pageErr != nil {
		return pageErr
	}
	i := slices.IndexFunc(data.Authenticators, func(a authenticatorRow) bool { return a.ID == req.ID() })
	if i < 0 {
		return login.ErrGone
	}
	data.Authenticators[i].Typed, data.Authenticators[i].Error = name, nameMessage(err, authenticator.MaxNameRunes)
	return s.Render(req, http.StatusUnprocessableEntity, "security", &data)
}

// nameMessage returns the message for a name that was refused with the error err. maxLength is the
// maximum length of such a name, in code points.
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

func (s security) postRemove(req *page.Request) error {
	token, err := s.Manage.Authenticators.Remove(req.Context(), req.Me, req.ID())
	return s.answerRemoval(req, token, err, "removed")
}

// answerRemoval answers a request to remove authenticators. The removal returned token, the
// session's new token, and err. notice is the name of the notice to show if the removal succeeded.
func (s security) answerRemoval(req *page.Request, token secret.Text, err error, notice string) error {
	switch {
	case errors.Is(err, manage.ErrSuspect):
		s.redirect(req, "/settings/security", "notice", "suspect")
	case errors.Is(err, manage.ErrRequired):
		s.redirect(req, "/settings/security", "notice", "must_keep")
	case err != nil:
		return err
	default:
		s.redirectWithSession(req, token, "/settings/security", "notice", notice)
	}
	return nil
}

func (s security) getChangePassword(req *page.Request) error {
	http.Redirect(req.W, req.Request, s.PublicURL+changePasswordForm, http.StatusFound)
	return nil
}
