package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/cluster"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/recovery"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/ticket"
)

// maxReason is the maximum length of a reason in code points. The owner reads it in a mail, and the
// audit log keeps it for as long as the event.
const maxReason = 200

// action is a change of an account. Its page is at the account's path, followed by the action's name.
type action struct {
	name   string
	do     access.Action
	title  *locale.Message
	means  *locale.Message // what it does, and what the owner is told
	done   *locale.Message
	danger bool
	// byMail and doneByMail replace means and done where the link of the change is mailed.
	byMail, doneByMail *locale.Message
	// fits reports whether the change makes sense for an account; nil: always.
	fits func(account.Account) bool
	// make makes the change. It returns the token of a link that the page shows once; where mail is
	// set up it returns none, since a link to an account is worth as much as its password.
	make func(s *server, ctx context.Context, by manage.Actor, a account.Account, form page.Form) (link secret.Text, err error)
}

// actions are all actions, in the order of their buttons. Nothing destructive comes first.
var actions = []action{
	{
		name: "end-sessions", do: access.EndSessions, title: locale.Say("admin.end_sessions"), means: locale.Say("admin.end_sessions.means"), done: locale.Say("admin.end_sessions.done"),
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, _ page.Form) (secret.Text, error) {
			return secret.Text{}, s.Manage.Sessions.RevokeAll(ctx, by, a)
		},
	},
	{
		name: "unlock", do: access.Unlock, title: locale.Say("admin.unlock"), means: locale.Say("admin.unlock.means"), done: locale.Say("admin.unlock.done"),
		byMail: locale.Say("admin.unlock.by_mail"), doneByMail: locale.Say("admin.unlock.mailed"),
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, _ page.Form) (secret.Text, error) {
			if s.Recovery.HasMail() {
				_, err := s.Manage.Links.LetInByMail(ctx, by, a)
				return secret.Text{}, err
			}
			return s.Manage.Links.LetIn(ctx, by, a)
		},
	},
	{
		name: "role", do: access.SetRole, title: locale.Say("admin.role"), means: locale.Say("admin.role.means"), done: locale.Say("admin.role.done"),
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, form page.Form) (secret.Text, error) {
			role, ok := account.RoleNamed(form.Value("role"))
			if !ok {
				return secret.Text{}, page.ErrBadForm
			}
			return secret.Text{}, s.Manage.Accounts.SetRole(ctx, by, a, role)
		},
	},
	{
		name: "enable", do: access.Enable, title: locale.Say("admin.enable"), means: locale.Say("admin.enable.means"), done: locale.Say("admin.enable.done"),
		fits: account.Account.Disabled,
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, _ page.Form) (secret.Text, error) {
			return secret.Text{}, s.Manage.Accounts.Enable(ctx, by, a)
		},
	},
	{
		name: "reset-two-factor", do: access.ResetTwoFactor, title: locale.Say("admin.reset"), means: locale.Say("admin.reset.means"), done: locale.Say("admin.reset.done"), danger: true,
		byMail: locale.Say("admin.reset.by_mail"), doneByMail: locale.Say("admin.reset.mailed"),
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, _ page.Form) (secret.Text, error) {
			if s.Recovery.HasMail() {
				_, err := s.Manage.Authenticators.ResetTwoFactorByMail(ctx, by, a)
				return secret.Text{}, err
			}
			return s.Manage.Authenticators.ResetTwoFactor(ctx, by, a, ticket.MinLife)
		},
	},
	{
		name: "disable", do: access.Disable, title: locale.Say("admin.disable"), means: locale.Say("admin.disable.means"), done: locale.Say("admin.disable.done"), danger: true,
		fits: func(a account.Account) bool { return !a.Disabled() },
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, _ page.Form) (secret.Text, error) {
			return secret.Text{}, s.Manage.Accounts.Disable(ctx, by, a)
		},
	},
	{
		name: "remove", do: access.Remove, title: locale.Say("admin.remove"), means: locale.Say("admin.remove.means"), done: locale.Say("admin.remove.done"), danger: true,
		make: func(s *server, ctx context.Context, by manage.Actor, a account.Account, form page.Form) (secret.Text, error) {
			if form.Value("name") != a.Name {
				return secret.Text{}, errWrongName
			}
			return secret.Text{}, s.Manage.Accounts.Remove(ctx, by, a)
		},
	},
}

// Errors after which the page of an action shows its form again.
var (
	errNoReason   = errors.New("no reason was given")
	errLongReason = errors.New("the reason is too long")
	errWrongName  = errors.New("the typed name isn't the account's")
)

// actionRoutes returns the routes of all actions.
func (s *server) actionRoutes() []route {
	var all []route
	for _, one := range actions {
		path := accountsPath + "/{id}/" + one.name
		all = append(all,
			route{"GET " + path, one.do, access.Fresh, func(req *page.Request) error { return s.getAction(req, one) }},
			route{"POST " + path, one.do, access.Fresh, func(req *page.Request) error { return s.postAction(req, one) }})
	}
	return all
}

// actionLinks returns the links to what actor may do to the account.
func actionLinks(actor, target account.Account) []actionLink {
	var links []actionLink
	for _, one := range actions {
		if access.May(actor, one.do, target) && (one.fits == nil || one.fits(target)) {
			links = append(links, actionLink{one.title, accountPath(target) + "/" + one.name, one.danger})
		}
	}
	return links
}

// actionPage returns the page of an action, or [page.ErrForbidden].
func (s *server) actionPage(req *page.Request, one action) (account.Account, *actionPage, error) {
	target, err := s.target(req)
	if err != nil {
		return target, nil, err
	}
	if !access.May(req.Me.Account, one.do, target) {
		return target, nil, page.ErrForbidden
	}
	data := &actionPage{
		Frame: req.Frame(locale.Say("admin.action", "what", one.title, "name", target.Name), tabAccounts), Heading: one.title, Means: s.saying(one.means, one.byMail),
		Told: s.Recovery.HasMail() && target.Email != "" && target.EmailRefusedAt.IsZero() && one.do != access.Unlock,
		Name: target.Name, URL: accountPath(target) + "/" + one.name, Back: accountPath(target), Danger: one.danger, MaxReason: maxReason, AsksName: one.do == access.Remove,
	}
	if one.do == access.SetRole {
		for _, role := range account.Roles() {
			data.Roles = append(data.Roles, roleChoice{role.Name(), page.RoleMessage(role), role == target.Role})
		}
	}
	return target, data, nil
}

func (s *server) getAction(req *page.Request, one action) error {
	_, data, err := s.actionPage(req, one)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "admin-action", data)
}

func (s *server) postAction(req *page.Request, one action) error {
	target, data, err := s.actionPage(req, one)
	if err != nil {
		return err
	}
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	if one.fits != nil && !one.fits(target) {
		s.Redirect(req, accountPath(target), "notice", one.name) // a second click: it is done, and the owner was told
		return nil
	}
	var link secret.Text
	reason := strings.TrimSpace(form.Value("reason"))
	switch {
	case page.Clean(reason) == "":
		err = errNoReason
	case utf8.RuneCountInString(reason) > maxReason:
		err = errLongReason
	default:
		link, err = one.make(s, req.Context(), manage.Administrator(req.Me, reason), target, form)
	}
	switch {
	case err == nil && link.Reveal() != "":
		return s.Render(req, http.StatusOK, "admin-link", &linkPage{
			Frame: req.Frame(locale.Say("admin.link"), tabAccounts), Done: one.done, Name: target.Name, Back: accountPath(target),
			Link: s.PublicURL + "/setup?ticket=" + link.Reveal(),
		})
	case err == nil && one.do == access.Remove:
		s.Redirect(req, accountsPath, "notice", one.name)
		return nil
	case err == nil:
		s.Redirect(req, accountPath(target), "notice", one.name)
		return nil
	}
	if data.Error = actionMessage(err); data.Error == nil {
		return err
	}
	data.Reason, data.Typed = reason, form.Value("name")
	for i := range data.Roles {
		data.Roles[i].Current = data.Roles[i].Name == form.Value("role")
	}
	return s.Render(req, http.StatusUnprocessableEntity, "admin-action", data)
}

// actionMessage returns what is wrong with a form, or why nothing was changed, or nil for an error
// that has a page of its own.
func actionMessage(err error) *locale.Message {
	for _, one := range []struct {
		err  error
		text *locale.Message
	}{
		{errNoReason, locale.Say("admin.reason.missing")},
		{errLongReason, locale.Say("admin.reason.long", "n", maxReason)},
		{errWrongName, locale.Say("admin.remove.name_wrong")},
		{cluster.ErrNotYet, locale.Say("admin.not_yet")},
		{account.ErrDisabled, locale.Say("admin.unmailed.disabled")},
		{account.ErrNoEmail, locale.Say("admin.unmailed.address")},
		{account.ErrEmailUnverified, locale.Say("admin.unmailed.address")},
		{account.ErrEmailRefused, locale.Say("admin.unmailed.address")},
		{recovery.ErrPasswordMailed, locale.Say("admin.unmailed.both")},
		{recovery.ErrPasswordSuspect, locale.Say("admin.unmailed.both")},
	} {
		if errors.Is(err, one.err) {
			return one.text
		}
	}
	return nil
}

// saying returns byMail if there is such a sentence and mail is set up. Otherwise it returns text.
func (s *server) saying(text, byMail *locale.Message) *locale.Message {
	if byMail != nil && s.Recovery.HasMail() {
		return byMail
	}
	return text
}

// noticeOf returns the notice of the action that a redirect names in its query, or nil. No other
// text of a query is shown.
func (s *server) noticeOf(req *page.Request) *page.Notice {
	for _, one := range actions {
		if one.name == req.URL.Query().Get("notice") {
			return &page.Notice{Kind: "ok", Text: s.saying(one.done, one.doneByMail)}
		}
	}
	return nil
}
