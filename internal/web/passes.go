package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/locale"
	"github.com/sallyport/sallyport/internal/manage"
	"github.com/sallyport/sallyport/internal/page"
	"github.com/sallyport/sallyport/internal/pass"
)

// Paths for new machine passes.
const (
	passesPath  = "/settings/security/passes" // to which the form is submitted
	newPassPath = passesPath + "/new"         // the page with the form
)

// passLives are the choices for the lifetime of a new machine pass, in days. The default is
// usualPassLife.
var passLives = []int{7, 30, 90, 365}

const usualPassLife = 90

// passRows returns the signed-in account's machine passes for the Security tab.
func (s passes) passRows(req *page.Request) ([]passRow, error) {
	all, err := pass.List(req.Context(), s.Login.DB.Reader(), req.Me.Account.ID)
	if err != nil {
		return nil, err
	}
	var rows []passRow
	for _, p := range all {
		rows = append(rows, passRow{
			ID: p.ID, Name: p.Name, Opens: s.scopeText(p.Scope), Methods: p.Scope.MethodList(), Addresses: p.Scope.AddressList(),
			ExpiresAt: p.ExpiresAt, LastUsedAt: p.SeenAt, Expired: p.Expired(s.Login.Clock()), ByOperator: p.ByOperator,
		})
	}
	return rows, nil
}

// passesInForce returns the signed-in account's machine passes that haven't expired, for the page
// of the first backup codes. It only logs an error, since that page can't be shown again, and the
// Security tab lists the passes too.
func (s security) passesInForce(req *page.Request) []passRow {
	all, err := passes(s).passRows(req)
	if err != nil {
		s.Log.Warn("the machine passes couldn't be read", "request", page.Reference(req.Request), "reason", err.Error())
	}
	return slices.DeleteFunc(all, func(p passRow) bool { return p.Expired })
}

// scopeText returns a description of what a pass opens.
func (s passes) scopeText(scope access.Scope) string {
	address := scope.Panel + scope.Path
	if panel := s.panelByOrigin(scope.Panel); panel != nil {
		return panelLabel(panel, address)
	}
	return address // the panel is no longer declared
}

// panelLabel returns a label for an address of the panel: the address itself or, if the panel's
// name isn't its host, the name and the address.
func panelLabel(panel *access.Panel, address string) string {
	if panel.Name == panel.Host() {
		return address
	}
	return panel.Name + " (" + address + ")"
}

// myPanels returns the panels that the signed-in account may enter.
func (s *server) myPanels(req *page.Request) ([]*access.Panel, error) {
	var mine []*access.Panel
	for _, panel := range s.Panels {
		verdict, err := s.Entry.MayEnter(req.Context(), req.Me.Session, req.Me.Account, panel, "/")
		if err != nil {
			return nil, err
		}
		if verdict != access.Deny {
			mine = append(mine, panel)
		}
	}
	return mine, nil
}

func (s passes) newPassPage(req *page.Request) (newPassPage, error) {
	data := newPassPage{Frame: s.frameOf(req, locale.Say("passes.new"), "security"), Path: "/", Methods: http.MethodGet, Days: usualPassLife, Lives: passLives}
	mine, err := s.myPanels(req)
	for _, panel := range mine {
		data.Panels = append(data.Panels, panelChoice{panel.Origin, panelLabel(panel, panel.Origin)})
	}
	return data, err
}

func (s passes) getNewPass(req *page.Request) error {
	data, err := s.newPassPage(req)
	if err != nil {
		return err
	}
	return s.Render(req, http.StatusOK, "new-pass", &data)
}

// postPass issues a machine pass and shows its token, which no other page shows.
func (s passes) postPass(req *page.Request) error {
	form := req.ReadForm()
	if err := form.Err(); err != nil {
		return err
	}
	data, err := s.newPassPage(req)
	if err != nil {
		return err
	}
	data.Name, data.Panel, data.Path = form.Value("name"), form.Value("panel"), form.Value("path")
	data.Methods, data.Addresses = form.Value("methods"), form.Value("addresses")
	if data.Days, err = strconv.Atoi(form.Value("days")); err != nil || data.Days < 1 || data.Days > slices.Max(passLives) {
		return page.ErrBadForm
	}
	scope, err := data.scope()
	if err == nil {
		p := pass.Pass{Name: data.Name, Scope: scope, ExpiresAt: s.Login.Clock().AddDate(0, 0, data.Days)}
		token, made := s.Manage.Passes.Create(req.Context(), manage.Owner(req.Me), req.Me.Account, p)
		if made == nil {
			return s.Render(req, http.StatusOK, "pass", &passPage{
				Frame: s.frameOf(req, locale.Say("passes.made"), "security"), Name: p.Name, Opens: s.scopeText(scope), Methods: scope.MethodList(),
				Addresses: scope.AddressList(), ExpiresAt: p.ExpiresAt, Token: token.Reveal(), Example: example(scope, token.Reveal()),
			})
		}
		err = made
	}
	if data.Error = passMessage(err); data.Error == nil {
		return err
	}
	return s.Render(req, http.StatusUnprocessableEntity, "new-pass", &data)
}

// example returns a shell command that uses a pass.
func example(scope access.Scope, token string) string {
	method := ""
	if len(scope.Methods) > 0 && !slices.Contains(scope.Methods, http.MethodGet) {
		method = "-X " + scope.Methods[0] + " "
	}
	path := strings.ReplaceAll(scope.Path, "'", `'\''`)
	return "curl " + method + "-H '" + access.PassHeader + ": " + token + "' '" + scope.Panel + path + "'"
}

var errPanelUnknown = errors.New("no panel that the account has access to")

// scope returns the scope in the form's fields.
func (p newPassPage) scope() (access.Scope, error) {
	for _, panel := range p.Panels {
		if panel.Origin == p.Panel {
			return access.NewScope(panel.Origin, p.Path, p.Methods, p.Addresses)
		}
	}
	return access.Scope{}, errPanelUnknown
}

// passMessage returns the message for a pass that couldn't be issued. It returns nil if err isn't
// about what the user typed.
func passMessage(err error) *locale.Message {
	switch {
	case errors.Is(err, authenticator.ErrNameInvalid):
		return nameMessage(err, authenticator.MaxNameRunes)
	case errors.Is(err, pass.ErrNameTaken):
		return locale.Say("passes.name_taken")
	case errors.Is(err, pass.ErrLimit):
		return locale.Say("passes.limit")
	case errors.Is(err, errPanelUnknown):
		return locale.Say("passes.panel_unknown")
	case errors.Is(err, access.ErrScopePath):
		return locale.Say("passes.path_invalid")
	case errors.Is(err, access.ErrScopeMethods):
		return locale.Say("passes.methods_invalid")
	case errors.Is(err, access.ErrScopeAddresses):
		return locale.Say("passes.addresses_invalid")
	}
	return nil
}

func (s passes) postRevokePass(req *page.Request) error {
	if err := s.Manage.Passes.Revoke(req.Context(), manage.Owner(req.Me), req.Me.Account, req.ID()); err != nil {
		return err
	}
	s.redirect(req, "/settings/security", "notice", "pass_revoked")
	return nil
}
