package faults

import (
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/authenticator/totp"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// pendingAt returns a client that submitted an owner's password at a node and is at the code page.
func (s *ordeal) pendingAt(n *node, o *sallyport.Owner) *sallyport.Visitor {
	s.T.Helper()
	v := s.Visitor().Through(n.way)
	if _, err := v.Post(portal.LeadsTo("/login/code"), "/login", "username", o.Name, "password", portal.Password); err != nil {
		s.T.Fatalf("submit the password of %s at %s: %v", o.Name, n.Name, err)
	}
	return v
}

// codes submits codes to all nodes at the same time during faults. Each code must open one
// session, or at most one if a request got no answer.
func (s *ordeal) codes(owners []*sallyport.Owner) {
	s.T.Helper()
	count := map[string]int{}
	for len(owners) > 0 {
		f := s.nextFault()
		rounds, h := s.rounds(owners[:min(len(owners), roundsPerFault/2)]), newHistory()
		owners = owners[min(len(owners), roundsPerFault/2):]
		var all []func()
		for _, r := range rounds {
			for i, tab := range r.tabs {
				all = append(all, func() { r.outcomes[i] = h.run(r.thing(), "", func() string { return submit(tab, r.Credential) }) })
			}
		}
		s.during(f, all...)
		for _, r := range rounds {
			s.examineRound(f, r, h)
			for _, outcome := range r.outcomes {
				count[outcome]++
			}
		}
		if violated := h.violations(codeModel); len(violated) > 0 {
			s.T.Errorf("during %s, codes were accepted more than once or refused before: %q", f.name, violated)
		}
	}
	s.T.Logf("outcomes of codes that were submitted to all nodes at once: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 || count[refused] == 0 {
		s.T.Errorf("outcomes of codes: %v, want some accepted, some refused and some unknown", count)
	}
}

// rounds returns a round with a code and one with a backup code for each owner.
func (s *ordeal) rounds(owners []*sallyport.Owner) (all []*round) {
	s.T.Helper()
	for _, o := range owners {
		for _, c := range []sallyport.Credential{{Code: o.CodeNow()}, {Backup: true, Code: o.Unused[0]}} {
			r := &round{owner: o, Credential: c, outcomes: make([]string, len(s.nodes))}
			for _, n := range s.nodes {
				r.tabs = append(r.tabs, s.pendingAt(n, o))
			}
			all = append(all, r)
		}
	}
	return all
}

// examineRound checks the outcomes of a round after the repair, and submits the code again.
func (s *ordeal) examineRound(f fault, r *round, h *history) {
	s.T.Helper()
	count := map[string]int{}
	for _, outcome := range r.outcomes {
		count[outcome]++
	}
	if count[accepted] > 1 || count[accepted] == 0 && count[unknown] == 0 || count[accepted]+count[unknown]+count[refused] < len(r.outcomes) {
		s.T.Errorf("during %s, code %s: outcomes %q, want one accepted, or none if one is unknown", f.name, r.thing(), r.outcomes)
	}
	for i, tab := range r.tabs {
		if r.outcomes[i] != accepted {
			continue
		}
		for _, n := range s.nodes { // the session must exist in the database that serves now
			if a, err := tab.Through(n.way).Send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
				s.T.Errorf("after %s, start page in the session of %s at %s: %s, %v; want 200", f.name, r.owner.Name, n.Name, portal.Summary(a), err)
			}
		}
	}
	for range 2 {
		tab := s.pendingAt(s.randomNode(), r.owner)
		outcome := h.run(r.thing(), "", func() string { return submit(tab, r.Credential) })
		if outcome == unknown {
			s.T.Errorf("after the repair of %s, code %s got no answer", f.name, r.thing())
		}
		count[outcome+" again"]++
	}
	if count["accepted again"] > 0 && count[accepted] > 0 || count["accepted again"] > 1 {
		s.T.Errorf("during and after %s, code %s was accepted twice: %v", f.name, r.thing(), count)
	}
}

// budgetsHold submits wrong codes to all nodes at the same time during faults. No account may have
// more of them compared than its budget allows.
func (s *ordeal) budgetsHold(owners []*sallyport.Owner) {
	s.T.Helper()
	for _, o := range owners {
		f, h := s.nextFault(), newHistory()
		wrong := sallyport.WrongCode(o.Secret)
		var all []func()
		for i := range sallyport.ConcurrentAttempts {
			tab := s.pendingAt(s.nodes[i%len(s.nodes)], o)
			all = append(all, func() { h.run(o.Name, wrongCode, func() string { return submitCode(tab, wrong) }) })
		}
		s.during(f, all...)
		for range codesADay { // use up the rest of the budget
			tab := s.pendingAt(s.randomNode(), o)
			h.run(o.Name, wrongCode, func() string { return submitCode(tab, wrong) })
		}
		tab := s.pendingAt(s.randomNode(), o)
		h.run(o.Name, rightCode, func() string { return submitCode(tab, o.CodeNow()) })
		if len(h.violations(budgetModel)) > 0 {
			s.T.Errorf("during %s, the outcomes don't fit a budget of %d wrong codes: %+v", f.name, codesADay, h.all)
		}
	}
}

// useCodes submits a code and a backup code of an owner until each is refused: again after an
// unknown outcome, and once more after it was accepted.
func (s *ordeal) useCodes(o *sallyport.Owner, h *history) {
	var all []sallyport.Credential
	if o.LastStep < totp.Step(time.Now(), totp.Period) {
		all = append(all, sallyport.Credential{Code: o.CodeNow()})
	}
	if len(o.Unused) > 1 {
		all = append(all, sallyport.Credential{Backup: true, Code: o.Unused[0]})
		o.Unused = o.Unused[1:]
	}
	for _, c := range all {
		for outcome := unknown; (outcome == unknown || outcome == accepted) && len(o.Unsure) < unansweredAtMost; {
			v, err := s.EnterPassword(o)
			if err != nil {
				s.checkError(err)
				time.Sleep(askEvery)
				continue
			}
			outcome = h.run(fmt.Sprint(o.Name, " ", c.Code), "", func() string { return submit(v, c) })
			if outcome == unknown {
				o.Unsure = append(o.Unsure, c)
			}
		}
	}
}
