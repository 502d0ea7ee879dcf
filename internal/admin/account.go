package admin

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/authenticator/password"
	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/device"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/login"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/session"
)

// eventsPage is the number of events on an account's page.
const eventsPage = 20

// target returns the account that the request's path names, or [page.ErrNotFound].
func (s *server) target(req *page.Request) (account.Account, error) {
	id := req.ID()
	if id == "" {
		return account.Account{}, page.ErrNotFound
	}
	return account.ByID(req.Context(), s.Login.DB.Reader(), id)
}

func accountPath(a account.Account) string { return accountsPath + "/" + a.ID }

func (s *server) getAccount(req *page.Request) error {
	a, err := s.target(req)
	if err != nil {
		return err
	}
	data := accountPage{
		Frame: req.Frame(locale.Say("admin.account", "name", a.Name), tabAccounts),
		ID:    a.ID, Name: a.Name, Display: a.DisplayName, Email: a.Email, Verified: a.EmailReachesOwner(), Refused: !a.EmailRefusedAt.IsZero(), Role: page.RoleMessage(a.Role),
		CreatedAt: a.CreatedAt, DisabledAt: a.DisabledAt, TwoFactorSince: a.TwoFactorAt, Self: a.ID == req.Me.Account.ID,
	}
	data.Notice, data.Actions = s.noticeOf(req), actionLinks(req.Me.Account, a)
	ctx, q := req.Context(), s.Login.DB.Reader()
	if data.Groups, err = account.GroupsOf(ctx, q, a.ID); err != nil {
		return err
	}
	if data.PasswordAt, err = password.ChangedAt(ctx, q, a.ID); err != nil {
		return err
	}
	if data.TwoFactor, data.CodesLeft, err = s.Login.SecondFactor(ctx, a); err != nil {
		return err
	}
	if data.Limits, err = s.limitsOf(ctx, a); err != nil {
		return err
	}
	for _, fill := range []func(*page.Request, account.Account, *accountPage) error{s.fillAuthenticators, s.fillBrowsers, s.fillEvents} {
		if err := fill(req, a, &data); err != nil {
			return err
		}
	}
	return s.Render(req, http.StatusOK, "admin-account", &data)
}

// limitsOf returns the sentences about the limits that wrong passwords and codes have put on the
// account.
func (s *server) limitsOf(ctx context.Context, a account.Account) ([]*locale.Message, error) {
	is, err := s.Login.StandingOf(ctx, a)
	if err != nil {
		return nil, err
	}
	var all []*locale.Message
	for _, one := range []struct {
		holds bool
		text  *locale.Message
	}{
		{a.EnrollLocked, locale.Say("admin.limit.locked")},
		{is.Suspect, locale.Say("admin.limit.suspect")},
		{is.Shielded, locale.Say("admin.limit.shielded")},
		{is.Slowed, locale.Say("admin.limit.slowed")},
		{is.NoCodes, locale.Say("admin.limit.no_codes")},
		{is.TwoCodes && !is.NoCodes, locale.Say("admin.limit.two_codes")},
		{is.WrongCodes > 0, locale.Say("admin.limit.wrong_codes", "n", is.WrongCodes)},
	} {
		if one.holds {
			all = append(all, one.text)
		}
	}
	return all, nil
}

func (s *server) fillAuthenticators(req *page.Request, a account.Account, data *accountPage) error {
	ctx, q := req.Context(), s.Login.DB.Reader()
	all, err := authenticator.List(ctx, q, a.ID)
	if err != nil {
		return err
	}
	for _, one := range all {
		used, err := totp.UsedAt(ctx, q, one)
		if err != nil {
			return err
		}
		data.Authenticators = append(data.Authenticators, authenticatorRow{one.Name, one.ConfirmedAt, used})
	}
	return nil
}

func (s *server) fillBrowsers(req *page.Request, a account.Account, data *accountPage) error {
	ctx, q := req.Context(), s.Login.DB.Reader()
	sessions, err := session.List(ctx, q, a, s.Login.Life, s.now())
	if err != nil {
		return err
	}
	for _, one := range sessions {
		data.Sessions = append(data.Sessions, browserRow{
			Phone: page.IsPhone(one.Browser), Browser: req.BrowserName(one.Browser), Address: one.Address,
			How: page.SignInMessage(login.ProofsName(one.Proofs)), At: one.CreatedAt, UsedAt: one.SeenAt,
		})
	}
	devices, err := device.List(ctx, q, a.ID, s.now())
	if err != nil {
		return err
	}
	for _, one := range devices {
		data.Devices = append(data.Devices, browserRow{
			Phone: page.IsPhone(one.Browser), Browser: req.BrowserName(one.Browser), Address: one.Address, UsedAt: one.UsedAt,
		})
	}
	return nil
}

func (s *server) fillEvents(req *page.Request, a account.Account, data *accountPage) error {
	// One more event than fits shows whether there are older ones.
	events, err := audit.List(req.Context(), s.Login.DB.Reader(), a.ID, page.ParseCursor(req.URL.Query().Get("before")), eventsPage+1)
	if err != nil {
		return err
	}
	if len(events) > eventsPage {
		events = events[:eventsPage]
		data.Older = accountPath(a) + "?before=" + page.FormatCursor(events[eventsPage-1]) + "#events"
	}
	names := map[string]string{}
	for _, e := range events {
		row := eventRow{
			Text: eventMessage(e), Reason: e.Reason, At: e.At, Address: e.Address, Browser: req.BrowserName(e.Browser), Alarm: e.Kind.IsAlarming(),
		}
		if row.Actor, err = s.actorMessage(req.Context(), e, names); err != nil {
			return err
		}
		data.Events = append(data.Events, row)
	}
	return nil
}

// aboutOwner are sentences in the third person, for events whose sentence on the Activity tab
// addresses the owner.
var aboutOwner = map[audit.Kind]*locale.Message{
	audit.RoleChanged:  nil, // its sentence names the role; see eventMessage
	audit.EmailRefused: locale.Say("admin.event.email_refused"),
	audit.MailGivenUp:  locale.Say("admin.event.mail_given_up"),
	audit.MailDropped:  locale.Say("admin.event.mail_dropped"),
}

// eventMessage returns a sentence about the event in which the owner is the third person.
func eventMessage(e audit.Event) *locale.Message {
	switch text := aboutOwner[e.Kind]; {
	case e.Kind == audit.RoleChanged:
		role, _ := account.RoleNamed(e.Detail)
		return locale.Say("admin.event.role_changed", "role", page.RoleMessage(role))
	case e.Kind == audit.PasswordSuspected:
		return locale.Say("admin.event.password_suspected", "n", e.Number)
	case text != nil:
		return text
	}
	said := locale.Say("activity."+string(e.Kind), "how", page.SignInMessage(e.Detail), "name", e.Detail, "n", e.Number)
	if e.Detail == audit.LinkShown && e.Actor != audit.ByOwner {
		said = locale.Say("activity.link_shown", "what", said)
	}
	return said
}

// actorMessage returns who caused the event, or nil for the owner. names maps the ids of
// administrators to the names that were read before; actorMessage adds those that it reads.
func (s *server) actorMessage(ctx context.Context, e audit.Event, names map[string]string) (*locale.Message, error) {
	switch e.Actor {
	case audit.ByOwner:
		return nil, nil
	case audit.ByOperator:
		return locale.Say("admin.by.command_line"), nil
	case audit.ByServer:
		return locale.Say("admin.by.server"), nil
	}
	if e.ActorID == "" {
		return locale.Say("admin.by.someone"), nil
	}
	name, ok := names[e.ActorID]
	if !ok {
		found, err := account.Among(ctx, s.Login.DB.Reader(), []string{e.ActorID})
		if err != nil {
			return nil, err
		}
		name = e.ActorID // the account was removed
		if len(found) == 1 {
			name = found[0].Name
		}
		names[e.ActorID] = name
	}
	return locale.Say("admin.by.administrator", "name", name), nil
}
