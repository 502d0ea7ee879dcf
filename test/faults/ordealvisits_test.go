package faults

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/db"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/panels"
	"github.com/sallyport/sallyport/internal/testkit/portal"
	"github.com/sallyport/sallyport/internal/testkit/sallyport"
)

// visitOnce opens a panel, signs out, and requests the panel's page from every node before and
// after.
func (s *ordeal) visitOnce(name string, h *history) {
	v := s.Visitor()
	if err := enterPanel(v, s.randomOwner().Name); err != nil {
		s.checkError(err)
		time.Sleep(askEvery)
		return
	}
	for _, n := range s.nodes {
		h.run(name+n.Name, use, func() string { return askNode(v, n) })
	}
	call := time.Since(h.begin)
	_, err := v.Post(signedOut, "/logout")
	end, outcome := time.Since(h.begin), accepted
	if err != nil {
		s.checkError(err)
		outcome = unknown
	}
	for _, n := range s.nodes {
		h.add(name+n.Name, signOut, outcome, call, end+endsWithin)
		h.run(name+n.Name, use, func() string { return askNode(v, n) })
	}
}

// checkError fails the test unless an error is one that a fault may cause: no answer, a server
// error, or 429 for an account whose unanswered tries count as wrong.
func (s *ordeal) checkError(err error) {
	answered, ok := err.(*sallyport.UnexpectedAnswer)
	if !sallyport.ProgramDied(err) && !(ok && (answered.Answer.Status >= http.StatusInternalServerError || answered.Answer.Status == http.StatusTooManyRequests)) {
		s.T.Errorf("soak: unexpected answer: %v", err)
	}
}

// vitals returns the figures of all nodes.
func (s *ordeal) vitals() (all []vital) {
	for _, n := range s.nodes {
		n.way.CloseIdleConnections()
		all = append(all, vital{metric(portal.Scrape(s.T, n.metrics), "go_goroutines"), metric(portal.Scrape(s.T, n.metrics), "process_resident_memory_bytes")})
	}
	return all
}

// checkVitals waits until no node has more goroutines than before, and fails the test if one has
// more memory.
func (s *ordeal) checkVitals(before []vital) {
	s.T.Helper()
	testkit.Until(s.T, "end of the goroutines of the soak", func() bool {
		for i, now := range s.vitals() {
			if now.goroutines > before[i].goroutines+goroutinesMore {
				return false
			}
		}
		return true
	})
	for i, now := range s.vitals() {
		s.T.Logf("%s has %v goroutines and bytes, had %v before the soak", s.nodes[i].Name, now, before[i])
		if now.memory > before[i].memory+memoryMore {
			s.T.Errorf("after the soak, %s has %v bytes, want at most %v more than the %v before", s.nodes[i].Name, now.memory, memoryMore, before[i].memory)
		}
	}
}

// visitsEnd signs out at the first node while another node or the database has a fault. All the
// time it requests the panel's page from all nodes. No node may accept the visit for longer than
// endsWithin, or than endsWithinWhole if quick is set and there is no fault.
func (s *ordeal) visitsEnd(quick bool) {
	s.T.Helper()
	for _, name := range []string{nothingHappens, "a node cut off", "a node that nothing reaches", "a listener cut", "a deaf listener", "a frozen node", lostPrimary} {
		f := faultNamed(name)
		within := endsWithin
		if quick && f.name == nothingHappens {
			within = endsWithinWhole
		}
		v := s.Visitor()
		if err := enterPanel(v, s.randomOwner().Name); err != nil {
			s.T.Fatal(err)
		}
		for _, n := range s.nodes { // afterwards the node has the visit in its cache
			if outcome := askNode(v, n); outcome != accepted {
				s.T.Fatalf("visit at %s before the sign-out: %s, want %s", n.Name, outcome, accepted)
			}
		}
		h, over := newHistory(), make(chan struct{})
		var asking sync.WaitGroup
		for _, n := range s.nodes {
			asking.Go(func() {
				for {
					h.run(n.Name, use, func() string { return askNode(v, n) })
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
		if f.tolerated {
			s.awaitSignIns(begin, f.name)
		}
		call := time.Since(h.begin)
		if _, err := v.Through(s.nodes[0].way).Post(signedOut, "/logout"); err != nil {
			s.T.Errorf("sign-out during %s: %v", f.name, err)
		}
		end := time.Since(h.begin)
		for _, n := range s.nodes {
			h.add(n.Name, signOut, accepted, call, end+within)
		}
		spared := n
		if f.deaf {
			spared = nil // without notifications the node reads every session again, so it refuses too
		}
		s.allRefuse(v, spared)
		mend()
		s.awaitSignIns(time.Now(), f.name+", mended")
		s.allRefuse(v, nil)
		close(over)
		asking.Wait()
		if violated := h.violations(visitModel); len(violated) > 0 {
			s.T.Errorf("during %s at %s, these nodes accepted a visit for longer than %v after the sign-out: %v", f.name, n.Name, within, violated)
		}
	}
}

// allRefuse waits until every node except spared refuses a visit.
func (s *ordeal) allRefuse(v *sallyport.Visitor, spared *node) {
	s.T.Helper()
	for _, n := range s.nodes {
		testkit.Until(s.T, "refusal by "+n.Name, func() bool { return n == spared || askNode(v, n) == refused })
	}
}

// entriesHaveSessions lets clients open a panel while the primary is lost. A client that got the
// panel's page must have a visit in the database that serves now, and nodes must accept only such
// visits.
func (s *ordeal) entriesHaveSessions() {
	s.T.Helper()
	visitors, entered := make([]*sallyport.Visitor, entering), make([]error, entering)
	var all []func()
	for i := range entering {
		visitors[i] = s.Visitor()
		all = append(all, func() { entered[i] = enterPanel(visitors[i], s.randomOwner().Name) })
	}
	s.during(faultNamed(lostPrimary), all...)
	d := testkit.Open(s.T, s.primary.URL("postgres"))
	for i, v := range visitors {
		rows, token := 0, v.CookieAt(panels.Radio, "sallyport-visit")
		testkit.Check(s.T, db.One(context.Background(), d.Reader(), `
			SELECT COUNT(*) FROM visits JOIN sessions ON sessions.id = session_id WHERE visits.token_hash = $1`, []any{secret.Hash(token)}, &rows))
		want := refused
		if rows == 1 {
			want = accepted
		}
		if entered[i] == nil && rows == 0 {
			s.T.Error("a client got the panel's page, but the new primary doesn't have its visit")
		}
		for _, n := range s.nodes {
			if outcome := askNode(v, n); outcome != want {
				s.T.Errorf("visit with %d rows in the database at %s: %s, want %s", rows, n.Name, outcome, want)
			}
		}
	}
}
