package admin

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/page"
)

// route is one route, with what a request needs before the handler gets it.
type route struct {
	pattern string
	do      access.Action      // the session's account may do it to some account
	needs   access.Requirement // of the session
	handle  func(*page.Request) error
}

// routes returns all routes. What shows accounts needs two proven factors, and what changes them
// fresh ones.
func (s *server) routes() []route {
	return []route{
		{"GET /admin/{$}", access.See, access.TwoFactor, s.getStart},
		{"GET /admin/accounts", access.See, access.TwoFactor, s.getAccounts},
		{"GET /admin/accounts/{id}", access.See, access.TwoFactor, s.getAccount},
	}
}
