package sallyport_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testkit"
	"github.com/sallyport/sallyport/internal/testkit/portal"
)

const (
	// codeRounds is how many codes are given to all nodes at once;
	// roundsVariable asks for another number.
	codeRounds     = 60
	roundsVariable = "SALLYPORT_ROUNDS"

	// roundsPerFault are under way while something happens.
	roundsPerFault = 4

	// harmedFor is how long a fault lasts at most; every longHarm-th lasts
	// harmedForLong, which is longer than a node waits for the database.
	harmedFor     = 1500 * time.Millisecond
	harmedForLong = 12 * time.Second
	longHarm      = 16

	// givenWithin: a code is given while a fault begins.
	givenWithin = 100 * time.Millisecond

	// budgets are used up by so many accounts, whose wrong codes are too few to
	// count as an attack on the whole site.
	budgets = 5
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
	v := s.visitor().at(n)
	if _, err := v.post(leads("/login/code"), "/login", "username", o.name, "password", portal.Password); err != nil {
		s.t.Fatalf("%s at %s: %v", o.name, n.name, err)
	}
	return v
}

// during has something happen to a node while others do something, which begins
// within a moment, and returns once it is mended, they are done, and people sign in.
func (s *ordeal) during(f fault, all ...func()) {
	s.t.Helper()
	lasts := time.Duration(s.below(int64(harmedFor)))
	if s.faults++; s.faults%longHarm == 0 {
		lasts = harmedForLong
	}
	n := s.any()
	var doing sync.WaitGroup
	for _, one := range all {
		pause := time.Duration(s.below(int64(givenWithin)))
		doing.Go(func() {
			time.Sleep(pause)
			one()
		})
	}
	begin := time.Now()
	mend := f.harm(s, n)
	time.Sleep(lasts)
	if f.goesOn {
		s.goesOn(begin, f.name)
	}
	mend()
	doing.Wait()
	s.goesOn(time.Now(), f.name+", mended")
	s.t.Logf("DEBUG %s at %s for %v: %v", f.name, n.name, lasts, time.Since(begin))
	if s.t.Failed() {
		s.t.Fatalf("%s at %s for %v", f.name, n.name, lasts)
	}
}

// next returns every fault in turn, each turn in another order.
func (s *ordeal) nextFault() fault {
	if len(s.turn) == 0 {
		s.turn = slices.Clone(everyFault)
		for i := range s.turn {
			j := i + int(s.below(int64(len(s.turn)-i)))
			s.turn[i], s.turn[j] = s.turn[j], s.turn[i]
		}
	}
	f := s.turn[0]
	s.turn = s.turn[1:]
	return f
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
			count[s.examineRound(f, r, h)]++
		}
		if wrong := h.wrong(once); len(wrong) > 0 {
			s.t.Errorf("%s: that can't be of a code that opens once: %q", f.name, wrong)
		}
	}
	s.t.Logf("codes given to all nodes at once, and what came of the best try: %v", count)
	if count[accepted] == 0 || count[unknown] == 0 {
		s.t.Errorf("of all rounds: %v; want both", count)
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

// examineRound gives the code again, once all is well, and returns the best that
// came of the round.
func (s *ordeal) examineRound(f fault, r *round, h *history) (best string) {
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
			if a, err := tab.at(n).send(http.MethodGet, "/"); err != nil || a.Status != http.StatusOK {
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
	for _, best := range []string{accepted, unknown} {
		if count[best] > 0 {
			return best
		}
	}
	return refused
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
		for range budgets { // one after the other, until none is left
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

// Codes, budgets and visits, and what is promised of them, while nodes, their
// database and all between them break.
func TestFaults(t *testing.T) {
	t.Parallel()
	rounds, seed := series(t, roundsVariable, codeRounds)
	forCodes := (rounds + 1) / 2 // each gives a code and a backup code
	s := startOrdeal(t, 2*(forCodes+budgets), seed)
	var owners []*owner
	for i := 0; i < len(s.owners); i += 2 {
		owners = append(owners, s.owners[i])
	}
	s.budgetsHold(owners[forCodes:])
	s.codes(owners[:forCodes])
	d := testkit.Open(t, s.primary.URL("postgres"))
	nothingHalfDone(t, d)
	s.nodes[0].command("audit", "verify")
}
