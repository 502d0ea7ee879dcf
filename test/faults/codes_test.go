package faults

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

const (
	// roundsPerFault is the number of rounds that run during a fault.
	roundsPerFault = 4

	// roundsPerBudget is the number of rounds for each account whose budget is used up.
	roundsPerBudget = 26
)

// round is a code of an owner, which is submitted in an attempt at every node at the same time.
type round struct {
	owner *sallyport.Owner
	sallyport.Credential
	tabs     []*sallyport.Visitor // one for each node
	outcomes []string             // by tab
}

// thing identifies the code in a [history].
func (r *round) thing() string { return fmt.Sprint(r.owner.Name, " ", r.Code) }

// submit submits a code or a backup code and returns the outcome.
func submit(v *sallyport.Visitor, c sallyport.Credential) string {
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

// submitCode submits a code and returns the outcome, one of [portal.Outcome]'s or unknown.
func submitCode(v *sallyport.Visitor, code string) string {
	a, err := v.Send(http.MethodPost, "/login/code", "code", code)
	if err != nil || a.Status >= http.StatusInternalServerError {
		return unknown
	}
	return portal.Outcome(a)
}
