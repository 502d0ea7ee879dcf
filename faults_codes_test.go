package sallyport_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// roundsPerFault are under way while something happens.
	roundsPerFault = 4

	// roundsPerBudget are for each account whose budget is used up.
	roundsPerBudget = 26
)

// round is a code of somebody, that everybody who has the password gives at once.
type round struct {
	owner *Owner
	Credential
	tabs []*Visitor
	said []string
}

func (r *round) thing() string { return fmt.Sprint(r.owner.Name, " ", r.Code) }

// give gives a code or backup code, and says what came of it.
func give(v *Visitor, c Credential) string {
	path, field := c.Form()
	a, err := v.Send(http.MethodPost, path, field, c.Code)
	switch {
	case err != nil || a.Status >= http.StatusInternalServerError:
		return unknown
	case LeadsTo("/")(a) && strings.Contains(strings.Join(a.Header["Set-Cookie"], "\n"), SessionCookie+"="):
		return accepted
	case a.Status == http.StatusUnprocessableEntity:
		return refused
	}
	return Summary(a) + " " + VisibleText(a.Body)
}

// waiting returns somebody at a node who gave the password, for which a code is
// asked.
func (s *ordeal) waiting(n *harmed, o *Owner) *Visitor {
	s.T.Helper()
	v := s.Visitor().Through(n.way)
	if _, err := v.Post(LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		s.T.Fatalf("%s at %s: %v", o.Name, n.Name, err)
	}
	return v
}

// codes has codes given to all nodes at once while something happens to them. Each
// opens one session, or none where somebody had no answer.
func (s *ordeal) codes(owners []*Owner) {
	s.T.Helper()
	count := map[string]int{}
	for len(owners) > 0 {
		f := s.nextFault()
		rounds, h := s.rounds(owners[:min(len(owners), roundsPerFault/2)]), newHistory()
		owners = owners[min(len(owners), roundsPerFault/2):]
		var all []func()
		for _, r := range rounds {
			for i, tab := range r.tabs {
				all = append(all, func() { r.said[i] = h.did(r.thing(), "", func() string { return give(tab, r.Credential) }) })
			}
		}
		s.during(f, all...)
		for _, r := range rounds {
			s.examineRound(f, r, h)
			for _, said := range r.said {
				count[said]++
			}
		}
		if wrong := h.wrong(once); len(wrong) > 0 {
			s.T.Errorf("%s: that can't be of a code that opens once: %q", f.name, wrong)
		}
	}
	s.T.Logf("codes given to all nodes at once, and what came of each try: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 || count[refused] == 0 {
		s.T.Errorf("of all tries: %v; want some of each", count)
	}
}

// rounds are one with a code and one with a backup code of each owner.
func (s *ordeal) rounds(owners []*Owner) (all []*round) {
	s.T.Helper()
	for _, o := range owners {
		for _, c := range []Credential{{Code: o.CodeNow()}, {Backup: true, Code: o.Unused[0]}} {
			r := &round{owner: o, Credential: c, said: make([]string, len(s.nodes))}
			for _, n := range s.nodes {
				r.tabs = append(r.tabs, s.waiting(n, o))
			}
			all = append(all, r)
		}
	}
	return all
}

// examineRound gives the code again, once all is well.
func (s *ordeal) examineRound(f fault, r *round, h *history) {
	s.T.Helper()
	count := map[string]int{}
	for _, said := range r.said {
		count[said]++
	}
	if count[accepted] > 1 || count[accepted] == 0 && count[unknown] == 0 || count[accepted]+count[unknown]+count[refused] < len(r.said) {
		s.T.Errorf("%s: %s: %q, want one session, or none where somebody had no answer", f.name, r.thing(), r.said)
	}
	for i, tab := range r.tabs {
		if r.said[i] != accepted {
			continue
		}
		for _, n := range s.nodes { // what was answered is so, whichever database serves now
			if a, err := tab.Through(n.way).Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
				s.T.Errorf("%s: %s is signed in, and at %s: %s, %v", f.name, r.owner.Name, n.Name, Summary(a), err)
			}
		}
	}
	for range 2 {
		tab := s.waiting(s.any(), r.owner)
		said := h.did(r.thing(), "", func() string { return give(tab, r.Credential) })
		if said == unknown {
			s.T.Errorf("%s: all is well, and %s is unanswered", f.name, r.thing())
		}
		count[said+" again"]++
	}
	if count["accepted again"] > 0 && count[accepted] > 0 || count["accepted again"] > 1 {
		s.T.Errorf("%s: %s opens twice: %v", f.name, r.thing(), count)
	}
}

// budgetsHold has wrong codes given to all nodes at once while something happens.
func (s *ordeal) budgetsHold(owners []*Owner) {
	s.T.Helper()
	for _, o := range owners {
		f, h := s.nextFault(), newHistory()
		wrong := OtherThan(o.Secret)
		var all []func()
		for i := range AtOnce {
			tab := s.waiting(s.nodes[i%len(s.nodes)], o)
			all = append(all, func() { h.did(o.Name, aWrongOne, func() string { return tryAt(tab, wrong) }) })
		}
		s.during(f, all...)
		for range codesADay { // one after the other, until none is left
			tab := s.waiting(s.any(), o)
			h.did(o.Name, aWrongOne, func() string { return tryAt(tab, wrong) })
		}
		tab := s.waiting(s.any(), o)
		h.did(o.Name, aRightOne, func() string { return tryAt(tab, o.CodeNow()) })
		if len(h.wrong(budget)) > 0 {
			s.T.Errorf("%s: that can't be of a budget of %d: %+v", f.name, codesADay, h.all)
		}
	}
}

// tryAt gives a code, and says what became of it.
func tryAt(v *Visitor, code string) string {
	a, err := v.Send(http.MethodPost, "/login/code", "code", code)
	if err != nil || a.Status >= http.StatusInternalServerError {
		return unknown
	}
	return Outcome(a)
}
