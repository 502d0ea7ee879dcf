package sallyport_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

var signedOut = LeadsTo("/login?notice=signed_out")

const (
	// endsWithin is when the end of a visit is known to every node, and
	// endsWithinWhole when those can talk to each other.
	endsWithin      = 5 * time.Second
	endsWithinWhole = time.Second

	// askEvery is how often somebody asks whether a visit still is one.
	askEvery = 5 * time.Millisecond

	// entering at once, while the primary is lost.
	entering = 8

	thePage = Radio + "/page"
)

// Walk asks for a page as a person does and follows every redirect, the one of the page
// that leads on after a form too.
func (v *Visitor) Walk(page string) (a portal.Answer, err error) {
	for range 10 {
		if a, err = v.Send(http.MethodGet, page); err != nil {
			return a, err
		}
		_, refresh, _ := strings.Cut(a.Header.Get("Refresh"), "url=")
		if page = cmp.Or(a.Location, refresh); page == "" {
			return a, nil
		}
	}
	return a, fmt.Errorf("redirects without an end: %s", page)
}

// enterPanel signs in on the way to a page of the panel, and returns an error unless it
// is shown.
func enterPanel(v *Visitor, name string) error {
	a, err := v.Walk(thePage)
	if err != nil {
		return err
	}
	a, err = v.Send(http.MethodPost, "/login", "username", name, "password", portal.Password, "return", FieldOf(a.Body, "return"))
	if err == nil && a.Location != "" {
		a, err = v.Walk(a.Location)
	}
	if err == nil && a.Status != http.StatusOK {
		err = &Unexpected{Path: thePage, Answer: a}
	}
	return err
}

// askNode asks a node for the page, as a script does.
func askNode(v *Visitor, n *harmed) string {
	a, err := v.Through(n.way).Request(http.MethodGet, thePage, nil, nil)
	switch {
	case err == nil && a.Status == http.StatusOK:
		return accepted
	case err == nil && a.Status == http.StatusUnauthorized:
		return refused
	}
	return unknown
}

// visitsEnd signs out at the first node while something happens to another, and asks
// all of them all the time.
func (s *ordeal) visitsEnd(quick bool) {
	s.T.Helper()
	for _, name := range []string{nothingHappens, "a node cut off", "a node that nothing reaches", "a listener cut", "a deaf listener", "a frozen node", lostPrimary} {
		f := faultCalled(name)
		within := endsWithin
		if quick && f.name == nothingHappens {
			within = endsWithinWhole
		}
		v := s.Visitor()
		if err := enterPanel(v, s.anybody().Name); err != nil {
			s.T.Fatal(err)
		}
		for _, n := range s.nodes { // they remember it now
			if said := askNode(v, n); said != accepted {
				s.T.Fatalf("%s: a visit is %s", n.Name, said)
			}
		}
		h, over := newHistory(), make(chan struct{})
		var asking sync.WaitGroup
		for _, n := range s.nodes {
			asking.Go(func() {
				for {
					h.did(n.Name, aVisit, func() string { return askNode(v, n) })
					select {
					case <-over:
						return
					case <-time.After(askEvery):
					}
				}
			})
		}
		begin, n := time.Now(), s.nodes[1+s.Below(2)]
		mend := f.harm(s, n)
		if f.goesOn {
			s.goesOn(begin, f.name)
		}
		call := time.Since(h.begin)
		if _, err := v.Through(s.nodes[0].way).Post(signedOut, "/logout"); err != nil {
			s.T.Errorf("%s: sign-out: %v", f.name, err)
		}
		end := time.Since(h.begin)
		for _, n := range s.nodes {
			h.add(n.Name, theEnd, accepted, call, end+within)
		}
		spared := n
		if f.deaf {
			spared = nil // it refuses by itself, though nobody told it
		}
		s.allRefuse(v, spared)
		mend()
		s.goesOn(time.Now(), f.name+", mended")
		s.allRefuse(v, nil)
		close(over)
		asking.Wait()
		if wrong := h.wrong(visited); len(wrong) > 0 {
			s.T.Errorf("%s at %s: a visit that ended was one for longer than %v at %v", f.name, n.Name, within, wrong)
		}
	}
}

// allRefuse waits until every node refuses a visit, but for the one that is spared.
func (s *ordeal) allRefuse(v *Visitor, spared *harmed) {
	s.T.Helper()
	for _, n := range s.nodes {
		testkit.Until(s.T, "refusal by "+n.Name, func() bool { return n == spared || askNode(v, n) == refused })
	}
}

// doorsHaveSessions has people enter a panel while the primary is lost. Whoever was
// let in has a session in the database that serves now, and nobody else is let in.
func (s *ordeal) doorsHaveSessions() {
	s.T.Helper()
	visitors, entered := make([]*Visitor, entering), make([]error, entering)
	var all []func()
	for i := range entering {
		visitors[i] = s.Visitor()
		all = append(all, func() { entered[i] = enterPanel(visitors[i], s.anybody().Name) })
	}
	s.during(faultCalled(lostPrimary), all...)
	d := testkit.Open(s.T, s.primary.URL("postgres"))
	for i, v := range visitors {
		rows, token := 0, v.CookieAt(Radio, "sallyport-visit")
		Check(s.T, db.One(context.Background(), d.Reader(), `
			SELECT COUNT(*) FROM visits JOIN sessions ON sessions.id = session_id WHERE visits.token_hash = $1`, []any{secret.Hash(token)}, &rows))
		want := refused
		if rows == 1 {
			want = accepted
		}
		if entered[i] == nil && rows == 0 {
			s.T.Error("somebody was let in, of whom the new primary doesn't know")
		}
		for _, n := range s.nodes {
			if said := askNode(v, n); said != want {
				s.T.Errorf("with %d visits in the database one is %s at %s", rows, said, n.Name)
			}
		}
	}
}
