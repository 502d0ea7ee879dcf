package web

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/authenticator"
	"github.com/sallyport/sallyport/internal/pass"
)

// Where the form for a new machine pass is sent to, and where it stands.
const (
	passesPath  = "/settings/security/passes"
	newPassPath = passesPath + "/new"
)

// passLives are the lives of a new machine pass to choose from, in days, and
// usualPassLife the one that is chosen already.
var passLives = []int{7, 30, 90, 365}

const usualPassLife = 90

// passRows lists my machine passes for the Security tab.
func (s *server) passRows(req *request) ([]passRow, error) {
	all, err := pass.List(req.Context(), s.Login.DB.Reader(), req.me.Account.ID)
	if err != nil {
		return nil, err
	}
	var rows []passRow
	for _, p := range all {
		rows = append(rows, passRow{
			ID: p.ID, Name: p.Name, Opens: s.opens(p.Scope), Methods: p.Scope.MethodList(), Addresses: p.Scope.AddressList(),
			ExpiresAt: p.ExpiresAt, LastUsedAt: p.SeenAt, Expired: p.Expired(s.Login.Clock()), ByOperator: p.ByOperator,
		})
	}
	return rows, nil
}

// opens returns what a pass opens.
func (s *server) opens(scope access.Scope) string {
	address := scope.Panel + scope.Path
	if panel := s.panel(scope.Panel); panel != nil {
		return named(panel, address)
	}
	return address // the panel is declared no more
}

// named returns an address of the panel, after the panel's name where that says more.
func named(panel *access.Panel, address string) string {
	if panel.Name == panel.Host() {
		return address
	}
	return panel.Name + " (" + address + ")"
}

// myPanels are the panels that the account may enter.
func (s *server) myPanels(req *request) ([]*access.Panel, error) {
	var mine []*access.Panel
	for _, panel := range s.Panels {
		verdict, err := s.Login.MayEnter(req.Context(), req.me, panel, "/")
		if err != nil {
			return nil, err
		}
		if verdict != access.Deny {
			mine = append(mine, panel)
		}
	}
	return mine, nil
}

func (s *server) newPassPage(req *request) (newPassPage, error) {
	page := newPassPage{frame: s.frameOf(req, say("passes.new"), "security"), Path: "/", Methods: http.MethodGet, Days: usualPassLife, Lives: passLives}
	mine, err := s.myPanels(req)
	for _, panel := range mine {
		page.Panels = append(page.Panels, panelChoice{panel.Origin, named(panel, panel.Origin)})
	}
	return page, err
}

func (s *server) getNewPass(req *request) error {
	page, err := s.newPassPage(req)
	if err != nil {
		return err
	}
	return s.views.page(req.w, http.StatusOK, "new-pass", page)
}

// postPass makes a machine pass and shows its token, this once.
func (s *server) postPass(req *request) error {
	f, err := req.fields("name", "panel", "path", "methods", "addresses", "days")
	if err != nil {
		return err
	}
	page, err := s.newPassPage(req)
	if err != nil {
		return err
	}
	page.Name, page.Panel, page.Path, page.Methods, page.Addresses = f[0], f[1], f[2], f[3], f[4]
	if page.Days, err = strconv.Atoi(f[5]); err != nil || page.Days < 1 || page.Days > slices.Max(passLives) {
		return errBadForm
	}
	scope, err := page.scope()
	if err == nil {
		p := pass.Pass{Name: page.Name, Scope: scope, ExpiresAt: s.Login.Clock().AddDate(0, 0, page.Days)}
		token, made := s.Login.AddPass(req.Context(), req.me, p)
		if made == nil {
			return s.views.page(req.w, http.StatusOK, "pass", passPage{
				frame: s.frameOf(req, say("passes.made"), "security"), Name: p.Name, Opens: s.opens(scope), Methods: scope.MethodList(),
				Addresses: scope.AddressList(), ExpiresAt: p.ExpiresAt, Token: token.Reveal(), Example: example(scope, token.Reveal()),
			})
		}
		err = made
	}
	if page.Error = passMessage(err); page.Error == nil {
		return err
	}
	return s.views.page(req.w, http.StatusUnprocessableEntity, "new-pass", page)
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

// scope reads what the form says that the pass opens.
func (p newPassPage) scope() (access.Scope, error) {
	for _, panel := range p.Panels {
		if panel.Origin == p.Panel {
			return access.NewScope(panel.Origin, p.Path, p.Methods, p.Addresses)
		}
	}
	return access.Scope{}, errPanelUnknown
}

// passMessage says why a pass wasn't made, or is nil.
func passMessage(err error) *message {
	switch {
	case errors.Is(err, authenticator.ErrNameInvalid):
		return nameMessage(err, authenticator.MaxNameRunes)
	case errors.Is(err, pass.ErrNameTaken):
		return say("passes.name_taken")
	case errors.Is(err, pass.ErrLimit):
		return say("passes.limit")
	case errors.Is(err, errPanelUnknown):
		return say("passes.panel_unknown")
	case errors.Is(err, access.ErrScopePath):
		return say("passes.path_invalid")
	case errors.Is(err, access.ErrScopeMethods):
		return say("passes.methods_invalid")
	case errors.Is(err, access.ErrScopeAddresses):
		return say("passes.addresses_invalid")
	}
	return nil
}

func (s *server) postRevokePass(req *request) error {
	if err := s.Login.RevokePass(req.Context(), req.me, req.id()); err != nil {
		return err
	}
	s.redirect(req, "/settings/security", "notice", "pass_revoked")
	return nil
}
