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
	owner *owner
	credential
	tabs []*visitor
	said []string
}

func (r *round) thing() string { return fmt.Sprint(r.owner.name, " ", r.code) }

// give gives a code or backup code, and says what came of it.
func give(v *visitor, c credential) string {
	path, field := c.form()
	a, err := v.send(http.MethodPost, path, field, c.code)
	switch {
	case err != nil || a.Status >= http.StatusInternalServerError:
		return unknown
	case leads("/")(a) && strings.Contains(strings.Join(a.Header["Set-Cookie"], "\n"), sessionCookie+"="):
		return accepted
	case a.Status == http.StatusUnprocessableEntity:
		return refused
	}
	return short(a) + " " + visible(a.Body)
}

// waiting returns somebody at a node who gave the password, for which a code is
// asked.
func (s *ordeal) waiting(n *harmed, o *owner) *visitor {
	s.t.Helper()
	v := s.visitor().through(n.way)
	if _, err := v.post(leads("/login/code"), "/login", "username", o.name, "password", portal.Password); err != nil {
		s.t.Fatalf("%s at %s: %v", o.name, n.name, err)
	}
	return v
}

// codes has codes given to all nodes at once while something happens to them. Each
// opens one session, or none where somebody had no answer.
func (s *ordeal) codes(owners []*owner) {
	s.t.Helper()
	count := map[string]int{}
	for len(owners) > 0 {
		f := s.nextFault()
		rounds, h := s.rounds(owners[:min(len(owners), roundsPerFault/2)]), newHistory()
		owners = owners[min(len(owners), roundsPerFault/2):]
		var all []func()
		for _, r := range rounds {
			for i, tab := range r.tabs {
				all = append(all, func() { r.said[i] = h.did(r.thing(), "", func() string { return give(tab, r.credential) }) })
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
			s.t.Errorf("%s: that can't be of a code that opens once: %q", f.name, wrong)
		}
	}
	s.t.Logf("codes given to all nodes at once, and what came of each try: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 || count[refused] == 0 {
		s.t.Errorf("of all tries: %v; want some of each", count)
	}
}

// rounds are one with a code and one with a backup code of each owner.
func (s *ordeal) rounds(owners []*owner) (all []*round) {
	s.t.Helper()
	for _, o := range owners {
		for _, c := range []credential{{code: o.codeNow()}, {backup: true, code: o.unused[0]}} {
			r := &round{owner: o, credential: c, said: make([]string, len(s.nodes))}
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
	s.t.Helper()
	count := map[string]int{}
	for _, said := range r.said {
		count[said]++
	}
	if count[accepted] > 1 || count[accepted] == 0 && count[unknown] == 0 || count[accepted]+count[unknown]+count[refused] < len(r.said) {
		s.t.Errorf("%s: %s: %q, want one session, or none where somebody had no answer", f.name, r.thing(), r.said)
	}
	for i, tab := range r.tabs {
		if r.said[i] != accepted {
			continue
		}
		for _, n := range s.nodes { // what was answered is so, whichever database serves now
			if a, err := tab.through(n.way).send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
				s.t.Errorf("%s: %s is signed in, and at %s: %s, %v", f.name, r.owner.name, n.name, short(a), err)
			}
		}
	}
	for range 2 {
		tab := s.waiting(s.any(), r.owner)
		said := h.did(r.thing(), "", func() string { return give(tab, r.credential) })
		if said == unknown {
			s.t.Errorf("%s: all is well, and %s is unanswered", f.name, r.thing())
		}
		count[said+" again"]++
	}
	if count["accepted again"] > 0 && count[accepted] > 0 || count["accepted again"] > 1 {
		s.t.Errorf("%s: %s opens twice: %v", f.name, r.thing(), count)
	}
}

// budgetsHold has wrong codes given to all nodes at once while something happens.
func (s *ordeal) budgetsHold(owners []*owner) {
	s.t.Helper()
	for _, o := range owners {
		f, h := s.nextFault(), newHistory()
		wrong := otherThan(o.secret)
		var all []func()
		for i := range atOnce {
			tab := s.waiting(s.nodes[i%len(s.nodes)], o)
			all = append(all, func() { h.did(o.name, aWrongOne, func() string { return tryAt(tab, wrong) }) })
		}
		s.during(f, all...)
		for range codesADay { // one after the other, until none is left
			tab := s.waiting(s.any(), o)
			h.did(o.name, aWrongOne, func() string { return tryAt(tab, wrong) })
		}
		tab := s.waiting(s.any(), o)
		h.did(o.name, aRightOne, func() string { return tryAt(tab, o.codeNow()) })
		if len(h.wrong(budget)) > 0 {
			s.t.Errorf("%s: that can't be of a budget of %d: %+v", f.name, codesADay, h.all)
		}
	}
}

// tryAt gives a code, and says what became of it.
func tryAt(v *visitor, code string) string {
	a, err := v.send(http.MethodPost, "/login/code", "code", code)
	if err != nil || a.Status >= http.StatusInternalServerError {
		return unknown
	}
	return becameOf(a)
}
