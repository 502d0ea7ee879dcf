package faults

// What happened, as those outside saw it, is held against what may happen: a
// history is right where there is an order in which each thing took effect
// between its call and its answer. Porcupine looks for that order.

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sallyport/sallyport/internal/testkit/portal"
)

// What may come of something that was done.
const (
	accepted = "accepted"
	refused  = "refused"
	unknown  = "unknown" // no answer, or that of a server in trouble: done or not
)

// codesADay are how many wrong codes of an account are compared (R1).
const codesADay = 5

// history is what was done and seen, from any goroutine.
type history struct {
	mu    sync.Mutex
	begin time.Time
	all   []porcupine.Operation
}

func newHistory() *history { return &history{begin: time.Now()} }

// did adds what was done to a thing, and what came of it.
func (h *history) did(thing, what string, do func() (outcome string)) string {
	call := time.Since(h.begin)
	outcome := do()
	h.add(thing, what, outcome, call, time.Since(h.begin))
	return outcome
}

func (h *history) add(thing, what, outcome string, call, end time.Duration) {
	if outcome == unknown {
		end = math.MaxInt64 // it may still be under way
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: len(h.all), Input: deed{thing, what}, Output: outcome, Call: int64(call), Return: int64(end)})
}

// deed is something that was done to a thing, such as an account.
type deed struct{ thing, what string }

// wrong returns what of the history can't have happened, by thing.
func (h *history) wrong(step func(state int, what, outcome string) []int) []string {
	byThing := map[string][]porcupine.Operation{}
	for _, one := range h.all {
		thing := one.Input.(deed).thing
		byThing[thing] = append(byThing[thing], one)
	}
	model := (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{0} },
		Step: func(state, input, output any) (next []any) {
			for _, one := range step(state.(int), input.(deed).what, output.(string)) {
				next = append(next, one)
			}
			return next
		},
	}).ToModel()
	var wrong []string
	for thing, history := range byThing {
		if !porcupine.CheckOperations(model, history) {
			wrong = append(wrong, thing)
		}
	}
	return wrong
}

// once is a code, or a backup code: it is accepted where it wasn't yet, and refused
// where it was.
func once(used int, _, outcome string) []int {
	switch {
	case outcome == unknown:
		return []int{used, 1}
	case outcome == accepted && used == 0, outcome == refused && used == 1:
		return []int{1}
	}
	return nil
}

// What is given to a budget.
const (
	aWrongOne = "wrong code"
	aRightOne = "right code"
)

// budget is an account's, of which so many are used: a wrong code is compared while
// there are some left, and uses one up; no code is looked at afterwards.
func budget(used int, what, outcome string) []int {
	left := used < codesADay
	switch {
	case outcome == unknown && left:
		return []int{used, used + 1} // a right one too, where it wasn't given back
	case outcome == unknown, outcome == portal.OutcomeTwoCodes && !left, outcome == portal.OutcomeEnded && !left:
		return []int{used}
	// The one that is ended may be of the five, when another of them ended all.
	case what == aWrongOne && (outcome == portal.OutcomeWrong || outcome == portal.OutcomeEnded) && left:
		return []int{used + 1}
	case what == aRightOne && outcome == portal.OutcomePassed && left:
		return []int{used}
	}
	return nil
}

// What is done to a visit.
const (
	theEnd = "theEnd"
	aVisit = "aVisit"
)

// visited is a visit as one node knows it. Its revocation reaches the node no later
// than the bound after its answer: it is added as if it had lasted so long.
func visited(revoked int, what, outcome string) []int {
	switch {
	case what == theEnd && outcome == unknown:
		return []int{revoked, 1}
	case what == theEnd && outcome == accepted:
		return []int{1}
	case what == aVisit && outcome == unknown, what == aVisit && outcome == accepted && revoked == 0, what == aVisit && outcome == refused && revoked == 1:
		return []int{revoked}
	}
	return nil
}

// Each history here is wrong but for the first of its kind.
func TestWrongHistoriesAreFound(t *testing.T) {
	t.Parallel()
	type event struct {
		call, end     time.Duration
		what, outcome string
	}
	for name, test := range map[string]struct {
		step func(int, string, string) []int
		ok   bool
		all  []event
	}{
		"one of three":             {once, true, []event{{0, 5, "", refused}, {1, 3, "", accepted}, {2, 9, "", unknown}, {10, 11, "", refused}}},
		"no answer, and it was so": {once, true, []event{{0, 1, "", unknown}, {2, 3, "", refused}}},
		"no answer, and it wasn't": {once, true, []event{{0, 1, "", unknown}, {2, 3, "", accepted}}},
		"twice":                    {once, false, []event{{0, 5, "", accepted}, {1, 3, "", accepted}}},
		"twice, late":              {once, false, []event{{0, 1, "", accepted}, {2, 3, "", unknown}, {4, 5, "", accepted}}},
		"never, and refused":       {once, false, []event{{0, 1, "", refused}, {2, 3, "", refused}}},
		"refused before":           {once, false, []event{{0, 1, "", refused}, {2, 3, "", accepted}}},

		"five of nine": {budget, true, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong},
			{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeTwoCodes}, {0, 9, aWrongOne, portal.OutcomeEnded}, {10, 11, aRightOne, portal.OutcomeTwoCodes}}},
		"four and no answer": {budget, true, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong},
			{0, 9, aWrongOne, unknown}, {10, 11, aRightOne, portal.OutcomeTwoCodes}}},
		"six of nine, one ended": {budget, false, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong},
			{0, 9, aWrongOne, portal.OutcomeWrong}, {10, 11, aWrongOne, portal.OutcomeEnded}, {12, 13, aWrongOne, portal.OutcomeWrong}}},
		"six of nine": {budget, false, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong},
			{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}}},
		"a right one after five": {budget, false, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong}, {0, 9, aWrongOne, portal.OutcomeWrong},
			{0, 9, aWrongOne, portal.OutcomeWrong}, {10, 11, aRightOne, portal.OutcomePassed}}},
		"closed too early": {budget, false, []event{{0, 9, aWrongOne, portal.OutcomeWrong}, {10, 11, aRightOne, portal.OutcomeTwoCodes}}},

		"within the bound":     {visited, true, []event{{0, 1, aVisit, accepted}, {2, 9, theEnd, accepted}, {5, 6, aVisit, accepted}, {10, 11, aVisit, refused}}},
		"no answer":            {visited, true, []event{{2, 9, theEnd, unknown}, {10, 11, aVisit, accepted}, {12, 13, aVisit, refused}}},
		"past the bound":       {visited, false, []event{{2, 9, theEnd, accepted}, {10, 11, aVisit, accepted}}},
		"refused, and not":     {visited, false, []event{{2, 9, theEnd, accepted}, {3, 4, aVisit, refused}, {5, 6, aVisit, accepted}}},
		"refused, not revoked": {visited, false, []event{{0, 1, aVisit, refused}, {2, 9, theEnd, accepted}}},
	} {
		h := newHistory()
		for _, one := range test.all {
			h.add(name, one.what, one.outcome, one.call, one.end)
		}
		if wrong := h.wrong(test.step); (len(wrong) == 0) != test.ok {
			t.Errorf("%s: found to be wrong: %q", name, wrong)
		}
	}
}
