package admin

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// route is one route, with the conditions for calling its handler.
type route struct {
	pattern string
	do      access.Action      // the session's account must be allowed to do it to some account
	needs   access.Requirement // the session must meet it
	handle  func(*page.Request) error
}

// routes returns all routes. Routes that show accounts need two proven factors, and routes that
// change them need fresh ones.
func (s *server) routes() []route {
	return append([]route{
		{"GET /admin", access.See, access.TwoFactor, s.getStart},
		{"GET /admin/{$}", access.See, access.TwoFactor, s.getStart},
		{"GET /admin/accounts", access.See, access.TwoFactor, s.getAccounts},
		{"GET /admin/accounts/{id}", access.See, access.TwoFactor, s.getAccount},
	}, s.actionRoutes()...)
}
