package faults

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// roundsPerFault are under way while something happens.
	roundsPerFault = 4

	// roundsPerBudget are for each account whose budget is used up.
	roundsPerBudget = 26
)

// round is a code of somebody, that everybody who has the password gives at once.
type round struct {
	owner *sallyport.Owner
	sallyport.Credential
	tabs []*sallyport.Visitor
	said []string
}

func (r *round) thing() string { return fmt.Sprint(r.owner.Name, " ", r.Code) }

// give gives a code or backup code, and says what came of it.
func give(v *sallyport.Visitor, c sallyport.Credential) string {
	path, field := c.Form()
	a, err := v.Send(http.MethodPost, path, field, c.Code)
	switch {
	case err != nil || a.Status >= http.StatusInternalServerError:
		return unknown
	case portal.LeadsTo("/")(a) && strings.Contains(strings.Join(a.Header["Set-Cookie"], "\n"), portal.SessionCookie+"="):
		return accepted
	case a.Status == http.StatusUnprocessableEntity:
		return refused
	}
	return portal.Summary(a) + " " + portal.VisibleText(a.Body)
}

// tryAt gives a code, and says what became of it.
func tryAt(v *sallyport.Visitor, code string) string {
	a, err := v.Send(http.MethodPost, "/login/code", "code", code)
	if err != nil || a.Status >= http.StatusInternalServerError {
		return unknown
	}
	return portal.Outcome(a)
}
