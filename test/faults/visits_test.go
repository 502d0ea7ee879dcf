package faults

import (
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

var signedOut = portal.LeadsTo("/login?notice=signed_out")

const (
	// endsWithin is when the end of a visit is known to every node, and
	// endsWithinWhole when those can talk to each other.
	endsWithin      = 5 * time.Second
	endsWithinWhole = time.Second

	// askEvery is how often somebody asks whether a visit still is one.
	askEvery = 5 * time.Millisecond

	// entering at once, while the primary is lost.
	entering = 8

	thePage = panels.Radio + "/page"
)

// enterPanel signs in on the way to a page of the panel, and returns an error unless it
// is shown.
func enterPanel(v *sallyport.Visitor, name string) error {
	a, err := v.Walk(thePage)
	if err != nil {
		return err
	}
	a, err = v.Send(http.MethodPost, "/login", "username", name, "password", portal.Password, "return", portal.FieldOf(a.Body, "return"))
	if err == nil && a.Location != "" {
		a, err = v.Walk(a.Location)
	}
	if err == nil && a.Status != http.StatusOK {
		err = &sallyport.UnexpectedAnswer{Path: thePage, Answer: a}
	}
	return err
}

// askNode asks a node for the page, as a script does.
func askNode(v *sallyport.Visitor, n *harmed) string {
	a, err := v.Through(n.way).Request(http.MethodGet, thePage, nil, nil)
	switch {
	case err == nil && a.Status == http.StatusOK:
		return accepted
	case err == nil && a.Status == http.StatusUnauthorized:
		return refused
	}
	return unknown
}
