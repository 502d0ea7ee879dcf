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
	// endsWithin is the longest time from the end of a visit until every node refuses it.
	// endsWithinWhole is that time if every node gets the notification of the end.
	endsWithin      = 5 * time.Second
	endsWithinWhole = time.Second

	// askEvery is the interval between two requests in a visit.
	askEvery = 5 * time.Millisecond

	// entering is the number of clients that open a panel while the primary is lost.
	entering = 8

	thePage = panels.Radio + "/page"
)

// enterPanel opens a page of the panel, signs in on the way, and returns an error unless the page
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

// askNode requests the panel's page from a node, as a script does, and returns the outcome.
func askNode(v *sallyport.Visitor, n *node) string {
	a, err := v.Through(n.way).Request(http.MethodGet, thePage, nil, nil)
	switch {
	case err == nil && a.Status == http.StatusOK:
		return accepted
	case err == nil && a.Status == http.StatusUnauthorized:
		return refused
	}
	return unknown
}
